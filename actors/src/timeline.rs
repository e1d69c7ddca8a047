//! What the workers of a pool ran within the last minute, as users read it. A snapshot; holds no state.

use herder_core::{Generation, SessionId, WorkerId};
use serde::Serialize;
use std::sync::Arc;

/// The calls and the deaths of a pool's workers within the last minute, as far as the pool keeps them: 4096 entries of calls and
/// 256 deaths. Short calls of one worker and one command that follow each other are one entry.
///
/// All times are microseconds since the pool was started.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Timeline {
    /// The time of this answer.
    pub now_us: u64,
    /// What to pass as `since` to get only what changes after this answer.
    pub next: u64,
    /// The calls: those that have ended, the oldest first, then those that run.
    pub calls: Vec<TimelineCall>,
    /// The deaths, the oldest first.
    pub deaths: Vec<TimelineDeath>,
}

/// A call that a worker ran, or several short ones in succession.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimelineCall {
    /// The number of the entry. A later answer has an entry with the same number if further short calls belong to it. `None`
    /// while the call runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of its process.
    pub generation: Generation,
    /// The command. `None` if the caller has its answer, such as a passed deadline, and the handler has not ended.
    pub command: Option<Arc<str>>,
    /// The session, if all calls of the entry are of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The number of the first call, as in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    /// The number of calls.
    pub count: u32,
    /// When the first call began.
    pub from_us: u64,
    /// When the last call ended. `None` while it runs.
    pub to_us: Option<u64>,
    /// How long the calls ran in total. Less than the time between begin and end if there were pauses.
    pub run_us: u64,
    /// `ok`, or the name of the error of these calls. `None` while it runs.
    pub outcome: Option<&'static str>,
}

/// A worker process that died, or that exited before it was ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimelineDeath {
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of the process.
    pub generation: Generation,
    /// When the pool handled its exit.
    pub at_us: u64,
    /// The reason of the exit.
    pub cause: Box<str>,
}
