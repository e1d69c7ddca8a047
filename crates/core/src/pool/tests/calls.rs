//! Calls: answered, abandoned, lost, drained.

use super::*;

/// I3, R36: after a deadline the slot and the turn stay taken until the final frame.
#[test]
fn answered_is_not_finished() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    let effects = harness.wait(Duration::from_secs(30));
    assert_eq!(settled(&effects, first), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
    let (second, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, second), None, "it would overlap the one still running");
    let effects = harness.finish(first_sent);
    assert!(routing(&effects, first).is_none() && sent(&effects, second).is_some());
}

/// R35: cancel, interrupt, kill, each with its patience.
#[test]
fn an_abandoned_attempt_is_asked_interrupted_and_killed() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    let (call, effects) = harness.call(None);
    let (worker, wire) = sent(&effects, call).unwrap();
    let effects = harness.step(Input::Cancel(call));
    assert!(effects.contains(&Effect::Cancel { worker: worker, wire, interrupt: false }));
    assert_eq!(settled(&effects, call), Some(CallFailure::Abandoned));
    let effects = harness.wait(Duration::from_secs(1));
    assert_eq!(effects, [Effect::Cancel { worker: worker, wire, interrupt: true }]);
    let effects = harness.wait(Duration::from_secs(4));
    assert_eq!(
        effects,
        [Effect::Stop { worker: worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]
    );
}

/// R35: a pool that was held up beyond both moments interrupts, and kills after all the time between them.
#[test]
fn a_late_pool_still_interrupts_before_it_kills() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.health.interval = Duration::MAX;
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call(None);
    let (worker, wire) = sent(&effects, call).unwrap();
    harness.step(Input::Cancel(call));
    harness.now = harness.now + Duration::from_secs(60);
    assert_eq!(harness.step(Input::Tick), [Effect::Cancel { worker: worker, wire, interrupt: true }]);
    assert_eq!(harness.wait(Duration::from_millis(3999)), []);
    let effects = harness.wait(Duration::from_millis(1));
    assert_eq!(
        effects,
        [Effect::Stop { worker: worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]
    );
}

/// R35: a worker that is to be killed no later than interrupted is only killed.
#[test]
fn an_interrupt_that_would_come_with_the_kill_or_after_it_never_comes() {
    for interrupt in [5, 6] {
        let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
        (settings.cancel.interrupt, settings.health.interval) = (Duration::from_secs(interrupt), Duration::MAX);
        let mut harness = Harness::with(settings);
        let (call, effects) = harness.call(None);
        let (worker, _) = sent(&effects, call).unwrap();
        harness.step(Input::Cancel(call));
        let effects = harness.wait(Duration::from_secs(10));
        assert_eq!(
            effects,
            [Effect::Stop { worker: worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]
        );
    }
}

/// R36: what was not sent returns to its place; what was sent is lost, or runs again if idempotent.
#[test]
fn idempotent_calls_without_a_session_survive_a_worker_death() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 2);
    let (plain, effects) = harness.call(None);
    let plain_at = sent(&effects, plain).unwrap().0;
    let (again, effects) = harness.call_with(None, None, true);
    let again_at = sent(&effects, again).unwrap().0;
    let (waiting, _) = harness.call(None);
    let effects = harness.die(plain_at);
    assert!(matches!(settled(&effects, plain), Some(CallFailure::WorkerLost(WorkerLoss { may_have_run: true, .. }))));
    let effects = harness.die(again_at);
    assert_eq!(settled(&effects, again), None);
    harness.wait(Duration::from_millis(125)); // the longest first wait of a retry
    let effects = harness.step(Input::Ready { worker: at(1, 2), window: 1, control: true });
    assert!(sent(&effects, again).is_some(), "it was admitted before the waiting one");
    assert!(sent(&effects, waiting).is_none());
}

/// R30: a drain finishes what there is, refuses the rest, ends the workers.
#[test]
fn a_drain_finishes_and_stops() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    let (first, effects) = harness.call(None);
    let first_sent = sent(&effects, first).unwrap();
    let (second, _) = harness.call(None);
    let until = harness.now + Duration::from_secs(5);
    harness.step(Input::Shutdown { until });
    let (late, effects) = harness.call(None);
    assert_eq!(settled(&effects, late), Some(CallFailure::PoolClosed { may_have_run: false }));
    let effects = harness.finish(first_sent);
    let second_sent = sent(&effects, second).unwrap();
    harness.die(at(2, 1));
    let effects = harness.finish(second_sent);
    assert!(effects.contains(&Effect::Stop {
        worker: at(1, 1),
        method: StopMethod::Graceful,
        kill_reason: KillReason::Shutdown
    }));
    assert_eq!(harness.die(at(1, 1)), [Effect::Stopped]);
}

/// R30: a start that never resolves, or a process that SIGKILL does not end, does not keep a pool that shuts down: the pool stops
/// when the time to end is up, once, and names what is left.
#[test]
fn r30_a_pool_stops_although_a_process_does_not_end() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.overflow = 0;
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call(None);
    let busy = sent(&effects, call).unwrap().0;
    harness.die(at(2, 1));
    harness.wait(Duration::from_secs(1)); // its successor starts, and nobody hears of it again
    harness.step(Input::Shutdown { until: harness.now + Duration::from_secs(3) });
    let effects = harness.wait(Duration::from_secs(3));
    assert!(settled(&effects, call).is_some() && !effects.contains(&Effect::Stopped));
    assert!(!harness.wait(Duration::from_millis(7999)).contains(&Effect::Stopped), "each has its time");
    assert_eq!(harness.wait(Duration::from_millis(1)), [Effect::Stopped]);
    assert_eq!(harness.core.processes().collect::<Vec<_>>(), [busy, at(2, 2)]);
    assert_eq!(harness.die(at(2, 2)), []);
    assert_eq!((harness.wait(Duration::from_secs(60)), harness.core.processes().count()), (vec![], 1));
}
