//! A small pool and what may happen to it, as the checker sees it.

use crate::{
    act::Action,
    faults::Fault,
    rules,
    state::{Left, State},
};
use herder_core::{Affinity, KindSettings, Settings};
use stateright::{Model, Property};
use std::time::Duration;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) session: Option<&'static str>,
    /// The pool's mode if there is none.
    pub(crate) affinity: Option<Affinity>,
    pub(crate) idempotent: bool,
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
    pub(crate) left: Left,
    /// What is wrong with the shell around the core.
    pub(crate) fault: Option<Fault>,
}

impl Pool {
    /// How strictly a call keeps to its session's worker; `None` where sessions are not routed.
    pub(crate) fn mode(&self, kind: Kind) -> Option<Affinity> {
        let KindSettings::Enhanced { session_affinity: Some(affinity), .. } = &self.settings.kind else { return None };
        kind.session.map(|_| kind.affinity.unwrap_or(affinity.mode))
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
        state.act(self, action).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::all()
    }
}
