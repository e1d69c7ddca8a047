//! Sessions: their worker, its loss, their end.

use super::*;

/// R18: the session's second call waits for its worker while others are free.
#[test]
fn a_session_keeps_to_its_worker_and_its_calls_to_their_order() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let (second, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, second), None);
    let fx = bench.finish(first_sent);
    assert_eq!(routing(&fx, first), Some(Routing::New));
    let second_sent = sent(&fx, second).unwrap();
    assert_eq!(second_sent.0, first_sent.0);
    let fx = bench.finish(second_sent);
    assert_eq!(routing(&fx, second), Some(Routing::Hit));
}

/// R20: told once, then rebound with a new state.
#[test]
fn a_lost_session_is_told_once_and_then_rebound() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    bench.finish(first_sent);
    bench.die(first_sent.0);
    let (second, fx) = bench.call(Some("ann"));
    match settled(&fx, second) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => {
            assert_eq!((loss.at, loss.may_have_run), (first_sent.0, false));
            assert_eq!(loss.end.map(|end| end.status), Some(ExitStatus::Signal(9)));
        }
        other => panic!("{other:?}"),
    }
    let (third, fx) = bench.call(Some("ann"));
    let third_sent = sent(&fx, third).unwrap();
    assert_ne!(third_sent.0, first_sent.0);
    let fx = bench.finish(third_sent);
    assert_eq!(routing(&fx, third), Some(Routing::Rebound(RebindReason::WorkerLost)));
}

/// R20: in flight and queued calls of the session are told, and then nobody else.
#[test]
fn all_calls_of_the_lost_epoch_are_told_and_no_later_one() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let worker = sent(&fx, first).unwrap().0;
    let (second, _) = bench.call_with(Some("ann"), None, true);
    let fx = bench.die(worker);
    let may_have_run = |call| match settled(&fx, call) {
        Some(CallFailure::SessionWorkerLost { loss, .. }) => loss.may_have_run,
        other => panic!("{other:?}"),
    };
    assert!(may_have_run(first) && !may_have_run(second));
    let (third, fx) = bench.call(Some("ann"));
    assert!(sent(&fx, third).is_some());
}

/// R16: two-phase expiry counts the grace from the marking, immediate expiry forgets at once.
#[test]
fn both_expiry_policies() {
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
        let mut bench = Bench::new(kind, 1);
        let (call, fx) = bench.call(Some("ann"));
        bench.finish(sent(&fx, call).unwrap());
        let mut fx = Vec::new();
        let mut look = |bench: &mut Bench| bench.core.worker_of(bench.now, "ann", &mut fx);
        assert_eq!(look(&mut bench), Lookup::Bound(at(1, 1)));
        bench.now = bench.now + Duration::from_secs(400);
        assert_eq!(look(&mut bench), expected);
        bench.now = bench.now + Duration::from_millis(999);
        assert_eq!(look(&mut bench), expected, "the grace runs from the marking, not from the last activity");
        bench.now = bench.now + Duration::from_millis(1);
        assert_eq!(look(&mut bench), Lookup::NotBound);
        assert!(fx.iter().any(|effect| matches!(effect, Effect::EndSession { reason: SessionEndReason::Expired, .. })));
    }
}

/// R14, R22: an ended session's calls finish first, then its worker is told, then a new life begins.
#[test]
fn ending_a_session_waits_for_its_calls() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let mut fx = Vec::new();
    assert!(bench.core.end_session(bench.now, "ann", &mut fx));
    assert_eq!(fx, []);
    let (second, _) = bench.call(Some("ann"));
    let fx = bench.finish(first_sent);
    let told = fx.iter().position(|effect| matches!(effect, Effect::EndSession { .. })).unwrap();
    let next = fx.iter().position(|effect| matches!(effect, Effect::Send { call, .. } if *call == second)).unwrap();
    assert!(told < next);
    bench.finish(sent(&fx, second).unwrap());
    let mut fx = Vec::new();
    assert!(bench.core.end_session(bench.now, "ann", &mut fx));
    assert!(matches!(fx[..], [Effect::EndSession { .. }]));
    assert_eq!(bench.core.status(bench.now).active_sessions, 0);
}

/// R22: a new session goes to the base worker with the fewest sessions, then the fewest unfinished calls, when its first call is sent.
#[test]
fn new_sessions_spread_over_the_base_workers() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 3);
    settings.concurrency = 2;
    let mut bench = Bench::with(settings);
    for worker in 1..=3 {
        bench.die(at(worker, 1));
        bench.wait(Duration::from_secs(1));
        bench.step(Input::Ready { at: at(worker, 2), window: 2, control: false });
    }
    bench.bind("a", 1);
    bench.bind("b", 1);
    bench.bind("c", 2);
    let (busy, fx) = bench.call(None);
    assert_eq!(sent(&fx, busy).unwrap().0, at(1, 2), "a call without a session knows no sessions");
    let mut home = |session: &str| {
        let (call, fx) = bench.call(Some(session));
        let to = sent(&fx, call).unwrap();
        (to.0.worker.0, to)
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
fn bind_session_decides() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 3);
    let id = SessionId::new("ann").unwrap();
    let mut fx = Vec::new();
    for worker in [3, 1] {
        bench.core.bind_session(bench.now, id.clone(), WorkerId(worker), &mut fx).unwrap();
        let (call, fx) = bench.call(Some("ann"));
        let call_sent = sent(&fx, call).unwrap();
        assert_eq!(call_sent.0, at(worker, 1));
        bench.finish(call_sent);
    }
    assert!(
        matches!(fx[..], [Effect::EndSession { at: ended, reason: SessionEndReason::Moved, .. }] if ended == at(3, 1))
    );
}

/// R19
#[test]
fn hints_fall_back_and_fail_fast_refuses() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let (busy, fx) = bench.call_with(Some("ann"), Some(Affinity::StrictFailFast), false);
    assert_eq!(settled(&fx, busy), Some(CallFailure::WorkerBusy(first_sent.0)));
    let (hint, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    let hint_sent = sent(&fx, hint).unwrap();
    assert_ne!(hint_sent.0, first_sent.0);
    let fx = bench.finish(hint_sent);
    assert_eq!(routing(&fx, hint), Some(Routing::Rebound(RebindReason::Busy)));
    let mut fx = Vec::new();
    assert_eq!(bench.core.worker_of(bench.now, "ann", &mut fx), Lookup::Bound(first_sent.0), "the binding stays");
}

/// R6, R8, R10
#[test]
fn a_basic_pool_tracks_sessions_and_holds_nothing_more() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 2);
    let (call, fx) = bench.call(Some("ann"));
    let fx = bench.finish(sent(&fx, call).unwrap());
    assert_eq!(routing(&fx, call), Some(Routing::Unrouted));
    let status = bench.core.status(bench.now);
    assert_eq!((status.session_affinity, status.active_sessions), (None, 1));
    assert!(status.workers.iter().all(|worker| worker.metrics.is_none() && worker.history.is_none()));
    assert!(bench.wait(Duration::from_secs(361)).iter().all(|effect| !matches!(effect, Effect::EndSession { .. })));
    assert_eq!(bench.core.status(bench.now).sessions.len(), 0);
}

/// R29: what goes on after a panic of the step itself.
#[test]
fn a_rebuilt_core_tells_each_bound_session_once() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    let (call, fx) = bench.call(Some("ann"));
    bench.finish(sent(&fx, call).unwrap());
    let settings = bench.core.settings().clone();
    bench.core = Core::resume(settings, 1, bench.now, bench.core.recovery_snapshot());
    assert_eq!(bench.step(Input::Tick), [Effect::Start(at(1, 2))]);
    bench.step(Input::Ready { at: at(1, 2), window: 1, control: true });
    let (told, fx) = bench.call(Some("ann"));
    assert!(matches!(settled(&fx, told), Some(CallFailure::SessionWorkerLost { .. })));
    let (next, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, next).map(|(to, _)| to), Some(at(1, 2)));
}

/// R22: a call that comes after an end begins a new life, whatever becomes of the call before it.
#[test]
fn r22_a_worker_that_dies_with_an_ended_life_takes_nothing_from_the_next() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let (worker, _) = sent(&fx, first).unwrap();
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    let (second, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, second), None, "it waits behind the first");
    let fx = bench.die(worker);
    assert!(matches!(settled(&fx, first), Some(CallFailure::SessionWorkerLost { .. })));
    let again = sent(&fx, second).unwrap();
    assert_eq!(routing(&bench.finish(again), second), Some(Routing::New));
}

/// R22: a hint call that comes after an end does not find the state that ends; it waits for that, since it would be sent there.
#[test]
fn r22_a_hint_call_after_an_end_begins_a_new_life() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    bench.core.settings.pipeline = 2;
    bench.die(at(1, 1));
    bench.wait(Duration::from_secs(1));
    bench.step(Input::Ready { at: at(1, 2), window: 2, control: true });
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let before = epoch_sent(&fx, first);
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    let (second, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    assert_eq!(sent(&fx, second), None, "the state that ends is in use");
    let fx = bench.finish(first_sent);
    let ended = fx.iter().position(|effect| matches!(effect, Effect::EndSession { .. }));
    let begun = fx.iter().position(|effect| matches!(effect, Effect::Send { call, .. } if *call == second));
    assert!(ended.is_some() && ended < begun, "{fx:?}");
    assert!(epoch_sent(&fx, second) > before);
    let second_sent = sent(&fx, second).unwrap();
    assert_eq!(routing(&bench.finish(second_sent), second), Some(Routing::New));
}

/// R22: nor is it sent under the life of a call that waits to begin it.
#[test]
fn r22_a_hint_call_after_an_end_waits_behind_a_call_that_was_not_sent() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    let (other, fx) = bench.call(None);
    let busy = sent(&fx, other).unwrap();
    let (first, _) = bench.call(Some("ann"));
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    let (second, _) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    let fx = bench.finish(busy);
    assert!(sent(&fx, first).is_some() && sent(&fx, second).is_none(), "{fx:?}");
    let fx_second = bench.finish(sent(&fx, first).unwrap());
    assert!(epoch_sent(&fx_second, second) > epoch_sent(&fx, first));
}

/// R22: not even if the worker that becomes ready could take both at once.
#[test]
fn r22_a_hint_call_after_an_end_does_not_overtake_a_call_that_waits_for_a_worker() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    bench.core.settings.pipeline = 2;
    bench.die(at(1, 1));
    let (first, _) = bench.call(Some("ann"));
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    let (second, _) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    bench.wait(Duration::from_secs(1));
    let fx = bench.step(Input::Ready { at: at(1, 2), window: 2, control: true });
    assert!(sent(&fx, first).is_some() && sent(&fx, second).is_none(), "{fx:?}");
}

/// R22: a call whose caller has left still holds the state that ends.
#[test]
fn r22_a_hint_call_after_an_end_waits_for_a_call_that_was_left() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    bench.core.settings.pipeline = 2;
    bench.die(at(1, 1));
    bench.wait(Duration::from_secs(1));
    bench.step(Input::Ready { at: at(1, 2), window: 2, control: true });
    let (first, fx) = bench.call(Some("ann"));
    assert!(sent(&fx, first).is_some());
    bench.step(Input::Cancel(first));
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    let (second, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    assert_eq!(sent(&fx, second), None);
}

fn epoch_sent(fx: &Effects, id: CallId) -> Option<Epoch> {
    fx.iter().find_map(|effect| match effect {
        Effect::Send { call, epoch, .. } if *call == id => *epoch,
        _ => None,
    })
}

/// R22: a call that is refused begins no new life: the session still ends after the calls it has.
#[test]
fn r22_a_refused_call_does_not_undo_an_end() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.limit) = (0, 0);
    let mut bench = Bench::with(settings);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    let (second, fx) = bench.call(Some("ann"));
    assert!(matches!(settled(&fx, second), Some(CallFailure::QueueFull { .. })), "{fx:?}");
    bench.finish(first_sent);
    assert_eq!(bench.core.session_info(bench.now, "ann"), None);
}
