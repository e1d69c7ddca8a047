//! The slots of a pool and their processes. Decides nothing about calls; states what a slot can accept.

mod abandoned;
mod advance;
mod attempt;
mod attempts;
mod batches;
mod counts;
mod enhanced_state;
mod history;
mod in_advance;
mod load_levels;
mod metrics;
mod pace;
mod pings;
mod placement;
mod questions;
mod slot;
mod state;
mod workers;

pub use history::{HISTORY_LIMIT, Transition};
pub use metrics::WorkerMetrics;
pub use state::{Health, InvalidTransition, WorkerState};

pub(crate) use attempt::{AnsweredAttempt, Attempt, AttemptSession, Escalation, SlotHolder};
pub(crate) use attempts::Attempts;
pub(crate) use history::History;
pub(crate) use in_advance::InAdvance;
pub(crate) use pace::Capabilities;
pub(crate) use pings::PingOutcome;
pub(crate) use slot::{Ping, Process, Slot};
pub(crate) use workers::{BeforeStop, DeadProcess, Workers};
