//! Strikes a pool's workers from outside, as a kernel, an operator or a bug would: by signals. Chooses nothing.

use super::Census;
use crate::{Pool, Result, WorkerInfo};
use herder_actors::Signal;

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP: it stays, and does nothing.
    Stop,
    /// SIGCONT.
    Continue,
}

/// Strikes the workers of one pool.
#[derive(Clone, Debug)]
pub struct Striker {
    pool: Pool,
    census: Census,
}

impl Striker {
    /// Whose processes carry the census' mark; others are never touched.
    pub fn new(pool: Pool, census: Census) -> Self {
        Self { pool, census }
    }

    /// The workers that have a process now.
    ///
    /// # Errors
    /// When the pool is gone.
    pub async fn living(&self) -> Result<Vec<WorkerInfo>> {
        let mut workers = self.pool.workers().await?;
        workers.retain(|worker| worker.pid.is_some_and(|pid| self.census.has(pid)));
        Ok(workers)
    }

    /// Strikes it; false if that process is gone.
    pub fn strike(&self, worker: &WorkerInfo, blow: Blow) -> bool {
        worker.pid.is_some_and(|pid| self.census.signal(pid, blow.signal()))
    }
}

impl Blow {
    fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Stop => Signal::STOP,
            Self::Continue => Signal::CONT,
        }
    }
}
