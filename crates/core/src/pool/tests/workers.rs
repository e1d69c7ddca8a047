//! Workers: overflow, and failed pools.

use super::*;

/// A pool without a ready worker says how long its processes have been starting.
#[test]
fn starting_processes_have_a_time() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.start_batch = 1;
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    harness.step(Input::Tick);
    harness.wait(Duration::from_secs(7));
    assert_eq!(harness.core.starting_for(harness.now), Some(Duration::from_secs(7)));
    harness.step(Input::Ready { worker: process(1, 1), window: 1, control: true, in_order: None });
    assert_eq!(harness.core.starting_for(harness.now), None, "one worker is ready, the other starts");
}

/// R12: an overflow worker starts when a call waits that it could run, stays while it is busy or recently idle, and
/// stops.
#[test]
fn overflow_worker_starts_idles_and_stops() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    let (_, _) = harness.call(None);
    let (second, effects) = harness.call(None);
    assert!(effects.contains(&Effect::Start(process(2, 1))));
    let effects = harness.step(Input::Ready { worker: process(2, 1), window: 1, control: true, in_order: None });
    let second_sent = sent(&effects, second).unwrap();
    harness.finish(second_sent);
    assert!(harness.wait(Duration::from_millis(29_900)).iter().all(|effect| !matches!(effect, Effect::Stop { .. })));
    let effects = harness.wait(Duration::from_millis(200));
    assert!(effects.contains(&Effect::Stop {
        worker: process(2, 1),
        method: StopMethod::Graceful,
        kill_reason: KillReason::Idle
    }));
    let effects = harness.exit_by_signal(process(2, 1));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Start(_))));
    let is_stop =
        |effect: &Effect| matches!(effect, Effect::Log(LogEvent::WorkerStopped(worker, _)) if *worker == process(2, 1));
    assert!(effects.iter().any(is_stop), "{effects:?}");
}

/// R12: a new session waits for a base worker and is not bound to an overflow worker.
#[test]
fn overflow_takes_no_new_session_while_a_base_worker_is_alive() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.call(None);
    harness.call(None);
    harness.step(Input::Ready { worker: process(2, 1), window: 1, control: true, in_order: None });
    harness.step(Input::Final { worker: process(2, 1), wire: WireId(2), ok: true, ran: Duration::ZERO });
    let (session, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, session), None, "the overflow worker is free, the base worker busy");
    let effects = harness.finish((process(1, 1), WireId(1)));
    assert_eq!(sent(&effects, session).map(|(to, _)| to), Some(process(1, 1)));
}

/// R28: too many early deaths make the pool fail. Every call fails at once, and a probe recovers the pool.
#[test]
fn failed_pool_fails_calls_at_once_and_starts_a_probe() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    for generation in 1..=6 {
        let effects = harness.exit_by_signal(process(1, generation));
        if generation == 6 {
            assert!(effects.iter().any(|effect| matches!(effect, Effect::Log(LogEvent::PoolFailed(_)))));
        }
        harness.wait(Duration::from_secs(4));
    }
    let (refused, effects) = harness.call(None);
    assert!(matches!(settled(&effects, refused), Some(CallFailure::PoolFailed { .. })));
    let effects = harness.wait(Duration::from_secs(30));
    assert!(effects.contains(&Effect::Start(process(1, 7))));
    harness.step(Input::Ready { worker: process(1, 7), window: 1, control: true, in_order: None });
    let (served, effects) = harness.call(None);
    assert!(sent(&effects, served).is_some());
}
