//! Records of exited processes, kept for the errors of calls that fail later and for the status.

use super::{Deferred, State, errors::start_failed};
use crate::{Error, error::ExitRecord, recorder::Recorder, traces};
use herder_core::{Answers, Input, ProcessExit, WireId, WorkerRef};

/// The number of exited processes whose records are kept.
const EXIT_RECORD_LIMIT: usize = 64;

impl State {
    /// Handles the exit of a process: it was reaped, and what it answered was handled as far as it was read. `unwritten`: the first
    /// call that was not written among those that its writer had taken.
    pub(crate) fn on_exit(
        &mut self,
        worker: WorkerRef,
        exit: ProcessExit,
        (answers, unwritten): (Answers, Option<WireId>),
        exit_record: ExitRecord,
        recorder: Option<&Recorder>,
    ) {
        // The order matters. The suspects are read while the link still exists. The exit record must be there before the core
        // handles the exit, because the errors of the lost calls are built from it. The link must be gone by then, so that
        // the core's effects cannot write to this process.
        let suspects = self.suspects(worker);
        // Calls in the outbox are behind those that the writer has taken.
        let unwritten = unwritten.or_else(|| self.link(worker)?.calls.first_call());
        let is_out_of_memory = exit_record.memory.out_of_memory.is_some();
        self.note_lost(worker);
        if self.exit_records.len() == EXIT_RECORD_LIMIT {
            self.exit_records.pop_front();
        }
        self.exit_records.push_back((worker, exit_record));
        self.end_attempt_spans(worker);
        let link = self.link(worker).is_some().then(|| self.links[worker.id.0 as usize - 1].take()).flatten();
        self.handle(Input::Exited { worker, exit, answers, unwritten, suspects });
        self.count_exit(worker, exit, is_out_of_memory, link.as_ref());
        self.keep_recording(worker, exit, recorder.or(link.as_ref().map(|link| &*link.recorder)));
        self.report_quarantine();
        self.defer(Deferred::Exited(worker));
        self.defer(Deferred::CheckReadiness);
    }

    /// Ends the spans of the attempts that are lost with the process. Runs before the core has handled the exit, which removes
    /// the attempts.
    fn end_attempt_spans(&mut self, worker: WorkerRef) {
        if !traces::is_recording() {
            return;
        }
        let now = self.clock.now();
        for call in self.core.unfinished(worker).filter_map(|(_, call)| call) {
            if let Some(trace) = self.calls.get_mut(&call).and_then(|call| call.trace.as_mut()) {
                trace.on_exit(now);
            }
        }
    }

    /// Adds the recording to the exit record. Runs after the core has handled the exit, since the recording contains the last
    /// transition and the reason of the exit, and before any effect reaches a caller.
    fn keep_recording(&mut self, worker: WorkerRef, exit: ProcessExit, recorder: Option<&Recorder>) {
        let Some((_, exit_record)) = self.exit_records.back() else { return };
        let recording = self.last_recording(worker, exit, recorder, exit_record);
        let exit = self.core().exit_of(worker).unwrap_or(exit); // the core's record has the kill reason
        if let Some((_, exit_record)) = self.exit_records.back_mut() {
            exit_record.set_exit(exit);
            exit_record.set_recording(recording);
        }
    }

    /// Returns the recorded exits, the latest first.
    pub(crate) fn exit_records(&self) -> impl Iterator<Item = &(WorkerRef, ExitRecord)> {
        self.exit_records.iter().rev()
    }

    pub(crate) fn exit_record(&self, worker: WorkerRef) -> Option<&ExitRecord> {
        self.exit_records.iter().rev().find(|(who, _)| *who == worker).map(|(_, exit_record)| exit_record)
    }

    /// Returns the reason of an exit, as far as it is recorded.
    pub(crate) fn death_reason(&self, worker: WorkerRef, exit: &ProcessExit) -> Box<str> {
        crate::error::loss_reason(exit, self.exit_record(worker))
    }

    /// Records a failed start.
    pub(super) fn note_start_error(&mut self, worker: WorkerRef, exit: ProcessExit) {
        self.last_start_error = Some((worker, exit, self.exit_record(worker).cloned().unwrap_or_default()));
    }

    /// Returns the reason of the most recent failed start, or why the pool has failed permanently.
    pub(crate) fn last_start_error(&self) -> Option<Box<str>> {
        let failed = self.last_start_error.as_ref();
        self.failed_permanently
            .clone()
            .or_else(|| failed.map(|(_, exit, exit_record)| crate::error::loss_reason(exit, Some(exit_record))))
    }

    pub(crate) fn last_start_error_if_degraded(&self) -> Option<Box<str>> {
        let below = self.core.ready_workers() < self.core.settings().pool_size as usize;
        self.last_start_error().filter(|_| below)
    }

    /// Returns the most recent failed start as an error.
    pub(crate) fn start_error(&self) -> Option<Error> {
        self.last_start_error.as_ref().map(|(worker, exit, exit_record)| start_failed(*worker, exit, Some(exit_record)))
    }
}
