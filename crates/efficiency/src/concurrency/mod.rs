//! Whether operations really overlapped (R46), and where the time of workers went that did not work (R45): arithmetic on moments
//! of one clock, which host and workers share. Holds no state, reads no clock.
//!
//! [`verify_concurrent_execution`] answers "did they run side by side?" by overlap, [`TimeAccount`] "I pay for eight workers, do I get
//! eight?" by accounting for each lane's every nanosecond, and [`compare`] "is it faster than one after the other?" by ratios of
//! pairs. None of them judges a duration by a limit.

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
