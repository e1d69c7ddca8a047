//! When a handler ran. Holds no state, reads no clock.

use crate::{FrameError, body::Body};
use herder_core::Timestamp;
use std::time::Duration;

/// When a handler began and ended, in nanoseconds of the monotonic clock that both sides share. Both 0: it did not run.
///
/// They come from the worker and are not checked: `ended` may lie before `started`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamps {
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

impl Stamps {
    /// The handler did not run.
    pub const NOT_RUN: Self = Self { started: Timestamp(0), ended: Timestamp(0) };

    /// Whether the handler ran at all.
    pub fn ran(self) -> bool {
        self != Self::NOT_RUN
    }

    /// How long the handler ran: zero if it did not, or if the stamps run backwards.
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
