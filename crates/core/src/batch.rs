//! Batches, as the shell and the parts of the core name them: plain data.

use crate::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// The number of batched commands that a pool can have.
pub const BATCHED_COMMAND_LIMIT: usize = 256;

/// The number that the shell gives to a command whose calls run in batches, counted from 0. It must be less than
/// [`BATCHED_COMMAND_LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey(pub u16);

/// The limits of the batches of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchLimits {
    /// The maximum number of calls of a batch, at least 1. Without batches it is 1.
    pub max_batch_size: u32,
    /// The longest time that a call waits for others while a worker could run it.
    pub max_wait: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_batch_size: 1, max_wait: Duration::ZERO }
    }
}

/// The limits and the batches of one command, since the pool started or its state was last rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchStatus {
    /// The maximum number of calls of a batch.
    pub max_batch_size: u32,
    /// The longest time in microseconds that a call waits for others.
    pub max_wait_us: u64,
    /// The number of calls that wait for their batch.
    pub waiting: usize,
    /// The number of batches that were sent.
    pub batches: u64,
    /// The number of calls in them.
    pub calls: u64,
    /// The number of calls in the largest one.
    pub largest: u32,
    /// The sum of the times in microseconds that these calls waited, from the time at which they could be sent.
    pub waited_us: u64,
    /// The longest of these times in microseconds.
    pub longest_wait_us: u64,
}

/// The command of a call that runs in batches, and since when the call waits for its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batched {
    pub(crate) command: BatchKey,
    pub(crate) since: Timestamp,
}

/// A queue of one batched command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchQueue {
    pub(crate) command: BatchKey,
    /// 0 for any worker, 1 for unbound sessions, then one for each slot: the id of its worker plus 1.
    pub(crate) place: u32,
}
