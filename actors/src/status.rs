//! A pool's status as users read it: the core's snapshot with what only the shell knows (R8). A snapshot, no state.

use crate::{ChildHandle, WorkerInfo};
use herder_core::{
    AffinityStatus, BreakerStatus, Counters, Features, PoolName, PoolState, PoolStatus, QueueStatus, SessionInfo,
    WorkerStatus, WorkerType,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{rc::Rc, time::SystemTime};

/// A pool's status: the same keys for both worker types.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The pool's name.
    pub pool: PoolName,
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
    /// The first hundred of them.
    pub sessions: Vec<SessionInfo>,
    /// When it started, as RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: SystemTime,
    /// Milliseconds since then.
    pub uptime_ms: u64,
    /// What the affinity table holds: `{}` in a pool without one, and while its actor can't answer (R6, R7).
    pub session_affinity: SessionAffinity,
    /// Its workers.
    pub workers: Vec<WorkerEntry>,
    /// Its queue.
    pub queue: QueueStatus,
    /// Its circuit breaker; null in a pool without one.
    pub breaker: Option<BreakerStatus>,
    /// Payloads in quarantine.
    pub quarantined: usize,
    /// What it counted.
    pub counters: Counters,
    /// What is switched on.
    pub features: Features,
    /// Why the last start of a worker failed, while the pool is below its strength.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_start_error: Option<String>,
}

/// One worker: the core's entry and its process id.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerEntry {
    /// The process's id, if there is one.
    pub pid: Option<u32>,
    /// What it has in main memory now; only with `worker_metrics`, and where `/proc` tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// The core's entry.
    #[serde(flatten)]
    pub status: WorkerStatus,
}

/// The affinity table in numbers, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionAffinity(Option<AffinityStatus>);

impl SessionAffinity {
    /// Whether there is nothing to tell: a basic pool, always.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Sessions that are not expired; 0 if there is nothing to tell.
    pub fn total_sessions(&self) -> usize {
        self.0.map_or(0, |numbers| numbers.total_sessions)
    }

    /// Sessions due or marked, not yet removed.
    pub fn expired_sessions(&self) -> usize {
        self.0.map_or(0, |numbers| numbers.expired_sessions)
    }

    /// Processes that hold at least one session.
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
        let metrics = core.features.worker_metrics;
        let entry = |status: WorkerStatus| {
            let child = child(&status);
            let resident_bytes = child.as_ref().filter(|_| metrics).and_then(|child| child.resident_bytes());
            WorkerEntry { pid: child.map(|child| child.pid()), resident_bytes, status }
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
            breaker: core.breaker,
            quarantined: core.quarantined,
            counters: core.counters,
            features: core.features,
            last_start_error: None,
        }
    }
}

impl From<WorkerEntry> for WorkerInfo {
    fn from(entry: WorkerEntry) -> Self {
        let WorkerEntry { pid, status, .. } = entry;
        Self {
            id: status.id,
            generation: status.generation,
            pid,
            state: status.state,
            health: status.health,
            overflow: status.overflow,
            in_flight: status.in_flight,
            operations: status.operations,
        }
    }
}

pub(crate) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
