//! Defects that were found by reading or by a schedule, each with the rule it violated.

use super::*;

fn ann() -> SessionId {
    SessionId::new("ann").unwrap()
}

/// Returns a pool whose base workers each run one call.
fn busy(size: u32) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), size);
    settings.overflow = 1;
    let mut harness = Harness::with(settings);
    for _ in 0..size {
        harness.call(None);
    }
    harness
}

/// I3: a strict call that waits for any base worker runs on the worker to which a hint call bound its session.
#[test]
fn strict_call_runs_on_the_worker_that_a_hint_call_bound() {
    let mut harness = busy(2);
    let (hint, _) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    let (strict, _) = harness.call(Some("ann"));
    let effects = harness.finish((process(1, 1), WireId(1)));
    let hint_sent = sent(&effects, hint).unwrap();
    let effects = harness.finish((process(2, 1), WireId(2)));
    assert_eq!(sent(&effects, strict), None, "the state is in w1");
    let effects = harness.finish(hint_sent);
    assert_eq!(sent(&effects, strict).map(|(to, _)| to), Some(process(1, 1)));
}

/// R12: a hint call that waits for any worker does not bind its lost session to an overflow worker.
#[test]
fn a_hint_call_of_a_lost_session_waits_for_a_base_worker() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let bound = sent(&effects, first).unwrap().0;
    harness.call(None);
    let (hint, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    assert!(effects.contains(&Effect::Start(process(3, 1))));
    harness.exit_by_signal(bound);
    let effects = harness.step(Input::Ready { worker: process(3, 1), window: 1, control: true, in_order: None });
    assert_eq!(sent(&effects, hint), None, "w2 is alive and busy");
    let effects = harness.finish((process(2, 1), WireId(2)));
    assert_eq!(sent(&effects, hint).map(|(to, _)| to), Some(process(2, 1)));
}

/// R22: a worker that ran a hint call of a session is notified of the end of the epoch under which it ran, when that
/// epoch is lost on another worker.
#[test]
fn off_affinity_workers_get_session_end_with_their_epoch() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let bound = sent(&effects, first).unwrap().0;
    let (hint, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    let off_affinity = sent(&effects, hint).unwrap();
    let Some(Effect::Send { epoch: Some(known), .. }) =
        effects.iter().find(|effects| matches!(effects, Effect::Send { .. }))
    else {
        panic!("{effects:?}");
    };
    harness.finish(off_affinity);
    let effects = harness.exit_by_signal(bound);
    let is_session_end = |effects: &Effect| matches!(effects, Effect::EndSession { worker, epoch, .. } if *worker == off_affinity.0 && epoch == known);
    assert_eq!(effects.iter().filter(|effects| is_session_end(effects)).count(), 1);
}

/// R14: a binding that waits for an earlier call is also made if that call never runs.
#[test]
fn binding_made_while_a_call_waits_is_kept() {
    let mut harness = busy(2);
    let (first, _) = harness.call(Some("ann"));
    let mut effects = Vec::new();
    assert_eq!(harness.core.bind_session(harness.now, ann(), WorkerId(2), &mut effects), Ok(process(2, 1)));
    harness.step(Input::Cancel(first));
    let (next, _) = harness.call(Some("ann"));
    let effects = harness.finish((process(1, 1), WireId(1)));
    assert_eq!(sent(&effects, next), None);
    let effects = harness.finish((process(2, 1), WireId(2)));
    assert_eq!(sent(&effects, next).map(|(to, _)| to), Some(process(2, 1)));
}

/// R14: binding a session to its own worker while an end is pending starts a new epoch there.
#[test]
fn binding_after_a_pending_end_is_kept() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    let first_sent = sent(&effects, first).unwrap();
    let mut effects = Vec::new();
    assert!(harness.core.end_session(harness.now, "ann", &mut effects));
    assert_eq!(harness.core.bind_session(harness.now, ann(), first_sent.0.id, &mut effects), Ok(first_sent.0));
    let effects = harness.finish(first_sent);
    assert!(effects.iter().any(|effects| matches!(effects, Effect::EndSession { .. })));
    assert_eq!(harness.core.worker_of(harness.now, "ann", &mut Vec::new()), Lookup::Bound(first_sent.0));
}

/// R20: unbinding the sessions of a slot keeps the pending report of a loss.
#[test]
fn removing_bindings_keeps_the_pending_loss_report() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (first, effects) = harness.call(Some("ann"));
    harness.finish(sent(&effects, first).unwrap());
    harness.exit_by_signal(process(1, 1));
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut Vec::new()), 0);
    assert!(!harness.core.unbind_session(harness.now, "ann", &mut Vec::new()));
    let (reported, effects) = harness.call(Some("ann"));
    assert!(matches!(settled(&effects, reported), Some(CallFailure::SessionWorkerLost { .. })));
}

/// R22: an expired session that no sweep has removed does not count for the quota, and neither does the session of a
/// refused call.
#[test]
fn quota_does_not_count_expired_or_refused_sessions() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    (settings.sessions.max, settings.overflow, settings.queue.limit) = (1, 0, 0);
    let mut harness = Harness::with(settings);
    let (first, effects) = harness.call(Some("ann"));
    harness.finish(sent(&effects, first).unwrap());
    let (refused, effects) = harness.call(Some("bob"));
    assert_eq!(settled(&effects, refused), Some(CallFailure::SessionQuota { max: 1 }));
    harness.now = harness.now + Duration::from_secs(301);
    harness.call(None);
    let (refused, effects) = harness.call(Some("bob"));
    assert_eq!(settled(&effects, refused), Some(CallFailure::QueueFull { limit: 0 }));
    let (refused, effects) = harness.call(Some("eve"));
    assert_eq!(
        settled(&effects, refused),
        Some(CallFailure::QueueFull { limit: 0 }),
        "the call of bob created no session"
    );
}

/// R22: a session that is only tracked is removed after its last call.
#[test]
fn ending_a_tracked_session_waits_for_its_calls() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    let (first, effects) = harness.call(Some("ann"));
    assert!(harness.core.end_session(harness.now, "ann", &mut Vec::new()));
    assert!(harness.core.session_info(harness.now, "ann").is_some());
    harness.finish(sent(&effects, first).unwrap());
    assert_eq!(harness.core.session_info(harness.now, "ann"), None);
}

/// R28: an overflow worker that ends while the probe starts does not make the pool fail again.
#[test]
fn only_the_probe_decides_whether_a_failed_pool_recovers() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    harness.call(None);
    harness.call(None);
    harness.step(Input::Ready { worker: process(2, 1), window: 1, control: false, in_order: None });
    for generation in 1..=7 {
        // The first one dies during a call.
        harness.exit_by_signal(process(1, generation));
        harness.wait(Duration::from_millis(4000));
    }
    assert_eq!(harness.core.pool_state(), PoolState::Failed);
    harness.wait(Duration::from_secs(30));
    harness.exit_by_signal(process(2, 1));
    let effects = harness.step(Input::Ready { worker: process(1, 8), window: 1, control: false, in_order: None });
    assert!(effects.contains(&Effect::Log(LogEvent::PoolRecovered)));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Log(LogEvent::PoolFailed(_)))));
    assert_eq!(harness.core.pool_state(), PoolState::Running);
}

/// R16: no loss is reported after a rebuild for a session that had expired before.
#[test]
fn expired_sessions_are_not_in_the_recovery_snapshot() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (first, effects) = harness.call(Some("ann"));
    harness.finish(sent(&effects, first).unwrap());
    harness.now = harness.now + Duration::from_secs(301);
    let settings = harness.core.settings().clone();
    harness.core = Core::resume(settings, 1, harness.now, harness.core.recovery_snapshot());
    assert_eq!(harness.core.session_info(harness.now, "ann"), None);
}

/// R12: calls that already wait when a worker dies get an overflow worker.
#[test]
fn worker_death_starts_overflow_for_waiting_calls() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.overflow = 1;
    let mut harness = Harness::with(settings);
    harness.call(None);
    harness.call(None);
    harness.exit_by_signal(process(2, 1));
    let effects = harness.wait(Duration::from_secs(1));
    assert!(effects.contains(&Effect::Start(process(2, 2))), "{effects:?}");
}

/// I1, I8: a retried call keeps its deadline. The call was sent shortly before its queue timeout and lost.
#[test]
fn a_retried_call_keeps_its_deadline() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    (settings.overflow, settings.retry.jitter, settings.queue.shed) = (0, 0, false);
    settings.retry.base = Duration::from_secs(1);
    (settings.health.interval, settings.restart.min_uptime) = (Duration::MAX, Duration::ZERO);
    let mut harness = Harness::with(settings);
    let [first, second] = [(); 2].map(|()| {
        let (call, effects) = harness.call(None);
        sent(&effects, call).unwrap()
    });
    let (call, _) = harness.call_with(None, None, true);
    harness.wait(Duration::from_millis(4900));
    assert_eq!(sent(&harness.finish(first), call).map(|(to, _)| to), Some(first.0));
    harness.wait(Duration::from_millis(50));
    harness.finish(second);
    harness.exit_by_signal(first.0);
    harness.step(Input::Ready { worker: process(1, 2), window: 1, control: true, in_order: None });
    harness.wait(Duration::from_millis(100));
    for _ in 0..100 {
        let (short, effects) = harness.call(None);
        harness.finish(sent(&effects, short).unwrap());
    }
    let effects = harness.wait(Duration::from_millis(900));
    assert!(sent(&effects, call).is_some(), "it is retried at 5.95 s");
    let effects = harness.wait(Duration::from_secs(600));
    assert_eq!(settled(&effects, call), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
}

/// I7, I8: a start that times out lets the next one begin, even if its process does not exit.
#[test]
fn hanging_start_does_not_block_others() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.start_batch = 1;
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    assert_eq!(harness.step(Input::Tick), [Effect::Start(process(1, 1))]);
    let effects = harness.wait(Duration::from_secs(60));
    let stop = Effect::Stop { worker: process(1, 1), method: StopMethod::Kill, kill_reason: KillReason::StartTimeout };
    assert_eq!(effects, [stop, Effect::Start(process(2, 1))]);
}

fn ends(effects: &Effects) -> Vec<(WorkerRef, Epoch)> {
    let end = |effect: &Effect| match effect {
        Effect::EndSession { worker, epoch, .. } => Some((*worker, *epoch)),
        _ => None,
    };
    effects.iter().filter_map(end).collect()
}

fn epoch_of(effects: &Effects, id: CallId) -> Epoch {
    let epoch = |effect: &Effect| match effect {
        Effect::Send { call, epoch, .. } if *call == id => *epoch,
        _ => None,
    };
    effects.iter().find_map(epoch).unwrap()
}

/// Returns a pool whose only worker runs a hint call of a session that was ended while the call waited.
fn hint_call_that_outlived_its_session() -> (Harness, (WorkerRef, WireId), Epoch) {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.run_call("ann");
    let (other, effects) = harness.call(None);
    let busy = sent(&effects, other).unwrap();
    let (hint, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    assert_eq!(sent(&effects, hint), None);
    let mut effects = Vec::new();
    assert!(harness.core.end_session(harness.now, "ann", &mut effects));
    assert_eq!(ends(&effects).len(), 1, "hint calls do not delay the end of the state");
    let effects = harness.finish(busy);
    let (running, epoch) = (sent(&effects, hint).unwrap(), epoch_of(&effects, hint));
    (harness, running, epoch)
}

/// R22: a session that was ended while a hint call of it waited is gone after that call, with the state of the call.
#[test]
fn r22_ended_session_is_gone_after_a_hint_call_that_waited() {
    let (mut harness, running, epoch) = hint_call_that_outlived_its_session();
    let effects = harness.finish(running);
    assert_eq!(ends(&effects), [(running.0, epoch)]);
    assert_eq!(harness.core.session_info(harness.now, "ann"), None);
    let (harness, running, _) = hint_call_that_outlived_its_session();
    let mut harness = harness;
    harness.exit_by_signal(running.0);
    assert_eq!(harness.core.session_info(harness.now, "ann"), None, "nor does it outlive its worker");
}

/// R22: a call after the end does not run on the state that such a hint call has begun, nor does it report its loss.
#[test]
fn r22_call_after_an_end_does_not_share_the_state_of_a_hint_call_that_waited() {
    let (mut harness, running, epoch) = hint_call_that_outlived_its_session();
    let (strict, effects) = harness.call(Some("ann"));
    assert_eq!(ends(&effects), [(running.0, epoch)]);
    let effects = harness.finish(running);
    let strict_sent = sent(&effects, strict).unwrap();
    assert!(epoch_of(&effects, strict) > epoch);
    assert_eq!(routing(&harness.finish(strict_sent), strict), Some(Routing::New));
    assert!(harness.core.session_info(harness.now, "ann").is_some(), "the call began the session anew");
    let (mut harness, ..) = hint_call_that_outlived_its_session();
    harness.step(Input::Kill { worker: process(1, 1), kill_reason: KillReason::Requested });
    let (strict, effects) = harness.call(Some("ann"));
    assert_eq!(settled(&effects, strict), None);
}

/// R22: nor does a session that is bound after the end have it.
#[test]
fn r22_bind_after_an_end_does_not_keep_the_state_of_a_hint_call_that_waited() {
    let (mut harness, running, epoch) = hint_call_that_outlived_its_session();
    let mut effects = Vec::new();
    harness.core.bind_session(harness.now, id("ann"), WorkerId(1), &mut effects).unwrap();
    assert_eq!(ends(&effects), [(running.0, epoch)]);
    harness.finish(running);
    assert_eq!(harness.lookup("ann"), Lookup::Bound(process(1, 1)));
}
