//! Measures how many of its workers a pool really uses for a command, and where the rest of their time goes.
//! Holds no state of a pool and uses only its public interface; keeps calibrations.
//!
//! ```
//! use herder::efficiency::Measure;
//! # use herder::testing::{Script, scripted};
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let script = Script::new().command("predict", async |_| {
//! #     tokio::time::sleep(std::time::Duration::from_millis(1)).await;
//! #     Ok(json!(0.5))
//! # });
//! # let pool = scripted("measured", script, |context| context.basic().pool_size(2).app("app.py:app").build()).await;
//! let report = Measure::of(&pool).command("predict", &json!({ "x": 1 }))?.operations(40).callers(4).run().await?;
//! println!("{:.0} % of {} call slots", 100.0 * report.account.efficiency, report.account.call_slots);
//! for loss in report.account.losses.iter().filter(|loss| !loss.lost.is_zero()) {
//!     println!("{:?} lost: {}", loss.lost, loss.explanation);
//! }
//! # assert_eq!((report.operations.len(), report.failures.count), (40, 0));
//! # pool.shutdown_and_check().await;
//! # Ok(()) }
//! ```
//!
//! [`Measure`] calls a command, takes the times of each call from the stamps of the workers and the CPU time of the
//! workers from the system, and returns an [`EfficiencyReport`]. `herder bench` prints one.

mod calibration;
mod callers;
mod error;
pub mod legacy;
mod machine;
mod measure;
mod pairs;
mod report;
mod samples;
mod watch;

pub use calibration::{Calibration, calculate_expected_time};
pub use callers::operation;
pub use error::MeasureError;
#[doc(inline)]
pub use herder_efficiency::{concurrency, performance};
pub use machine::Machine;
pub use measure::{Measure, measure_concurrency_efficiency};
pub use report::{EfficiencyReport, Failures, Verdict, WorkerStart};
