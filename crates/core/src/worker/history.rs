//! A worker's last transitions (R25), bounded. Exists only in enhanced pools with `state_machine`.

use super::WorkerState;
use crate::Timestamp;
use std::{collections::VecDeque, time::Duration};

/// How many transitions a worker keeps.
pub const HISTORY_LIMIT: usize = 32;

/// One recorded change of state. The changes between ready and busy are counted, not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The state left.
    pub from: WorkerState,
    /// The state entered.
    pub to: WorkerState,
    /// Why.
    pub reason: &'static str,
    /// How long the worker had been in `from` (ready and busy taken as one).
    pub lasted: Duration,
    /// When.
    pub at: Timestamp,
}

/// The last [`HISTORY_LIMIT`] transitions of one slot, across its generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    ring: VecDeque<Transition>,
    since: Timestamp,
}

impl History {
    /// Records a change, and says so if R23 does not know it: a bug of ours, that must not go unseen.
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
