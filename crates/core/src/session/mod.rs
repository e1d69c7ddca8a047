//! The sessions of a pool. A basic pool only tracks them; a pool with affinity keeps for each where its state is.

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

/// What a pool knows of its sessions. The two can't be mixed (R9, I5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sessions {
    /// Seen and counted, never routed.
    Tracked(Table<Tracked>),
    /// Bound to workers.
    Routed(Routes),
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Tracked(table) => table.len(),
            Self::Routed(routes) => routes.table.len(),
        }
    }

    /// Numbers of rows ever used at once.
    pub(crate) fn places(&self) -> usize {
        match self {
            Self::Tracked(table) => table.places(),
            Self::Routed(routes) => routes.table.places(),
        }
    }

    /// The row with this number, if there is one.
    pub(crate) fn at_place(&self, place: usize) -> Option<RowKey> {
        match self {
            Self::Tracked(table) => table.at_place(place).map(|(key, _)| key),
            Self::Routed(routes) => routes.table.at_place(place).map(|(key, _)| key),
        }
    }
}
