//! Overflow workers (R12): when they start, how those that cannot start back off, and when they end.

use super::*;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A pool whose base workers are busy, each with one call that does not end.
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
    /// Waits, and each process that starts meanwhile, or did just now, fails to: when each of them did so.
    fn wait_in_vain(&mut self, effects: &Effects, span: Duration) -> Vec<Duration> {
        let (begin, end) = (self.now, self.now + span);
        let (mut starting, mut failed) = (started(effects), Vec::new());
        loop {
            while let Some(worker) = starting.pop() {
                failed.push(self.now - begin);
                let effects = self.die(worker);
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
        self.step(Input::Ready { worker, window: 1, control: false })
    }
}

/// R12, R28: overflow workers that cannot start back off by themselves. The pool goes on, and its base workers restart at once.
#[test]
fn r12_overflow_workers_that_cannot_start_never_fail_the_pool() {
    let mut harness = busy(settings(4, 16));
    harness.wait(HOUR);
    let (waits, effects) = harness.call_within(None, HOUR);
    let failed = harness.wait_in_vain(&effects, 60_000 * MS);
    let first: Vec<u128> = failed.iter().take(6).map(Duration::as_millis).collect();
    assert_eq!(first, [0, 100, 300, 700, 1500, 3100], "one at a time, each after twice the wait");
    assert_eq!(failed.len(), 12, "then every ten seconds: {failed:?}");
    assert_eq!(harness.core.pool_state(), PoolState::Running);
    let effects = harness.die(at(1, 1));
    assert_eq!(started(&effects), [at(1, 2)], "a base worker that lived for an hour is replaced at once");
    let effects = harness.ready_now(at(1, 2));
    assert!(sent(&effects, waits).is_some());
}

/// R12: many waiting calls make no difference: after a failed start there is one at a time until an overflow worker is ready.
#[test]
fn r12_after_a_failed_start_one_overflow_worker_is_tried_at_a_time() {
    let mut settings = settings(1, 4);
    settings.start_batch = 2;
    let mut harness = busy(settings);
    let mut effects = Vec::new();
    (0..8).for_each(|_| effects.extend(harness.call_within(None, HOUR).1));
    assert_eq!(started(&effects), [at(2, 1), at(3, 1)], "the batch has room for two");
    let failed = harness.wait_in_vain(&effects, 1000 * MS);
    let times: Vec<u128> = failed.iter().map(Duration::as_millis).collect();
    assert_eq!(times, [0, 0, 100, 300, 700], "two that fail together are one event, and those behind them wait too");
    let effects = harness.wait(500 * MS);
    let [trial] = started(&effects)[..] else { panic!("{effects:?}") };
    assert!(started(&harness.wait(30_000 * MS)).is_empty(), "nothing else starts while it does");
    let effects = harness.ready_now(trial);
    assert_eq!(started(&effects).len(), 2, "it is ready: others start again, as many as the batch has room for");
    let effects = harness.die(started(&effects)[0]);
    assert!(started(&effects).is_empty() && started(&harness.wait(100 * MS)).is_empty(), "one is starting");
}

/// R12: failures add up only while they follow each other: a worker that became ready ends the row.
#[test]
fn r12_an_overflow_worker_that_is_ready_ends_the_backoff() {
    let mut harness = busy(settings(1, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(harness.wait_in_vain(&effects, 1400 * MS).len(), 4);
    let [trial] = started(&harness.wait(100 * MS))[..] else { panic!("the fifth start") };
    let effects = harness.ready_now(trial);
    harness.finish(sent(&effects, CallId(2)).unwrap());
    harness.wait(30_000 * MS);
    harness.die(trial);
    let (_, effects) = harness.call_within(None, HOUR);
    let times: Vec<u128> = harness.wait_in_vain(&effects, 350 * MS).iter().map(Duration::as_millis).collect();
    assert_eq!(times, [0, 100, 300]);
}

/// R12: a base worker that becomes ready says nothing of the overflow.
#[test]
fn r12_a_base_worker_that_is_ready_does_not_end_the_overflows_backoff() {
    let mut harness = busy(settings(1, 1));
    harness.wait(HOUR);
    let (_, effects) = harness.call_within(None, HOUR);
    harness.wait_in_vain(&effects, 50 * MS);
    let before = harness.core.overflow.clone();
    harness.die(at(1, 1));
    harness.ready_now(at(1, 2));
    assert!(before.is_failing());
    assert_eq!(harness.core.overflow, before);
}

/// R12: an overflow worker that died young rests, another slot of the overflow does not; the wait runs from its death.
#[test]
fn r12_only_the_overflow_slot_whose_worker_died_young_rests() {
    let mut harness = busy(settings(1, 2));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [at(2, 1)]);
    harness.ready_now(at(2, 1));
    harness.die(at(2, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [at(3, 1)]);
    harness.ready_now(at(3, 1));
    harness.wait(60 * MS);
    let (_, effects) = harness.call_within(None, HOUR);
    assert!(started(&effects).is_empty(), "w3 runs a call, w2 rests");
    assert!(started(&harness.wait(39 * MS)).is_empty());
    assert_eq!(started(&harness.wait(MS)), [at(2, 2)], "100 ms after its death");
}

/// R12: one overflow worker that waits out its backoff is enough for one call.
#[test]
fn r12_an_overflow_worker_in_backoff_is_on_its_way() {
    let mut harness = busy(settings(1, 2));
    (0..2).for_each(|_| _ = harness.call_within(None, HOUR));
    for worker in [2, 3] {
        harness.ready_now(at(worker, 1));
    }
    for worker in [2, 3] {
        harness.die(at(worker, 1)); // in the middle of its call, and young
    }
    let (_, effects) = harness.call_within(None, HOUR);
    assert!(started(&effects).is_empty());
    assert_eq!(started(&harness.wait(100 * MS)), [at(2, 2)]);
    assert!(started(&harness.wait(60_000 * MS)).is_empty());
}

/// R12: an overflow worker that waits out its backoff is on its way; a base worker that does is not, and the overflow stands in.
#[test]
fn r12_the_overflow_stands_in_for_a_base_worker_in_backoff() {
    let mut harness = busy(settings(1, 2));
    harness.die(at(1, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [at(2, 1)], "w1 starts in 100 ms only");
    harness.die(at(2, 1));
    let (_, effects) = harness.call_within(None, HOUR);
    assert!(started(&effects).is_empty(), "w2 will be tried again");
    assert_eq!(started(&harness.wait(100 * MS)), [at(1, 2), at(2, 2)]);
}

/// R12: a base worker that only waits for room in the batch is on its way.
#[test]
fn r12_a_start_that_waits_for_the_batch_is_on_its_way() {
    let mut settings = settings(2, 2);
    (settings.start_batch, settings.restart.min_uptime) = (1, Duration::ZERO);
    let mut harness = busy(settings);
    harness.wait(MS);
    harness.die(at(1, 1));
    harness.die(at(2, 1));
    let mut effects = Vec::new();
    (0..2).for_each(|_| effects.extend(harness.call_within(None, HOUR).1));
    assert_eq!(harness.core.workers(harness.now).len(), 2, "no overflow: w1 starts, w2 is next");
    harness.call_within(None, HOUR);
    assert_eq!(harness.core.workers(harness.now).len(), 3, "a third call waits");
}

/// R12: each worker to come has places for `concurrency` x `pipeline` calls.
#[test]
fn r12_an_overflow_worker_is_to_come_for_as_many_calls_as_it_takes() {
    let mut settings = settings(1, 4);
    (settings.concurrency, settings.pipeline) = (2, 2);
    let mut harness = busy(settings);
    let mut starts =
        |calls: usize| (0..calls).map(|_| started(&harness.call_within(None, HOUR).1).len()).collect::<Vec<_>>();
    assert_eq!(starts(6), [1, 0, 0, 0, 1, 0], "w1 has one place only");
}

/// R12: a start that nobody waits for any more when its time comes is not made.
#[test]
fn r12_unneeded_overflow_worker_is_not_started() {
    let mut harness = busy(settings(1, 1));
    let (call, effects) = harness.call_within(None, HOUR);
    harness.die(started(&effects)[0]);
    harness.step(Input::Cancel(call));
    assert!(started(&harness.wait(HOUR)).is_empty());
    assert_eq!(harness.core.workers(harness.now).len(), 1, "w2 is not to come");
    let (_, effects) = harness.call_within(None, HOUR);
    assert_eq!(started(&effects), [at(2, 2)]);
}

/// R12: the time without work runs from the end of its last call, also if the timer was set before. The next one takes its slot.
#[test]
fn r12_overflow_idle_timeout_runs_from_the_last_call() {
    let mut harness = busy(settings(1, 2));
    let (call, _) = harness.call_within(None, HOUR);
    let effects = harness.ready_now(at(2, 1));
    let first = sent(&effects, call).unwrap();
    harness.wait(29_000 * MS);
    harness.finish(first);
    let (call, effects) = harness.call_within(None, HOUR);
    let second = sent(&effects, call).unwrap();
    let stops = |effects: &Effects| effects.iter().any(|effect| matches!(effect, Effect::Stop { .. }));
    assert!(!stops(&harness.wait(40_000 * MS)), "it runs a call");
    harness.finish(second);
    assert!(!stops(&harness.wait(29_999 * MS)));
    assert!(stops(&harness.wait(MS)));
    harness.die(at(2, 1));
    assert_eq!(started(&harness.call_within(None, HOUR).1), [at(2, 2)]);
}

/// R12: it does not end while a session is bound there.
#[test]
fn r12_an_overflow_worker_with_a_session_stays() {
    let mut harness = busy(Settings { worker_type: WorkerTypeSettings::enhanced(), ..settings(1, 1) });
    harness.core.settings.sessions.timeout = HOUR;
    let (call, _) = harness.call_within(None, HOUR);
    let effects = harness.ready_now(at(2, 1));
    harness.finish(sent(&effects, call).unwrap());
    harness.bind("ann", 2);
    let stops = |effects: &Effects| effects.iter().any(|effect| matches!(effect, Effect::Stop { .. }));
    assert!(!stops(&harness.wait(300_000 * MS)));
    assert!(harness.core.end_session(harness.now, "ann", &mut Vec::new()));
    assert!(stops(&harness.wait(30_000 * MS)));
}

/// R12: calls that begin sessions call for the overflow only while no base worker lives.
#[test]
fn r12_new_sessions_start_overflow_while_no_base_worker_lives() {
    let mut harness = busy(Settings { worker_type: WorkerTypeSettings::enhanced(), ..settings(1, 1) });
    let (_, effects) = harness.call(Some("ann"));
    assert!(started(&effects).is_empty(), "w1 lives");
    assert_eq!(started(&harness.die(at(1, 1))), [at(2, 1)], "w1 starts in 100 ms only");
}
