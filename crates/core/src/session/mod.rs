//! The sessions of a pool. A basic pool only tracks them; a pool with affinity also stores which worker holds their
//! state.

mod affinity;
mod events;
mod expiry_list;
mod expiry_queues;
mod index;
mod row;
mod row_cursor;
mod table;

pub(crate) use affinity::{AfterEpoch, Binding, Route, Routes, Unbound};
pub(crate) use events::{EventId, EventRing, RemovedSession};
pub use events::{REMOVED_SESSION_LIMIT, SESSION_EVENT_LIMIT, SessionEvent, SessionEventKind};
pub(crate) use row::{Row, RowKey, Tracked};
pub(crate) use row_cursor::RowCursor;
pub(crate) use table::{RenewOutcome, Table};

/// The sessions of a pool: either tracked or routed, never both (R9, [I5](crate#invariants)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sessions {
    /// Sessions are counted, never routed.
    Tracked(Table<Tracked>),
    /// Sessions are bound to workers.
    Routed(Routes),
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Tracked(table) => table.len(),
            Self::Routed(routes) => routes.table.len(),
        }
    }

    /// Returns the number of row numbers in use or vacant; every row number is below it.
    pub(crate) fn row_capacity(&self) -> usize {
        match self {
            Self::Tracked(table) => table.row_capacity(),
            Self::Routed(routes) => routes.table.row_capacity(),
        }
    }

    /// Returns the key of the row with this number, if there is one.
    pub(crate) fn row_at(&self, place: usize) -> Option<RowKey> {
        match self {
            Self::Tracked(table) => table.row_at(place).map(|(key, _)| key),
            Self::Routed(routes) => routes.table.row_at(place).map(|(key, _)| key),
        }
    }
}
