//! The queue (R36): fairness between sessions, and refusal of calls that would wait too long.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn one_worker() -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    (settings.overflow, settings.health.interval) = (0, Duration::MAX);
    Harness::with(settings)
}

impl Harness {
    /// Finishes the running call and all that follow, and returns the calls in the order in which they were sent.
    fn finish_all_in_order(&mut self, mut running: (WorkerRef, WireId)) -> Vec<u64> {
        let mut order = Vec::new();
        loop {
            let effects = self.finish(running);
            let next = effects.iter().find_map(|effect| match effect {
                Effect::Send { worker, call, wire, .. } => Some((*call, (*worker, *wire))),
                _ => None,
            });
            let Some((call, sent)) = next else { return order };
            order.push(call.0);
            running = sent;
        }
    }
}

/// R36: calls of the strict sessions of one worker alternate, however many calls one of them has queued.
#[test]
fn r36_session_with_a_long_queue_shares_its_worker() {
    let mut harness = one_worker();
    ["ann", "bob"].iter().for_each(|session| _ = harness.run_call(session));
    let (first, effects) = harness.call(Some("ann"));
    let running = sent(&effects, first).unwrap();
    (0..3).for_each(|_| _ = harness.call(Some("ann")));
    (0..2).for_each(|_| _ = harness.call(Some("bob")));
    assert_eq!(harness.finish_all_in_order(running), [7, 4, 8, 5, 6], "4 to 6 are ann's, 7 and 8 bob's");
}

/// R36: so do sessions whose calls any worker may run.
#[test]
fn r36_tracked_sessions_share_the_queue_fairly() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.overflow = 0;
    let mut harness = Harness::with(settings);
    let (first, effects) = harness.call(None);
    let running = sent(&effects, first).unwrap();
    (0..4).for_each(|_| _ = harness.call(Some("ann")));
    (0..2).for_each(|_| _ = harness.call(Some("bob")));
    assert_eq!(harness.finish_all_in_order(running), [2, 6, 3, 7, 4, 5], "2 to 5 are ann's, 6 and 7 bob's");
}

/// R36: a retried call has its previous position when it waits again.
#[test]
fn r36_retried_call_keeps_its_queue_position() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.retry.base, settings.restart.min_uptime) = (0, Duration::ZERO, Duration::ZERO);
    let mut harness = Harness::with(settings);
    let (first, effects) = harness.call(None);
    let running = sent(&effects, first).unwrap();
    let (again, _) = harness.call_with(None, None, true);
    let (later, _) = harness.call(None);
    let effects = harness.finish(running);
    harness.exit_by_signal(sent(&effects, again).unwrap().0);
    let effects = harness.step(Input::Ready { worker: process(1, 2), window: 1, control: true, in_order: None });
    assert!(sent(&effects, again).is_some() && sent(&effects, later).is_none(), "{effects:?}");
}

fn busy(max_wait: Duration) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout) = (0, max_wait);
    let mut harness = Harness::with(settings);
    for _ in 0..40 {
        let (call, effects) = harness.call(None);
        harness.wait(100 * MS);
        harness.finish(sent(&effects, call).unwrap());
    }
    harness
}

/// R36: with 100 ms a call and 300 ms to wait, the seventh call in the queue would wait too long even if calls ran
/// twice as fast.
#[test]
fn r36_call_whose_estimated_wait_is_too_long_is_refused_at_once() {
    let mut harness = busy(300 * MS);
    let answers: Vec<Option<CallFailure>> =
        (0..12).map(|_| harness.call(None)).map(|(id, effects)| settled(&effects, id)).collect();
    let refused: Vec<usize> = (0..12).filter(|&n| answers[n].is_some()).collect();
    assert_eq!(refused, [8, 9, 10, 11], "one call runs and seven wait: {answers:?}");
    let Some(CallFailure::Overloaded { estimated_wait: expected, max_wait }) = &answers[8] else {
        panic!("{answers:?}")
    };
    assert!(*max_wait == 300 * MS && *expected > 600 * MS && *expected < 800 * MS, "{expected:?}");
    let status = harness.core.status(harness.now);
    assert_eq!((status.counters.shed, status.queue.capacity, status.queue.load), (4, 1, Some(8.0)));
    assert!(status.queue.estimated_wait_ms.is_some_and(|ms| (700..900).contains(&ms)), "{:?}", status.queue);
}

/// R36: no call is refused if no other one waits, before enough samples exist, or if `queue.shed` is off.
#[test]
fn r36_calls_within_their_wait_are_admitted() {
    let mut harness = busy(MS);
    let (first, effects) = harness.call(None);
    assert!(sent(&effects, first).is_some());
    let (second, effects) = harness.call(None);
    assert_eq!(settled(&effects, second), None, "no call waits before it");
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout, settings.queue.shed) = (0, MS, false);
    let mut harness = Harness::with(settings);
    let refused = (0..200)
        .filter(|_| harness.call(None).1.iter().any(|effects| matches!(effects, Effect::Settle { .. })))
        .count();
    assert_eq!(refused, 0);
}

/// R36: the next call of a session whose state has ended does not overtake calls that wait for any worker.
#[test]
fn r36_next_call_after_an_end_does_not_overtake_earlier_calls() {
    let mut harness = one_worker();
    let (first, effects) = harness.call(Some("ann"));
    let running = sent(&effects, first).unwrap();
    harness.call(None);
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    harness.call(Some("ann"));
    harness.call(Some("bob"));
    assert_eq!(harness.finish_all_in_order(running), [2, 4, 3], "ann was just served");
}

/// Returns a pool whose base worker runs a strict call of a session that was ended, and whose overflow worker is free.
/// Another session's call waits for a base worker, before the next call of the first session: the calls 3 and 4.
fn ended_session_and_one_that_waits(first: Affinity, idempotent: bool) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    (settings.overflow, settings.health.interval) = (1, Duration::MAX);
    settings.retry.base = Duration::ZERO;
    let mut harness = Harness::with(settings);
    harness.call_with(Some("ann"), Some(first), idempotent);
    let (other, effects) = harness.call(None);
    assert!(effects.contains(&Effect::Start(process(2, 1))));
    let effects = harness.step(Input::Ready { worker: process(2, 1), window: 1, control: true, in_order: None });
    harness.finish(sent(&effects, other).unwrap());
    let (waits, effects) = harness.call(Some("bob"));
    assert_eq!(sent(&effects, waits), None, "it waits for a base worker");
    harness
}

/// R36: nor does it when the last base worker dies, so that overflow workers take sessions.
#[test]
fn r36_next_call_of_a_lost_session_does_not_overtake_earlier_calls() {
    let mut harness = ended_session_and_one_that_waits(Affinity::StrictQueue, false);
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (next, _) = harness.call(Some("ann"));
    let effects = harness.exit_by_signal(process(1, 1));
    assert!(sent(&effects, CallId(3)).is_some() && sent(&effects, next).is_none(), "{effects:?}");
}

/// R36: nor does a retry that need not wait.
#[test]
fn r36_retry_without_a_wait_does_not_overtake_waiting_calls() {
    let mut harness = ended_session_and_one_that_waits(Affinity::Hint, true);
    let mut effects = harness.exit_by_signal(process(1, 1));
    effects.extend(harness.wait(Duration::ZERO));
    assert!(sent(&effects, CallId(3)).is_some() && sent(&effects, CallId(1)).is_none(), "{effects:?}");
}
