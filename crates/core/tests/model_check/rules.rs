//! What holds in every state: I1 to I4, I7 for idle pools, I8, and requirements.

use super::{
    pool::Pool,
    state::{State, Violation},
};
use herder_core::{BreakerState, WorkerRef};
use stateright::Property;

pub(crate) const TWICE: &str = "I1: a call is answered at most once";
pub(crate) const NEVER: &str = "I1: in an idle pool every call is answered";
pub(crate) const WINDOW: &str = "I2: no process has more unfinished invocations than its window";
pub(crate) const OVERLAP: &str = "I3: strict calls of a session do not overlap";
pub(crate) const HEALTH: &str = "R26: a degraded worker gets no call if dispatch is health-gated";
pub(crate) const RUNS: &str = "R33: no call is sent more often than allowed";
pub(crate) const LATE: &str = "R33: no call is sent at its deadline or later";
pub(crate) const BUDGET: &str = "R33: there are no more retries than the budget allows";
pub(crate) const TRIALS: &str = "R34: there are no more trials than allowed, and each belongs to a pending call";
pub(crate) const FAIR: &str = "R36: no call waits while another session is served twice";
pub(crate) const POISON: &str = "R37: no quarantined call is sent";
pub(crate) const RELEASED: &str = "R14: no session is bound to a worker whose sessions were removed";
pub(crate) const RELOADS: &str = "R31: in an idle pool every reload has ended";
pub(crate) const STOPS: &str = "R31: in a pool that closes, no worker has time for calls";
pub(crate) const BATCH: &str = "a batch is sent to one process, is as large as allowed, and has one call of a session";
pub(crate) const LOOKUP: &str = "I4: a lookup returns a live process";

pub(crate) fn all() -> Vec<Property<Pool>> {
    vec![
        Property::always(TWICE, answered_once),
        Property::always(NEVER, all_answered),
        Property::always("I1: a call is answered by its own final frame", |_, state| holds(state, Violation::Frame)),
        Property::always(WINDOW, window),
        Property::always(OVERLAP, no_overlap),
        Property::always("I3: a strict call is sent in the epoch of its admission", |_, state| {
            holds(state, Violation::Epoch)
        }),
        Property::always("I3: strict calls are sent in order, and once each", |_, state| {
            holds(state, Violation::Order)
        }),
        Property::always("I3: the state of an epoch is in one process", |_, state| holds(state, Violation::StateOwner)),
        Property::always(LOOKUP, lookups),
        Property::always("I4: only live processes are sent anything", |_, state| holds(state, Violation::Dead)),
        Property::always(
            "I7: a pool without work has its base workers, or has stopped, or is lazy and was not called",
            all_base_workers_ready,
        ),
        Property::always("I8: everything pending has a timer, and the parts of the core agree", |_, state| {
            holds(state, Violation::Parts)
        }),
        Property::always("R21: a slot has one process", |_, state| holds(state, Violation::Process)),
        Property::always(RELEASED, |_, state| holds(state, Violation::Released)),
        Property::always(HEALTH, |_, state| holds(state, Violation::Degraded)),
        Property::always(RUNS, |_, state| holds(state, Violation::Runs)),
        Property::always("R20, R36: no call that has begun is answered as if it had not", |_, state| {
            holds(state, Violation::NotRun)
        }),
        Property::always(LATE, |_, state| holds(state, Violation::Late)),
        Property::always("R33: no call is retried before its backoff is over", |_, state| {
            holds(state, Violation::Early)
        }),
        Property::always(BUDGET, |_, state| holds(state, Violation::Budget)),
        Property::always(TRIALS, trials),
        Property::always("R34: an open breaker can be closed by successful calls", can_close),
        Property::always(FAIR, |_, state| holds(state, Violation::Unfair)),
        Property::always(BATCH, |_, state| holds(state, Violation::Batch)),
        Property::always("R31: a reload ends once", |_, state| holds(state, Violation::Reload)),
        Property::always(RELOADS, reloads_end),
        Property::always(STOPS, stops),
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

/// Returns the number of unfinished strict attempts of a session, settled or not.
fn strict_of(state: &State, session: &str) -> usize {
    state.fakes.unfinished().filter(|(.., attempt)| attempt.strict && attempt.session == Some(session)).count()
}

fn all_answered(pool: &Pool, state: &State) -> bool {
    state.calls.iter().all(|call| call.answers > 0) || !state.is_idle(pool)
}

fn reloads_end(pool: &Pool, state: &State) -> bool {
    state.reloads == 0 || !state.is_idle(pool)
}

fn stops(pool: &Pool, state: &State) -> bool {
    let is_over = pool.budget.shutdowns > state.budget.shutdowns
        && state.calls.iter().all(|call| call.answers > 0)
        && state.fakes.unfinished().next().is_none();
    !is_over || state.fakes.processes.values().all(|process| !process.after_calls)
}

fn window(pool: &Pool, state: &State) -> bool {
    let window = pool.settings.window() as usize;
    state.fakes.processes.values().all(|process| process.invocations() <= window)
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

/// Returns whether calls that succeed lead from this state to a closed breaker. Asked only while no process has anything to
/// do, which is the most expensive rule by far: a breaker that cannot close still cannot close after its processes have
/// answered, and the checker visits the state after that too.
fn can_close(pool: &Pool, state: &State) -> bool {
    let is_closed = |state: &State| {
        let breaker = state.core.breaker(state.now);
        breaker.is_none_or(|breaker| breaker.state == BreakerState::Closed)
    };
    if is_closed(state) || !state.fakes.is_quiet() || pool.budget.shutdowns > state.budget.shutdowns {
        return true;
    }
    let (mut state, pool) = (state.clone(), Pool { fault: None, ..pool.clone() });
    (0..20).any(|_| {
        state.recover(&pool);
        is_closed(&state)
    })
}

fn all_base_workers_ready(pool: &Pool, state: &State) -> bool {
    let base = state.fakes.processes.keys().filter(|worker| pool.is_base(**worker)).count();
    let drained = pool.budget.shutdowns > state.budget.shutdowns;
    let is_complete = if drained { state.fakes.stopped } else { base == pool.settings.pool_size as usize };
    let is_uncalled = pool.settings.lazy && state.budget.calls == pool.budget.calls && !drained;
    is_complete || is_uncalled || !state.is_idle(pool)
}
