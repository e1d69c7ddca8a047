//! The small pools whose every state is visited, and how many states that is at least.

use super::{
    actions::beats,
    pool::{Kind, Pool},
    state::Budget,
};
use herder_core::{
    Affinity, AffinitySettings, BreakerSettings, CountedFailures, Expiry, OnExpired, PoisonSettings, Settings,
    Timestamp, WorkerTypeSettings,
};
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::time::Duration;

const NOTHING: Budget =
    Budget { calls: 0, cancels: 0, deaths: 0, manual_bindings: 0, removals: 0, idles: 0, shutdowns: 0 };
const ANYONE: Kind = Kind { session: None, affinity: None, idempotent: false, payload: None };
const AGAIN: Kind = Kind { idempotent: true, ..ANYONE };
const A: Kind = Kind { session: Some("a"), ..ANYONE };
const B: Kind = Kind { session: Some("b"), ..ANYONE };
const C: Kind = Kind { session: Some("c"), ..ANYONE };
const HINT: Kind = Kind { affinity: Some(Affinity::Hint), idempotent: true, ..A };
const FAST: Kind = Kind { affinity: Some(Affinity::StrictFailFast), ..A };

/// One worker that takes one call, and no sessions.
pub(crate) fn basic() -> Pool {
    pool(WorkerTypeSettings::Basic, 1, 1, &[ANYONE])
}

/// One worker that takes two calls, and a session whose calls take turns.
pub(crate) fn strict() -> Pool {
    pool(routed(Expiry::Immediate, OnExpired::Rebind), 1, 2, &[A])
}

/// A worker that is pinged, and whose health decides.
pub(crate) fn health_gated() -> Pool {
    let kind = WorkerTypeSettings::Enhanced { session_affinity: None, worker_metrics: false, state_machine: true };
    let mut pool = pool(kind, 1, 1, &[ANYONE, AGAIN]);
    (pool.settings.health.interval, pool.settings.health.timeout) = (beats(2), beats(1));
    pool.settings.health.failures = 2;
    let left = Budget { calls: 2, deaths: 1, ..NOTHING };
    coarse(Pool { has_control: true, until: Some(Timestamp(0) + beats(8)), budget: left, ..pool })
}

/// Calls that are sent again after a wait, once so many have been before.
pub(crate) fn retrying(spent: u32) -> Pool {
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[AGAIN, ANYONE]);
    (pool.settings.retry.attempts, pool.settings.retry.budget, pool.settings.restart.max) = (3, 0, 100);
    let left = Budget { calls: 2, cancels: 1, deaths: 2, shutdowns: 1, ..NOTHING };
    Pool { warm: true, spent, budget: left, ..pool }
}

/// Whatever can wait for a moment does: starts that time out, overflow workers that linger, calls that wait, run, and go on without a caller.
pub(crate) fn timed() -> Pool {
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[AGAIN]);
    (pool.settings.overflow, pool.settings.overflow_idle_timeout, pool.settings.start_timeout) =
        (1, beats(1), beats(3));
    let left = Budget { calls: 2, cancels: 1, deaths: 1, ..NOTHING };
    Pool { until: Some(Timestamp(0) + beats(6)), budget: left, ..coarse(pool) }
}

/// A breaker that one failure opens.
pub(crate) fn breaking() -> Pool {
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[ANYONE]);
    let counts = CountedFailures { timeout: true, connection: true, signal: true, python: true };
    pool.settings.breaker = Some(BreakerSettings {
        failure_threshold: 1,
        success_threshold: 2,
        open_duration: beats(2),
        half_open_max_calls: 1,
        counts,
    });
    pool.settings.restart.max = 100;
    let left = Budget { calls: 3, cancels: 1, deaths: 1, manual_bindings: 1, idles: 1, ..NOTHING };
    coarse(Pool { budget: left, ..pool })
}

/// Sessions that share one worker.
pub(crate) fn shared() -> Pool {
    let mut pool = patient(pool(WorkerTypeSettings::Basic, 1, 1, &[A, B, C]));
    (pool.settings.queue.limit, pool.settings.queue.per_session) = (6, 6);
    let left = Budget { calls: 6, ..NOTHING };
    Pool { is_fair: true, warm: true, budget: left, ..pool }
}

/// A payload that is kept in quarantine after two deaths.
pub(crate) fn poisoned() -> Pool {
    let mut pool = pool(
        WorkerTypeSettings::Basic,
        1,
        1,
        &[Kind { payload: Some(1), ..AGAIN }, Kind { payload: Some(2), ..ANYONE }],
    );
    pool.settings.poison = Some(PoisonSettings { max_worker_deaths: 2, quarantine: beats(10) });
    pool.settings.retry.base = beats(3); // longer than a restart: another one of the payload can run meanwhile
    pool.settings.restart.max = 100;
    let left = Budget { calls: 3, deaths: 3, idles: 1, ..NOTHING };
    patient(Pool { warm: true, budget: left, ..pool })
}

/// Sessions that are bound, unbound, ended, and removed from their worker all at once.
pub(crate) fn removed() -> Pool {
    let left = Budget { calls: 3, deaths: 1, manual_bindings: 1, removals: 1, shutdowns: 1, ..NOTHING };
    Pool { budget: left, ..patient(two_workers(&[A])) }
}

fn two_workers(kinds: &[Kind]) -> Pool {
    coarse(pool(routed(Expiry::Immediate, OnExpired::Rebind), 2, 1, kinds))
}

/// Fewer moments: what ends by itself does so at the same time, in a pool that begins with its workers ready.
fn coarse(mut pool: Pool) -> Pool {
    pool.settings.queue.timeout = beats(1);
    (pool.settings.cancel.interrupt, pool.settings.cancel.kill) = (beats(1), beats(1));
    Pool { patience: beats(1), warm: true, ..pool }
}

/// Times that end by themselves are a few beats; what would go on for ever never comes.
fn pool(kind: WorkerTypeSettings, size: u32, window: u32, kinds: &[Kind]) -> Pool {
    let mut settings = Settings::new(kind, size);
    (settings.overflow, settings.overflow_idle_timeout) = (0, Duration::MAX);
    (settings.concurrency, settings.retry.attempts, settings.retry.base, settings.retry.jitter) =
        (window, 2, beats(1), 0);
    (settings.queue.shed, settings.poison) = (false, None);
    (settings.queue.limit, settings.queue.per_session, settings.queue.timeout) = (2, 1, beats(2));
    (settings.cancel.interrupt, settings.cancel.kill) = (beats(2), beats(2));
    (settings.health.interval, settings.start_timeout) = (Duration::MAX, Duration::MAX);
    (settings.restart.backoff, settings.restart.max_backoff, settings.restart.cooldown) =
        (beats(1), beats(1), beats(2));
    (settings.sessions.timeout, settings.sessions.cleanup_interval) = (beats(10), Duration::MAX);
    let mut sessions: Vec<&str> = kinds.iter().filter_map(|kind| kind.session).collect();
    sessions.dedup();
    let left = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    let kinds = kinds.to_vec();
    let (warm, is_fair, has_control, until, spent, fault) = (false, false, false, None, 0, None);
    Pool {
        settings,
        kinds,
        sessions,
        patience: beats(4),
        warm,
        has_control,
        until,
        spent,
        is_fair,
        budget: left,
        fault,
    }
}

fn routed(expiry: Expiry, on_expired: OnExpired) -> WorkerTypeSettings {
    let affinity = AffinitySettings { expiry, mode: Affinity::StrictQueue, on_expired };
    WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), worker_metrics: false, state_machine: false }
}

/// Calls wait as long as they have to: the only moments are starts and kills.
fn patient(mut pool: Pool) -> Pool {
    pool.settings.queue.timeout = Duration::MAX;
    Pool { patience: Duration::MAX, ..pool }
}

/// Whether there is time for minutes, and memory for gigabytes.
#[expect(clippy::disallowed_methods, reason = "reads the size of the model from the environment")]
fn is_large() -> bool {
    std::env::var_os("HERDER_LARGE").is_some()
}

/// Visits every state, depth first: the states that wait for their turn are few, where breadth first keeps hundreds of thousands and takes
/// twice the time. The checker stops at a state that breaks a rule; its own way there may be a detour.
fn explore(name: &str, pool: &Pool, at_least: usize) {
    let checker = pool.clone().checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{name}: {states} states, the farthest {depth} steps away");
    if let Some(rule) = checker.discoveries().keys().next() {
        panic!("{name} breaks \"{rule}\". {}", shortest(pool, rule).expect("a way"));
    }
    assert!(states >= at_least, "{name}: only {states} states");
}

/// The shortest way to a state that breaks a rule, if there is any: depth by depth.
pub(crate) fn shortest(
    pool: &Pool,
    rule: &'static str,
) -> Option<Path<super::state::State, crate::model_check::actions::Action>> {
    let done = HasDiscoveries::AnyOf([rule].into());
    let within = |depth: usize| {
        let checker = pool.clone().checker().finish_when(done.clone()).target_max_depth(depth).spawn_bfs().join();
        (checker.discovery(rule), checker.max_depth() < depth)
    };
    (2..).map(within).find(|(path, all)| path.is_some() || *all)?.0
}

/// I1, I2, R36
#[test]
fn a_basic_pool_through_to_its_shutdown() {
    let left = Budget { calls: 3, cancels: 1, deaths: 1, shutdowns: 1, ..NOTHING };
    explore("basic", &Pool { budget: left, ..basic() }, 50_000);
}

/// I1, R36: calls that are sent again elsewhere.
#[test]
fn two_workers_and_idempotent_calls() {
    let left = Budget { calls: 3, deaths: 1, ..NOTHING };
    let pool = coarse(pool(WorkerTypeSettings::Basic, 2, 1, &[ANYONE, AGAIN]));
    let pool = Pool { budget: left, ..pool };
    let more = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    explore("idempotent", &Pool { budget: more, ..patient(pool.clone()) }, 140_000);
    if is_large() {
        explore("idempotent, with deadlines", &pool, 3_000_000);
    }
}

/// I1, I7: the pool fails, and its probe brings it back.
#[test]
fn a_pool_that_fails_and_recovers() {
    let left = Budget { calls: 2, deaths: 3, shutdowns: 1, ..NOTHING };
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[ANYONE, AGAIN]);
    pool.settings.restart.max = 1;
    explore("failing", &Pool { budget: left, ..pool }, 15_000);
}

/// I1, I2: one base worker and one of the overflow.
#[test]
fn an_overflow_worker() {
    let left = Budget { calls: 3, deaths: 1, ..NOTHING };
    let mut pool = coarse(pool(routed(Expiry::Immediate, OnExpired::Rebind), 1, 1, &[ANYONE, A]));
    pool.settings.overflow = 1;
    explore("overflow", &Pool { budget: left, ..pool }, 250_000);
}

/// I1, I7, R12, R28: overflow workers that cannot start, in a pool that may fail once a base worker cannot either.
#[test]
fn overflow_workers_that_fail() {
    let left = Budget { calls: 3, deaths: 3, ..NOTHING };
    let mut pool = patient(coarse(pool(WorkerTypeSettings::Basic, 1, 1, &[ANYONE])));
    (pool.settings.overflow, pool.settings.restart.max) = (2, 1);
    explore("failing overflow", &Pool { budget: left, ..pool }, 250_000);
}

/// I3, R19: a worker with room for two calls, and a session that takes one at a time.
#[test]
fn a_strict_session() {
    let left = Budget { calls: 4, cancels: 1, deaths: 1, shutdowns: 1, ..NOTHING };
    let mut pool = Pool { budget: left, ..strict() };
    pool.settings.queue.per_session = 2; // so that two stand in line, and have an order
    explore("strict", &pool, 250_000);
}

/// I3, I4, R20: two sessions on two workers.
#[test]
fn two_strict_sessions() {
    let left = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    explore("two sessions", &Pool { budget: left, ..patient(two_workers(&[A, B])) }, 100_000);
}

/// I1, I2, I3: deadlines in a session whose worker others use too.
#[test]
fn a_session_among_other_calls() {
    let left = Budget { calls: 3, cancels: 1, ..NOTHING };
    explore("mixed", &Pool { budget: left, ..two_workers(&[A, ANYONE]) }, 200_000);
}

/// I3, I4, R19: hints beside strict calls.
#[test]
fn a_session_with_hints() {
    let left = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    explore("hints", &Pool { budget: left, ..patient(two_workers(&[A, HINT])) }, 100_000);
}

/// I3, R19
#[test]
fn a_session_that_fails_fast() {
    let left = Budget { calls: 3, deaths: 1, shutdowns: 1, ..NOTHING };
    explore("fail fast", &Pool { budget: left, ..two_workers(&[A, FAST]) }, 100_000);
}

/// I3, I4: binds, unbinds and ends between the calls of a session.
#[test]
fn sessions_bound_and_ended_by_messages() {
    let left = Budget { calls: 3, cancels: 1, deaths: 1, manual_bindings: 2, ..NOTHING };
    explore("by hand", &Pool { budget: left, ..patient(two_workers(&[A])) }, 500_000);
}

/// I3, I4, R14: whoever is bound by hand or by a call, when the worker's sessions are removed.
#[test]
fn sessions_removed_from_their_worker() {
    explore("removed", &removed(), 200_000);
}

/// I1, R26: pings that are missed, a worker that is degraded, restored, and ended.
#[test]
fn health_gated_dispatch() {
    explore("health", &health_gated(), 150_000);
}

/// I1, R33: waits, deadlines between them, and a budget with one retry left.
#[test]
fn retries_with_a_wait_and_a_budget() {
    explore("retries", &retrying(0), 125_000);
    explore("budget", &retrying(9), 115_000);
}

/// I8: whatever waits for a moment has a timer.
#[test]
fn timers_of_everything_pending() {
    explore("timed", &timed(), 20_000);
}

/// I1, R34: a breaker is never stuck.
#[test]
fn a_breaker_with_one_trial() {
    explore("breaker", &breaking(), 400_000);
}

/// I1, R36: whoever waits waits for one call of each other session.
#[test]
fn sessions_that_share_a_worker() {
    explore("fair", &shared(), 85_000);
}

/// I1, R37
#[test]
fn a_payload_in_quarantine() {
    explore("poison", &poisoned(), 200_000);
}

/// I3, I4, R16
#[test]
fn sessions_that_expire_at_once() {
    expires("immediate", Expiry::Immediate, OnExpired::Rebind, 150_000);
}

/// I3, I4, R16
#[test]
fn sessions_that_expire_in_two_phases() {
    expires("two phases", Expiry::TwoPhase { grace: beats(10) }, OnExpired::Rebind, 150_000);
}

/// I3, I4, R16
#[test]
fn calls_of_expired_sessions_are_refused() {
    expires("refusing", Expiry::TwoPhase { grace: beats(10) }, OnExpired::Reject, 65_000);
}

fn expires(name: &str, expiry: Expiry, on_expired: OnExpired, at_least: usize) {
    let idles = if expiry == Expiry::Immediate { 3 } else { 2 }; // what was marked goes by a timer: nobody has to wait for it
    let left = Budget { calls: 3, deaths: 1, idles, ..NOTHING };
    explore(name, &Pool { warm: true, budget: left, ..pool(routed(expiry, on_expired), 1, 1, &[A]) }, at_least);
}
