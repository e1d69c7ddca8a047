//! Bugs that were found once, by reading or by a schedule, each by the rule it broke.

use super::*;

fn ann() -> SessionId {
    SessionId::new("ann").unwrap()
}

/// A pool whose base workers are busy with one call each.
fn busy(size: u32) -> Bench {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), size);
    settings.overflow = 1;
    let mut bench = Bench::with(settings);
    for _ in 0..size {
        bench.call(None);
    }
    bench
}

/// I3: a strict call that waits for any home follows the hint call that found one.
#[test]
fn a_strict_call_follows_the_hint_that_bound_its_session() {
    let mut bench = busy(2);
    let (hint, _) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    let (strict, _) = bench.call(Some("ann"));
    let fx = bench.finish((at(1, 1), WireId(1)));
    let hint_sent = sent(&fx, hint).unwrap();
    let fx = bench.finish((at(2, 1), WireId(2)));
    assert_eq!(sent(&fx, strict), None, "the state is in w1");
    let fx = bench.finish(hint_sent);
    assert_eq!(sent(&fx, strict).map(|(to, _)| to), Some(at(1, 1)));
}

/// R12: a hint call that waited for any worker does not bind its lost session to the overflow.
#[test]
fn a_hint_call_of_a_lost_session_waits_for_a_base_worker() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let home = sent(&fx, first).unwrap().0;
    bench.call(None);
    let (hint, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    assert!(fx.contains(&Effect::Start(at(3, 1))));
    bench.die(home);
    let fx = bench.step(Input::Ready { at: at(3, 1), window: 1, control: true });
    assert_eq!(sent(&fx, hint), None, "w2 lives and is busy");
    let fx = bench.finish((at(2, 1), WireId(2)));
    assert_eq!(sent(&fx, hint).map(|(to, _)| to), Some(at(2, 1)));
}

/// R22: a worker that ran a hint call of a session is told of the epoch it ran under, when that is lost elsewhere.
#[test]
fn strays_are_told_of_the_epoch_they_know() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let home = sent(&fx, first).unwrap().0;
    let (hint, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    let stray = sent(&fx, hint).unwrap();
    let Some(Effect::Send { epoch: Some(known), .. }) = fx.iter().find(|fx| matches!(fx, Effect::Send { .. })) else {
        panic!("{fx:?}");
    };
    bench.finish(stray);
    let fx = bench.die(home);
    let told = |fx: &Effect| matches!(fx, Effect::EndSession { at, epoch, .. } if *at == stray.0 && epoch == known);
    assert_eq!(fx.iter().filter(|fx| told(fx)).count(), 1);
}

/// R14: a binding that waits for an earlier call holds also when that call never runs.
#[test]
fn a_binding_made_while_a_call_waits_for_a_home_holds() {
    let mut bench = busy(2);
    let (first, _) = bench.call(Some("ann"));
    let mut fx = Vec::new();
    assert_eq!(bench.core.bind_session(bench.now, ann(), WorkerId(2), &mut fx), Ok(at(2, 1)));
    bench.step(Input::Cancel(first));
    let (next, _) = bench.call(Some("ann"));
    let fx = bench.finish((at(1, 1), WireId(1)));
    assert_eq!(sent(&fx, next), None);
    let fx = bench.finish((at(2, 1), WireId(2)));
    assert_eq!(sent(&fx, next).map(|(to, _)| to), Some(at(2, 1)));
}

/// R14: binding a session to its own worker while an end is pending is a new life there, not nothing.
#[test]
fn a_binding_after_a_pending_end_holds() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    let first_sent = sent(&fx, first).unwrap();
    let mut fx = Vec::new();
    assert!(bench.core.end_session(bench.now, "ann", &mut fx));
    assert_eq!(bench.core.bind_session(bench.now, ann(), first_sent.0.worker, &mut fx), Ok(first_sent.0));
    let fx = bench.finish(first_sent);
    assert!(fx.iter().any(|fx| matches!(fx, Effect::EndSession { .. })));
    assert_eq!(bench.core.worker_of(bench.now, "ann", &mut Vec::new()), Lookup::Bound(first_sent.0));
}

/// R20: who unbinds a slot's sessions does not take the news of a loss from who asks next.
#[test]
fn removing_bindings_keeps_the_news_of_a_loss() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    let (first, fx) = bench.call(Some("ann"));
    bench.finish(sent(&fx, first).unwrap());
    bench.die(at(1, 1));
    assert_eq!(bench.core.remove_worker_sessions(bench.now, WorkerId(1), &mut Vec::new()), 0);
    assert!(!bench.core.unbind_session(bench.now, "ann", &mut Vec::new()));
    let (told, fx) = bench.call(Some("ann"));
    assert!(matches!(settled(&fx, told), Some(CallFailure::SessionWorkerLost { .. })));
}

/// R22: an expired session that nobody swept yet does not count against the quota, a call that was refused neither.
#[test]
fn the_quota_counts_living_sessions() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    (settings.sessions.max, settings.overflow, settings.queue.limit) = (1, 0, 0);
    let mut bench = Bench::with(settings);
    let (first, fx) = bench.call(Some("ann"));
    bench.finish(sent(&fx, first).unwrap());
    let (refused, fx) = bench.call(Some("bob"));
    assert_eq!(settled(&fx, refused), Some(CallFailure::SessionQuota { max: 1 }));
    bench.now = bench.now + Duration::from_secs(301);
    bench.call(None);
    let (refused, fx) = bench.call(Some("bob"));
    assert_eq!(settled(&fx, refused), Some(CallFailure::QueueFull { limit: 0 }));
    let (refused, fx) = bench.call(Some("eve"));
    assert_eq!(settled(&fx, refused), Some(CallFailure::QueueFull { limit: 0 }), "bob's session never was");
}

/// R22: a session that is only tracked goes when its last call is over.
#[test]
fn ending_a_tracked_session_waits_for_its_calls() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    let (first, fx) = bench.call(Some("ann"));
    assert!(bench.core.end_session(bench.now, "ann", &mut Vec::new()));
    assert!(bench.core.session_info(bench.now, "ann").is_some());
    bench.finish(sent(&fx, first).unwrap());
    assert_eq!(bench.core.session_info(bench.now, "ann"), None);
}

/// R28: an overflow worker that ends while the probe starts does not fail the pool again.
#[test]
fn only_the_probe_decides_whether_a_failed_pool_recovers() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    bench.call(None);
    bench.call(None);
    bench.step(Input::Ready { at: at(2, 1), window: 1, control: false });
    for generation in 1..=7 {
        bench.die(at(1, generation)); // the first in the middle of a call
        bench.wait(Duration::from_millis(4000));
    }
    assert_eq!(bench.core.pool_state(), PoolState::Failed);
    bench.wait(Duration::from_secs(30));
    bench.die(at(2, 1));
    let fx = bench.step(Input::Ready { at: at(1, 8), window: 1, control: false });
    assert!(fx.contains(&Effect::Log(LogEvent::PoolRecovered)));
    assert!(!fx.iter().any(|effect| matches!(effect, Effect::Log(LogEvent::PoolFailed(_)))));
    assert_eq!(bench.core.pool_state(), PoolState::Running);
}

/// R16: what expired before a rebuild is not told of a loss after it.
#[test]
fn expired_sessions_are_not_salvaged() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    let (first, fx) = bench.call(Some("ann"));
    bench.finish(sent(&fx, first).unwrap());
    bench.now = bench.now + Duration::from_secs(301);
    let settings = bench.core.settings().clone();
    bench.core = Core::resume(settings, 1, bench.now, bench.core.recovery_snapshot());
    assert_eq!(bench.core.session_info(bench.now, "ann"), None);
}

/// R12: calls that wait when a worker dies get an overflow worker, not only those that come later.
#[test]
fn a_death_starts_overflow_for_who_waits() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.overflow = 1;
    let mut bench = Bench::with(settings);
    bench.call(None);
    bench.call(None);
    bench.die(at(2, 1));
    let fx = bench.wait(Duration::from_secs(1));
    assert!(fx.contains(&Effect::Start(at(2, 2))), "{fx:?}");
}

/// I1, I8: a retried call keeps its deadline, also when stale timers were dropped while it backed off. It was sent in its queue's last
/// moments and lost, so that its queue timeout, looked at in between, named the very moment of the retry.
#[test]
fn a_retried_call_keeps_its_deadline() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    (settings.overflow, settings.retry.jitter, settings.queue.shed) = (0, 0, false);
    settings.retry.base = Duration::from_secs(1);
    (settings.health.interval, settings.restart.min_uptime) = (Duration::MAX, Duration::ZERO);
    let mut bench = Bench::with(settings);
    let [first, second] = [(); 2].map(|()| {
        let (call, fx) = bench.call(None);
        sent(&fx, call).unwrap()
    });
    let (call, _) = bench.call_with(None, None, true);
    bench.wait(Duration::from_millis(4900));
    assert_eq!(sent(&bench.finish(first), call).map(|(to, _)| to), Some(first.0));
    bench.wait(Duration::from_millis(50));
    bench.finish(second);
    bench.die(first.0);
    bench.step(Input::Ready { at: at(1, 2), window: 1, control: true });
    bench.wait(Duration::from_millis(100));
    for _ in 0..100 {
        let (short, fx) = bench.call(None);
        bench.finish(sent(&fx, short).unwrap());
    }
    let fx = bench.wait(Duration::from_millis(900));
    assert!(sent(&fx, call).is_some(), "it is sent again at 5.95 s");
    let fx = bench.wait(Duration::from_secs(600));
    assert_eq!(settled(&fx, call), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
}

/// I7, I8: a start that ran out of time lets the next one begin, also if its process can't be ended.
#[test]
fn a_start_that_hangs_holds_up_no_other() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.start_batch = 1;
    let mut bench = Bench { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), fx: Vec::new(), calls: 0 };
    assert_eq!(bench.step(Input::Tick), [Effect::Start(at(1, 1))]);
    let fx = bench.wait(Duration::from_secs(60));
    let stop = Effect::Stop { at: at(1, 1), method: StopMethod::Kill, kill_reason: KillReason::StartTimeout };
    assert_eq!(fx, [stop, Effect::Start(at(2, 1))]);
}
