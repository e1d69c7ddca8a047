//! One row: what is stored for each session, routed or not. The part that only routing needs is the type parameter, so
//! that a row that is only tracked has no space for it (R10).

use super::expiry_list::ListPosition;
use crate::{SessionId, Timestamp, derived::Statistic, time::Nanos};

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row<R> {
    pub(crate) id: SessionId,
    /// The last finished call or explicit activity. The timeout counts from here.
    pub(crate) last: Timestamp,
    pub(super) state: RowState,
    pub(super) stamp: u32,
    pub(crate) route: R,
    pub(crate) first_seen: Statistic<Timestamp>,
    /// The number of finished calls.
    pub(crate) operations: Statistic<u64>,
}

/// The part of a row that only tracked sessions have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tracked {
    /// The session is removed when its last call is finished.
    pub(crate) ended: bool,
}

/// Whether a session has calls, and if it has none, its position in an expiry list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RowState {
    /// The session has this many queued or unfinished calls, at least one, and does not expire.
    Busy(u32),
    /// The session has no calls; its timeout runs.
    Idle(ListPosition),
    /// The timeout had passed when a read or a sweep visited the session, at this time (two-phase expiry).
    Marked(ListPosition, Timestamp),
}

impl<R> Row<R> {
    /// Returns a session that starts at `now` and has no calls.
    pub(super) fn new(now: Timestamp, id: SessionId, place: ListPosition, stamp: u32, route: R) -> Self {
        let (first_seen, operations) = (Statistic(now), Statistic(0));
        Self { id, last: now, state: RowState::Idle(place), stamp, route, first_seen, operations }
    }

    /// Returns whether the timeout of the session has passed, whether or not it has been marked.
    #[inline]
    pub(crate) fn is_due(&self, now: Timestamp, timeout: Nanos) -> bool {
        match self.state {
            RowState::Busy(_) => false,
            RowState::Idle(_) => now >= self.last.after(timeout),
            RowState::Marked(..) => true,
        }
    }

    /// Returns the number of queued or unfinished calls.
    pub(crate) fn pending(&self) -> u32 {
        match self.state {
            RowState::Busy(calls) => calls,
            RowState::Idle(_) | RowState::Marked(..) => 0,
        }
    }

    /// Returns when the session was marked as expired, if it was.
    pub(crate) fn marked(&self) -> Option<Timestamp> {
        match self.state {
            RowState::Marked(_, at) => Some(at),
            RowState::Busy(_) | RowState::Idle(_) => None,
        }
    }
}
