//! Strikes a pool's workers from outside, as a kernel, an operator or a bug would: by signals. Chooses nothing.

use super::Census;
use crate::{Pool, Result, WorkerInfo};

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
        worker.pid.is_some_and(|pid| signal(&self.census, pid, blow))
    }
}

/// A process id may be somebody else's by now: the descriptor holds on to one process, and it is looked at before it is struck.
#[cfg(target_os = "linux")]
fn signal(census: &Census, pid: u32, blow: Blow) -> bool {
    use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    census.has(pid.as_raw_nonzero().get().unsigned_abs()) && pidfd_send_signal(process, blow.signal()).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn signal(_: &Census, pid: u32, blow: Blow) -> bool {
    use rustix::process::{Pid, kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, blow.signal()).is_ok())
}

impl Blow {
    fn signal(self) -> rustix::process::Signal {
        match self {
            Self::Kill => rustix::process::Signal::KILL,
            Self::Stop => rustix::process::Signal::STOP,
            Self::Continue => rustix::process::Signal::CONT,
        }
    }
}
