//! The last state transitions of a worker (R25). Exists only in enhanced pools with `state_machine`.

use super::WorkerState;
use crate::Timestamp;
use std::{collections::VecDeque, time::Duration};

/// The number of transitions that a worker keeps ([I6](crate#invariants)).
pub const HISTORY_LIMIT: usize = 32;

/// One recorded transition. Transitions between ready and busy are counted, not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The previous state.
    pub from: WorkerState,
    /// The new state.
    pub to: WorkerState,
    /// The reason.
    pub reason: &'static str,
    /// The time that the worker spent in `from`. Ready and busy count as one state.
    pub lasted: Duration,
    /// The time of the transition.
    pub at: Timestamp,
}

/// The last [`HISTORY_LIMIT`] transitions of one slot, across its generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    ring: VecDeque<Transition>,
    since: Timestamp,
}

impl History {
    /// Records a transition. Panics in debug builds if R23 does not allow it: that is a defect of the core.
    pub(crate) fn record(&mut self, from: WorkerState, to: WorkerState, reason: &'static str, now: Timestamp) {
        debug_assert!(from.transition(to).is_ok() || to == WorkerState::Initializing, "{from} to {to}: {reason}");
        if self.ring.len() == HISTORY_LIMIT {
            self.ring.pop_front();
        }
        self.ring.push_back(Transition { from, to, reason, lasted: now - self.since, at: now });
        self.since = now;
    }

    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.since = now;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Transition> {
        self.ring.iter()
    }
}
