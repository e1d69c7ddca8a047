//! The time stamps of a handler. Holds no state, reads no clock.

use crate::{FrameError, body::Body};
use herder_core::Timestamp;
use std::time::Duration;

/// The times at which a handler began and ended, in nanoseconds of the monotonic clock that both sides share. Both are 0 if the
/// handler did not run.
///
/// The worker reports them and nothing checks them: `ended` may be before `started`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamps {
    /// The time at which the handler began.
    pub started: Timestamp,
    /// The time at which the handler ended.
    pub ended: Timestamp,
}

impl Stamps {
    /// The stamps of a handler that did not run.
    pub const NOT_RUN: Self = Self { started: Timestamp(0), ended: Timestamp(0) };

    /// Whether the handler ran at all.
    pub fn ran(self) -> bool {
        self != Self::NOT_RUN
    }

    /// Returns how long the handler ran: zero if it did not run, or if `ended` is before `started`.
    pub fn run_time(self) -> Duration {
        self.ended.since(self.started)
    }

    pub(crate) fn take(body: &mut Body) -> Result<Self, FrameError> {
        Ok(Self { started: Timestamp(body.u64()?), ended: Timestamp(body.u64()?) })
    }

    pub(crate) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.started.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.ended.0.to_le_bytes());
        bytes
    }
}
