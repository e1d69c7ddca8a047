//! How long a run is expected to take: from an environment that is given, or was measured, to a range (R47). Holds no state, reads
//! no clock, and knows nothing of this machine but what it is told.

mod environment;
mod expected;

pub use environment::{Environment, InvalidSpread, Spread};
pub use expected::{CONFIDENCE, Expected, Performance, Plan, Reliability, StartMode, calculate_expected_performance};
