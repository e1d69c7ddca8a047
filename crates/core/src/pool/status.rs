//! One shape of status for both worker types (R8). A snapshot; reading it changes nothing.

use super::SessionInfo;
use crate::{BreakerStatus, Generation, Health, ProcessActivity, WorkerId, WorkerMetrics, WorkerState, WorkerType};
use serde::Serialize;

/// How many sessions a status shows at most.
pub const SESSIONS_SHOWN: usize = 100;

/// A pool's status, but for what only its shell knows (its name, the wall clock, pids).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolStatus {
    /// Basic or enhanced.
    pub worker_type: WorkerType,
    /// Whether it takes calls.
    pub state: PoolState,
    /// Base workers wanted.
    pub pool_size: u32,
    /// Overflow workers allowed.
    pub overflow: u32,
    /// Sessions that are not expired.
    pub active_sessions: usize,
    /// The first of them.
    pub sessions: Vec<SessionInfo>,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// What the affinity table holds; `None` (shown as `{}`) in a pool without one.
    pub session_affinity: Option<AffinityStatus>,
    /// One entry a slot that has, or is to have, a process.
    pub workers: Vec<WorkerStatus>,
    /// The queue.
    pub queue: QueueStatus,
    /// The circuit breaker; null in a pool without one.
    pub breaker: Option<BreakerStatus>,
    /// Payloads in quarantine.
    pub quarantined: usize,
    /// Counted since the start.
    pub counters: Counters,
    /// What is switched on.
    pub features: Features,
}

/// Whether a pool takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolState {
    /// It does, but not every base worker is ready.
    Starting,
    /// It does.
    Running,
    /// Too many restarts; a probe starts after a cooldown.
    Failed,
    /// It finishes what it has.
    Draining,
    /// It ended.
    Stopped,
}

/// The affinity table in numbers (R6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AffinityStatus {
    /// Sessions that are not expired.
    pub total_sessions: usize,
    /// Due or marked, not yet removed.
    pub expired_sessions: usize,
    /// Processes that hold at least one.
    pub workers_with_sessions: usize,
    /// Calls that met their session's worker.
    pub hits: u64,
    /// Calls that began a session.
    pub misses: u64,
    /// Calls that ran elsewhere than their session before.
    pub rebinds: u64,
    /// Sweeps that ran to their end.
    pub cleanup_runs: u64,
    /// Sessions removed by sweeps.
    pub sessions_cleaned: u64,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// The slot.
    pub id: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
    /// Whether it is one of the overflow.
    pub overflow: bool,
    /// Its state.
    pub state: WorkerState,
    /// Its health.
    pub health: Health,
    /// What it did when it last let a ping pass; not there while it answers. `computing` while it has calls means that they hold
    /// the GIL: it is healthy then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unresponsive: Option<ProcessActivity>,
    /// Unfinished calls.
    pub in_flight: usize,
    /// Unfinished calls it takes.
    pub window: usize,
    /// Calls of its sessions that wait for it.
    pub queued: usize,
    /// Calls finished, over all its processes.
    pub operations: u64,
    /// Sessions bound to it; only with `session_affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// Only with `worker_metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<WorkerMetrics>,
    /// The last changes of state, newest last; only with `state_machine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<TransitionStatus>>,
}

/// One change of state, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TransitionStatus {
    /// The state left.
    pub from: WorkerState,
    /// The state entered.
    pub to: WorkerState,
    /// Why.
    pub reason: &'static str,
    /// Milliseconds spent in `from`.
    pub lasted_ms: u64,
    /// Milliseconds ago.
    pub ago_ms: u64,
}

/// The queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QueueStatus {
    /// Calls waiting.
    pub waiting: usize,
    /// How many may.
    pub limit: usize,
    /// Calls unfinished in workers, settled or not.
    pub in_flight: usize,
    /// Calls that workers can have unfinished, all that are ready together.
    pub capacity: usize,
    /// Calls in flight and waiting, as a share of the capacity: above 1 calls wait. Null without a ready worker.
    pub load: Option<f64>,
    /// How long a call that came now would wait for any worker, by what recent calls took, in milliseconds. Null until enough
    /// was seen, and with `queue.shed` off.
    pub expected_wait_ms: Option<u64>,
}

/// What is switched on (R9). All false in a basic pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Routing by session.
    pub session_affinity: bool,
    /// Metrics for each worker.
    pub worker_metrics: bool,
    /// Degraded state, health-gated work, history.
    pub state_machine: bool,
}

/// What a pool counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Counters {
    /// Calls submitted; each ends in exactly one of `refused`, `ok`, `failed`, `lost`, `timeouts`, `abandoned`, `failed_by_pool`.
    pub submitted: u64,
    /// Not admitted.
    pub refused: u64,
    /// Of those, refused since their turn would have come too late.
    pub shed: u64,
    /// Answered with a result.
    pub ok: u64,
    /// Answered with an error by the worker.
    pub failed: u64,
    /// Lost with their worker.
    pub lost: u64,
    /// Out of time, queued or running.
    pub timeouts: u64,
    /// Left by their caller.
    pub abandoned: u64,
    /// Admitted, and answered by the pool: `PoolFailed`, `PoolClosed`, or it could not be sent to its worker.
    pub failed_by_pool: u64,
    /// Sent again after a death.
    pub retries: u64,
    /// Final frames after their call was settled.
    pub late_answers: u64,
    /// Final frames of attempts nobody knows.
    pub unknown_frames: u64,
    /// Processes started.
    pub starts: u64,
    /// Processes that ended.
    pub exits: u64,
    /// Sessions removed because their time was over.
    pub sessions_expired: u64,
    /// How often the state was built anew after a panic.
    pub state_rebuilds: u64,
}
