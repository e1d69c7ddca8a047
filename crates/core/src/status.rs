//! The status of a pool, of the same shape for both worker types (R8). Data only.

use crate::{
    AffinityStatus, BreakerStatus, Generation, Health, ProcessActivity, SessionInfo, WorkerId, WorkerMetrics,
    WorkerState, WorkerType,
};
use serde::Serialize;

/// The maximum number of sessions that a status shows.
pub const SESSIONS_SHOWN: usize = 100;

/// The status of a pool, except for what only its shell knows (the name, the wall-clock time, process ids).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolStatus {
    /// Basic or enhanced.
    pub worker_type: WorkerType,
    /// Whether the pool accepts calls.
    pub state: PoolState,
    /// The configured number of base workers.
    pub pool_size: u32,
    /// The configured maximum number of overflow workers.
    pub overflow: u32,
    /// The number of sessions that have not expired.
    pub active_sessions: usize,
    /// At most [`SESSIONS_SHOWN`] of the sessions.
    pub sessions: Vec<SessionInfo>,
    /// Milliseconds since the pool started.
    pub uptime_ms: u64,
    /// The numbers of the affinity table; `None` (displayed as `{}`) in a pool without affinity.
    pub session_affinity: Option<AffinityStatus>,
    /// An entry for each slot that has a process, or is to have one.
    pub workers: Vec<WorkerStatus>,
    /// The queue.
    pub queue: QueueStatus,
    /// The circuit breaker; `None` (displayed as null) in a pool without one.
    pub breaker: Option<BreakerStatus>,
    /// The number of quarantined fingerprints.
    pub quarantined: usize,
    /// The counters since the pool started.
    pub counters: Counters,
    /// The features that are switched on.
    pub features: Features,
}

/// Whether a pool accepts calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PoolState {
    /// The pool accepts calls, and has started no worker, because it is lazy: the first call starts all base workers.
    Idle,
    /// The pool accepts calls, but not every base worker is ready.
    Starting,
    /// The pool accepts calls, and every base worker is ready.
    Running,
    /// The pool has restarted its workers too often. A probe starts after a cooldown.
    Failed,
    /// The pool shuts down: it finishes its calls and accepts no new ones.
    Draining,
    /// The pool has stopped.
    Stopped,
}

/// The status of one slot.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The slot.
    pub id: WorkerId,
    /// The generation of its process.
    pub generation: Generation,
    /// Whether it is an overflow worker.
    pub overflow: bool,
    /// The state of the worker.
    pub state: WorkerState,
    /// The health of the worker.
    pub health: Health,
    /// The activity of the process when it last missed a ping; absent while it answers. `computing` in a worker with
    /// calls means that a call holds the GIL; the worker is healthy then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unresponsive: Option<ProcessActivity>,
    /// The number of unfinished calls, without those in advance. A batch counts as one call.
    pub in_flight: usize,
    /// The maximum of `in_flight`. Calls in advance are not included, so it is the number of calls that the worker runs at once
    /// if the pipeline is [`Auto`](crate::Pipeline::Auto).
    pub window: usize,
    /// The number of waiting calls that this worker is to run: those whose session is bound to it, and those that it was sent
    /// in advance.
    pub queued: usize,
    /// The number of finished calls, across all processes of the slot.
    pub operations: u64,
    /// The number of sessions that are bound to this worker. Only with `session_affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// The metrics. Only with `worker_metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<WorkerMetrics>,
    /// The last transitions, the newest last. Only with `state_machine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<TransitionStatus>>,
}

/// One transition of a worker's state, as displayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TransitionStatus {
    /// The previous state.
    pub from: WorkerState,
    /// The new state.
    pub to: WorkerState,
    /// The reason.
    pub reason: &'static str,
    /// Milliseconds spent in `from`.
    pub lasted_ms: u64,
    /// Milliseconds since the transition.
    pub ago_ms: u64,
}

/// The status of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueueStatus {
    /// The number of waiting calls, including those that workers were sent in advance.
    pub waiting: usize,
    /// The maximum number of waiting calls.
    pub limit: usize,
    /// The number of unfinished calls in workers, settled or not, without those in advance. A batch counts as one call.
    pub in_flight: usize,
    /// The maximum of `in_flight` with the workers that are ready.
    pub capacity: usize,
    /// Unfinished and waiting calls as a fraction of the capacity; above 1, calls wait. Null without a ready worker.
    pub load: Option<f64>,
    /// The estimated wait in milliseconds of a call that is submitted now and may run on any worker, judged by recent
    /// calls. Null until enough calls have finished, and if `queue.shed` is off.
    pub estimated_wait_ms: Option<u64>,
}

/// The features that are switched on. All are false in a basic pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Features {
    /// Routing by session.
    pub session_affinity: bool,
    /// Metrics for each worker.
    pub worker_metrics: bool,
    /// The degraded state, health-gated dispatch and the history of transitions.
    pub state_machine: bool,
}

/// The counters of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Submitted calls. Each of them is counted in exactly one of `refused`, `ok`, `failed`, `lost`, `timeouts`,
    /// `abandoned` and `failed_by_pool`, once it is settled.
    pub submitted: u64,
    /// Calls that were not admitted.
    pub refused: u64,
    /// Refused calls whose estimated wait was more than twice the time that they could wait. Included in `refused`.
    pub shed: u64,
    /// Calls that were answered with a result.
    pub ok: u64,
    /// Calls that a worker answered with an error.
    pub failed: u64,
    /// Calls that failed because their worker was lost.
    pub lost: u64,
    /// Calls whose deadline or queue timeout passed.
    pub timeouts: u64,
    /// Calls that their callers abandoned.
    pub abandoned: u64,
    /// Admitted calls that the pool failed: `PoolFailed`, `PoolClosed`, or the call could not be sent to its worker.
    pub failed_by_pool: u64,
    /// Retries.
    pub retries: u64,
    /// Final frames that arrived after their call was settled.
    pub late_answers: u64,
    /// Final frames of unknown attempts.
    pub unknown_frames: u64,
    /// Processes started.
    pub starts: u64,
    /// Processes that have exited.
    pub exits: u64,
    /// Sessions that were removed because they had expired.
    pub sessions_expired: u64,
    /// Rebuilds of the state after a panic.
    pub state_rebuilds: u64,
}
