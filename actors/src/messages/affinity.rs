//! Where sessions are bound (R14, R15). Sent to the affinity actor, which only pools with session affinity have.

use crate::Result;
use actix::Message;
use herder_core::{AffinityStatus, SessionState, WorkerId, WorkerRef};
use serde::Serialize;
use std::time::Duration;

/// Binds a session to a worker: its next call runs there. What state it has elsewhere ends.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<WorkerRef>")]
pub struct BindSession {
    /// The session.
    pub session: String,
    /// The slot; the binding is to its present process.
    pub worker: WorkerId,
}

/// Forgets where a session is bound. Answers false if it was bound nowhere.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct UnbindSession(pub String);

/// The process a session is bound to. An error says `SessionExpired` or, bound nowhere, `SessionNotFound` (R15's `NoAffinity`).
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<WorkerRef>")]
pub struct GetWorker(pub String);

impl GetWorker {
    /// Of this session.
    pub fn of(session: &str) -> Self {
        Self(session.into())
    }
}

/// Whether a session is active, expired, or unknown.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionStatus>")]
pub struct GetSessionState(pub String);

/// Unbinds all sessions of a worker: how many.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<usize>")]
pub struct RemoveWorkerSessions(pub WorkerId);

/// The affinity table in numbers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<AffinityStats>")]
pub struct GetStats;

/// The affinity actor's own work.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<InternalStats>")]
pub struct GetInternalStats;

/// Whether a session is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Its timeout runs.
    Active,
    /// Its timeout has passed, and two-phase expiry still knows it.
    Expired,
    /// It is not there.
    NotFound,
}

impl From<SessionState> for SessionStatus {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Active => Self::Active,
            SessionState::Expired => Self::Expired,
        }
    }
}

/// The affinity table in numbers.
pub type AffinityStats = AffinityStatus;

/// The affinity actor's own work since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InternalStats {
    /// Sweeps that ran to their end, since the pool's start.
    pub cleanup_runs: u64,
    /// Sessions they removed.
    pub sessions_cleaned: u64,
    /// Calls that met their session's worker.
    pub hits: u64,
    /// Calls that began a session.
    pub misses: u64,
    /// Calls that ran elsewhere than their session before.
    pub rebinds: u64,
    /// The session timeout.
    pub session_timeout: Duration,
    /// Between two sweeps.
    pub cleanup_interval: Duration,
}
