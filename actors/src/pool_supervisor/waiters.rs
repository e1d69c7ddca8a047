//! Who waits for the pool: for its readiness, for a process's end, for its own end. Answers; decides nothing.

use crate::{Error, Result, ShutdownReport, shared_state::State};
use herder_core::{PoolState, WorkerRef};
use tokio::sync::oneshot;

/// Answers owed.
#[derive(Default)]
pub(super) struct Waiters {
    ready: PendingAnswers<(), ()>,
    killed: PendingAnswers<WorkerRef, ()>,
    stopped: PendingAnswers<(), ShutdownReport>,
}

/// Answers of one kind, each with what it waits for. Those whose askers have left are dropped as they outnumber the others (I6).
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
            self.0.reserve(self.0.len().max(16)); // as many can come as are left before anybody looks again
        }
        let (sender, receiver) = oneshot::channel();
        self.0.push((key, sender));
        receiver
    }

    fn answer(&mut self, answer: &Result<T>, is_meant: impl Fn(&K) -> bool) {
        for (_, waiter) in self.0.extract_if(.., |(key, _)| is_meant(key)) {
            let _ = waiter.send(answer.clone());
        }
    }
}

impl Waiters {
    pub(super) fn ready(&mut self) -> oneshot::Receiver<Result<()>> {
        self.ready.add(())
    }

    pub(super) fn killed(&mut self, worker: WorkerRef) -> oneshot::Receiver<Result<()>> {
        self.killed.add(worker)
    }

    pub(super) fn stopped(&mut self) -> oneshot::Receiver<Result<ShutdownReport>> {
        self.stopped.add(())
    }

    /// Answers those who wait for readiness, if there is an answer.
    pub(super) fn check_ready(&mut self, state: &State) {
        if let Some(answer) = readiness(state) {
            self.ready.answer(&answer, |()| true);
        }
    }

    pub(super) fn gone(&mut self, worker: WorkerRef) {
        self.killed.answer(&Ok(()), |who| *who == worker);
    }

    /// Every process there was is being killed: its end will not be told any more.
    pub(super) fn all_gone(&mut self) {
        self.killed.answer(&Ok(()), |_| true);
    }

    pub(super) fn all_stopped(&mut self, report: &ShutdownReport) {
        self.stopped.answer(&Ok(report.clone()), |()| true);
    }
}

fn readiness(state: &State) -> Option<Result<()>> {
    let core = state.core();
    if let Some(error) = state.permanent_failure() {
        return Some(Err(error));
    }
    match core.pool_state() {
        PoolState::Running => Some(Ok(())),
        PoolState::Draining | PoolState::Stopped => Some(Err(Error::closed(false))),
        PoolState::Starting | PoolState::Failed if core.start_is_decided() => {
            Some(Err(state.start_error().unwrap_or_else(too_many_deaths)))
        }
        PoolState::Starting | PoolState::Failed => None,
    }
}

fn too_many_deaths() -> Error {
    Error::StartFailed { worker: None, reason: "the workers died repeatedly".into(), report: Box::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I6: whoever gives up waiting, again and again, leaves nothing behind; the others keep their place.
    #[test]
    fn dropped_waiters_are_removed() {
        let mut waiters = Waiters::default();
        let worker = WorkerRef { id: herder_core::WorkerId(1), generation: herder_core::Generation(1) };
        let mut patient: Vec<_> = (0..40).map(|_| waiters.killed(worker)).collect();
        for _ in 0..10_000 {
            drop((waiters.ready(), waiters.killed(worker), waiters.stopped()));
        }
        let held = [waiters.ready.0.len(), waiters.killed.0.len(), waiters.stopped.0.len()];
        assert!(held.iter().all(|len| *len <= 160), "{held:?}");
        waiters.gone(worker);
        assert!(patient.iter_mut().all(|waiter| matches!(waiter.try_recv(), Ok(Ok(())))));
    }
}
