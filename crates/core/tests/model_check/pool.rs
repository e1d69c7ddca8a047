//! A small pool and what may happen to it, as the checker sees it.

use super::{
    actions::Action,
    faults::Fault,
    rules,
    state::{Budget, State},
};
use herder_core::{Affinity, Settings, Timestamp, WorkerTypeSettings};
use stateright::{Model, Property};
use std::time::Duration;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) session: Option<&'static str>,
    /// The pool's mode if there is none.
    pub(crate) affinity: Option<Affinity>,
    pub(crate) idempotent: bool,
    /// Its command and arguments, where payloads are watched.
    pub(crate) payload: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) settings: Settings,
    /// Each call is one of these.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) sessions: Vec<&'static str>,
    /// From submission to deadline.
    pub(crate) patience: Duration,
    /// Begins with all its base workers ready.
    pub(crate) warm: bool,
    /// Workers serve the control channel.
    pub(crate) has_control: bool,
    /// Pings and starts that time out never end, so the model does, at some time.
    pub(crate) until: Option<Timestamp>,
    /// Retries before it begins.
    pub(crate) spent: u32,
    /// Whether the order between sessions is looked at.
    pub(crate) is_fair: bool,
    pub(crate) budget: Budget,
    /// What is wrong with the shell around the core.
    pub(crate) fault: Option<Fault>,
}

impl Pool {
    /// How strictly a call keeps to its session's worker; `None` where sessions are not routed.
    pub(crate) fn mode(&self, kind: Kind) -> Option<Affinity> {
        let WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), .. } = &self.settings.worker_type else {
            return None;
        };
        kind.session.map(|_| kind.affinity.unwrap_or(affinity.mode))
    }

    /// Health decides who gets work.
    pub(crate) fn is_gated(&self) -> bool {
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
        state.possible(self, actions);
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
