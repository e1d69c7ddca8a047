//! The configuration of a pool: the builder, its checks, and the table of keys with their defaults and bounds.
//!
//! Code outside of this module does not check a setting again. The module does not know the format of configuration files:
//! their reader checks a file against [`schema::TABLE`] and calls the builder.

mod batches;
mod build;
mod builder;
mod groups;
mod interpreter;
mod invalid;
mod keys;
mod launch;
mod pool;
mod programs;
mod table;
#[cfg(test)]
mod tests;
mod threads;

pub use batches::BatchSettings;
pub use builder::{Basic, Enhanced, PoolBuilder};
pub use groups::{
    Breaker, Buffers, Cancel, Features, Health, Poison, Queue, Restart, Retry, Routed, Sessions, Stop, Streams, Tracked,
};
pub use herder_core::{Affinity, Backoff, CountedFailures, Expiry, IfAbsent, OnExpired, Pipeline, WorkerType};
pub use invalid::InvalidConfig;
pub use launch::{AppPath, EnvMode, Launch, StartMethod};
pub use pool::{PoolConfig, StopSettings};
pub use threads::NumericThreads;
pub(crate) use threads::{ALL as THREAD_VARIABLES, OPENMP, variables as thread_variables};

/// The types of configuration keys: the rows of the table of keys, and the checks of their bounds. Holds no values of any
/// pool.
pub mod schema {
    pub use super::{
        keys::{Choice, Count, CountOr, Derived, Flag, Key, KeyType, LONGEST, Scope, Share, Span, Text, Words},
        table::TABLE,
    };

    /// The row of `sessions.grace`. Public, since code that builds [`Expiry::TwoPhase`](super::Expiry) from text needs its
    /// default.
    pub const SESSIONS_GRACE: Span = super::table::SESSIONS_GRACE;
}
