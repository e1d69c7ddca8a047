//! Messages about sessions, which every pool tracks (R22). Sent to the supervisor.

use crate::{Result, SessionHistory};
use actix::Message;
use herder_core::{SessionInfo, SessionPage};

/// Creates a session, or renews its timeout, without a call.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionInfo>")]
pub struct TrackSession {
    pub(crate) session: String,
}

impl TrackSession {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}

/// Renews the timeout of a session. Answers false if there is no such session.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct UpdateSessionActivity {
    pub(crate) session: String,
}

impl UpdateSessionActivity {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}

/// Returns a session's entry. Does not renew the timeout.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<SessionInfo>>")]
pub struct GetSessionInfo {
    pub(crate) session: String,
}

impl GetSessionInfo {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}

/// Ends a session after its pending calls, and notifies its worker. Answers false if there is no such session.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct EndSession {
    pub(crate) session: String,
}

impl EndSession {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}

/// Removes all expired sessions in small steps, between which calls are served, and returns their number. The pool also does
/// so every `cleanup_interval`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<usize>")]
pub struct CleanupStaleSessions;

/// Returns a page of the sessions, in no particular order.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionPage>")]
pub struct ListSessions {
    pub(crate) cursor: usize,
    pub(crate) limit: usize,
    pub(crate) search: String,
}

impl ListSessions {
    /// Creates the message for the first page, of at most `limit` sessions.
    pub fn new(limit: usize) -> Self {
        Self { cursor: 0, limit, search: String::new() }
    }

    /// Returns only sessions whose id contains this text. A page may then be short or empty without being the last one.
    #[must_use]
    pub fn search(mut self, text: impl Into<String>) -> Self {
        self.search = text.into();
        self
    }

    /// Sets where the page begins: at `next` of the previous page.
    #[must_use]
    pub fn cursor(mut self, cursor: usize) -> Self {
        self.cursor = cursor;
        self
    }
}

/// Returns the history of a session, which says why its calls ran where they ran. Sent to the supervisor or to the affinity
/// actor. Does not renew the timeout and adds no event. The error is `Bind` in a pool without session affinity.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionHistory>")]
pub struct GetSessionHistory {
    pub(crate) session: String,
}

impl GetSessionHistory {
    /// Creates the message for this session.
    pub fn new(session: impl Into<String>) -> Self {
        Self { session: session.into() }
    }
}
