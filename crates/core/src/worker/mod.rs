//! One slot of a pool and the process in it. Decides nothing about calls; it says what the slot can take.

mod activity;
mod history;
mod metrics;
mod slot;
mod state;

pub use activity::ProcessActivity;
pub use history::{HISTORY_LIMIT, Transition};
pub use metrics::WorkerMetrics;
pub use state::{Health, InvalidTransition, WorkerState};

pub(crate) use history::History;
pub(crate) use slot::{Attempt, Escalation, Ping, Process, Slot, SlotHolder};
