//! What a pool counts about its calls and its processes, outside of the core: per command, and per worker in a pool with
//! `worker_metrics`. Kept by the pool's state, and by a rebuild of that state. Counting a call allocates nothing.
//!
//! A clone shares the histograms, so that the pool's thread makes one in microseconds, whatever the number of commands. While
//! it exists, the first call of each command copies those of the command.

mod commands;
mod exemplars;
mod histogram;
mod outcomes;
mod pool;
mod processes;
mod rate;
mod refusals;
mod workers;

pub use commands::{CommandMetrics, FeatureUse};
pub(crate) use commands::{CommandNumber, CountedAnswer};
pub use exemplars::{Exemplar, TIME_BOUNDS};
pub use histogram::Histogram;
pub(crate) use histogram::micros;
pub use outcomes::Outcomes;
pub use pool::PoolMetrics;
pub use processes::{CoreCounts, ProcessMetrics};
pub(crate) use refusals::{Refusals, RefusedCalls};
pub use workers::{SessionMetrics, SlotMetrics};
