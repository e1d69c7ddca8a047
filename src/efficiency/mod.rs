//! "I pay for eight workers: am I getting eight?" Measures a pool of yours with a command of yours, and says where the time of its
//! workers went (R45-R48). Holds no state of a pool and uses only its public interface; keeps what it calibrated.
//!
//! [`Measure`] is the whole of it: it calls a command, takes each call's moments from the workers' own stamps and the workers'
//! processor time from the system, and gives a [`EfficiencyReport`]. `herder bench` prints one.
//!
//! ```no_run
//! # async fn example(pool: &herder::Pool) -> Result<(), Box<dyn std::error::Error>> {
//! use herder::efficiency::Measure;
//! use serde_json::json;
//!
//! let report = Measure::of(pool).command("predict", &json!({ "x": 1 }))?.operations(400).callers(16).run().await?;
//! println!("{:.0} % of {} lanes", 100.0 * report.account.efficiency, report.account.call_slots);
//! for loss in report.account.losses.iter().filter(|loss| !loss.lost.is_zero()) {
//!     println!("{:?} lost: {}", loss.lost, loss.explanation);
//! }
//! # Ok(()) }
//! ```

mod calibration;
mod callers;
mod error;
mod machine;
mod measure;
mod pairs;
mod report;
mod samples;
mod watch;

pub use crate::performance::{
    Environment, Expected, Performance, Plan, Reliability, Spread, StartMode, calculate_expected_performance,
};
pub use calibration::{Calibration, calculate_expected_time};
pub use callers::operation;
pub use error::MeasureError;
pub use machine::Machine;
pub use measure::{Measure, measure_concurrency_efficiency};
pub use report::{EfficiencyReport, Failures, Verdict, WorkerStart};
