//! Sessions as every pool tracks them (R22). Sent to the supervisor.

use crate::{Result, SessionHistory};
use actix::Message;
use herder_core::{SessionInfo, SessionPage};

/// Notes a session without calling anything: creates it, or renews its timeout.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionInfo>")]
pub struct TrackSession(pub String);

/// Renews a session's timeout. Answers false if there is no such session.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct UpdateSessionActivity(pub String);

/// What is known of a session. Asking does not renew it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<SessionInfo>>")]
pub struct GetSessionInfo(pub String);

/// Ends a session, after the calls it has; its worker is told. Answers false if there is no such session.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool>")]
pub struct EndSession(pub String);

/// Removes sessions whose time is over, all of them: how many. In small steps, with calls between them. The pool does so by itself
/// every `cleanup_interval`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<usize>")]
pub struct CleanupStaleSessions;

/// A page of the sessions, in no order that means anything.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<SessionPage>")]
pub struct ListSessions {
    /// Where to go on: 0, or the `next` of the page before.
    pub cursor: usize,
    /// How many at most.
    pub limit: usize,
}

/// Why a session's calls ran where they ran. Sent to the supervisor or to the affinity actor. Asking renews and marks nothing. An
/// error says `Bind` in a pool without session affinity.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<SessionHistory>")]
pub struct GetSessionHistory(pub String);
