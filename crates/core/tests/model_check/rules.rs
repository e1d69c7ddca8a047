//! What holds in every state: I1 to I4, that a pool at rest is whole (I7), and that nothing pending is without its timer (I8).

use super::{
    pool::Pool,
    state::{State, Violation},
};
use herder_core::{BreakerState, WorkerRef};
use stateright::Property;

pub(crate) const TWICE: &str = "I1: a call is answered once at most";
pub(crate) const NEVER: &str = "I1: at rest every call is answered";
pub(crate) const WINDOW: &str = "I2: no process has more unfinished than its window";
pub(crate) const OVERLAP: &str = "I3: strict calls of a session do not overlap";
pub(crate) const HEALTH: &str = "R26: who missed a ping gets no call where health decides";
pub(crate) const LATE: &str = "R33: nothing is sent at its deadline or later";
pub(crate) const BUDGET: &str = "R33: no more is sent again than the budget allows";
pub(crate) const TRIALS: &str = "R34: no more trials than probes, and none that nobody waits for";
pub(crate) const FAIR: &str = "R36: nobody waits while another session is served twice";
pub(crate) const POISON: &str = "R37: what is in quarantine is not sent";
pub(crate) const RELEASED: &str = "R14: no session is bound to a worker whose sessions were removed";
pub(crate) const LOOKUP: &str = "I4: what a lookup names is alive";

pub(crate) fn all() -> Vec<Property<Pool>> {
    vec![
        Property::always(TWICE, answered_once),
        Property::always(NEVER, all_answered),
        Property::always("I1: an answer is of the call's own frame", |_, state| holds(state, Violation::Frame)),
        Property::always(WINDOW, window),
        Property::always(OVERLAP, no_overlap),
        Property::always("I3: a strict call runs at the epoch it was admitted in", |_, state| {
            holds(state, Violation::Epoch)
        }),
        Property::always("I3: strict calls are sent in order, and once", |_, state| holds(state, Violation::Order)),
        Property::always("I3: an epoch has one process", |_, state| holds(state, Violation::StateOwner)),
        Property::always(LOOKUP, lookups),
        Property::always("I4: only what is alive is sent anything", |_, state| holds(state, Violation::Dead)),
        Property::always("I7: a pool at rest has its base workers, or has stopped", all_base_workers_ready),
        Property::always("I8: whatever is pending has its timer", |_, state| holds(state, Violation::Timer)),
        Property::always("R21: a slot has one process", |_, state| holds(state, Violation::Process)),
        Property::always(RELEASED, |_, state| holds(state, Violation::Released)),
        Property::always(HEALTH, |_, state| holds(state, Violation::Degraded)),
        Property::always("R33: nothing is sent more often than it may be", |_, state| holds(state, Violation::Runs)),
        Property::always(LATE, |_, state| holds(state, Violation::Late)),
        Property::always("R33: nothing is sent again before its wait is over", |_, state| {
            holds(state, Violation::Early)
        }),
        Property::always(BUDGET, |_, state| holds(state, Violation::Budget)),
        Property::always(TRIALS, trials),
        Property::always("R34: an open breaker can be closed by results", closes),
        Property::always(FAIR, |_, state| holds(state, Violation::Unfair)),
        Property::always(POISON, |_, state| holds(state, Violation::Poison)),
    ]
}

fn holds(state: &State, rule: Violation) -> bool {
    !state.violation.contains(&rule)
}

fn answered_once(_: &Pool, state: &State) -> bool {
    state.calls.iter().all(|call| call.answers <= 1)
}

fn no_overlap(pool: &Pool, state: &State) -> bool {
    pool.sessions.iter().all(|session| strict_of(state, session) <= 1)
}

/// Unfinished strict attempts of a session, whether their callers wait or not.
fn strict_of(state: &State, session: &str) -> usize {
    state.fakes.unfinished().filter(|(.., attempt)| attempt.strict && attempt.session == Some(session)).count()
}

fn all_answered(pool: &Pool, state: &State) -> bool {
    state.calls.iter().all(|call| call.answers > 0) || !state.is_at_rest(pool)
}

fn window(pool: &Pool, state: &State) -> bool {
    let window = pool.settings.window() as usize;
    state.fakes.processes.values().all(|process| process.unfinished.len() <= window)
}

fn lookups(pool: &Pool, state: &State) -> bool {
    pool.sessions.iter().all(|session| {
        let info = state.core.session_info(state.now, session);
        let bound = info.and_then(|info| info.worker.zip(info.generation));
        bound.is_none_or(|(worker, generation)| state.fakes.is_live(WorkerRef { id: worker, generation }))
    })
}

fn trials(pool: &Pool, state: &State) -> bool {
    let Some((breaker, settings)) = state.core.breaker(state.now).zip(pool.settings.breaker.as_ref()) else {
        return true;
    };
    let waiting = state.calls.iter().filter(|call| call.answers == 0).count();
    breaker.half_open_calls <= settings.half_open_max_calls && breaker.half_open_calls as usize <= waiting
}

/// There is a way from here to a closed breaker: workers that behave, and calls that come.
fn closes(pool: &Pool, state: &State) -> bool {
    let is_closed = |state: &State| {
        let breaker = state.core.breaker(state.now);
        breaker.is_none_or(|breaker| breaker.state == BreakerState::Closed)
    };
    if is_closed(state) || pool.budget.shutdowns > state.budget.shutdowns {
        return true;
    }
    let (mut state, pool) = (state.clone(), Pool { fault: None, ..pool.clone() });
    (0..20).any(|_| {
        state.recover(&pool);
        is_closed(&state)
    })
}

fn all_base_workers_ready(pool: &Pool, state: &State) -> bool {
    let base = state.fakes.processes.keys().filter(|worker| worker.id.0 <= pool.settings.pool_size).count();
    let drained = pool.budget.shutdowns > state.budget.shutdowns;
    let is_whole = if drained { state.fakes.stopped } else { base == pool.settings.pool_size as usize };
    is_whole || !state.is_at_rest(pool)
}
