//! The slots of a pool and their processes. Decides nothing about calls; states what a slot can accept.

mod activity;
mod counts;
mod history;
mod load_levels;
mod metrics;
mod placement;
mod slot;
mod state;
mod workers;

pub use activity::ProcessActivity;
pub use history::{HISTORY_LIMIT, Transition};
pub use metrics::WorkerMetrics;
pub use state::{Health, InvalidTransition, WorkerState};

pub(crate) use history::History;
pub(crate) use slot::{Attempt, Escalation, Ping, Process, Slot, SlotHolder};
pub(crate) use workers::{BeforeStop, Exited, Workers};
