//! Chaos runs: faults are injected into a pool while it serves calls, and the results are reported. All random choices
//! follow from a seed. Feature `chaos`.
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
