//! One session's row: what is known of it whether it is routed or not. What routing adds is the type parameter, so that
//! a row that is only tracked has no place for it (R10).

use super::expiry_list::ListPosition;
use crate::{SessionId, Timestamp};
use std::time::Duration;

/// Names a row for as long as it lives; a key of a row that is gone finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowKey {
    pub(super) index: u32,
    pub(super) stamp: u32,
}

#[cfg(test)]
impl RowKey {
    /// Some key, for tests that need no row.
    pub(crate) fn of(index: u32) -> Self {
        Self { index, stamp: 0 }
    }
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row<R> {
    pub(crate) id: SessionId,
    /// The last finish or explicit activity: the timeout runs from here.
    pub(crate) last: Timestamp,
    pub(super) state: RowState,
    pub(super) stamp: u32,
    pub(crate) route: R,
    pub(crate) first_seen: Timestamp,
    /// Calls finished.
    pub(crate) operations: u64,
}

/// What a row has besides where sessions are tracked and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tracked {
    /// It goes when its last call is over.
    pub(crate) ended: bool,
}

/// Whether a session has calls, and if not, where it waits to come due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RowState {
    /// So many calls are queued or unfinished, at least one: it does not expire.
    Busy(u32),
    /// It has none; its timeout runs.
    Idle(ListPosition),
    /// Its timeout has passed, and somebody noticed at that moment (two-phase expiry).
    Marked(ListPosition, Timestamp),
}

impl<R> Row<R> {
    /// A session that begins now and has no call.
    pub(super) fn new(now: Timestamp, id: SessionId, place: ListPosition, stamp: u32, route: R) -> Self {
        Self { id, last: now, state: RowState::Idle(place), stamp, route, first_seen: now, operations: 0 }
    }

    /// Whether its timeout has passed, noticed or not.
    #[inline]
    pub(crate) fn is_due(&self, now: Timestamp, timeout: Duration) -> bool {
        match self.state {
            RowState::Busy(_) => false,
            RowState::Idle(_) => now >= self.last + timeout,
            RowState::Marked(..) => true,
        }
    }

    /// Calls queued or unfinished.
    pub(crate) fn pending(&self) -> u32 {
        match self.state {
            RowState::Busy(calls) => calls,
            RowState::Idle(_) | RowState::Marked(..) => 0,
        }
    }

    /// When it was marked as expired, if it was.
    pub(crate) fn marked(&self) -> Option<Timestamp> {
        match self.state {
            RowState::Marked(_, at) => Some(at),
            RowState::Busy(_) | RowState::Idle(_) => None,
        }
    }
}
