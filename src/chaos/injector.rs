//! Strikes a pool's workers from outside, as a kernel, an operator or a bug would: by signals. Chooses nothing.

use super::MarkedProcesses;
use crate::{Pool, Result, WorkerInfo};
use herder_actors::Signal;

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultSignal {
    /// SIGKILL.
    Kill,
    /// SIGSTOP: it stays, and does nothing.
    Pause,
    /// SIGCONT.
    Resume,
}

/// Strikes the workers of one pool.
#[derive(Clone, Debug)]
pub struct FaultInjector {
    pool: Pool,
    processes: MarkedProcesses,
}

impl FaultInjector {
    /// Whose processes carry the census' mark; others are never touched.
    pub fn new(pool: Pool, processes: MarkedProcesses) -> Self {
        Self { pool, processes: processes }
    }

    /// The workers that have a process now.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn living(&self) -> Result<Vec<WorkerInfo>> {
        let mut workers = self.pool.workers().await?;
        workers.retain(|worker| worker.pid.is_some_and(|pid| self.processes.has(pid)));
        Ok(workers)
    }

    /// Strikes it; false if that process is gone.
    pub fn inject(&self, worker: &WorkerInfo, blow: FaultSignal) -> bool {
        worker.pid.is_some_and(|pid| self.processes.signal(pid, blow.signal()))
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
