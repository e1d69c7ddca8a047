//! How well a pool uses its workers, computed from the timestamps of its calls.
//!
//! [`concurrency`] decides whether calls ran in parallel and accounts for the time in which workers did no work; [`performance`]
//! predicts the duration of a run. All functions are pure: they perform no I/O and read no clock, so that equal timestamps give
//! equal results. Pools do not depend on this crate; `herder::efficiency` measures a pool and calls it.

pub mod concurrency;
pub mod performance;
