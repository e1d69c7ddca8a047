//! Expiry to the nanosecond: the clock is virtual (R16).

use super::*;
use crate::OnExpired;

const TIMEOUT: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(1);
const INSTANT: Duration = Duration::from_nanos(1);

/// One worker, with endless patience: hours pass in one step here.
fn bench(on_expired: OnExpired) -> Bench {
    let mut settings = Settings::new(two_phase(GRACE, on_expired), 1);
    let endless = Duration::from_secs(1_000_000);
    (settings.health.interval, settings.cancel.interrupt, settings.cancel.kill) = (endless, endless, endless);
    Bench::with(settings)
}

/// R16: `SessionExpired` for exactly the grace after the marking, however late that is, then `NoAffinity`.
#[test]
fn an_expired_session_is_known_for_exactly_its_grace() {
    let mut bench = bench(OnExpired::Reject);
    let late = Duration::from_secs(7777);
    for (session, marked_after) in [("ann", TIMEOUT), ("bob", TIMEOUT + late)] {
        bench.run(session);
        let last = bench.now;
        bench.now = last + (TIMEOUT - INSTANT);
        assert_eq!(bench.look(session), Lookup::Bound(at(1, 1)), "its time is not over");
        bench.now = last + marked_after;
        assert_eq!(bench.look(session), Lookup::Expired, "the read that marks says so");
        bench.now = last + marked_after + (GRACE - INSTANT);
        assert_eq!(bench.look(session), Lookup::Expired);
        let (refused, fx) = bench.call(Some(session));
        assert_eq!(settled(&fx, refused), Some(CallFailure::SessionExpired(id(session))));
        bench.now = bench.now + INSTANT;
        assert_eq!(bench.look(session), Lookup::NotBound);
        assert_eq!(bench.run(session), Routing::New);
    }
}

/// R16: one that nobody reads again is marked by one sweep and removed by the next, a grace later; its worker is told once.
#[test]
fn a_session_that_nobody_reads_again_goes() {
    let mut bench = bench(OnExpired::Reject);
    bench.run("ann");
    let sweep = |bench: &mut Bench, after: Duration| {
        bench.now = Timestamp(0) + after;
        bench.fx.clear();
        let (removed, more) = bench.core.sweep(bench.now, 256, &mut bench.fx);
        (removed, more, bench.fx.len())
    };
    assert_eq!(sweep(&mut bench, TIMEOUT - INSTANT), (0, false, 0));
    assert_eq!(bench.core.next_removal(), Timestamp::NEVER);
    assert_eq!(sweep(&mut bench, TIMEOUT), (0, false, 0));
    assert_eq!(bench.core.affinity_status(bench.now).map(|status| status.expired_sessions), Some(1));
    assert_eq!(bench.core.next_removal(), Timestamp(0) + TIMEOUT + GRACE);
    assert_eq!(sweep(&mut bench, TIMEOUT + GRACE - INSTANT), (0, false, 0));
    assert_eq!(sweep(&mut bench, TIMEOUT + GRACE), (1, false, 1));
    assert!(matches!(bench.fx[..], [Effect::EndSession { reason: SessionEndReason::Expired, .. }]));
    assert_eq!(bench.core.affinity_status(bench.now).map(|status| status.expired_sessions), Some(0));
}

/// R16: where expired sessions begin anew, the call says so, and the old state is ended first.
#[test]
fn an_expired_session_may_begin_anew() {
    let mut bench = bench(OnExpired::Rebind);
    bench.run("ann");
    bench.now = bench.now + TIMEOUT;
    let (call, fx) = bench.call(Some("ann"));
    assert!(
        matches!(fx[..], [Effect::EndSession { reason: SessionEndReason::Expired, .. }, Effect::Send { .. }]),
        "{fx:?}"
    );
    let fx = bench.finish(sent(&fx, call).unwrap());
    assert_eq!(routing(&fx, call), Some(Routing::Rebound(RebindReason::Expired)));
}

/// R16: the timeout runs from the last finish; a session with a call, queued or running, is never due.
#[test]
fn a_running_call_keeps_its_session() {
    let mut bench = bench(OnExpired::Reject);
    let (first, fx) = bench.call(Some("ann"));
    let running = sent(&fx, first).unwrap();
    bench.wait_and_pong(Duration::from_secs(29));
    bench.step(Input::Cancel(first));
    bench.now = bench.now + TIMEOUT * 2;
    bench.core.sweep(bench.now, 256, &mut bench.fx);
    assert_eq!(bench.core.session_info(bench.now, "ann").map(|info| info.state), Some(SessionState::Active));
    bench.finish(running);
    bench.now = bench.now + (TIMEOUT - INSTANT);
    assert_eq!(bench.look("ann"), Lookup::Bound(at(1, 1)));
    bench.now = bench.now + INSTANT;
    assert_eq!(bench.look("ann"), Lookup::Expired);
}

/// R6: what is due is counted whether or not anybody looked, and each session once.
#[test]
fn what_is_due_is_counted_exactly() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    settings.sessions.max = 5000;
    let mut bench = Bench::with(settings);
    for n in 0..5000 {
        bench.now = Timestamp(n);
        bench.bind(&format!("s{n}"), 1);
    }
    for (now, due) in [(0, 0), (1, 1), (777, 777), (2048, 2048), (4999, 4999), (5000, 5000), (9999, 5000)] {
        let status = bench.core.affinity_status(Timestamp(now) + (TIMEOUT - INSTANT)).unwrap();
        assert_eq!((status.expired_sessions, status.total_sessions), (due, 5000 - due));
    }
}

/// R16: every pool sweeps by its own timer; its workers hear of what went once.
#[test]
fn each_kind_of_pool_sweeps_by_itself() {
    let two_phase = two_phase(GRACE, OnExpired::Reject);
    let kinds = [
        (WorkerTypeSettings::Basic, 0, TIMEOUT),
        (WorkerTypeSettings::enhanced(), 1, TIMEOUT),
        (two_phase, 1, TIMEOUT + GRACE),
    ];
    for (kind, told, after) in kinds {
        let mut settings = Settings::new(kind.clone(), 1); // sweeps every minute
        settings.health.interval = Duration::MAX;
        let mut bench = Bench::with(settings);
        bench.run("ann");
        let ends = |fx: Effects| fx.iter().filter(|effect| matches!(effect, Effect::EndSession { .. })).count();
        assert_eq!(ends(bench.wait(after - INSTANT)), 0, "{kind:?}");
        assert_eq!(bench.core.sessions.len(), 1, "{kind:?}");
        assert_eq!((ends(bench.wait(INSTANT)), bench.core.sessions.len()), (told, 0), "{kind:?}");
        assert_eq!(bench.core.status(bench.now).counters.sessions_expired, 1);
    }
}

/// R16, I8: one that a read marked goes when its grace is over, however far the next sweep is; and a grace of zero never sweeps on the
/// spot, again and again.
#[test]
fn what_a_read_marked_goes_with_its_grace() {
    for grace in [Duration::ZERO, GRACE] {
        let mut settings = Settings::new(two_phase(grace, OnExpired::Reject), 1);
        settings.sessions.cleanup_interval = TIMEOUT * 10;
        let mut bench = Bench::with(settings);
        bench.run("ann");
        bench.wait(TIMEOUT * 2);
        assert_eq!(bench.core.sessions.len(), 1);
        assert_eq!(bench.look("ann"), Lookup::Expired);
        assert_eq!(bench.core.missing_timers(), [""; 0]);
        let least = grace.max(Duration::from_millis(1)); // a timer is no finer
        bench.wait(least - INSTANT);
        assert_eq!(bench.core.sessions.len(), 1);
        bench.wait(INSTANT);
        assert_eq!(bench.core.sessions.len(), 0);
        bench.wait(TIMEOUT * 30);
    }
}

/// R16: a sweep of many goes on in steps, and calls go between them.
#[test]
fn a_sweep_goes_on_in_steps() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    (0..1000).for_each(|n| bench.bind(&format!("s{n}"), 1));
    bench.wait(TIMEOUT - INSTANT);
    let left: Vec<usize> = (0..5)
        .map(|_| {
            bench.now = bench.core.next_wakeup().unwrap();
            bench.step(Input::Tick);
            bench.core.sessions.len()
        })
        .collect();
    assert!(left.is_sorted_by(|more, less| more >= less && more - less <= 256), "{left:?}");
    assert_eq!(left.last(), Some(&0), "{left:?}");
}
