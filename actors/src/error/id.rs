//! The id of a call in the log. Plain data.

use serde::{Serialize, Serializer};
use std::fmt;

/// Identifies a call in the log, in the field `error_id`. Unique within this process, unless the 32-bit hashes of two pool
/// starts are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorId {
    /// A hash of the pool's name, the process id and the time of the start.
    pool: u32,
    call: u64,
}

impl ErrorId {
    pub(crate) fn new(pool: u32, call: u64) -> Self {
        Self { pool, call }
    }
}

impl fmt::Display for ErrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.pool, self.call)
    }
}

impl Serialize for ErrorId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
