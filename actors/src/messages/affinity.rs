//! Messages about the bindings of sessions (R14, R15). Sent to the affinity actor, which only pools with session affinity
//! have.

use crate::{Result, status::millis};
use actix::Message;
use herder_core::{AffinityStatus, SessionState, WorkerId, WorkerRef};
use serde::Serialize;
use std::time::Duration;

/// Binds a session to a worker, where its next call runs. The session's state on another worker is discarded.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<WorkerRef>")]
pub struct BindSession {
    pub(crate) session: String,
    pub(crate) worker: WorkerId,
}

impl BindSession {
    /// Creates the message for a session and a slot. The session is bound to the present process of the slot.
    pub fn new(session: impl Into<String>, worker: WorkerId) -> Self {
        Self { session: session.into(), worker }
    }
}

/// Unbinds a session. Answers false if the session was not bound.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct UnbindSession {
    pub(crate) session: String,
}

impl UnbindSession {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}

/// Returns the process to which a session is bound. The error is `SessionExpired`, or `SessionNotFound` if the session is not
/// bound.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<WorkerRef>")]
pub struct GetWorker {
    pub(crate) session: String,
}

impl GetWorker {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}

/// Returns whether a session is active, expired, or unknown.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionStatus>")]
pub struct GetSessionState {
    pub(crate) session: String,
}

impl GetSessionState {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}

/// Unbinds all sessions of a worker, and returns their number.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<usize>")]
pub struct RemoveWorkerSessions {
    pub(crate) worker: WorkerId,
}

impl RemoveWorkerSessions {
    /// Creates the message for this slot.
    pub fn new(worker: WorkerId) -> Self {
        Self { worker }
    }
}

/// Returns the statistics of the affinity table.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<AffinityStats>")]
pub struct GetStats;

/// Returns the statistics of routing and of the sweeps.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<InternalStats>")]
pub struct GetInternalStats;

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionStatus {
    /// The session exists and its timeout has not passed.
    Active,
    /// The session's timeout has passed, and two-phase expiry has not removed it yet.
    Expired,
    /// There is no such session.
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

/// The statistics of the affinity table.
pub type AffinityStats = AffinityStatus;

/// The statistics of routing and of the sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InternalStats {
    /// Completed sweeps since the pool's start.
    pub cleanup_runs: u64,
    /// Sessions that the sweeps removed.
    pub sessions_cleaned: u64,
    /// Calls that ran on the worker that holds their session's state.
    pub hits: u64,
    /// Calls that started a session.
    pub misses: u64,
    /// Calls that ran on another worker than their session's earlier calls.
    pub rebinds: u64,
    /// The session timeout. Serialized as `session_timeout_ms`.
    #[serde(rename = "session_timeout_ms", serialize_with = "millis")]
    pub session_timeout: Duration,
    /// The time between two sweeps. Serialized as `cleanup_interval_ms`.
    #[serde(rename = "cleanup_interval_ms", serialize_with = "millis")]
    pub cleanup_interval: Duration,
}
