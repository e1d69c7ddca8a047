//! The history of a session as users read it: the core's events with system times, texts and the reasons of exits. A
//! snapshot; holds no state.

use crate::status::rfc3339;
use herder_core::{Generation, PoolName, SessionId, SessionInfo, WorkerId};
use serde::Serialize;
use std::{fmt, time::SystemTime};

/// The history of one session, as far as the pool keeps it: the last 16,384 events of the pool and its last 4096 removed
/// sessions.
///
/// `Display` formats it as text with one event per line.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SessionHistory {
    /// The pool.
    pub pool: PoolName,
    /// The session.
    pub session: SessionId,
    /// The state of the session.
    pub state: HistoryState,
    /// The state in one sentence.
    pub summary: String,
    /// The session's present entry, unless it was removed or never existed.
    pub present: Option<SessionInfo>,
    /// The earlier lives of the session, the oldest first.
    pub past: Vec<PastSessionEntry>,
    /// The events, the oldest first.
    pub events: Vec<HistoryEntry>,
    /// Whether the events before the first one are known, so that the history is complete.
    pub complete: bool,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HistoryState {
    /// The session exists and its timeout has not passed.
    Active,
    /// The session's timeout has passed, and it was not removed yet.
    Expired,
    /// The session was removed.
    Removed,
    /// The session never existed, as far as the pool knows.
    NeverSeen,
}

/// A life of the session that has ended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PastSessionEntry {
    /// When the session started.
    #[serde(serialize_with = "rfc3339")]
    pub began: SystemTime,
    /// When the session was removed.
    #[serde(serialize_with = "rfc3339")]
    pub ended: SystemTime,
    /// `expired` or `ended`.
    pub why: &'static str,
    /// The number of calls finished.
    pub operations: u64,
}

/// An event, or several consecutive events of the same kind.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// When the first of them happened.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// When the last of them happened.
    #[serde(serialize_with = "rfc3339")]
    pub until: SystemTime,
    /// `sent`, `bound`, `unbound`, `lost`, `loss_reported`, `expired`, `refused`, `taken_back`, `left_queue` or
    /// `removed`.
    pub kind: &'static str,
    /// How a call was routed, why a binding or the session ended, or why a call was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// The slot of the worker, if the event concerns one.
    pub worker: Option<WorkerId>,
    /// The generation of the worker's process.
    pub generation: Option<Generation>,
    /// The number of events.
    pub times: u32,
    /// The longest time that one of these calls waited in the queue, in microseconds.
    pub waited_us: u64,
    /// The event as text.
    pub text: String,
}

impl fmt::Display for SessionHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session `{}` of pool `{}`\n{}", self.session, self.pool, self.summary)?;
        if !self.complete {
            write!(f, "\n  earlier events are no longer recorded")?;
        }
        self.events.iter().try_for_each(|entry| write!(f, "\n  {entry}"))
    }
}

impl fmt::Display for HistoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", humantime::format_rfc3339_millis(self.at), self.text)
    }
}
