//! The sessions of a pool. A basic pool only tracks them; a pool with affinity also stores which worker holds their
//! state. [`Sessions`] is the only way in.

mod admission;
mod affinity;
mod answers;
mod binding;
mod events;
mod expiry;
mod expiry_list;
mod expiry_queues;
mod history;
mod index;
mod invariants;
mod recovery;
mod release;
mod requests;
mod row;
mod row_cursor;
mod sessions;
mod step;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use admission::Admitted;
pub(crate) use affinity::{AfterEpoch, Binding, Route, Routes, Unbound};
pub use answers::{AffinityStatus, PAGE_SCAN, SessionInfo, SessionPage, SessionState};
pub use binding::{BindError, Lookup};
pub(crate) use events::{EventId, EventRing, RemovedSession};
pub use events::{REMOVED_SESSION_LIMIT, SESSION_EVENT_LIMIT, SessionEvent, SessionEventKind};
pub use history::{PastSession, SessionEventLog};
pub(crate) use recovery::SessionsSnapshot;
pub(crate) use row::{Row, Tracked};
pub(crate) use row_cursor::RowCursor;
pub(crate) use sessions::Sessions;
pub(crate) use step::Step;
pub(crate) use table::{RenewOutcome, Table};
