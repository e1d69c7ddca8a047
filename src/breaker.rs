//! The circuit breaker of a pool: it refuses calls while most of them would fail.
//!
//! ```
//! use herder::{Error, breaker::BreakerState, config::Breaker};
//! # use herder::testing::{Fault, Script, scripted};
//! # use serde_json::{Value, json};
//!
//! # #[tokio::main]
//! # async fn main() -> herder::Result<()> {
//! # let script = Script::new().command("crash", async |_| Err(Fault::exit(3)));
//! let breaker = Breaker::new().enabled(true).failure_threshold(2);
//! # let build = |context: &herder::testing::TestContext| context.basic().app("app.py:app").breaker(breaker).build();
//! # let pool = scripted("broken", script, build).await;
//! for _ in 0..2 {
//!     assert!(matches!(pool.call::<Value>("crash", &json!({})).await, Err(Error::WorkerLost { .. })));
//! }
//! assert_eq!(pool.breaker().await?.map(|breaker| breaker.state), Some(BreakerState::Open));
//! assert!(matches!(pool.call::<Value>("crash", &json!({})).await, Err(Error::BreakerOpen { .. })));
//! # pool.shutdown_and_check().await;
//! # Ok(()) }
//! ```
//!
//! The settings are [`config::Breaker`](crate::config::Breaker).

#[doc(inline)]
pub use herder_actors::{BreakerState, BreakerStatus, Outcome};
