//! Chaos runs: faults are injected into a pool while it serves calls, and the results are reported. All random choices
//! follow from a seed. Feature `chaos`.
//!
//! ```no_run
//! use herder::{PoolConfig, chaos::Drill};
//! use std::time::Duration;
//!
//! # #[tokio::main]
//! # async fn main() -> herder::Result<()> {
//! let drill = Drill {
//!     command: "price".into(),
//!     arguments: r#"{"item": "tea"}"#.into(),
//!     callers: 16,
//!     sessions: 0,
//!     idempotent: Some(true),
//!     timeout: Some(Duration::from_secs(2)),
//!     abandon_percent: 1,
//!     duration: Duration::from_secs(20),
//!     kill_every: Duration::from_millis(500),
//!     pause_every: None,
//!     cascade: false,
//!     seed: 1,
//! };
//! let config = PoolConfig::basic("prices").app("prices.py:app").pool_size(4).build()?;
//! let figures = drill.run(config, |progress| eprintln!("{} calls, {} kills", progress.calls, progress.kills)).await?;
//! assert!(figures.violations().is_empty(), "{}", figures.table());
//! # Ok(()) }
//! ```
//!
//! [`Drill`] is a complete run for any worker; `herder chaos` runs one. The parts are public for programs whose worker
//! cooperates in the run, such as `herder-chaos` in this repository. This module holds no state of a pool and uses only
//! its public interface. On Linux, a process is signalled only if its environment contains the mark of the run;
//! elsewhere the mark is not checked.

mod drill;
mod figures;
mod injector;
mod progress;
mod recovery;
mod rng;
mod settings;

pub use drill::{Drill, DrillProgress};
pub use figures::{Figures, Spans, open_descriptors, own_resident_bytes};
pub use herder_actors::inspect::{MARK, MarkedProcesses, zombies};
pub use injector::{FaultInjector, FaultSignal};
pub use progress::Progress;
pub use recovery::RecoveryTracker;
pub use rng::Rng;
pub use settings::settings;
