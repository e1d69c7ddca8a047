//! How well a pool uses its workers, computed from the moments of its calls.
//!
//! [`concurrency`] decides whether calls ran side by side and accounts for the time in which workers did no work; [`performance`]
//! predicts how long a run takes. Pure functions: performs no I/O and reads no clock, so that the same moments give the same answer.
//! Pools do not depend on this crate. `herder::efficiency` measures one and calls it.

pub mod concurrency;
pub mod performance;
