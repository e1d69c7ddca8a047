//! Callers that wait for the pool to be ready, for the exit of a process, or for the end of the pool. Answers them; decides
//! nothing.

use crate::{Error, ReloadReport, Result, ShutdownReport, shared_state::State};
use herder_core::{PoolState, WorkerRef};
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// The pending answers.
#[derive(Default)]
pub(super) struct Waiters {
    ready: PendingAnswers<(), ()>,
    killed: PendingAnswers<WorkerRef, ()>,
    stopped: PendingAnswers<(), ShutdownReport>,
    /// In the order of the requests. Each is answered when the next one begins, at the latest.
    reloads: VecDeque<oneshot::Sender<Result<ReloadReport>>>,
}

/// Pending answers of one kind, each with what it waits for. Abandoned ones are removed when the vector is full, so they are
/// at most as many as the others (I6).
struct PendingAnswers<K, T>(Vec<(K, oneshot::Sender<Result<T>>)>);

impl<K, T> Default for PendingAnswers<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, T: Clone> PendingAnswers<K, T> {
    fn add(&mut self, key: K) -> oneshot::Receiver<Result<T>> {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|(_, sender)| !sender.is_closed());
            self.0.reserve(self.0.len().max(16)); // doubles: removal costs amortized O(1)
        }
        let (sender, receiver) = oneshot::channel();
        self.0.push((key, sender));
        receiver
    }

    fn answer(&mut self, answer: &Result<T>, matches: impl Fn(&K) -> bool) {
        for (_, waiter) in self.0.extract_if(.., |(key, _)| matches(key)) {
            let _ = waiter.send(answer.clone());
        }
    }
}

impl Waiters {
    pub(super) fn wait_ready(&mut self) -> oneshot::Receiver<Result<()>> {
        self.ready.add(())
    }

    pub(super) fn wait_killed(&mut self, worker: WorkerRef) -> oneshot::Receiver<Result<()>> {
        self.killed.add(worker)
    }

    pub(super) fn wait_stopped(&mut self) -> oneshot::Receiver<Result<ShutdownReport>> {
        self.stopped.add(())
    }

    /// Adds a caller that requests a reload now. The core reports the end of each reload, in the order of the requests.
    pub(super) fn wait_reload(&mut self) -> oneshot::Receiver<Result<ReloadReport>> {
        let (sender, receiver) = oneshot::channel();
        self.reloads.push_back(sender);
        receiver
    }

    /// Answers the caller of the first reload that has not ended.
    pub(super) fn answer_reload(&mut self, answer: Result<ReloadReport>) {
        if let Some(waiter) = self.reloads.pop_front() {
            let _ = waiter.send(answer);
        }
    }

    /// Drops the callers of reloads, which get an error.
    pub(super) fn drop_reloads(&mut self) {
        self.reloads.clear();
    }

    /// Answers callers that wait for readiness, if the pool is ready, has failed or is closed.
    pub(super) fn check_ready(&mut self, state: &State) {
        if let Some(answer) = readiness(state) {
            self.ready.answer(&answer, |()| true);
        }
    }

    pub(super) fn answer_killed(&mut self, worker: WorkerRef) {
        self.killed.answer(&Ok(()), |process| *process == worker);
    }

    /// Answers all callers that wait for the exit of a process. After a rebuild all processes are being killed and no exit is
    /// reported.
    pub(super) fn answer_all_killed(&mut self) {
        self.killed.answer(&Ok(()), |_| true);
    }

    pub(super) fn answer_stopped(&mut self, report: &ShutdownReport) {
        self.stopped.answer(&Ok(report.clone()), |()| true);
    }
}

fn readiness(state: &State) -> Option<Result<()>> {
    let core = state.core();
    if let Some(error) = state.permanent_failure() {
        return Some(Err(error));
    }
    match core.pool_state() {
        PoolState::Idle | PoolState::Running => Some(Ok(())),
        PoolState::Draining | PoolState::Stopped => Some(Err(Error::closed(false))),
        PoolState::Starting | PoolState::Failed if core.start_is_decided() => {
            Some(Err(state.start_error().unwrap_or_else(too_many_deaths)))
        }
        _ => None,
    }
}

fn too_many_deaths() -> Error {
    Error::StartFailed { worker: None, reason: "the workers died repeatedly".into(), report: std::sync::Arc::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I6: repeatedly abandoned waiters do not accumulate; the others keep their places.
    #[test]
    fn dropped_waiters_are_removed() {
        let mut waiters = Waiters::default();
        let worker = WorkerRef { id: herder_core::WorkerId(1), generation: herder_core::Generation(1) };
        let mut receivers: Vec<_> = (0..40).map(|_| waiters.wait_killed(worker)).collect();
        for _ in 0..10_000 {
            drop((waiters.wait_ready(), waiters.wait_killed(worker), waiters.wait_stopped()));
        }
        let held = [waiters.ready.0.len(), waiters.killed.0.len(), waiters.stopped.0.len()];
        assert!(held.iter().all(|len| *len <= 160), "{held:?}");
        waiters.answer_killed(worker);
        assert!(receivers.iter_mut().all(|waiter| matches!(waiter.try_recv(), Ok(Ok(())))));
    }
}
