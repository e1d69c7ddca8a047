//! Calls: answered, abandoned, lost, drained.

use super::*;

/// I3, R36: after a deadline the slot and the turn stay taken until the final frame.
#[test]
fn answered_is_not_finished() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let fx = bench.wait(Duration::from_secs(30));
    assert_eq!(settled(&fx, first), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
    let (second, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, second), None, "it would overlap the one still running");
    let fx = bench.finish(first_sent);
    assert!(routing(&fx, first).is_none() && sent(&fx, second).is_some());
}

/// R35: cancel, interrupt, kill, each with its patience.
#[test]
fn an_abandoned_attempt_is_asked_interrupted_and_killed() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    let (call, fx) = bench.call(None);
    let (worker, wire) = sent(&fx, call).unwrap();
    let fx = bench.step(Input::Cancel(call));
    assert!(fx.contains(&Effect::Cancel { at: worker, wire, interrupt: false }));
    assert_eq!(settled(&fx, call), Some(CallFailure::Abandoned));
    let fx = bench.wait(Duration::from_secs(1));
    assert_eq!(fx, [Effect::Cancel { at: worker, wire, interrupt: true }]);
    let fx = bench.wait(Duration::from_secs(4));
    assert_eq!(fx, [Effect::Stop { at: worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]);
}

/// R35: a pool that was held up beyond both moments interrupts, and kills after all the time between them.
#[test]
fn a_late_pool_still_interrupts_before_it_kills() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.health.interval = Duration::MAX;
    let mut bench = Bench::with(settings);
    let (call, fx) = bench.call(None);
    let (worker, wire) = sent(&fx, call).unwrap();
    bench.step(Input::Cancel(call));
    bench.now = bench.now + Duration::from_secs(60);
    assert_eq!(bench.step(Input::Tick), [Effect::Cancel { at: worker, wire, interrupt: true }]);
    assert_eq!(bench.wait(Duration::from_millis(3999)), []);
    let fx = bench.wait(Duration::from_millis(1));
    assert_eq!(fx, [Effect::Stop { at: worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]);
}

/// R35: a worker that is to be killed no later than interrupted is only killed.
#[test]
fn an_interrupt_that_would_come_with_the_kill_or_after_it_never_comes() {
    for interrupt in [5, 6] {
        let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
        (settings.cancel.interrupt, settings.health.interval) = (Duration::from_secs(interrupt), Duration::MAX);
        let mut bench = Bench::with(settings);
        let (call, fx) = bench.call(None);
        let (worker, _) = sent(&fx, call).unwrap();
        bench.step(Input::Cancel(call));
        let fx = bench.wait(Duration::from_secs(10));
        assert_eq!(fx, [Effect::Stop { at: worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]);
    }
}

/// R36: what was not sent returns to its place; what was sent is lost, or runs again if idempotent.
#[test]
fn calls_without_a_session_survive_a_death_as_far_as_they_may() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 2);
    let (plain, fx) = bench.call(None);
    let plain_at = sent(&fx, plain).unwrap().0;
    let (again, fx) = bench.call_with(None, None, true);
    let again_at = sent(&fx, again).unwrap().0;
    let (waiting, _) = bench.call(None);
    let fx = bench.die(plain_at);
    assert!(matches!(settled(&fx, plain), Some(CallFailure::WorkerLost(WorkerLoss { may_have_run: true, .. }))));
    let fx = bench.die(again_at);
    assert_eq!(settled(&fx, again), None);
    bench.wait(Duration::from_millis(125)); // the longest first wait of a retry
    let fx = bench.step(Input::Ready { at: at(1, 2), window: 1, control: true });
    assert!(sent(&fx, again).is_some(), "it was admitted before the waiting one");
    assert!(sent(&fx, waiting).is_none());
}

/// R30: a drain finishes what there is, refuses the rest, ends the workers.
#[test]
fn a_drain_finishes_and_stops() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    let (first, fx) = bench.call(None);
    let first_sent = sent(&fx, first).unwrap();
    let (second, _) = bench.call(None);
    let until = bench.now + Duration::from_secs(5);
    bench.step(Input::Shutdown { until });
    let (late, fx) = bench.call(None);
    assert_eq!(settled(&fx, late), Some(CallFailure::PoolClosed { may_have_run: false }));
    let fx = bench.finish(first_sent);
    let second_sent = sent(&fx, second).unwrap();
    bench.die(at(2, 1));
    let fx = bench.finish(second_sent);
    assert!(fx.contains(&Effect::Stop {
        at: at(1, 1),
        method: StopMethod::Graceful,
        kill_reason: KillReason::Shutdown
    }));
    assert_eq!(bench.die(at(1, 1)), [Effect::Stopped]);
}

/// R30: a start that never resolves, or a process that SIGKILL does not end, does not keep a pool that shuts down: the pool stops
/// when the time to end is up, once, and names what is left.
#[test]
fn r30_a_pool_stops_although_a_process_does_not_end() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.overflow = 0;
    let mut bench = Bench::with(settings);
    let (call, fx) = bench.call(None);
    let busy = sent(&fx, call).unwrap().0;
    bench.die(at(2, 1));
    bench.wait(Duration::from_secs(1)); // its successor starts, and nobody hears of it again
    bench.step(Input::Shutdown { until: bench.now + Duration::from_secs(3) });
    let fx = bench.wait(Duration::from_secs(3));
    assert!(settled(&fx, call).is_some() && !fx.contains(&Effect::Stopped));
    assert!(!bench.wait(Duration::from_millis(7999)).contains(&Effect::Stopped), "each has its time");
    assert_eq!(bench.wait(Duration::from_millis(1)), [Effect::Stopped]);
    assert_eq!(bench.core.processes().collect::<Vec<_>>(), [busy, at(2, 2)]);
    assert_eq!(bench.die(at(2, 2)), []);
    assert_eq!((bench.wait(Duration::from_secs(60)), bench.core.processes().count()), (vec![], 1));
}
