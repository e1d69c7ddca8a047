//! The quarantine of a pool: commands with arguments that killed several workers in a row are refused.
//!
//! ```
//! use herder::{Error, config::Poison};
//! # use herder::testing::{Fault, Script, scripted};
//! # use serde_json::{Value, json};
//!
//! # #[tokio::main]
//! # async fn main() -> herder::Result<()> {
//! # let script = Script::new().command("parse", async |_| Err(Fault::killed(11)));
//! let poison = Poison::new().max_worker_deaths(2);
//! # let build = |context: &herder::testing::TestContext| context.basic().app("app.py:app").poison(poison).build();
//! # let pool = scripted("poisoned", script, build).await;
//! let file = json!({ "file": "broken.pdf" });
//! for _ in 0..2 {
//!     assert!(matches!(pool.call::<Value>("parse", &file).await, Err(Error::WorkerLost { .. })));
//! }
//! assert!(matches!(pool.call::<Value>("parse", &file).await, Err(Error::PoisonCall { .. })));
//! let entry = &pool.quarantine().await?[0];
//! assert!(entry.quarantined && pool.release_from_quarantine(entry.fingerprint).await?);
//! # pool.shutdown_and_check().await;
//! # Ok(()) }
//! ```
//!
//! The settings are [`config::Poison`](crate::config::Poison).

#[doc(inline)]
pub use herder_actors::{Fingerprint, InvalidFingerprint, QuarantineEntry};
