//! The configuration of a pool: the builder, its checks, and the table of keys with their defaults and bounds.
//!
//! Code outside of this module does not check a setting again. The module does not know the format of configuration files:
//! their reader checks a file against [`schema::TABLE`] and calls the builder.

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
