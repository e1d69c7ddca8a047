//! What the pool answers about sessions. Data only.

use crate::{Epoch, Generation, SessionId, WorkerId};
use serde::Serialize;

/// Whether a session has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// The session has calls, or its timeout runs.
    Active,
    /// The timeout of the session has passed.
    Expired,
}

/// The state of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The id of the session.
    pub id: SessionId,
    /// Active or expired.
    pub state: SessionState,
    /// The slot to which it is bound; `None` if it is not bound, and in a pool without affinity.
    pub worker: Option<WorkerId>,
    /// The generation of the process to which it is bound.
    pub generation: Option<Generation>,
    /// The epoch of calls that are admitted now.
    pub epoch: Option<Epoch>,
    /// The number of finished calls.
    pub operations: u64,
    /// The number of queued or unfinished calls.
    pub pending: u32,
    /// Milliseconds since its first call.
    pub age_ms: u64,
    /// Milliseconds since its last activity.
    pub idle_ms: u64,
}

/// The maximum number of rows that one page visits.
pub const PAGE_SCAN: usize = 4096;

/// A page of a pool's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions of this page.
    pub sessions: Vec<SessionInfo>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<usize>,
    /// The number of all sessions of the pool that have not expired.
    pub active_sessions: usize,
}

/// The numbers of the affinity table (R6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AffinityStatus {
    /// The number of sessions that have not expired.
    pub total_sessions: usize,
    /// The number of sessions that have expired and are not removed yet.
    pub expired_sessions: usize,
    /// The number of processes to which at least one session is bound.
    pub workers_with_sessions: usize,
    /// Calls that were sent to the worker of their session.
    pub hits: u64,
    /// Calls that were the first of their session.
    pub misses: u64,
    /// Calls that were sent to another worker than the session's previous one.
    pub rebinds: u64,
    /// The number of complete sweeps.
    pub cleanup_runs: u64,
    /// The number of sessions that sweeps removed.
    pub sessions_cleaned: u64,
}
