//! What can be asked of a pool and told to it.

use crate::{Recording, Result, Status};
use actix::Message;
use herder_core::{
    BreakerStatus, Counters, Fingerprint, Generation, Health, Outcome, PoolName, PoolState, QuarantineEntry, WorkerId,
    WorkerRef, WorkerState,
};
use serde::Serialize;
use std::{fmt, sync::Arc, time::Duration};

/// Waits until every base worker is ready. Answers an error when one could not start: with the reason (R13).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct WaitReady;

/// The pool's status, one shape for both worker types (R8). Always answers, also for a pool that failed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Status")]
pub struct GetStatus;

/// The pool's name.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "PoolName")]
pub struct GetPoolName;

/// Whether the pool can serve, as it is now (R26).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<PoolHealth>")]
pub struct HealthCheck;

/// The pool's workers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<WorkerInfo>>")]
pub struct ListWorkers;

/// What passed between the host and a worker last, how it changed its states, what it printed, and how it ended. An error says
/// `NoSuchWorker`, with those there are.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<Recording>>")]
pub struct GetRecorder {
    /// The slot.
    pub worker: WorkerId,
    /// Which of its processes: the present one, or the last if there is none now, unless it is named.
    pub generation: Option<Generation>,
}

/// SIGKILL to a process's group. Answers when its end has been noticed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct KillWorker(pub WorkerRef);

/// The pool's circuit breaker as it stands; `None` in a pool without one (R34).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Option<BreakerStatus>>")]
pub struct GetBreaker;

/// Closes the circuit breaker, whatever was. False in a pool without one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct ResetBreaker;

/// Counts an outcome for the circuit breaker that somebody else saw. False in a pool without one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct RecordOutcome(pub Outcome);

/// The payloads that ended workers: in quarantine, or suspected (R37).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<QuarantineEntry>>")]
pub struct GetQuarantine;

/// Lets a payload out of quarantine. False if it was not watched.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct ReleasePayload(pub Fingerprint);

/// Announces a [`Shutdown`]. The pool accepts calls as before, but a worker that ended is started again only if a call waits for one. `herder serve`
/// sends this message when it receives SIGTERM or SIGINT, since a service manager may end all workers at that moment. It sends `Shutdown` when
/// requests have finished.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<()>")]
pub struct PrepareShutdown;

/// Ends the pool: no new calls, those there are finish within the time or are answered `PoolClosed`, then the workers end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<ShutdownReport>")]
pub struct Shutdown {
    pub(crate) timeout: Duration,
}

impl Shutdown {
    /// With this much patience for calls that are admitted.
    pub fn timeout(patience: Duration) -> Self {
        Self { timeout: patience }
    }
}

/// Whether a pool can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolHealth {
    /// It takes calls and at least one worker is ready.
    pub healthy: bool,
    /// Whether it takes calls.
    pub state: PoolState,
    /// Base workers that are ready.
    pub ready_workers: usize,
    /// Base workers wanted.
    pub wanted_workers: usize,
    /// Why the last start failed, while the pool is below its strength.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_start_error: Option<String>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerInfo {
    /// The slot.
    pub id: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
    /// The process's id, if there is one.
    pub pid: Option<u32>,
    /// Its state.
    pub state: WorkerState,
    /// Its health.
    pub health: Health,
    /// Whether it is one of the overflow.
    pub overflow: bool,
    /// Unfinished calls.
    pub in_flight: usize,
    /// Calls finished, over all its processes.
    pub operations: u64,
}

impl WorkerInfo {
    /// The process, to be named in [`KillWorker`].
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.id, generation: self.generation }
    }
}

/// What a pool had done when it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShutdownReport {
    /// The pool.
    pub pool: PoolName,
    /// How long the end took.
    pub duration: Duration,
    /// Everything it counted.
    pub counters: Counters,
    /// Calls the end cut off: answered `PoolClosed`.
    pub aborted_calls: u64,
    /// Processes and starts that had not ended when the time was up. Empty unless something hangs.
    pub still_running: Vec<RemainingWorker>,
}

/// A worker that had not ended when its pool stopped waiting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RemainingWorker {
    /// The slot.
    pub id: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
    /// The process's id; it was sent SIGKILL and has not exited. `None`: its start has not completed. If it completes later, the
    /// process is killed.
    pub pid: Option<u32>,
}

impl fmt::Display for RemainingWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, generation, pid } = self;
        match pid {
            Some(pid) => write!(f, "{id}.{generation} (process {pid} was killed and has not exited)"),
            None => write!(f, "{id}.{generation} (still starting)"),
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { ok, failed, lost, timeouts, refused, .. } = self.counters;
        let took =
            humantime::format_duration(Duration::from_millis(u64::try_from(self.duration.as_millis()).unwrap_or(0)));
        write!(f, "pool `{}` stopped in {took}: {ok} calls ok, {failed} failed, {lost} lost, ", self.pool)?;
        write!(f, "{timeouts} timed out, {refused} refused, {} cut off", self.aborted_calls)?;
        for (place, worker) in self.still_running.iter().enumerate() {
            write!(f, "{}{worker}", if place == 0 { "; left: " } else { ", " })?;
        }
        Ok(())
    }
}
