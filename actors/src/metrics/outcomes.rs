//! The calls of a pool by how they ended.

use crate::error::FailureKind;
use serde::Serialize;

/// The numbers of calls by how they ended, wherever that was: in a worker, in the pool, or on the thread of the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcomes {
    /// Calls with a result.
    pub ok: u64,
    /// Calls that a worker answered with an error, and calls that failed in the pool after their handler may have run.
    pub failed: u64,
    /// Calls whose worker was lost.
    pub lost: u64,
    /// Calls whose deadline, `queue.timeout`, idle timeout or `stream.stall` passed.
    pub timed_out: u64,
    /// Calls that did not run: those that the pool refused, and those that still waited when it failed or closed.
    pub refused: u64,
    /// Calls that their callers abandoned.
    pub abandoned: u64,
}

impl Outcomes {
    /// Counts calls that ended in this way.
    pub(crate) fn add(&mut self, kind: FailureKind, calls: u64) {
        let count = match kind {
            FailureKind::Failed => &mut self.failed,
            FailureKind::Lost => &mut self.lost,
            FailureKind::TimedOut => &mut self.timed_out,
            FailureKind::Refused => &mut self.refused,
            FailureKind::Abandoned => &mut self.abandoned,
        };
        *count += calls;
    }
}
