//! Who waits for the pool: for its readiness, for a process's end, for its own end. Answers; decides nothing.

use crate::{Error, Result, ShutdownReport, cell::State};
use herder_core::{PoolState, WorkerRef};
use tokio::sync::oneshot;

/// Answers owed.
#[derive(Default)]
pub(super) struct Waiters {
    ready: Vec<oneshot::Sender<Result<()>>>,
    killed: Vec<(WorkerRef, oneshot::Sender<Result<()>>)>,
    stopped: Vec<oneshot::Sender<Result<ShutdownReport>>>,
}

impl Waiters {
    pub(super) fn ready(&mut self) -> oneshot::Receiver<Result<()>> {
        let (sender, receiver) = oneshot::channel();
        self.ready.push(sender);
        receiver
    }

    pub(super) fn killed(&mut self, at: WorkerRef) -> oneshot::Receiver<Result<()>> {
        let (sender, receiver) = oneshot::channel();
        self.killed.push((at, sender));
        receiver
    }

    pub(super) fn stopped(&mut self) -> oneshot::Receiver<Result<ShutdownReport>> {
        let (sender, receiver) = oneshot::channel();
        self.stopped.push(sender);
        receiver
    }

    /// Answers those who wait for readiness, if there is an answer.
    pub(super) fn check_ready(&mut self, state: &State) {
        let Some(answer) = readiness(state) else { return };
        for waiter in self.ready.drain(..) {
            let _ = waiter.send(answer.clone());
        }
    }

    pub(super) fn gone(&mut self, at: WorkerRef) {
        for (_, waiter) in self.killed.extract_if(.., |(who, _)| *who == at) {
            let _ = waiter.send(Ok(()));
        }
    }

    /// Every process there was is being killed: its end will not be told any more.
    pub(super) fn all_gone(&mut self) {
        for (_, waiter) in self.killed.drain(..) {
            let _ = waiter.send(Ok(()));
        }
    }

    pub(super) fn all_stopped(&mut self, report: &ShutdownReport) {
        for waiter in self.stopped.drain(..) {
            let _ = waiter.send(Ok(report.clone()));
        }
    }
}

fn readiness(state: &State) -> Option<Result<()>> {
    let core = state.core();
    if let Some(error) = state.broken() {
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
    Error::StartFailed { at: None, reason: "its workers keep dying".into(), report: Box::default() }
}
