//! What a pool counts about its calls and its processes, outside of the core: per command, and per worker in a pool with
//! `worker_metrics`. Kept by the pool's state, and by a rebuild of that state. Counting a call allocates nothing.

mod commands;
mod histogram;
mod pool;
mod processes;
mod rate;
mod refusals;
mod workers;

pub use commands::CommandMetrics;
pub(crate) use commands::{CommandNumber, CountedAnswer};
pub use histogram::Histogram;
pub(crate) use histogram::micros;
pub use pool::PoolMetrics;
pub use processes::{CoreCounts, ProcessMetrics};
pub(crate) use refusals::{Refusals, RefusedCalls};
pub use workers::{SessionMetrics, SlotMetrics};
