//! The sessions of a pool. A basic pool only tracks them; a pool with affinity keeps for each where its state is.

mod affinity;
mod index;
mod table;

pub(crate) use affinity::{Binding, Route, Routes, Then, Unbound};
pub(crate) use table::{Row, RowKey, Table};

/// What a pool knows of its sessions. The two can't be mixed (R9, I5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sessions {
    /// Seen and counted, never routed.
    Tracked(Table<()>),
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
}
