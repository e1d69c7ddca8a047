//! What a pool is told to be: the builder, its checks, and the one table of keys with their defaults and bounds.
//!
//! Below this module nothing checks a setting again. A configuration file's format is not known here: whoever reads one
//! checks it against [`schema::TABLE`] and drives the builder.

mod build;
mod builder;
mod groups;
mod invalid;
mod launch;
mod pool;
mod programs;
pub mod schema;
mod table;
#[cfg(test)]
mod tests;
mod threads;

pub use builder::{Basic, Enhanced, PoolBuilder};
pub use groups::{Breaker, Cancel, Features, Health, Poison, Queue, Restart, Retry, Routed, Sessions, Stop, Tracked};
pub use herder_core::{Affinity, Backoff, CountedFailures, Expiry, IfAbsent, OnExpired, WorkerType};
pub use invalid::InvalidConfig;
pub use launch::{AppPath, EnvMode, Launch};
pub use pool::{PoolConfig, StopSettings};
pub use threads::NumericThreads;
pub(crate) use threads::variables as thread_variables;
