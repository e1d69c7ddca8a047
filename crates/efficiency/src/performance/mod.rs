//! Predicts the duration of a run as a range, from an environment that is given or was measured (R47). Holds no state and reads
//! neither a clock nor properties of this machine.

mod environment;
mod expected;

pub use environment::{Environment, InvalidSpread, Spread};
pub use expected::{CONFIDENCE, Expected, Performance, Plan, Reliability, StartMode, calculate_expected_performance};
