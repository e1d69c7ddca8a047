//! Calls: answered, abandoned, lost, drained.

use super::*;

/// I3, R36: after a deadline, the call slot and the session stay occupied until the final frame.
#[test]
fn settled_call_occupies_its_slot_and_session_until_the_final_frame() {
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

/// R35: cancel, interrupt and kill, each after its timeout.
#[test]
fn an_abandoned_attempt_is_asked_interrupted_and_killed() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    let (call, effects) = harness.call(None);
    let (worker, wire) = sent(&effects, call).unwrap();
    let effects = harness.step(Input::Cancel(call));
    assert!(effects.contains(&Effect::Cancel { worker, wire, interrupt: false }));
    assert_eq!(settled(&effects, call), Some(CallFailure::Abandoned));
    let effects = harness.wait(Duration::from_secs(1));
    assert_eq!(effects, [Effect::Cancel { worker, wire, interrupt: true }]);
    let effects = harness.wait(Duration::from_secs(4));
    assert_eq!(effects, [Effect::Stop { worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]);
}

/// R35: a pool that was delayed beyond both timeouts interrupts first, and kills after the full time between them.
#[test]
fn delayed_pool_interrupts_before_it_kills() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.health.interval = Duration::MAX;
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call(None);
    let (worker, wire) = sent(&effects, call).unwrap();
    harness.step(Input::Cancel(call));
    harness.now = harness.now + Duration::from_secs(60);
    assert_eq!(harness.step(Input::Tick), [Effect::Cancel { worker, wire, interrupt: true }]);
    assert_eq!(harness.wait(Duration::from_millis(3999)), []);
    let effects = harness.wait(Duration::from_millis(1));
    assert_eq!(effects, [Effect::Stop { worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]);
}

/// R35: if the interrupt is not due before the kill, the worker is only killed.
#[test]
fn interrupt_not_earlier_than_the_kill_is_skipped() {
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
            [Effect::Stop { worker, method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }]
        );
    }
}

/// R36: calls that were not sent stay in the queue; a sent call is lost, or retried if it is idempotent.
#[test]
fn idempotent_calls_without_a_session_survive_a_worker_death() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 2);
    let (plain, effects) = harness.call(None);
    let plain_at = sent(&effects, plain).unwrap().0;
    let (again, effects) = harness.call_with(None, None, true);
    let again_at = sent(&effects, again).unwrap().0;
    let (waiting, _) = harness.call(None);
    let effects = harness.exit_by_signal(plain_at);
    assert!(matches!(settled(&effects, plain), Some(CallFailure::WorkerLost(WorkerLoss { may_have_run: true, .. }))));
    let effects = harness.exit_by_signal(again_at);
    assert_eq!(settled(&effects, again), None);
    // The longest possible first wait of a retry.
    harness.wait(Duration::from_millis(125));
    let effects = harness.step(Input::Ready { worker: process(1, 2), window: 1, control: true, in_order: None });
    assert!(sent(&effects, again).is_some(), "it was admitted before the waiting call");
    assert!(sent(&effects, waiting).is_none());
}

/// R30: a drain finishes the pending calls, refuses new ones, and stops the workers.
#[test]
fn drain_finishes_calls_and_stops_workers() {
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
    harness.exit_by_signal(process(2, 1));
    let effects = harness.finish(second_sent);
    assert!(effects.contains(&Effect::Stop {
        worker: process(1, 1),
        method: StopMethod::Graceful,
        kill_reason: KillReason::Shutdown
    }));
    assert_eq!(harness.exit_by_signal(process(1, 1)), [Effect::Stopped]);
}

/// R30: a start that never ends, or a process that does not end after SIGKILL, does not keep the pool. It stops once,
/// when the time for stopping is up, and reports the processes that are left.
#[test]
fn r30_pool_stops_even_if_a_process_does_not_exit() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.overflow = 0;
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call(None);
    let busy = sent(&effects, call).unwrap().0;
    harness.exit_by_signal(process(2, 1));
    // The next process is starting, and never reports anything.
    harness.wait(Duration::from_secs(1));
    harness.step(Input::Shutdown { until: harness.now + Duration::from_secs(3) });
    let effects = harness.wait(Duration::from_secs(3));
    assert!(settled(&effects, call).is_some() && !effects.contains(&Effect::Stopped));
    assert!(
        !harness.wait(Duration::from_millis(7999)).contains(&Effect::Stopped),
        "the workers have `stop_timeout` to stop"
    );
    assert_eq!(harness.wait(Duration::from_millis(1)), [Effect::Stopped]);
    assert_eq!(harness.core.processes().collect::<Vec<_>>(), [busy, process(2, 2)]);
    assert_eq!(harness.exit_by_signal(process(2, 2)), []);
    assert_eq!((harness.wait(Duration::from_secs(60)), harness.core.processes().count()), (vec![], 1));
}

/// The shell carries out the effect that a step returns before those in the list. So a step returns it only if no other
/// effect precedes it, and `handle` appends what both return in the same order.
#[test]
fn step_returns_its_effect_only_if_it_is_the_first() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 2);
    let (short, _) = harness.call_within(None, Duration::from_secs(1));
    let (long, effects) = harness.call(None);
    let (worker, wire) = sent(&effects, long).unwrap();
    let finished = Finished { worker, wire, ok: true, ran: Duration::ZERO };
    let (waiting, _) = harness.call(None);
    let now = harness.now;

    // The call that waits is sent after the answer.
    let (mut core, mut effects) = (harness.core.clone(), Effects::new());
    let answer = core.finish(now, finished, &mut effects).unwrap();
    assert_eq!((answer.call, effects.len(), sent(&effects, waiting).is_some()), (long, 1, true));

    // What is due at the time of the frame precedes the answer.
    let late = now + Duration::from_secs(2);
    let (mut core, mut effects) = (harness.core.clone(), Effects::new());
    assert_eq!(core.finish(late, finished, &mut effects), None);
    let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).unwrap();
    assert!(
        place(|effect| matches!(effect, Effect::Settle { .. }))
            < place(|effect| matches!(effect, Effect::Deliver { .. }))
    );
    assert!(settled(&effects, short).is_some() && routing(&effects, long).is_some());

    for at in [now, late] {
        let (mut core, mut returned) = (harness.core.clone(), Effects::new());
        let answer = core.finish(at, finished, &mut returned);
        let returned: Effects = answer.map(Effect::from).into_iter().chain(returned).collect();
        let (mut core, mut handled) = (harness.core.clone(), Effects::new());
        core.handle(at, Input::Final { worker, wire, ok: true, ran: Duration::ZERO }, &mut handled);
        assert_eq!(returned, handled);
    }

    // The same for a call that is sent at once.
    let (mut core, mut effects) = (harness.core.clone(), Effects::new());
    core.handle(now, Input::Cancel(waiting), &mut effects);
    assert!(core.finish(now, finished, &mut effects).is_none(), "the cancel precedes it");
    let next = Submission {
        call: CallId(9),
        session: None,
        deadline: late + Duration::from_secs(30),
        idempotent: false,
        batch: None,
        fingerprint: None,
        stream: None,
    };
    let mut effects = Effects::new();
    assert_eq!(core.clone().submit(now, &next, &mut effects).map(|dispatch| dispatch.call), Some(CallId(9)));
    assert_eq!(effects, []);
    assert_eq!(core.submit(late, &next, &mut effects), None, "the deadline of a call has passed before");
    assert!(matches!(effects[..], [Effect::Settle { .. }, .., Effect::Send { call: CallId(9), .. }]), "{effects:?}");
}
