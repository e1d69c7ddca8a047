//! Expiry to the nanosecond: the clock is virtual (R16).

use super::*;
use crate::OnExpired;

const TIMEOUT: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(1);
const INSTANT: Duration = Duration::from_nanos(1);

/// One worker, with endless patience: hours pass in one step here.
fn harness(on_expired: OnExpired) -> Harness {
    let mut settings = Settings::new(two_phase(GRACE, on_expired), 1);
    let endless = Duration::from_secs(1_000_000);
    (settings.health.interval, settings.cancel.interrupt, settings.cancel.kill) = (endless, endless, endless);
    Harness::with(settings)
}

/// R16: `SessionExpired` for exactly the grace after the marking, however late that is, then `NoAffinity`.
#[test]
fn an_expired_session_is_known_for_exactly_its_grace() {
    let mut harness = harness(OnExpired::Reject);
    let late = Duration::from_secs(7777);
    for (session, marked_after) in [("ann", TIMEOUT), ("bob", TIMEOUT + late)] {
        harness.run(session);
        let last = harness.now;
        harness.now = last + (TIMEOUT - INSTANT);
        assert_eq!(harness.look(session), Lookup::Bound(at(1, 1)), "its time is not over");
        harness.now = last + marked_after;
        assert_eq!(harness.look(session), Lookup::Expired, "the read that marks says so");
        harness.now = last + marked_after + (GRACE - INSTANT);
        assert_eq!(harness.look(session), Lookup::Expired);
        let (refused, effects) = harness.call(Some(session));
        assert_eq!(settled(&effects, refused), Some(CallFailure::SessionExpired(id(session))));
        harness.now = harness.now + INSTANT;
        assert_eq!(harness.look(session), Lookup::NotBound);
        assert_eq!(harness.run(session), Routing::New);
    }
}

/// R16: one that nobody reads again is marked by one sweep and removed by the next, a grace later; its worker is told once.
#[test]
fn unread_expired_session_is_removed_by_the_sweep() {
    let mut harness = harness(OnExpired::Reject);
    harness.run("ann");
    let sweep = |harness: &mut Harness, after: Duration| {
        harness.now = Timestamp(0) + after;
        harness.effects.clear();
        let (removed, more) = harness.core.sweep(harness.now, 256, &mut harness.effects);
        (removed, more, harness.effects.len())
    };
    assert_eq!(sweep(&mut harness, TIMEOUT - INSTANT), (0, false, 0));
    assert_eq!(harness.core.next_removal(), Timestamp::NEVER);
    assert_eq!(sweep(&mut harness, TIMEOUT), (0, false, 0));
    assert_eq!(harness.core.affinity_status(harness.now).map(|status| status.expired_sessions), Some(1));
    assert_eq!(harness.core.next_removal(), Timestamp(0) + TIMEOUT + GRACE);
    assert_eq!(sweep(&mut harness, TIMEOUT + GRACE - INSTANT), (0, false, 0));
    assert_eq!(sweep(&mut harness, TIMEOUT + GRACE), (1, false, 1));
    assert!(matches!(harness.effects[..], [Effect::EndSession { reason: SessionEndReason::Expired, .. }]));
    assert_eq!(harness.core.affinity_status(harness.now).map(|status| status.expired_sessions), Some(0));
}

/// R16: where expired sessions begin anew, the call says so, and the old state is ended first.
#[test]
fn expired_session_can_start_a_new_life() {
    let mut harness = harness(OnExpired::Rebind);
    harness.run("ann");
    harness.now = harness.now + TIMEOUT;
    let (call, effects) = harness.call(Some("ann"));
    assert!(
        matches!(effects[..], [Effect::EndSession { reason: SessionEndReason::Expired, .. }, Effect::Send { .. }]),
        "{effects:?}"
    );
    let effects = harness.finish(sent(&effects, call).unwrap());
    assert_eq!(routing(&effects, call), Some(Routing::Rebound(RebindReason::Expired)));
}

/// R16: the timeout runs from the last finish; a session with a call, queued or running, is never due.
#[test]
fn a_running_call_keeps_its_session() {
    let mut harness = harness(OnExpired::Reject);
    let (first, effects) = harness.call(Some("ann"));
    let running = sent(&effects, first).unwrap();
    harness.wait_and_pong(Duration::from_secs(29));
    harness.step(Input::Cancel(first));
    harness.now = harness.now + TIMEOUT * 2;
    harness.core.sweep(harness.now, 256, &mut harness.effects);
    assert_eq!(harness.core.session_info(harness.now, "ann").map(|info| info.state), Some(SessionState::Active));
    harness.finish(running);
    harness.now = harness.now + (TIMEOUT - INSTANT);
    assert_eq!(harness.look("ann"), Lookup::Bound(at(1, 1)));
    harness.now = harness.now + INSTANT;
    assert_eq!(harness.look("ann"), Lookup::Expired);
}

/// R6: what is due is counted whether or not anybody looked, and each session once.
#[test]
fn due_sessions_are_counted_exactly() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    settings.sessions.max = 5000;
    let mut harness = Harness::with(settings);
    for n in 0..5000 {
        harness.now = Timestamp(n);
        harness.bind(&format!("s{n}"), 1);
    }
    for (now, due) in [(0, 0), (1, 1), (777, 777), (2048, 2048), (4999, 4999), (5000, 5000), (9999, 5000)] {
        let status = harness.core.affinity_status(Timestamp(now) + (TIMEOUT - INSTANT)).unwrap();
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
        let mut harness = Harness::with(settings);
        harness.run("ann");
        let ends =
            |effects: Effects| effects.iter().filter(|effect| matches!(effect, Effect::EndSession { .. })).count();
        assert_eq!(ends(harness.wait(after - INSTANT)), 0, "{kind:?}");
        assert_eq!(harness.core.sessions.len(), 1, "{kind:?}");
        assert_eq!((ends(harness.wait(INSTANT)), harness.core.sessions.len()), (told, 0), "{kind:?}");
        assert_eq!(harness.core.status(harness.now).counters.sessions_expired, 1);
    }
}

/// R16, I8: one that a read marked goes when its grace is over, however far the next sweep is; and a grace of zero never sweeps on the
/// spot, again and again.
#[test]
fn session_marked_by_a_read_is_removed_after_its_grace() {
    for grace in [Duration::ZERO, GRACE] {
        let mut settings = Settings::new(two_phase(grace, OnExpired::Reject), 1);
        settings.sessions.cleanup_interval = TIMEOUT * 10;
        let mut harness = Harness::with(settings);
        harness.run("ann");
        harness.wait(TIMEOUT * 2);
        assert_eq!(harness.core.sessions.len(), 1);
        assert_eq!(harness.look("ann"), Lookup::Expired);
        assert_eq!(harness.core.missing_timers(), [""; 0]);
        let least = grace.max(Duration::from_millis(1)); // a timer is no finer
        harness.wait(least - INSTANT);
        assert_eq!(harness.core.sessions.len(), 1);
        harness.wait(INSTANT);
        assert_eq!(harness.core.sessions.len(), 0);
        harness.wait(TIMEOUT * 30);
    }
}

/// R16: a sweep of many goes on in steps, and calls go between them.
#[test]
fn a_sweep_goes_on_in_steps() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    (0..1000).for_each(|n| harness.bind(&format!("s{n}"), 1));
    harness.wait(TIMEOUT - INSTANT);
    let left: Vec<usize> = (0..5)
        .map(|_| {
            harness.now = harness.core.next_wakeup().unwrap();
            harness.step(Input::Tick);
            harness.core.sessions.len()
        })
        .collect();
    assert!(left.is_sorted_by(|more, less| more >= less && more - less <= 256), "{left:?}");
    assert_eq!(left.last(), Some(&0), "{left:?}");
}
