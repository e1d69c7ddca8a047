//! The queue (R36): fair between sessions, and no hope where there is none.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn one_worker() -> Bench {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    (settings.overflow, settings.health.interval) = (0, Duration::MAX);
    Bench::with(settings)
}

impl Bench {
    /// Finishes what runs, one by one: the calls in the order in which they were sent.
    fn drain_order(&mut self, mut running: (WorkerRef, WireId)) -> Vec<u64> {
        let mut order = Vec::new();
        loop {
            let fx = self.finish(running);
            let next = fx.iter().find_map(|effect| match effect {
                Effect::Send { at, call, wire, .. } => Some((*call, (*at, *wire))),
                _ => None,
            });
            let Some((call, sent)) = next else { return order };
            order.push(call.0);
            running = sent;
        }
    }
}

/// R36: strict sessions of one worker take turns, however many calls one of them has before it.
#[test]
fn r36_a_session_with_a_long_line_does_not_keep_its_worker() {
    let mut bench = one_worker();
    ["ann", "bob"].iter().for_each(|session| _ = bench.run(session));
    let (first, fx) = bench.call(Some("ann"));
    let running = sent(&fx, first).unwrap();
    (0..3).for_each(|_| _ = bench.call(Some("ann")));
    (0..2).for_each(|_| _ = bench.call(Some("bob")));
    assert_eq!(bench.drain_order(running), [7, 4, 8, 5, 6], "4 to 6 are ann's, 7 and 8 bob's");
}

/// R36: sessions whose calls any worker takes, too.
#[test]
fn r36_tracked_sessions_take_turns_in_the_queue() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.overflow = 0;
    let mut bench = Bench::with(settings);
    let (first, fx) = bench.call(None);
    let running = sent(&fx, first).unwrap();
    (0..4).for_each(|_| _ = bench.call(Some("ann")));
    (0..2).for_each(|_| _ = bench.call(Some("bob")));
    assert_eq!(bench.drain_order(running), [2, 6, 3, 7, 4, 5], "2 to 5 are ann's, 6 and 7 bob's");
}

/// R36: a call that waited, was sent and lost its worker has its old place when it waits again.
#[test]
fn r36_a_call_that_returns_keeps_its_place() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.retry.base, settings.restart.min_uptime) = (0, Duration::ZERO, Duration::ZERO);
    let mut bench = Bench::with(settings);
    let (first, fx) = bench.call(None);
    let running = sent(&fx, first).unwrap();
    let (again, _) = bench.call_with(None, None, true);
    let (later, _) = bench.call(None);
    let fx = bench.finish(running);
    bench.die(sent(&fx, again).unwrap().0);
    let fx = bench.step(Input::Ready { at: at(1, 2), window: 1, control: true });
    assert!(sent(&fx, again).is_some() && sent(&fx, later).is_none(), "{fx:?}");
}

fn busy(patience: Duration) -> Bench {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout) = (0, patience);
    let mut bench = Bench::with(settings);
    for _ in 0..40 {
        let (call, fx) = bench.call(None);
        bench.wait(100 * MS);
        bench.finish(sent(&fx, call).unwrap());
    }
    bench
}

/// R36: at 100 ms a call and 300 ms of patience, the seventh in the queue has no hope even if all ran twice as fast.
#[test]
fn r36_a_call_that_cannot_be_reached_in_time_is_told_at_once() {
    let mut bench = busy(300 * MS);
    let answers: Vec<Option<CallFailure>> =
        (0..12).map(|_| bench.call(None)).map(|(id, fx)| settled(&fx, id)).collect();
    let refused: Vec<usize> = (0..12).filter(|&n| answers[n].is_some()).collect();
    assert_eq!(refused, [8, 9, 10, 11], "one runs and seven wait: {answers:?}");
    let Some(CallFailure::Overloaded { expected_wait: expected, max_wait: patience }) = &answers[8] else {
        panic!("{answers:?}")
    };
    assert!(*patience == 300 * MS && *expected > 600 * MS && *expected < 800 * MS, "{expected:?}");
    let status = bench.core.status(bench.now);
    assert_eq!((status.counters.shed, status.queue.capacity, status.queue.load), (4, 1, Some(8.0)));
    assert!(status.queue.expected_wait_ms.is_some_and(|ms| (700..900).contains(&ms)), "{:?}", status.queue);
}

/// R36: nothing is refused on a guess: with nobody waiting, before enough was seen, or with `queue.shed` off.
#[test]
fn r36_nobody_is_refused_without_reason() {
    let mut bench = busy(MS);
    let (first, fx) = bench.call(None);
    assert!(sent(&fx, first).is_some());
    let (second, fx) = bench.call(None);
    assert_eq!(settled(&fx, second), None, "nobody waits before it");
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout, settings.queue.shed) = (0, MS, false);
    let mut bench = Bench::with(settings);
    let refused = (0..200).filter(|_| bench.call(None).1.iter().any(|fx| matches!(fx, Effect::Settle { .. }))).count();
    assert_eq!(refused, 0);
}
