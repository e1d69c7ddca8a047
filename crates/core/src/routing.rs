//! The routing of a call, as each reply states it. Data only.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// The way in which a call was routed to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Routing {
    /// The call has no session, or the pool routes no sessions: any worker may run it.
    Unrouted,
    /// The call is the first of its session; its worker was chosen for it.
    New,
    /// The call ran on the worker that holds the session's state.
    Hit,
    /// The call ran on a worker other than the session's previous one: with a new state, or, for `Busy`, for this call
    /// only.
    Rebound(RebindReason),
}

/// Why a call of a session ran on another worker than the session's previous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RebindReason {
    /// The session's worker was lost.
    WorkerLost,
    /// The session had expired.
    Expired,
    /// The session's worker was busy and the call used `hint` affinity. The binding stays.
    Busy,
}

impl Routing {
    /// Returns the value of the field `routing` of a reply.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unrouted => "unrouted",
            Self::New => "new",
            Self::Hit => "hit",
            Self::Rebound(_) => "rebound",
        }
    }

    /// Returns the value of the field `why` of a rebound reply.
    pub fn why(self) -> Option<&'static str> {
        let Self::Rebound(reason) = self else { return None };
        Some(match reason {
            RebindReason::WorkerLost => "worker_lost",
            RebindReason::Expired => "expired",
            RebindReason::Busy => "busy",
        })
    }
}

/// As in HTTP responses: `{"routing": "rebound", "why": "busy"}`; `why` exists only if the call was rebound.
impl Serialize for Routing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let why = self.why();
        let mut fields = serializer.serialize_struct("Routing", 1 + usize::from(why.is_some()))?;
        fields.serialize_field("routing", self.as_str())?;
        match why {
            Some(why) => fields.serialize_field("why", why)?,
            None => fields.skip_field("why")?,
        }
        fields.end()
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
