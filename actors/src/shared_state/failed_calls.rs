//! The calls that have failed and were logged while their handlers run on, such as at a deadline. Owned by the link of the process:
//! where such a handler was when it ended is logged, too, and only for these calls, so that both events have one limit.

use herder_core::{CallId, SessionId, WireId};
use std::{num::NonZeroU128, sync::Arc};

/// The calls that have failed and were logged, of one process that still runs them. At most one for each attempt of the process.
#[derive(Debug, Default)]
pub(super) struct FailedCalls(Vec<FailedCall>);

/// A failed call, as the log names it.
#[derive(Debug)]
pub(super) struct FailedCall {
    pub(super) wire: WireId,
    pub(super) call: CallId,
    pub(super) command: Arc<str>,
    pub(super) session: Option<SessionId>,
    pub(super) trace: Option<NonZeroU128>,
}

impl FailedCalls {
    pub(super) fn add(&mut self, call: FailedCall) {
        self.0.push(call);
    }

    /// Forgets the call of an attempt whose final frame was received.
    pub(super) fn forget(&mut self, wire: WireId) {
        if !self.0.is_empty() {
            self.take(wire);
        }
    }

    /// Takes the call of an attempt.
    pub(super) fn take(&mut self, wire: WireId) -> Option<FailedCall> {
        let index = self.0.iter().position(|failed| failed.wire == wire)?;
        Some(self.0.swap_remove(index))
    }
}
