//! The message by which the routes of `herder::http` ask for what metrics follow from. Applications send [`GetStatus`](super::GetStatus).

use crate::{PoolMetrics, Result, Status};
use actix::Message;

/// Returns the status of the pool, and what it has counted since its start. The status is without the numbers of the affinity
/// actor, the state of the template and the figures of each command, which the counts have.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Box<Measurements>>")]
pub struct GetMetrics;

/// What metrics follow from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measurements {
    /// The status.
    pub status: Status,
    /// The counts, at the same moment.
    pub metrics: PoolMetrics,
}

impl Measurements {
    pub(crate) fn new(status: Status, metrics: PoolMetrics) -> Self {
        Self { status, metrics }
    }
}
