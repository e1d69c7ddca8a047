//! The status of a pool: the core's status with process ids, memory, counts and start errors added (R8). A snapshot; holds no
//! state.

use crate::{ChildHandle, Histogram, Outcomes, TemplateStatus};
use herder_core::{
    AffinityStatus, BatchStatus, BreakerStatus, Counters, Features, PoolName, PoolState, PoolStatus, QueueStatus,
    SessionInfo, WorkerStatus, WorkerType,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime},
};

/// The status of a pool, with the same keys for both worker types.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The pool's name.
    pub pool: PoolName,
    /// Basic or enhanced.
    pub worker_type: WorkerType,
    /// The state, which says whether the pool accepts calls.
    pub state: PoolState,
    /// The configured number of base workers.
    pub pool_size: u32,
    /// The maximum number of overflow workers.
    pub overflow: u32,
    /// The number of sessions that have not expired.
    pub active_sessions: usize,
    /// The first hundred of these sessions.
    pub sessions: Vec<SessionInfo>,
    /// When the pool started, as RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: SystemTime,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Statistics of the affinity table. `{}` in a pool without affinity and while the affinity actor is unavailable.
    pub session_affinity: SessionAffinity,
    /// The workers.
    pub workers: Vec<WorkerEntry>,
    /// The queue.
    pub queue: QueueStatus,
    /// The calls per second that workers have answered in the last ten seconds.
    pub per_second: f64,
    /// The calls that workers run.
    pub running: RunningSummary,
    /// The resident memory of the workers in bytes, shared pages included once for each; 0 where `/proc` does not have it.
    pub memory_bytes: u64,
    /// The CPU time of the present processes of the workers in seconds.
    pub cpu_seconds: f64,
    /// The number of cores that the workers have used on average since an earlier reading, at least half a second before.
    pub cpu: f64,
    /// How the calls have ended since the start of the pool. Each call of `commands` is in exactly one of the numbers.
    pub outcomes: Outcomes,
    /// The calls of each command. `_OTHER` stands for the calls of commands that do not exist.
    pub commands: BTreeMap<String, CommandStatus>,
    /// What the batches were like, for each command that runs in batches.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub batches: BTreeMap<String, BatchStatus>,
    /// The memory of large buffers, in a pool that has used buffers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffers: Option<BufferStatus>,
    /// The circuit breaker; null in a pool without one.
    pub breaker: Option<BreakerStatus>,
    /// The number of quarantined calls (commands with their arguments).
    pub quarantined: usize,
    /// The counters.
    pub counters: Counters,
    /// The enabled features.
    pub features: Features,
    /// The template, in a pool with `start = "template"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateStatus>,
    /// Why the last start of a worker failed, while fewer base workers than configured are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_start_error: Option<String>,
}

/// The calls of one command since the start of the pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CommandStatus {
    /// The number of calls that have ended: answered, failed or refused.
    pub calls: u64,
    /// The failed and refused ones by the kind of their error.
    pub errors: BTreeMap<&'static str, u64>,
    /// The calls per second that workers have answered in the last ten seconds.
    pub per_second: f64,
    /// How long the calls that workers answered had waited, in microseconds. Null before the first answer.
    pub queue_us: Option<Percentiles>,
    /// How long these calls ran, from the last send to the answer, in microseconds. Null before the first answer.
    pub run_us: Option<Percentiles>,
}

/// Percentiles of times in microseconds. None is too small, and at most an eighth too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Half of the times are at most this long.
    pub p50: u64,
    /// 99 % of the times are at most this long.
    pub p99: u64,
    /// The longest time, which is exact.
    pub max: u64,
}

impl Percentiles {
    /// Returns the percentiles of a histogram with values.
    pub(crate) fn of(histogram: &Histogram) -> Option<Self> {
        let (p50, p99) = (histogram.percentile(0.5)?, histogram.percentile(0.99)?);
        Some(Self { p50, p99, max: histogram.max() })
    }
}

/// The memory that a pool shares with its workers, for large buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BufferStatus {
    /// The bytes of all slabs, with those that replies keep.
    pub slab_bytes: u64,
    /// Their maximum: `buffers.max_bytes`.
    pub slab_limit_bytes: u64,
}

/// The calls that the workers of a pool run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunningSummary {
    /// The number of calls.
    pub count: usize,
    /// The one that has run for the longest time, without its session. Null while none runs.
    pub longest: Option<RunningCallStatus>,
}

/// A call that a worker runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunningCallStatus {
    /// The number of the call. Null if the caller has its answer, such as a passed deadline, and the handler has not ended.
    pub call: Option<u64>,
    /// The command; null with `call`.
    pub command: Option<String>,
    /// The session, if the call has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Microseconds since the call began, as far as the pool knows.
    pub since_us: u64,
}

/// What one worker does. Only with `worker_metrics`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerActivity {
    /// The calls per second that the worker has answered in the last ten seconds.
    pub per_second: f64,
    /// How long these calls ran, across all processes of the slot, in microseconds. Null before the first answer.
    pub run_us: Option<Percentiles>,
    /// The calls that the worker runs, the oldest first.
    pub running: Vec<RunningCallStatus>,
}

/// One worker: the core's entry, with process id, memory and CPU time.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WorkerEntry {
    /// The process id, if there is a process.
    pub pid: Option<u32>,
    /// The resident memory in bytes; only with `worker_metrics`, and where `/proc` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// The CPU time of the process in seconds; only with `worker_metrics`, and where `/proc` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The number of cores that it has used on average since an earlier reading, at least half a second before; only with
    /// `worker_metrics`, and where `/proc` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// What it does. Only with `worker_metrics`.
    #[serde(flatten)]
    pub activity: Option<WorkerActivity>,
    /// Why the health function of the app failed in this process; it is replaced when its calls have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<String>,
    /// The core's entry.
    #[serde(flatten)]
    pub status: WorkerStatus,
}

/// Statistics of the affinity table, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionAffinity(Option<AffinityStatus>);

impl SessionAffinity {
    /// Returns whether there are no statistics: always true for a basic pool.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the number of sessions that have not expired; 0 without statistics.
    pub fn total_sessions(&self) -> usize {
        self.0.map_or(0, |numbers| numbers.total_sessions)
    }

    /// Returns the number of sessions that have expired but were not removed yet.
    pub fn expired_sessions(&self) -> usize {
        self.0.map_or(0, |numbers| numbers.expired_sessions)
    }

    /// Returns the number of processes that hold at least one session.
    pub fn workers_with_sessions(&self) -> usize {
        self.0.map_or(0, |numbers| numbers.workers_with_sessions)
    }
}

impl From<AffinityStatus> for SessionAffinity {
    fn from(status: AffinityStatus) -> Self {
        Self(Some(status))
    }
}

impl Serialize for SessionAffinity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(numbers) => numbers.serialize(serializer),
            None => serializer.serialize_map(Some(0))?.end(),
        }
    }
}

impl Status {
    pub(crate) fn new(
        pool: PoolName,
        started_at: SystemTime,
        core: PoolStatus,
        child: impl Fn(&WorkerStatus) -> Option<Rc<dyn ChildHandle>>,
    ) -> Self {
        let entry = |status: WorkerStatus| WorkerEntry {
            pid: child(&status).map(|child| child.pid()),
            resident_bytes: None,
            cpu_seconds: None,
            cpu: None,
            activity: None,
            unhealthy: None,
            status,
        };
        let workers = core.workers.into_iter().map(entry).collect();
        Self {
            pool,
            worker_type: core.worker_type,
            state: core.state,
            pool_size: core.pool_size,
            overflow: core.overflow,
            active_sessions: core.active_sessions,
            sessions: core.sessions,
            started_at,
            uptime_ms: core.uptime_ms,
            session_affinity: SessionAffinity::default(),
            workers,
            queue: core.queue,
            per_second: 0.0,
            running: RunningSummary::default(),
            memory_bytes: 0,
            cpu_seconds: 0.0,
            cpu: 0.0,
            outcomes: Outcomes::default(),
            commands: BTreeMap::new(),
            batches: BTreeMap::new(),
            buffers: None,
            breaker: core.breaker,
            quarantined: core.quarantined,
            counters: core.counters,
            features: core.features,
            template: None,
            last_start_error: None,
        }
    }
}

pub(crate) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

pub(crate) fn millis<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
