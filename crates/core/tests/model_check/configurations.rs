//! The small pools of which every state is visited, and the minimum number of their states.

use super::{
    actions::units,
    pool::{Kind, Pool},
    state::Budget,
};
use herder_core::{
    Affinity, AffinitySettings, BatchLimits, BreakerSettings, CountedFailures, Expiry, OnExpired, Pipeline,
    PoisonSettings, Settings, Timestamp, WorkerTypeSettings,
};
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::time::Duration;

const NOTHING: Budget = Budget {
    calls: 0,
    cancels: 0,
    failed_sends: 0,
    deaths: 0,
    manual_bindings: 0,
    removals: 0,
    idles: 0,
    shutdowns: 0,
    reloads: 0,
    unhealthy: 0,
};
pub(crate) const ANY_WORKER: Kind = Kind { session: None, affinity: None, idempotent: false, payload: None };
const IDEMPOTENT: Kind = Kind { idempotent: true, ..ANY_WORKER };
const A: Kind = Kind { session: Some("a"), ..ANY_WORKER };
const B: Kind = Kind { session: Some("b"), ..ANY_WORKER };
const C: Kind = Kind { session: Some("c"), ..ANY_WORKER };
const HINT: Kind = Kind { affinity: Some(Affinity::Hint), idempotent: true, ..A };
const FAIL_FAST: Kind = Kind { affinity: Some(Affinity::StrictFailFast), ..A };

/// One worker that runs one call, and no sessions.
pub(crate) fn basic() -> Pool {
    pool(WorkerTypeSettings::Basic, 1, 1, &[ANY_WORKER])
}

/// One worker that runs two calls, and a session with strict calls.
pub(crate) fn strict() -> Pool {
    pool(routed(Expiry::Immediate, OnExpired::Rebind), 1, 2, &[A])
}

/// A worker with pings, and health-gated dispatch.
pub(crate) fn health_gated() -> Pool {
    let kind = WorkerTypeSettings::Enhanced { session_affinity: None, worker_metrics: false, state_machine: true };
    let mut pool = pool(kind, 1, 1, &[ANY_WORKER, IDEMPOTENT]);
    (pool.settings.health.interval, pool.settings.health.timeout) = (units(2), units(1));
    (pool.settings.health.examination, pool.settings.health.failures) = (units(1), 2);
    let budget = Budget { calls: 2, deaths: 1, ..NOTHING };
    coarse(Pool { has_control: true, until: Some(Timestamp(0) + units(8)), budget, ..pool })
}

/// Calls that are retried after a wait, after this many earlier retries.
pub(crate) fn retrying(earlier_retries: u32) -> Pool {
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[IDEMPOTENT, ANY_WORKER]);
    (pool.settings.retry.attempts, pool.settings.retry.budget, pool.settings.restart.max) = (3, 0, 100);
    let budget = Budget { calls: 2, cancels: 1, deaths: 2, shutdowns: 1, ..NOTHING };
    Pool { starts_ready: true, earlier_retries, budget, ..pool }
}

/// Everything that can wait for a time does: starts that time out, idle overflow workers, and calls that wait, run, or
/// are abandoned.
pub(crate) fn timed() -> Pool {
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[IDEMPOTENT]);
    (pool.settings.overflow, pool.settings.overflow_idle_timeout, pool.settings.start_timeout) =
        (1, units(1), units(3));
    let budget = Budget { calls: 2, cancels: 1, deaths: 1, ..NOTHING };
    Pool { until: Some(Timestamp(0) + units(6)), budget, ..coarse(pool) }
}

/// A pool that starts its workers with the first call, and may be shut down before.
pub(crate) fn lazy() -> Pool {
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[IDEMPOTENT, ANY_WORKER]);
    pool.settings.lazy = true;
    let budget = Budget { calls: 2, cancels: 1, deaths: 1, shutdowns: 1, ..NOTHING };
    coarse(Pool { budget, ..pool })
}

/// A breaker that opens after one failure.
pub(crate) fn breaking() -> Pool {
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[ANY_WORKER]);
    let counts = CountedFailures { timeout: true, connection: true, signal: true, python: true };
    pool.settings.breaker = Some(BreakerSettings {
        failure_threshold: 1,
        success_threshold: 2,
        open_duration: units(2),
        half_open_max_calls: 1,
        counts,
    });
    pool.settings.restart.max = 100;
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, manual_bindings: 1, idles: 1, ..NOTHING };
    coarse(Pool { budget, ..pool })
}

/// Sessions that share one worker.
pub(crate) fn shared() -> Pool {
    let mut pool = without_deadlines(pool(WorkerTypeSettings::Basic, 1, 1, &[A, B, C]));
    (pool.settings.queue.limit, pool.settings.queue.per_session) = (6, 6);
    let budget = Budget { calls: 6, ..NOTHING };
    Pool { is_fair: true, starts_ready: true, budget, ..pool }
}

/// A call that is quarantined after two deaths.
pub(crate) fn poisoned() -> Pool {
    let mut pool = pool(
        WorkerTypeSettings::Basic,
        1,
        1,
        &[Kind { payload: Some(1), ..IDEMPOTENT }, Kind { payload: Some(2), ..ANY_WORKER }],
    );
    pool.settings.poison = Some(PoisonSettings { max_worker_deaths: 2, quarantine: units(10) });
    // Longer than a restart, so that another call with this fingerprint can run in the meantime.
    pool.settings.retry.base = units(3);
    pool.settings.restart.max = 100;
    let budget = Budget { calls: 3, deaths: 3, idles: 1, ..NOTHING };
    without_deadlines(Pool { starts_ready: true, budget, ..pool })
}

/// Sessions that are bound, unbound, ended, and removed from their worker all at once.
pub(crate) fn removed() -> Pool {
    let budget = Budget { calls: 3, deaths: 1, manual_bindings: 1, removals: 1, shutdowns: 1, ..NOTHING };
    Pool { budget, ..without_deadlines(two_workers(&[A])) }
}

/// Sessions whose calls run in batches of two.
pub(crate) fn batches_of_sessions() -> Pool {
    let budget = Budget { calls: 3, deaths: 1, shutdowns: 1, ..NOTHING };
    Pool { budget, ..in_batches(two_workers(&[A, B])) }
}

/// Runs all calls in batches of two.
fn in_batches(pool: Pool) -> Pool {
    let limits = BatchLimits { max_batch_size: 2, max_wait: units(1) };
    Pool { batches: Some(limits), ..without_deadlines(pool) }
}

/// A worker that is replaced while it runs a call.
pub(crate) fn reloaded() -> Pool {
    let budget = Budget { calls: 2, deaths: 1, reloads: 1, shutdowns: 1, ..NOTHING };
    let mut pool = coarse(pool(WorkerTypeSettings::Basic, 1, 1, &[ANY_WORKER]));
    pool.settings.restart.max = 100;
    Pool { budget, ..pool }
}

/// One worker whose calls are short, so that it is sent more in advance.
pub(crate) fn in_advance(kinds: &[Kind]) -> Pool {
    let mut pool = coarse(pool(WorkerTypeSettings::Basic, 1, 1, kinds));
    (pool.settings.pipeline, pool.settings.queue.limit) = (Pipeline::Auto, 3);
    pool.settings.restart.max = 100;
    Pool { in_order: true, has_control: true, ..pool }
}

fn two_workers(kinds: &[Kind]) -> Pool {
    coarse(pool(routed(Expiry::Immediate, OnExpired::Rebind), 2, 1, kinds))
}

/// Makes different timeouts end at the same time, and starts with ready workers, which leads to fewer states.
fn coarse(mut pool: Pool) -> Pool {
    pool.settings.queue.timeout = units(1);
    (pool.settings.cancel.interrupt, pool.settings.cancel.kill) = (units(1), units(1));
    Pool { call_timeout: units(1), starts_ready: true, ..pool }
}

/// Returns a pool whose timeouts are a few time units; periodic timers never fire.
fn pool(kind: WorkerTypeSettings, size: u32, window: u32, kinds: &[Kind]) -> Pool {
    let mut settings = Settings::new(kind, size);
    // `window` is the number of calls of a process, unless a configuration is adaptive.
    settings.pipeline = Pipeline::Fixed(1);
    (settings.overflow, settings.overflow_idle_timeout) = (0, Duration::MAX);
    (settings.concurrency, settings.retry.attempts, settings.retry.base, settings.retry.jitter) =
        (window, 2, units(1), 0);
    (settings.queue.shed, settings.poison) = (false, None);
    (settings.queue.limit, settings.queue.per_session, settings.queue.timeout) = (2, 1, units(2));
    (settings.cancel.interrupt, settings.cancel.kill) = (units(2), units(2));
    (settings.health.interval, settings.start_timeout) = (Duration::MAX, Duration::MAX);
    (settings.restart.backoff, settings.restart.max_backoff, settings.restart.cooldown) =
        (units(1), units(1), units(2));
    (settings.sessions.timeout, settings.sessions.cleanup_interval) = (units(10), Duration::MAX);
    let mut sessions: Vec<&str> = kinds.iter().filter_map(|kind| kind.session).collect();
    sessions.dedup();
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    let kinds = kinds.to_vec();
    let (starts_ready, is_fair, has_control, until, earlier_retries, fault) = (false, false, false, None, 0, None);
    Pool {
        settings,
        kinds,
        sessions,
        call_timeout: units(4),
        starts_ready,
        has_control,
        in_order: false,
        has_streams: false,
        batches: None,
        until,
        earlier_retries,
        is_fair,
        budget,
        fault,
    }
}

fn routed(expiry: Expiry, on_expired: OnExpired) -> WorkerTypeSettings {
    let affinity = AffinitySettings { expiry, mode: Affinity::StrictQueue, on_expired };
    WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), worker_metrics: false, state_machine: false }
}

/// Makes calls wait without limit, so that only starts and kills depend on time.
pub(crate) fn without_deadlines(mut pool: Pool) -> Pool {
    pool.settings.queue.timeout = Duration::MAX;
    Pool { call_timeout: Duration::MAX, ..pool }
}

/// Returns whether the models may take minutes and gigabytes.
#[expect(clippy::disallowed_methods, reason = "reads the size of the model from the environment")]
fn is_large() -> bool {
    std::env::var_os("HERDER_LARGE").is_some()
}

/// Visits every state, depth first, which needs little memory. (Breadth first keeps hundreds of thousands of states in
/// its queue, and takes twice the time.) The checker stops at a state that violates a rule; the path that it found may
/// be longer than necessary.
fn explore(name: &str, pool: &Pool, at_least: usize) {
    let checker = pool.clone().checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{name}: {states} states, the farthest at {depth} steps");
    if let Some(rule) = checker.discoveries().keys().next() {
        panic!("{name} violates \"{rule}\". {}", shortest(pool, rule).expect("a path"));
    }
    assert!(states >= at_least, "{name}: only {states} states");
}

/// Returns the shortest path to a state that violates a rule, if there is one, by increasing depth.
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
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, shutdowns: 1, ..NOTHING };
    explore("basic", &Pool { budget, ..basic() }, 200_000);
}

/// I1, R36: calls that are retried on another worker.
#[test]
fn two_workers_and_idempotent_calls() {
    let budget = Budget { calls: 3, deaths: 1, ..NOTHING };
    let pool = coarse(pool(WorkerTypeSettings::Basic, 2, 1, &[ANY_WORKER, IDEMPOTENT]));
    let pool = Pool { budget, ..pool };
    let more = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    explore("idempotent", &Pool { budget: more, ..without_deadlines(pool.clone()) }, 35_000);
    if is_large() {
        explore("idempotent, with deadlines", &pool, 3_000_000);
    }
}

/// I1, R33, R42: streams, which are retried until their first chunk, also if they were sent in advance.
#[test]
fn streams() {
    let streams = |mut pool: Pool| {
        pool.settings.stream.stall = Duration::MAX;
        Pool { has_streams: true, ..without_deadlines(pool) }
    };
    let budget = Budget { calls: 2, cancels: 1, deaths: 2, ..NOTHING };
    let two = coarse(pool(WorkerTypeSettings::Basic, 2, 1, &[IDEMPOTENT]));
    explore("streams", &Pool { budget, ..streams(two) }, 50_000);
    let budget = Budget { calls: 4, cancels: 1, deaths: 1, ..NOTHING };
    explore("streams in advance", &Pool { budget, ..streams(in_advance(&[IDEMPOTENT])) }, 30_000);
}

/// I1, I2, I3, R33: batches that become full or have waited, whose calls are cancelled, and whose workers die.
#[test]
fn batches() {
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, failed_sends: 1, ..NOTHING };
    let one = coarse(pool(WorkerTypeSettings::Basic, 1, 1, &[ANY_WORKER, IDEMPOTENT]));
    explore("batches", &Pool { budget, ..in_batches(one) }, 20_000);
    explore("batches of sessions", &batches_of_sessions(), 40_000);
}

/// I1, I7: the pool fails, and its probe recovers it.
#[test]
fn a_pool_that_fails_and_recovers() {
    let budget = Budget { calls: 2, deaths: 3, shutdowns: 1, ..NOTHING };
    let mut pool = pool(WorkerTypeSettings::Basic, 1, 1, &[ANY_WORKER, IDEMPOTENT]);
    pool.settings.restart.max = 1;
    explore("failing", &Pool { budget, ..pool }, 70_000);
}

/// I1, I2, I7, R31: replacements that start or fail, workers that die or hang during a reload, a second reload, and the shutdown.
#[test]
fn a_pool_that_is_reloaded() {
    explore("reloaded", &reloaded(), 75_000);
    let budget = Budget { calls: 2, reloads: 2, ..NOTHING };
    explore("reloaded twice", &Pool { budget, ..reloaded() }, 10_000);
    if is_large() {
        let budget = Budget { calls: 2, cancels: 1, deaths: 1, reloads: 2, unhealthy: 1, shutdowns: 1, ..NOTHING };
        explore("reloaded, and unhealthy", &Pool { budget, ..reloaded() }, 11_000_000);
    }
}

/// I1, I7, R35: a worker whose health function fails, among calls that are abandoned.
#[test]
fn an_unhealthy_worker() {
    let budget = Budget { calls: 2, cancels: 1, deaths: 1, unhealthy: 1, shutdowns: 1, ..NOTHING };
    explore("unhealthy", &Pool { budget, ..reloaded() }, 45_000);
}

/// I3, I4, R31: the sessions of workers that are replaced.
#[test]
fn sessions_of_a_pool_that_is_reloaded() {
    let budget = Budget { calls: 3, deaths: 1, reloads: 1, ..NOTHING };
    explore("reloaded sessions", &Pool { budget, ..without_deadlines(two_workers(&[A])) }, 10_000);
}

/// I1, I2, R20, R71: calls in advance that begin, are taken back, and return when their worker dies.
#[test]
fn calls_in_advance() {
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    explore("in advance", &Pool { budget, ..in_advance(&[ANY_WORKER]) }, 30_000);
}

/// R71: two workers, of which one may be stuck.
#[test]
fn calls_in_advance_of_two_workers() {
    let mut pool = in_advance(&[ANY_WORKER]);
    pool.settings.pool_size = 2;
    let budget = Budget { calls: 4, deaths: 1, ..NOTHING };
    explore("in advance of two", &Pool { budget, ..without_deadlines(pool) }, 100_000);
}

/// I3, R20, R71: strict calls in advance, which are never taken back.
#[test]
fn strict_calls_in_advance() {
    let budget = Budget { calls: 4, deaths: 1, ..NOTHING };
    let mut pool = without_deadlines(in_advance(&[A, ANY_WORKER]));
    pool.settings.worker_type = routed(Expiry::Immediate, OnExpired::Rebind);
    explore("strict in advance", &Pool { budget, ..pool }, 30_000);
}

/// I1, I2: one base worker and one overflow worker.
#[test]
fn an_overflow_worker() {
    let budget = Budget { calls: 3, deaths: 1, ..NOTHING };
    let mut pool = coarse(pool(routed(Expiry::Immediate, OnExpired::Rebind), 1, 1, &[ANY_WORKER, A]));
    pool.settings.overflow = 1;
    explore("overflow", &Pool { budget, ..pool }, 330_000);
}

/// I1, I7, R12, R28: overflow workers that cannot start, in a pool that fails when a base worker cannot start either.
#[test]
fn overflow_workers_that_fail() {
    let budget = Budget { calls: 3, deaths: 3, ..NOTHING };
    let mut pool = without_deadlines(coarse(pool(WorkerTypeSettings::Basic, 1, 1, &[ANY_WORKER])));
    (pool.settings.overflow, pool.settings.restart.max) = (2, 1);
    explore("failing overflow", &Pool { budget, ..pool }, 170_000);
}

/// I3, R19: a worker with capacity for two calls, and a session whose calls run one at a time.
#[test]
fn a_strict_session() {
    let budget = Budget { calls: 4, cancels: 1, deaths: 1, shutdowns: 1, ..NOTHING };
    let mut pool = Pool { budget, ..strict() };
    // Two calls wait in the session's queue, so that their order matters.
    pool.settings.queue.per_session = 2;
    explore("strict", &pool, 290_000);
}

/// I3, I4, R20: two sessions on two workers.
#[test]
fn two_strict_sessions() {
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    explore("two sessions", &Pool { budget, ..without_deadlines(two_workers(&[A, B])) }, 60_000);
}

/// I1, I2, I3: deadlines in a session whose worker also runs other calls.
#[test]
fn a_session_among_other_calls() {
    let budget = Budget { calls: 3, cancels: 1, ..NOTHING };
    explore("mixed", &Pool { budget, ..two_workers(&[A, ANY_WORKER]) }, 200_000);
}

/// I3, I4, R19: hint calls and strict calls.
#[test]
fn a_session_with_hints() {
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, ..NOTHING };
    explore("hints", &Pool { budget, ..without_deadlines(two_workers(&[A, HINT])) }, 90_000);
}

/// I3, R19
#[test]
fn a_session_that_fails_fast() {
    let budget = Budget { calls: 3, deaths: 1, shutdowns: 1, ..NOTHING };
    explore("fail fast", &Pool { budget, ..two_workers(&[A, FAIL_FAST]) }, 120_000);
}

/// I3, I4: binds, unbinds and ends between the calls of a session.
#[test]
fn sessions_bound_and_ended_by_messages() {
    let budget = Budget { calls: 3, cancels: 1, deaths: 1, manual_bindings: 2, ..NOTHING };
    explore("bound by messages", &Pool { budget, ..without_deadlines(two_workers(&[A])) }, 350_000);
}

/// I3, I4, R14: sessions that were bound by messages or by calls, when all sessions of the worker are removed.
#[test]
fn sessions_removed_from_their_worker() {
    explore("removed", &removed(), 200_000);
}

/// I1, R26: missed pings; a worker that is degraded, restored and stopped.
#[test]
fn health_gated_dispatch() {
    explore("health", &health_gated(), 50_000);
}

/// I1, R33: backoffs, deadlines during them, and a budget with one retry left.
#[test]
fn retries_with_a_wait_and_a_budget() {
    explore("retries", &retrying(0), 70_000);
    explore("budget", &retrying(9), 50_000);
}

/// I1, I2, I8, R33, R35: attempts that cannot be written to a worker with a window of two, before and after their calls are
/// settled, among retries and through to the shutdown.
#[test]
fn attempts_that_cannot_be_written() {
    let budget = Budget { calls: 3, failed_sends: 1, deaths: 1, shutdowns: 1, ..NOTHING };
    let mut pool = coarse(pool(WorkerTypeSettings::Basic, 1, 1, &[IDEMPOTENT]));
    pool.settings.pipeline = Pipeline::Fixed(2);
    explore("failed sends", &Pool { budget, ..pool }, 55_000);
}

/// I3, I4, R34, R37: strict calls and hint calls that cannot be written.
#[test]
fn session_calls_that_cannot_be_written() {
    let budget = Budget { calls: 3, cancels: 1, failed_sends: 2, deaths: 1, shutdowns: 1, ..NOTHING };
    let mut pool = without_deadlines(coarse(pool(routed(Expiry::Immediate, OnExpired::Rebind), 1, 1, &[A, HINT])));
    pool.settings.pipeline = Pipeline::Fixed(2);
    explore("failed sends of a session", &Pool { budget, ..pool }, 60_000);
}

/// R34, R37: a call that could not be written returns its permit, and is no outcome for the breaker and the quarantine.
#[test]
fn attempts_without_an_outcome() {
    let budget = Budget { calls: 3, failed_sends: 1, deaths: 1, ..NOTHING };
    explore("failed sends, breaker", &Pool { budget, ..breaking() }, 7_500);
    let budget = Budget { calls: 3, failed_sends: 1, deaths: 2, ..NOTHING };
    explore("failed sends, poison", &Pool { budget, ..poisoned() }, 14_000);
}

/// I8: everything that waits for a time has a timer.
#[test]
fn timers_of_everything_pending() {
    let mut pool = timed();
    explore("timed", &pool, 16_000);
    // In a pool without an end, the times of the examinations would make the number of states infinite.
    pool.settings.overflow_delay = units(1) / 2;
    explore("timed, with a delay", &pool, 16_000);
}

/// I1, I7, R11: the first call of a lazy pool starts its workers.
#[test]
fn a_lazy_pool() {
    explore("lazy", &lazy(), 1_000);
}

/// I1, R34: a breaker can always close again.
#[test]
fn a_breaker_with_one_trial() {
    explore("breaker", &breaking(), 250_000);
}

/// I1, R36: a call waits for at most one call of each other session.
#[test]
fn sessions_that_share_a_worker() {
    explore("fair", &shared(), 38_000);
}

/// I1, R37
#[test]
fn a_payload_in_quarantine() {
    explore("poison", &poisoned(), 90_000);
}

/// I3, I4, R16
#[test]
fn sessions_that_expire_at_once() {
    expires("immediate", Expiry::Immediate, OnExpired::Rebind, 120_000);
}

/// I3, I4, R16
#[test]
fn sessions_that_expire_in_two_phases() {
    expires("two phases", Expiry::TwoPhase { grace: units(10) }, OnExpired::Rebind, 120_000);
}

/// I3, I4, R16
#[test]
fn calls_of_expired_sessions_are_refused() {
    expires("refusing", Expiry::TwoPhase { grace: units(10) }, OnExpired::Reject, 40_000);
}

fn expires(name: &str, expiry: Expiry, on_expired: OnExpired, at_least: usize) {
    // A timer removes marked sessions, without another wait.
    let idles = if expiry == Expiry::Immediate { 3 } else { 2 };
    let budget = Budget { calls: 3, deaths: 1, idles, ..NOTHING };
    explore(name, &Pool { starts_ready: true, budget, ..pool(routed(expiry, on_expired), 1, 1, &[A]) }, at_least);
}
