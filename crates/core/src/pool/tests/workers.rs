//! Workers: overflow, failed pools.

use super::*;

/// R12: overflow starts when a call waits that could run there, lingers, and goes.
#[test]
fn overflow_starts_lingers_and_goes() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    let (_, _) = bench.call(None);
    let (second, fx) = bench.call(None);
    assert!(fx.contains(&Effect::Start(at(2, 1))));
    let fx = bench.step(Input::Ready { at: at(2, 1), window: 1, control: true });
    let second_sent = sent(&fx, second).unwrap();
    bench.finish(second_sent);
    assert!(bench.wait(Duration::from_millis(29_900)).iter().all(|effect| !matches!(effect, Effect::Stop { .. })));
    let fx = bench.wait(Duration::from_millis(200));
    assert!(fx.contains(&Effect::Stop { at: at(2, 1), method: StopMethod::Graceful, kill_reason: KillReason::Idle }));
    assert!(!bench.die(at(2, 1)).iter().any(|effect| matches!(effect, Effect::Start(_))));
}

/// R12: a new session waits for a base worker rather than go to the overflow.
#[test]
fn overflow_takes_no_new_session_while_a_base_worker_lives() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    bench.call(None);
    bench.call(None);
    bench.step(Input::Ready { at: at(2, 1), window: 1, control: true });
    bench.step(Input::Final { at: at(2, 1), wire: WireId(2), ok: true });
    let (session, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, session), None, "the overflow worker is free, the base worker busy");
    let fx = bench.finish((at(1, 1), WireId(1)));
    assert_eq!(sent(&fx, session).map(|(to, _)| to), Some(at(1, 1)));
}

/// R28: too many early deaths fail the pool, every caller is told, and a probe brings it back.
#[test]
fn a_failed_pool_answers_at_once_and_is_probed() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    for generation in 1..=6 {
        let fx = bench.die(at(1, generation));
        if generation == 6 {
            assert!(fx.iter().any(|effect| matches!(effect, Effect::Log(LogEvent::PoolFailed(_)))));
        }
        bench.wait(Duration::from_secs(4));
    }
    let (refused, fx) = bench.call(None);
    assert!(matches!(settled(&fx, refused), Some(CallFailure::PoolFailed { .. })));
    let fx = bench.wait(Duration::from_secs(30));
    assert!(fx.contains(&Effect::Start(at(1, 7))));
    bench.step(Input::Ready { at: at(1, 7), window: 1, control: true });
    let (served, fx) = bench.call(None);
    assert!(sent(&fx, served).is_some());
}
