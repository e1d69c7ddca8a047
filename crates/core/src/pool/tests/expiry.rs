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
        assert_eq!(bench.look(session), Lookup::Worker(at(1, 1)), "its time is not over");
        bench.now = last + marked_after;
        assert_eq!(bench.look(session), Lookup::Expired, "the read that marks says so");
        bench.now = last + marked_after + (GRACE - INSTANT);
        assert_eq!(bench.look(session), Lookup::Expired);
        let (refused, fx) = bench.call(Some(session));
        assert_eq!(settled(&fx, refused), Some(Failure::SessionExpired(id(session))));
        bench.now = bench.now + INSTANT;
        assert_eq!(bench.look(session), Lookup::NoAffinity);
        assert_eq!(bench.run(session), Routing::New);
    }
}

/// R16: one that nobody reads again is marked by one sweep and removed by the next, a grace later; its worker is told once.
#[test]
fn a_session_that_nobody_reads_again_goes() {
    let mut bench = bench(OnExpired::Reject);
    bench.run("ann");
    let sweep = |bench: &mut Bench, after: Duration| {
        bench.now = Now(0) + after;
        bench.fx.clear();
        let (removed, more) = bench.core.sweep(bench.now, 256, &mut bench.fx);
        (removed, more, bench.fx.len())
    };
    assert_eq!(sweep(&mut bench, TIMEOUT - INSTANT), (0, false, 0));
    assert_eq!(bench.core.next_removal(), None);
    assert_eq!(sweep(&mut bench, TIMEOUT), (0, false, 0));
    assert_eq!(bench.core.affinity_status(bench.now).map(|status| status.expired_sessions), Some(1));
    assert_eq!(bench.core.next_removal(), Some(Now(0) + TIMEOUT + GRACE));
    assert_eq!(sweep(&mut bench, TIMEOUT + GRACE - INSTANT), (0, false, 0));
    assert_eq!(sweep(&mut bench, TIMEOUT + GRACE), (1, false, 1));
    assert!(matches!(bench.fx[..], [Effect::EndSession { reason: SessionEnd::Expired, .. }]));
    assert_eq!(bench.core.affinity_status(bench.now).map(|status| status.expired_sessions), Some(0));
}

/// R16: where expired sessions begin anew, the call says so, and the old state is ended first.
#[test]
fn an_expired_session_may_begin_anew() {
    let mut bench = bench(OnExpired::Rebind);
    bench.run("ann");
    bench.now = bench.now + TIMEOUT;
    let (call, fx) = bench.call(Some("ann"));
    assert!(matches!(fx[..], [Effect::EndSession { reason: SessionEnd::Expired, .. }, Effect::Send { .. }]), "{fx:?}");
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
    assert_eq!(bench.look("ann"), Lookup::Worker(at(1, 1)));
    bench.now = bench.now + INSTANT;
    assert_eq!(bench.look("ann"), Lookup::Expired);
}

/// R6: what is due is counted whether or not anybody looked, and each session once.
#[test]
fn what_is_due_is_counted_exactly() {
    let mut settings = Settings::new(KindSettings::enhanced(), 1);
    settings.sessions.max = 5000;
    let mut bench = Bench::with(settings);
    for n in 0..5000 {
        bench.now = Now(n);
        bench.bind(&format!("s{n}"), 1);
    }
    for (now, due) in [(0, 0), (1, 1), (777, 777), (2048, 2048), (4999, 4999), (5000, 5000), (9999, 5000)] {
        let status = bench.core.affinity_status(Now(now) + (TIMEOUT - INSTANT)).unwrap();
        assert_eq!((status.expired_sessions, status.total_sessions), (due, 5000 - due));
    }
}
