//! How a call came to its worker: what every reply says. Pure data.

use serde::Serialize;
use std::fmt;

/// How a call was routed (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Routing {
    /// No session, or a pool that routes none: any worker.
    Unrouted,
    /// The first call of a session; its worker was chosen now.
    New,
    /// The worker that holds the session's state.
    Hit,
    /// Another worker than before, with a new state, or (busy) for this call only.
    Rebound(RebindReason),
}

/// Why a session's call ran elsewhere than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RebindReason {
    /// Its worker died.
    WorkerLost,
    /// The session had expired.
    Expired,
    /// Its worker was busy and the call only a hint; the binding stays.
    Busy,
}

impl Routing {
    /// The word a reply's `routing` has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unrouted => "unrouted",
            Self::New => "new",
            Self::Hit => "hit",
            Self::Rebound(_) => "rebound",
        }
    }

    /// The word a rebound reply's `why` has.
    pub fn why(self) -> Option<&'static str> {
        let Self::Rebound(reason) = self else { return None };
        Some(match reason {
            RebindReason::WorkerLost => "worker_lost",
            RebindReason::Expired => "expired",
            RebindReason::Busy => "busy",
        })
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why() {
            Some(why) => write!(f, "{}: {why}", self.as_str()),
            None => f.write_str(self.as_str()),
        }
    }
}
