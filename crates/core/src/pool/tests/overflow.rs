//! Overflow workers (R12): when they start, how failed starts back off, and when they stop.

use super::*;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Returns a pool whose base workers each run one call that does not end.
fn busy(settings: Settings) -> Harness {
    let size = settings.pool_size;
    let mut harness = Harness::with(settings);
    (0..size).for_each(|_| _ = harness.call_within(None, 10 * HOUR));
    harness
}

fn settings(size: u32, overflow: u32) -> Settings {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, size);
    settings.overflow = overflow;
    settings.queue.timeout = 10 * HOUR;
    (settings.health.interval, settings.queue.shed) = (100 * HOUR, false);
    settings
}

fn started(effects: &Effects) -> Vec<WorkerRef> {
    let start = |effect: &Effect| match effect {
        Effect::Start(worker) => Some(*worker),
        _ => None,
    };
    effects.iter().filter_map(start).collect()
}

impl Harness {
    /// Lets time pass in which every start fails. Returns when each of them failed.
    fn wait_with_failing_starts(&mut self, effects: &Effects, span: Duration) -> Vec<Duration> {
        let (begin, end) = (self.now, self.now + span);
        let (mut starting, mut failed) = (started(effects), Vec::new());
        loop {
            while let Some(worker) = starting.pop() {
                failed.push(self.now - begin);
                let effects = self.exit_by_signal(worker);
                assert!(
                    !effects.iter().any(|effect| matches!(effect, Effect::Log(LogEvent::PoolFailed(_)))),
                    "{failed:?}"
                );
                starting.extend(started(&effects));
            }
            let Some(next) = self.core.next_wakeup().filter(|next| *next <= end) else { break };
            starting = started(&self.wait(next - self.now));
        }
        self.now = end;
        failed
    }

    fn ready_now(&mut self, worker: WorkerRef) -> Effects {
        self.step(Input::Ready { worker, window: 1, control: false, in_order: None })
    }
}

/// R12, R28: overflow workers that cannot start have their own backoff. The pool does not fail, and base workers
/// restart at once.
#[test]
fn r12_overflow_workers_that_cannot_start_never_fail_the_pool() {
    let mut harness = busy(settings(4, 16));
    harness.wait(HOUR);
    let (waits, effects) = harness.call_within(None, HOUR);
    let failed = harness.wait_with_failing_starts(&effects, 60_000 * MS);
    let first: Vec<u128> = failed.iter().take(6).map(Duration::as_millis).collect();
    assert_eq!(first, [0, 100, 300, 700, 1500, 3100], "one at a time, and the wait doubles");
    assert_eq!(failed.len(), 12, "then one every ten seconds: {failed:?}");
    assert_eq!(harness.core.pool_state(), PoolState::Running);
    let effects = harness.exit_by_signal(process(1, 1));
    assert_eq!(started(&effects), [process(1, 2)], "a base worker that lived for an hour is replaced at once");
    let effects = harness.ready_now(process(1, 2));
    assert!(sent(&effects, waits).is_some());
}

/// R12: after a failed start, one overflow worker at a time is started until one is ready, however many calls wait.
#[test]
fn r12_after_a_failed_start_overflow_workers_start_one_at_a_time() {
    let mut settings = settings(1, 4);
    settings.start_batch = 2;
    let mut harness = busy(settings);
    let mut effects = Vec::new();
    (0..8).for_each(|_| effects.extend(harness.call_within(None, HOUR).1));
    assert_eq!(started(&effects), [process(2, 1), process(3, 1)], "`start_batch` allows two");
    let failed = harness.wait_with_failing_starts(&effects, 1000 * MS);
    let times: Vec<u128> = failed.iter().map(Duration::as_millis).collect();
    assert_eq!(
        times,
        [0, 0, 100, 300, 700],
        "two failures at the same time are one event, and the other slots wait too"
    );
    let effects = harness.wait(500 * MS);
    let [trial] = started(&effects)[..] else { panic!("{effects:?}") };
    assert!(started(&harness.wait(30_000 * MS)).is_empty(), "no other starts while it starts");
    let effects = harness.ready_now(trial);
    assert_eq!(started(&effects).len(), 2, "after it is ready, as many as `start_batch` start");
    let effects = harness.exit_by_signal(started(&effects)[0]);
    assert!(started(&effects).is_empty() && started(&harness.wait(100 * MS)).is_empty(), "one is starting");
}

/// R12: only consecutive failures add up: a worker that becomes ready resets the backoff.
#[test]
fn r12_ready_overflow_worker_resets_the_backoff() {
    let mut harness = busy(settings(1, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(harness.wait_with_failing_starts(&effects, 1400 * MS).len(), 4);
    let [trial] = started(&harness.wait(100 * MS))[..] else { panic!("the fifth start") };
    let effects = harness.ready_now(trial);
    harness.finish(sent(&effects, CallId(2)).unwrap());
    harness.wait(30_000 * MS);
    harness.exit_by_signal(trial);
    let (_, effects) = harness.call_within(None, HOUR);
    let times: Vec<u128> =
        harness.wait_with_failing_starts(&effects, 350 * MS).iter().map(Duration::as_millis).collect();
    assert_eq!(times, [0, 100, 300]);
}

/// R12: a base worker that becomes ready does not reset the backoff of the overflow.
#[test]
fn r12_ready_base_worker_does_not_reset_the_overflow_backoff() {
    let mut harness = busy(settings(1, 1));
    harness.wait(HOUR);
    let (_, effects) = harness.call_within(None, HOUR);
    harness.wait_with_failing_starts(&effects, 50 * MS);
    let before = harness.core.restarts.overflow_backoff();
    harness.exit_by_signal(process(1, 1));
    harness.ready_now(process(1, 2));
    assert!(before.is_some());
    assert_eq!(harness.core.restarts.overflow_backoff(), before);
}

/// R12: an early death delays the next start of this slot, from the death on, and of no other overflow slot.
#[test]
fn r12_early_death_delays_only_its_own_overflow_slot() {
    let mut harness = busy(settings(1, 2));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [process(2, 1)]);
    harness.ready_now(process(2, 1));
    harness.exit_by_signal(process(2, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [process(3, 1)]);
    harness.ready_now(process(3, 1));
    harness.wait(60 * MS);
    let (_, effects) = harness.call_within(None, HOUR);
    assert!(started(&effects).is_empty(), "w3 runs a call, w2 waits");
    assert!(started(&harness.wait(39 * MS)).is_empty());
    assert_eq!(started(&harness.wait(MS)), [process(2, 2)], "100 ms after its death");
}

/// R12: one overflow worker in backoff is sufficient for one waiting call.
#[test]
fn r12_overflow_worker_in_backoff_counts_as_coming_capacity() {
    let mut harness = busy(settings(1, 2));
    (0..2).for_each(|_| _ = harness.call_within(None, HOUR));
    for worker in [2, 3] {
        harness.ready_now(process(worker, 1));
    }
    for worker in [2, 3] {
        // An early death, during a call.
        harness.exit_by_signal(process(worker, 1));
    }
    let (_, effects) = harness.call_within(None, HOUR);
    assert!(started(&effects).is_empty());
    assert_eq!(started(&harness.wait(100 * MS)), [process(2, 2)]);
    assert!(started(&harness.wait(60_000 * MS)).is_empty());
}

/// R12: an overflow worker in backoff counts as coming capacity; a base worker in backoff does not, and an overflow
/// worker replaces it.
#[test]
fn r12_overflow_replaces_a_base_worker_in_backoff() {
    let mut harness = busy(settings(1, 2));
    harness.exit_by_signal(process(1, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [process(2, 1)], "w1 starts only after 100 ms");
    harness.exit_by_signal(process(2, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert!(started(&effects).is_empty(), "w2 is in backoff");
    assert_eq!(started(&harness.wait(100 * MS)), [process(1, 2), process(2, 2)]);
}

/// R12: a base worker that waits for room in the batch counts as coming capacity.
#[test]
fn r12_start_waiting_for_the_batch_counts_as_coming_capacity() {
    let mut settings = settings(2, 2);
    (settings.start_batch, settings.restart.min_uptime) = (1, Duration::ZERO);
    let mut harness = busy(settings);
    harness.wait(MS);
    harness.exit_by_signal(process(1, 1));
    harness.exit_by_signal(process(2, 1));
    let mut effects = Vec::new();
    (0..2).for_each(|_| effects.extend(harness.call_within(None, HOUR).1));
    assert_eq!(harness.core.workers(harness.now).len(), 2, "no overflow worker: w1 starts, then w2");
    harness.call_within(None, HOUR);
    assert_eq!(harness.core.workers(harness.now).len(), 3, "a third call waits");
}

/// R12: each coming worker has capacity for `concurrency` x `pipeline` calls.
#[test]
fn r12_coming_worker_covers_as_many_calls_as_its_window() {
    let mut settings = settings(1, 4);
    (settings.concurrency, settings.pipeline) = (2, 2.into());
    let mut harness = busy(settings);
    let mut starts =
        |calls: usize| (0..calls).map(|_| started(&harness.call_within(None, HOUR).1).len()).collect::<Vec<_>>();
    assert_eq!(starts(6), [1, 0, 0, 0, 1, 0], "w1 has one call slot only");
}

/// R12: a scheduled start is skipped if no call waits for it any more.
#[test]
fn r12_unneeded_overflow_worker_is_not_started() {
    let mut harness = busy(settings(1, 1));
    let (call, effects) = harness.call_within(None, HOUR);
    harness.exit_by_signal(started(&effects)[0]);
    harness.step(Input::Cancel(call));
    assert!(started(&harness.wait(HOUR)).is_empty());
    assert_eq!(harness.core.workers(harness.now).len(), 1, "w2 is not scheduled");
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [process(2, 2)]);
}

/// R12: the idle time counts from the end of the last call, even if the timer was set before. A later start uses the
/// same slot.
#[test]
fn r12_overflow_idle_timeout_runs_from_the_last_call() {
    let mut harness = busy(settings(1, 2));
    let (call, _) = harness.call_within(None, HOUR);
    let effects = harness.ready_now(process(2, 1));
    let first = sent(&effects, call).unwrap();
    harness.wait(29_000 * MS);
    harness.finish(first);
    let (call, effects) = harness.call_within(None, HOUR);
    let second = sent(&effects, call).unwrap();
    let stops = |effects: &Effects| effects.iter().any(|effect| matches!(effect, Effect::Stop { .. }));
    assert!(!stops(&harness.wait(40_000 * MS)), "it is running a call");
    harness.finish(second);
    assert!(!stops(&harness.wait(29_999 * MS)));
    assert!(stops(&harness.wait(MS)));
    harness.exit_by_signal(process(2, 1));
    assert_eq!(started(&harness.call_within(None, HOUR).1), [process(2, 2)]);
}

/// R12: it is not stopped while a session is bound to it.
#[test]
fn r12_overflow_worker_with_a_session_is_not_stopped() {
    let mut settings = Settings { worker_type: WorkerTypeSettings::enhanced(), ..settings(1, 1) };
    settings.sessions.timeout = HOUR;
    let mut harness = busy(settings);
    let (call, _) = harness.call_within(None, HOUR);
    let effects = harness.ready_now(process(2, 1));
    harness.finish(sent(&effects, call).unwrap());
    harness.bind("ann", 2);
    let stops = |effects: &Effects| effects.iter().any(|effect| matches!(effect, Effect::Stop { .. }));
    assert!(!stops(&harness.wait(300_000 * MS)));
    assert!(harness.core.end_session(harness.now, "ann", &mut Vec::new()));
    assert!(stops(&harness.wait(30_000 * MS)));
}

/// R12: calls of new sessions start overflow workers only if no base worker is alive.
#[test]
fn r12_new_sessions_start_overflow_if_no_base_worker_is_alive() {
    let mut harness = busy(Settings { worker_type: WorkerTypeSettings::enhanced(), ..settings(1, 1) });
    let (_, effects) = harness.call(Some("ann"));
    assert!(started(&effects).is_empty(), "w1 is alive");
    assert_eq!(started(&harness.exit_by_signal(process(1, 1))), [process(2, 1)], "w1 starts only after 100 ms");
}

/// R12: calls that wait for less than `overflow_delay` start no overflow worker, however many wait at any time.
#[test]
fn r12_short_waits_start_no_overflow_worker() {
    let mut harness = Harness::with(Settings { overflow_delay: 10 * MS, ..settings(1, 2) });
    let (first, effects) = harness.call_within(None, HOUR);
    let mut running = sent(&effects, first).unwrap();
    for _ in 0..20 {
        let (next, effects) = harness.call_within(None, HOUR);
        assert_eq!(started(&effects), []);
        assert_eq!(started(&harness.wait(9 * MS)), []);
        let effects = harness.finish(running);
        assert_eq!(started(&effects), [], "the call waited for 9 ms");
        running = sent(&effects, next).unwrap();
    }
}

/// R12: each call starts an overflow worker once it has waited for `overflow_delay`.
#[test]
fn r12_long_waits_start_overflow_workers() {
    let mut harness = busy(Settings { overflow_delay: 10 * MS, ..settings(1, 3) });
    harness.call_within(None, HOUR);
    harness.wait(4 * MS);
    harness.call_within(None, HOUR);
    assert_eq!(started(&harness.wait(5 * MS)), []);
    assert_eq!(started(&harness.wait(MS)), [process(2, 1)], "for the call that has waited for 10 ms");
    assert_eq!(started(&harness.wait(3 * MS)), []);
    assert_eq!(started(&harness.wait(MS)), [process(3, 1)]);
    assert_eq!(started(&harness.wait(HOUR / 2)), [], "no third call waits");
}
