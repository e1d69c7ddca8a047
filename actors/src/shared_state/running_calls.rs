//! Lists the calls that workers were sent and have not finished. Reads the state and changes nothing.

use super::State;
use crate::RunningCall;
use herder_core::{CallId, Timestamp, WorkerRef, WorkerStatus};
use std::cmp::Reverse;

impl State {
    /// Returns the unfinished calls of all processes, the oldest first.
    pub(crate) fn running_calls(&self) -> Vec<RunningCall> {
        let now = self.clock().now();
        let mut calls: Vec<RunningCall> =
            self.core().workers(now).iter().flat_map(|worker| self.calls_of(now, worker)).collect();
        calls.sort_by_key(|call| Reverse(call.age));
        calls
    }

    fn calls_of(&self, now: Timestamp, worker: &WorkerStatus) -> impl Iterator<Item = RunningCall> {
        let process = WorkerRef { id: worker.id, generation: worker.generation };
        let state = worker.state;
        self.core().sent_calls(process).map(move |(call, sent)| RunningCall {
            worker: process.id,
            generation: process.generation,
            state,
            command: call.and_then(|call| self.command_of(call)),
            age: now.since(sent),
        })
    }

    fn command_of(&self, call: CallId) -> Option<String> {
        self.calls.get(&call).map(|call| call.command.to_string())
    }
}
