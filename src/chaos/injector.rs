//! Injects faults into a pool's worker processes from outside, by signals, as the kernel, an operator or a bug would.
//! The caller chooses the worker and the time.

use crate::Pool;
use herder_actors::{Result, Signal, WorkerInfo, inspect::MarkedProcesses};
use serde::Serialize;

/// A signal to a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultSignal {
    /// SIGKILL: the process ends.
    Kill,
    /// SIGSTOP: the process exists, but does not run.
    Pause,
    /// SIGCONT: a paused process runs again.
    Resume,
}

/// Sends signals to the workers of one pool.
#[derive(Clone, Debug)]
pub struct FaultInjector {
    pool: Pool,
    processes: MarkedProcesses,
}

impl FaultInjector {
    /// Creates an injector for the processes of `pool` that have the mark of `processes`. Other processes are never
    /// signalled.
    pub fn new(pool: Pool, processes: MarkedProcesses) -> Self {
        Self { pool, processes }
    }

    /// Lists the workers that have a process.
    ///
    /// # Errors
    /// Fails if the pool has ended.
    pub async fn running(&self) -> Result<Vec<WorkerInfo>> {
        let mut workers = self.pool.workers().await?;
        workers.retain(|worker| worker.pid.is_some_and(|pid| self.processes.has(pid)));
        Ok(workers)
    }

    /// Sends `signal` to the worker's process. Returns false if the process no longer exists.
    pub fn inject(&self, worker: &WorkerInfo, signal: FaultSignal) -> bool {
        worker.pid.is_some_and(|pid| self.processes.signal(pid, signal.signal()))
    }
}

impl FaultSignal {
    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Pause => Signal::STOP,
            Self::Resume => Signal::CONT,
        }
    }
}
