//! Messages about sessions, which every pool tracks (R22). Sent to the supervisor.

use crate::{Result, SessionHistory};
use actix::Message;
use herder_core::{SessionInfo, SessionPage};

/// Creates a session, or renews its timeout, without a call.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionInfo>")]
pub struct TrackSession(pub String);

/// Renews the timeout of a session. Answers false if there is no such session.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct UpdateSessionActivity(pub String);

/// Returns a session's entry. Does not renew the timeout.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<SessionInfo>>")]
pub struct GetSessionInfo(pub String);

/// Ends a session after its pending calls, and notifies its worker. Answers false if there is no such session.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct EndSession(pub String);

/// Removes all expired sessions in small steps, between which calls are served, and returns their number. The pool also does
/// so every `cleanup_interval`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<usize>")]
pub struct CleanupStaleSessions;

/// Returns a page of the sessions, in no particular order.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<SessionPage>")]
pub struct ListSessions {
    /// Where to continue: 0, or `next` of the previous page.
    pub cursor: usize,
    /// The maximum number of sessions.
    pub limit: usize,
}

/// Returns the history of a session, which says why its calls ran where they ran. Sent to the supervisor or to the affinity
/// actor. Does not renew the timeout and adds no event. The error is `Bind` in a pool without session affinity.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionHistory>")]
pub struct GetSessionHistory(pub String);
