//! Chaos for a pool of yours: faults drawn from a seed while it serves, and figures that say what came of them. Feature `chaos`.
//!
//! [`Drill`] is the whole of it for a worker that knows nothing of chaos; `herder chaos` runs one. The parts are public for programs
//! that know more of their worker, such as `herder-chaos` in this repository. Holds no state of a pool and uses only its public interface. On
//! Linux, a process is signalled only if its environment has the mark of this run; elsewhere the mark is not checked.

mod drill;
mod figures;
mod injector;
mod progress;
mod recovery;
mod rng;
mod settings;

pub use drill::{Drill, DrillProgress};
pub use figures::{Figures, Spans};
pub use herder_actors::inspect::{MARK, MarkedProcesses, zombies};
pub use injector::{FaultInjector, FaultSignal};
pub use progress::Progress;
pub use recovery::RecoveryTracker;
pub use rng::Rng;
pub use settings::settings;

use herder_actors::inspect;
use std::process;

/// Returns how many descriptors this process has open.
pub fn open_descriptors() -> u64 {
    inspect::descriptors(process::id()).len() as u64
}

/// Returns how many bytes this process has in main memory; 0 where there is no `/proc`.
pub fn own_resident_bytes() -> u64 {
    inspect::resident_bytes(process::id()).unwrap_or(0)
}
