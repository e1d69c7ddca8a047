//! A reload in progress: which processes are still to be replaced. Holds no processes and starts none. The steps are in
//! `pool/processes/reload.rs`.

use crate::{WorkerRef, failure::ProcessExit};
use std::collections::VecDeque;

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReloadOutcome {
    /// Every worker that was ready when the reload began was replaced, and is being stopped.
    Completed(Reloaded),
    /// A process that was started for the reload exited before it was ready. The workers that were not replaced before go
    /// on serving.
    StartFailed {
        /// The process that was not ready.
        worker: WorkerRef,
        /// Its exit.
        exit: ProcessExit,
        /// What had been replaced before.
        replaced: Reloaded,
    },
    /// Another reload began before this one had ended.
    Superseded,
    /// The pool shuts down.
    PoolClosed,
}

/// What a reload replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reloaded {
    /// The number of base workers that were replaced.
    pub workers: u32,
    /// The number of sessions whose state was on the replaced workers, and is lost. Zero in a pool without session
    /// affinity.
    pub sessions: u32,
}

/// A reload that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reload {
    /// The base workers that are still to be replaced, in order.
    base: VecDeque<WorkerRef>,
    /// The overflow workers that are stopped at the end.
    overflow: Vec<WorkerRef>,
    replaced: Reloaded,
}

impl Reload {
    /// Begins a reload of these processes, which are ready.
    pub(crate) fn new(base: impl Iterator<Item = WorkerRef>, overflow: impl Iterator<Item = WorkerRef>) -> Self {
        Self { base: base.collect(), overflow: overflow.collect(), replaced: Reloaded::default() }
    }

    /// Returns whether a base worker is still to be replaced.
    pub(crate) fn is_replacing(&self) -> bool {
        !self.base.is_empty()
    }

    /// Returns the base worker that is replaced next.
    pub(crate) fn next(&self) -> Option<WorkerRef> {
        self.base.front().copied()
    }

    /// Removes the base worker that is replaced next: it was replaced, or its slot has a newer process.
    pub(crate) fn advance(&mut self) {
        self.base.pop_front();
    }

    /// Counts a replaced base worker.
    pub(crate) fn count_worker(&mut self) {
        self.replaced.workers += 1;
    }

    /// Counts sessions that a process had when it was stopped.
    pub(crate) fn count_sessions(&mut self, sessions: u32) {
        self.replaced.sessions = self.replaced.sessions.saturating_add(sessions);
    }

    /// Returns the overflow workers that must be stopped now that all base workers are replaced.
    pub(crate) fn take_overflow(&mut self) -> Vec<WorkerRef> {
        std::mem::take(&mut self.overflow)
    }

    pub(crate) fn replaced(&self) -> Reloaded {
        self.replaced
    }
}
