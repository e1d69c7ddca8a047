//! A small pool and the events that may happen to it, as input for the model checker.

use super::{
    actions::Action,
    faults::Fault,
    rules,
    state::{Budget, State},
};
use herder_core::{Affinity, BatchKey, BatchLimits, Settings, Timestamp, WorkerRef, WorkerTypeSettings};
use stateright::{Model, Property};
use std::time::Duration;

/// The command of all calls, in a pool with batches.
pub(crate) const BATCHED: BatchKey = BatchKey(0);

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) session: Option<&'static str>,
    /// `None` for the affinity of the pool.
    pub(crate) affinity: Option<Affinity>,
    pub(crate) idempotent: bool,
    /// Identifies its command and arguments, for the quarantine.
    pub(crate) payload: Option<u64>,
}

/// The model that the checker explores: the settings of a pool, and limits on what may happen to it. Its states are
/// [`State`]s.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) settings: Settings,
    /// The kinds of calls that may be submitted.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) sessions: Vec<&'static str>,
    /// The time from the submission to the deadline.
    pub(crate) call_timeout: Duration,
    /// Whether the base workers are ready at the start.
    pub(crate) starts_ready: bool,
    /// Whether workers have a control channel.
    pub(crate) has_control: bool,
    /// Whether workers begin their calls one at a time and in order, and can take them back.
    pub(crate) in_order: bool,
    /// Whether all calls are streams, without limits of time.
    pub(crate) has_streams: bool,
    /// The limits of batches, if all calls run in batches.
    pub(crate) batches: Option<BatchLimits>,
    /// Pings and start timeouts repeat without end, so the model ends at this time.
    pub(crate) until: Option<Timestamp>,
    /// The number of retries that happen before the start.
    pub(crate) earlier_retries: u32,
    /// Whether the order between sessions is checked.
    pub(crate) is_fair: bool,
    pub(crate) budget: Budget,
    /// The defect of the shell around the core, if it has one.
    pub(crate) fault: Option<Fault>,
}

impl Pool {
    /// Returns the affinity of a call; `None` if its session is not routed.
    pub(crate) fn mode(&self, kind: Kind) -> Option<Affinity> {
        let WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), .. } = &self.settings.worker_type else {
            return None;
        };
        kind.session.map(|_| kind.affinity.unwrap_or(affinity.mode))
    }

    /// Returns whether this is the slot of a base worker. A reload adds one after all others.
    pub(crate) fn is_base(&self, worker: WorkerRef) -> bool {
        let Settings { pool_size, overflow, .. } = self.settings;
        worker.id.0 <= pool_size || worker.id.0 > pool_size + overflow
    }

    /// Returns whether health decides which workers get calls.
    pub(crate) fn is_health_gated(&self) -> bool {
        matches!(self.settings.worker_type, WorkerTypeSettings::Enhanced { state_machine: true, .. })
    }
}

impl Model for Pool {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.possible_actions(self, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.apply_action(self, action).then_some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        self.until.is_none_or(|end| state.now < end)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::all()
    }
}
