//! Decides whether operations overlapped (R46) and accounts for the time in which workers did no work (R45). Computes with
//! timestamps of one clock, which host and workers share; holds no state and reads no clock.
//!
//! [`verify_concurrent_execution`] proves from overlaps that operations ran in parallel. [`TimeAccount`] explains where the
//! time of the call slots went ("I pay for eight workers, do I get eight?"). [`compare`] decides from the ratios of pairs
//! whether parallel execution is faster than serial execution. None of them compares a duration with a fixed limit.

mod call_slots;
mod comparison;
mod interval;
mod interval_set;
mod losses;
mod observed;
mod operation;
mod overlap;
mod slowdown;
mod time_account;

pub use comparison::{Comparison, ComparisonConditions, GAIN, Gain, Inconclusive, LOADED, PAIRS, Pair, compare};
pub use interval::{Interval, InvalidInterval};
pub use losses::{Loss, Losses};
pub use observed::{CpuTime, ObservedRun, ObservedWorker};
pub use operation::{InvalidOperation, Operation};
pub use overlap::{Evidence, Serialized, verify_concurrent_execution};
pub use time_account::{AccountError, TimeAccount};
