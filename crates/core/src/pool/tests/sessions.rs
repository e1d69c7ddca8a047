//! Sessions: their worker, its loss, and their end.

use super::*;

/// R18: the second call of a session waits for the session's worker while others are free.
#[test]
fn calls_of_a_session_run_in_order_on_its_worker() {
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

/// R20: the loss is reported once, and then the session is rebound with a new state.
#[test]
fn lost_session_is_reported_once_and_then_rebound() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    harness.finish(first_sent);
    harness.exit_by_signal(first_sent.0);
    let (second, effects) = harness.call(Some("ann"));
    match settled(&effects, second) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => {
            assert_eq!((loss.worker, loss.may_have_run), (first_sent.0, false));
            assert_eq!(loss.exit.map(|exit| exit.status), Some(ExitStatus::Signal(9)));
        }
        other => panic!("{other:?}"),
    }
    let (third, effects) = harness.call(Some("ann"));
    let third_sent = sent(&effects, third).unwrap();
    assert_ne!(third_sent.0, first_sent.0);
    let effects = harness.finish(third_sent);
    assert_eq!(routing(&effects, third), Some(Routing::Rebound(RebindReason::WorkerLost)));
}

/// R20: in-flight and queued calls of the session report the loss, and no later call does.
#[test]
fn loss_fails_all_calls_of_its_epoch_and_no_later_one() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let worker = sent(&effects, first).unwrap().0;
    let (second, _) = harness.call_with(Some("ann"), None, true);
    let effects = harness.exit_by_signal(worker);
    let may_have_run = |call| match settled(&effects, call) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => loss.may_have_run,
        other => panic!("{other:?}"),
    };
    assert!(may_have_run(first) && !may_have_run(second));
    let (third, effects) = harness.call(Some("ann"));
    assert!(sent(&effects, third).is_some());
}

/// R16: two-phase expiry counts the grace from the marking; immediate expiry removes the session at once.
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
        assert_eq!(look(&mut harness), Lookup::Bound(process(1, 1)));
        harness.now = harness.now + Duration::from_secs(400);
        assert_eq!(look(&mut harness), expected);
        harness.now = harness.now + Duration::from_millis(999);
        assert_eq!(look(&mut harness), expected, "the grace counts from the marking, not from the last activity");
        harness.now = harness.now + Duration::from_millis(1);
        assert_eq!(look(&mut harness), Lookup::NotBound);
        assert!(
            effects.iter().any(|effect| matches!(effect, Effect::EndSession { reason: SessionEndReason::Expired, .. }))
        );
    }
}

/// R14, R22: when a session is ended, its calls finish first, then its worker is notified, and then a new epoch begins.
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
    let session_end = effects.iter().position(|effect| matches!(effect, Effect::EndSession { .. })).unwrap();
    let next =
        effects.iter().position(|effect| matches!(effect, Effect::Send { call, .. } if *call == second)).unwrap();
    assert!(session_end < next);
    harness.finish(sent(&effects, second).unwrap());
    let mut effects = Vec::new();
    assert!(harness.core.end_session(harness.now, "ann", &mut effects));
    assert!(matches!(effects[..], [Effect::EndSession { .. }]));
    assert_eq!(harness.core.status(harness.now).active_sessions, 0);
}

/// R22: a new session is bound to the base worker with the fewest sessions, then the fewest unfinished calls, when its
/// first call is sent.
#[test]
fn new_sessions_spread_over_the_base_workers() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 3);
    settings.concurrency = 2;
    let mut harness = Harness::with(settings);
    for worker in 1..=3 {
        harness.exit_by_signal(process(worker, 1));
        harness.wait(Duration::from_secs(1));
        harness.step(Input::Ready { worker: process(worker, 2), window: 2, control: false, in_order: None });
    }
    harness.bind("a", 1);
    harness.bind("b", 1);
    harness.bind("c", 2);
    let (busy, effects) = harness.call(None);
    assert_eq!(
        sent(&effects, busy).unwrap().0,
        process(1, 2),
        "the choice for a call without a session ignores sessions"
    );
    let mut chosen_worker = |session: &str| {
        let (call, effects) = harness.call(Some(session));
        let to = sent(&effects, call).unwrap();
        (to.0.id.0, to)
    };
    let (worker, _) = chosen_worker("d");
    assert_eq!(worker, 3, "it has no session");
    let (worker, _) = chosen_worker("e");
    assert_eq!(worker, 2, "all have one session, and 3 has a call");
    let (worker, _) = chosen_worker("f");
    assert_eq!(worker, 3, "3 has one session, 1 and 2 have two");
}

/// R14: an explicit binding decides where the next call runs.
#[test]
fn bind_session_decides_where_the_next_call_runs() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 3);
    let id = SessionId::new("ann").unwrap();
    let mut effects = Vec::new();
    for worker in [3, 1] {
        harness.core.bind_session(harness.now, id.clone(), WorkerId(worker), &mut effects).unwrap();
        let (call, effects) = harness.call(Some("ann"));
        let call_sent = sent(&effects, call).unwrap();
        assert_eq!(call_sent.0, process(worker, 1));
        harness.finish(call_sent);
    }
    assert!(
        matches!(effects[..], [Effect::EndSession { worker: ended, reason: SessionEndReason::Moved, .. }] if ended == process(3, 1))
    );
}

/// R19
#[test]
fn hint_uses_another_worker_and_fail_fast_refuses() {
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
fn basic_pool_only_tracks_sessions() {
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

/// R29: what continues after a panic in a step.
#[test]
fn rebuilt_core_reports_each_lost_session_once() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (call, effects) = harness.call(Some("ann"));
    harness.finish(sent(&effects, call).unwrap());
    let settings = harness.core.settings().clone();
    harness.core = Core::resume(settings, 1, harness.now, harness.core.recovery_snapshot());
    assert_eq!(harness.step(Input::Tick), [Effect::Start(process(1, 2))]);
    harness.step(Input::Ready { worker: process(1, 2), window: 1, control: true, in_order: None });
    let (reported, effects) = harness.call(Some("ann"));
    assert!(matches!(settled(&effects, reported), Some(CallFailure::SessionWorkerLost { .. })));
    let (next, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, next).map(|(to, _)| to), Some(process(1, 2)));
}

/// R22: a call after an end starts a new epoch, whatever happens to the call before.
#[test]
fn r22_death_with_an_ended_epoch_does_not_affect_the_next() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let (worker, _) = sent(&effects, first).unwrap();
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, second), None, "it waits for the first call");
    let effects = harness.exit_by_signal(worker);
    assert!(matches!(settled(&effects, first), Some(CallFailure::SessionWorkerLost { .. })));
    let again = sent(&effects, second).unwrap();
    assert_eq!(routing(&harness.finish(again), second), Some(Routing::New));
}

/// R22: a hint call after an end does not run with the state that is ending, but waits for its end.
#[test]
fn r22_hint_call_after_an_end_starts_a_new_epoch() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.core.settings.pipeline = 2.into();
    harness.exit_by_signal(process(1, 1));
    harness.wait(Duration::from_secs(1));
    harness.step(Input::Ready { worker: process(1, 2), window: 2, control: true, in_order: None });
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

/// R22: nor does it run in the epoch of a strict call that waits to start it.
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

/// R22: not even if the worker that becomes ready could run both calls at once.
#[test]
fn r22_a_hint_call_after_an_end_does_not_overtake_a_call_that_waits_for_a_worker() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.core.settings.pipeline = 2.into();
    harness.exit_by_signal(process(1, 1));
    let (first, _) = harness.call(Some("ann"));
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    let (second, _) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    harness.wait(Duration::from_secs(1));
    let effects = harness.step(Input::Ready { worker: process(1, 2), window: 2, control: true, in_order: None });
    assert!(sent(&effects, first).is_some() && sent(&effects, second).is_none(), "{effects:?}");
}

/// R22: an abandoned call that still runs keeps the ending state.
#[test]
fn r22_hint_call_after_an_end_waits_for_an_abandoned_call() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.core.settings.pipeline = 2.into();
    harness.exit_by_signal(process(1, 1));
    harness.wait(Duration::from_secs(1));
    harness.step(Input::Ready { worker: process(1, 2), window: 2, control: true, in_order: None });
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

/// R22: a refused call starts no new epoch: the session still ends after the calls it has.
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
