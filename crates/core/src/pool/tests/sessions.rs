//! Sessions: their worker, its loss, their end.

use super::*;

/// R18: the session's second call waits for its worker while others are free.
#[test]
fn a_session_keeps_to_its_worker_and_its_calls_to_their_order() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    let (second, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, second), None);
    let effects = harness.finish(first_sent);
    assert_eq!(routing(&effects, first), Some(Routing::New));
    let second_sent = sent(&effects, second).unwrap();
    assert_eq!(second_sent.0, first_sent.0);
    let effects = harness.finish(second_sent);
    assert_eq!(routing(&effects, second), Some(Routing::Hit));
}

/// R20: told once, then rebound with a new state.
#[test]
fn a_lost_session_is_told_once_and_then_rebound() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    harness.finish(first_sent);
    harness.die(first_sent.0);
    let (second, effects) = harness.call(Some("ann"));
    match settled(&effects, second) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => {
            assert_eq!((loss.worker, loss.may_have_run), (first_sent.0, false));
            assert_eq!(loss.end.map(|end| end.status), Some(ExitStatus::Signal(9)));
        }
        other => panic!("{other:?}"),
    }
    let (third, effects) = harness.call(Some("ann"));
    let third_sent = sent(&effects, third).unwrap();
    assert_ne!(third_sent.0, first_sent.0);
    let effects = harness.finish(third_sent);
    assert_eq!(routing(&effects, third), Some(Routing::Rebound(RebindReason::WorkerLost)));
}

/// R20: in flight and queued calls of the session are told, and then nobody else.
#[test]
fn all_calls_of_the_lost_epoch_are_told_and_no_later_one() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let worker = sent(&effects, first).unwrap().0;
    let (second, _) = harness.call_with(Some("ann"), None, true);
    let effects = harness.die(worker);
    let may_have_run = |call| match settled(&effects, call) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => loss.may_have_run,
        other => panic!("{other:?}"),
    };
    assert!(may_have_run(first) && !may_have_run(second));
    let (third, effects) = harness.call(Some("ann"));
    assert!(sent(&effects, third).is_some());
}

/// R16: two-phase expiry counts the grace from the marking, immediate expiry forgets at once.
#[test]
fn expiry_policies_differ_after_the_timeout() {
    let WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), .. } = WorkerTypeSettings::enhanced() else {
        panic!()
    };
    let expiry = crate::Expiry::TwoPhase { grace: Duration::from_secs(1) };
    let two_phase = WorkerTypeSettings::Enhanced {
        session_affinity: Some(crate::AffinitySettings { expiry, on_expired: crate::OnExpired::Reject, ..affinity }),
        worker_metrics: true,
        state_machine: true,
    };
    for (kind, expected) in [(WorkerTypeSettings::enhanced(), Lookup::NotBound), (two_phase, Lookup::Expired)] {
        let mut harness = Harness::new(kind, 1);
        let (call, effects) = harness.call(Some("ann"));
        harness.finish(sent(&effects, call).unwrap());
        let mut effects = Vec::new();
        let mut look = |harness: &mut Harness| harness.core.worker_of(harness.now, "ann", &mut effects);
        assert_eq!(look(&mut harness), Lookup::Bound(at(1, 1)));
        harness.now = harness.now + Duration::from_secs(400);
        assert_eq!(look(&mut harness), expected);
        harness.now = harness.now + Duration::from_millis(999);
        assert_eq!(look(&mut harness), expected, "the grace runs from the marking, not from the last activity");
        harness.now = harness.now + Duration::from_millis(1);
        assert_eq!(look(&mut harness), Lookup::NotBound);
        assert!(
            effects.iter().any(|effect| matches!(effect, Effect::EndSession { reason: SessionEndReason::Expired, .. }))
        );
    }
}

/// R14, R22: an ended session's calls finish first, then its worker is told, then a new life begins.
#[test]
fn ending_a_session_waits_for_its_calls() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    let mut effects = Vec::new();
    assert!(harness.core.end_session(harness.now, "ann", &mut effects));
    assert_eq!(effects, []);
    let (second, _) = harness.call(Some("ann"));
    let effects = harness.finish(first_sent);
    let told = effects.iter().position(|effect| matches!(effect, Effect::EndSession { .. })).unwrap();
    let next =
        effects.iter().position(|effect| matches!(effect, Effect::Send { call, .. } if *call == second)).unwrap();
    assert!(told < next);
    harness.finish(sent(&effects, second).unwrap());
    let mut effects = Vec::new();
    assert!(harness.core.end_session(harness.now, "ann", &mut effects));
    assert!(matches!(effects[..], [Effect::EndSession { .. }]));
    assert_eq!(harness.core.status(harness.now).active_sessions, 0);
}

/// R22: a new session goes to the base worker with the fewest sessions, then the fewest unfinished calls, when its first call is sent.
#[test]
fn new_sessions_spread_over_the_base_workers() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 3);
    settings.concurrency = 2;
    let mut harness = Harness::with(settings);
    for worker in 1..=3 {
        harness.die(at(worker, 1));
        harness.wait(Duration::from_secs(1));
        harness.step(Input::Ready { worker: at(worker, 2), window: 2, control: false });
    }
    harness.bind("a", 1);
    harness.bind("b", 1);
    harness.bind("c", 2);
    let (busy, effects) = harness.call(None);
    assert_eq!(sent(&effects, busy).unwrap().0, at(1, 2), "a call without a session knows no sessions");
    let mut home = |session: &str| {
        let (call, effects) = harness.call(Some(session));
        let to = sent(&effects, call).unwrap();
        (to.0.id.0, to)
    };
    let (worker, _) = home("d");
    assert_eq!(worker, 3, "it has no session");
    let (worker, _) = home("e");
    assert_eq!(worker, 2, "one session each, and 3 has a call");
    let (worker, _) = home("f");
    assert_eq!(worker, 3, "one session, while 1 and 2 have two");
}

/// R14: what is bound decides where the next call runs.
#[test]
fn bind_session_decides_where_the_next_call_runs() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 3);
    let id = SessionId::new("ann").unwrap();
    let mut effects = Vec::new();
    for worker in [3, 1] {
        harness.core.bind_session(harness.now, id.clone(), WorkerId(worker), &mut effects).unwrap();
        let (call, effects) = harness.call(Some("ann"));
        let call_sent = sent(&effects, call).unwrap();
        assert_eq!(call_sent.0, at(worker, 1));
        harness.finish(call_sent);
    }
    assert!(
        matches!(effects[..], [Effect::EndSession { worker: ended, reason: SessionEndReason::Moved, .. }] if ended == at(3, 1))
    );
}

/// R19
#[test]
fn hints_fall_back_and_fail_fast_refuses() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    let (busy, effects) = harness.call_with(Some("ann"), Some(Affinity::StrictFailFast), false);
    assert_eq!(settled(&effects, busy), Some(CallFailure::WorkerBusy(first_sent.0)));
    let (hint, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    let hint_sent = sent(&effects, hint).unwrap();
    assert_ne!(hint_sent.0, first_sent.0);
    let effects = harness.finish(hint_sent);
    assert_eq!(routing(&effects, hint), Some(Routing::Rebound(RebindReason::Busy)));
    let mut effects = Vec::new();
    assert_eq!(
        harness.core.worker_of(harness.now, "ann", &mut effects),
        Lookup::Bound(first_sent.0),
        "the binding stays"
    );
}

/// R6, R8, R10
#[test]
fn a_basic_pool_tracks_sessions_and_holds_nothing_more() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 2);
    let (call, effects) = harness.call(Some("ann"));
    let effects = harness.finish(sent(&effects, call).unwrap());
    assert_eq!(routing(&effects, call), Some(Routing::Unrouted));
    let status = harness.core.status(harness.now);
    assert_eq!((status.session_affinity, status.active_sessions), (None, 1));
    assert!(status.workers.iter().all(|worker| worker.metrics.is_none() && worker.history.is_none()));
    assert!(harness.wait(Duration::from_secs(361)).iter().all(|effect| !matches!(effect, Effect::EndSession { .. })));
    assert_eq!(harness.core.status(harness.now).sessions.len(), 0);
}

/// R29: what goes on after a panic of the step itself.
#[test]
fn rebuilt_core_reports_each_lost_session_once() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (call, effects) = harness.call(Some("ann"));
    harness.finish(sent(&effects, call).unwrap());
    let settings = harness.core.settings().clone();
    harness.core = Core::resume(settings, 1, harness.now, harness.core.recovery_snapshot());
    assert_eq!(harness.step(Input::Tick), [Effect::Start(at(1, 2))]);
    harness.step(Input::Ready { worker: at(1, 2), window: 1, control: true });
    let (told, effects) = harness.call(Some("ann"));
    assert!(matches!(settled(&effects, told), Some(CallFailure::SessionWorkerLost { .. })));
    let (next, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, next).map(|(to, _)| to), Some(at(1, 2)));
}

/// R22: a call that comes after an end begins a new life, whatever becomes of the call before it.
#[test]
fn r22_a_worker_that_dies_with_an_ended_life_takes_nothing_from_the_next() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let (worker, _) = sent(&effects, first).unwrap();
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, second), None, "it waits behind the first");
    let effects = harness.die(worker);
    assert!(matches!(settled(&effects, first), Some(CallFailure::SessionWorkerLost { .. })));
    let again = sent(&effects, second).unwrap();
    assert_eq!(routing(&harness.finish(again), second), Some(Routing::New));
}

/// R22: a hint call that comes after an end does not find the state that ends; it waits for that, since it would be sent there.
#[test]
fn r22_a_hint_call_after_an_end_begins_a_new_life() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.core.settings.pipeline = 2;
    harness.die(at(1, 1));
    harness.wait(Duration::from_secs(1));
    harness.step(Input::Ready { worker: at(1, 2), window: 2, control: true });
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    let before = epoch_sent(&effects, first);
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    assert_eq!(sent(&effects, second), None, "the state that ends is in use");
    let effects = harness.finish(first_sent);
    let ended = effects.iter().position(|effect| matches!(effect, Effect::EndSession { .. }));
    let begun = effects.iter().position(|effect| matches!(effect, Effect::Send { call, .. } if *call == second));
    assert!(ended.is_some() && ended < begun, "{effects:?}");
    assert!(epoch_sent(&effects, second) > before);
    let second_sent = sent(&effects, second).unwrap();
    assert_eq!(routing(&harness.finish(second_sent), second), Some(Routing::New));
}

/// R22: nor is it sent under the life of a call that waits to begin it.
#[test]
fn r22_a_hint_call_after_an_end_waits_behind_a_call_that_was_not_sent() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (other, effects) = harness.call(None);
    let busy = sent(&effects, other).unwrap();
    let (first, _) = harness.call(Some("ann"));
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, _) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    let effects = harness.finish(busy);
    assert!(sent(&effects, first).is_some() && sent(&effects, second).is_none(), "{effects:?}");
    let fx_second = harness.finish(sent(&effects, first).unwrap());
    assert!(epoch_sent(&fx_second, second) > epoch_sent(&effects, first));
}

/// R22: not even if the worker that becomes ready could take both at once.
#[test]
fn r22_a_hint_call_after_an_end_does_not_overtake_a_call_that_waits_for_a_worker() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.core.settings.pipeline = 2;
    harness.die(at(1, 1));
    let (first, _) = harness.call(Some("ann"));
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, _) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    harness.wait(Duration::from_secs(1));
    let effects = harness.step(Input::Ready { worker: at(1, 2), window: 2, control: true });
    assert!(sent(&effects, first).is_some() && sent(&effects, second).is_none(), "{effects:?}");
}

/// R22: a call whose caller has left still holds the state that ends.
#[test]
fn r22_a_hint_call_after_an_end_waits_for_a_call_that_was_left() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.core.settings.pipeline = 2;
    harness.die(at(1, 1));
    harness.wait(Duration::from_secs(1));
    harness.step(Input::Ready { worker: at(1, 2), window: 2, control: true });
    let (first, effects) = harness.call(Some("ann"));
    assert!(sent(&effects, first).is_some());
    harness.step(Input::Cancel(first));
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    assert_eq!(sent(&effects, second), None);
}

fn epoch_sent(effects: &Effects, id: CallId) -> Option<Epoch> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { call, epoch, .. } if *call == id => *epoch,
        _ => None,
    })
}

/// R22: a call that is refused begins no new life: the session still ends after the calls it has.
#[test]
fn r22_a_refused_call_does_not_undo_an_end() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.limit) = (0, 0);
    let mut harness = Harness::with(settings);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, effects) = harness.call(Some("ann"));
    assert!(matches!(settled(&effects, second), Some(CallFailure::QueueFull { .. })), "{effects:?}");
    harness.finish(first_sent);
    assert_eq!(harness.core.session_info(harness.now, "ann"), None);
}
