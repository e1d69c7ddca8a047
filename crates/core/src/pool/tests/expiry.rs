//! Expiry of sessions (R16), exact to the nanosecond on a virtual clock.

use super::*;
use crate::OnExpired;

const TIMEOUT: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(1);
const INSTANT: Duration = Duration::from_nanos(1);

/// One worker whose timeouts are infinite, since tests let hours pass in one step.
fn harness(on_expired: OnExpired) -> Harness {
    let mut settings = Settings::new(two_phase(GRACE, on_expired), 1);
    let endless = Duration::from_secs(1_000_000);
    (settings.health.interval, settings.cancel.interrupt, settings.cancel.kill) = (endless, endless, endless);
    Harness::with(settings)
}

/// R16: an expired session is answered `SessionExpired` for exactly the grace after the marking, however late it is
/// marked.
#[test]
fn expired_session_is_remembered_for_exactly_its_grace() {
    let mut harness = harness(OnExpired::Reject);
    let late = Duration::from_secs(7777);
    for (session, marked_after) in [("ann", TIMEOUT), ("bob", TIMEOUT + late)] {
        harness.run_call(session);
        let last = harness.now;
        harness.now = last + (TIMEOUT - INSTANT);
        assert_eq!(harness.lookup(session), Lookup::Bound(process(1, 1)), "its timeout has not passed");
        harness.now = last + marked_after;
        assert_eq!(harness.lookup(session), Lookup::Expired, "the read that marks it reports it");
        harness.now = last + marked_after + (GRACE - INSTANT);
        assert_eq!(harness.lookup(session), Lookup::Expired);
        let (refused, effects) = harness.call(Some(session));
        assert_eq!(settled(&effects, refused), Some(CallFailure::SessionExpired(id(session))));
        harness.now = harness.now + INSTANT;
        assert_eq!(harness.lookup(session), Lookup::NotBound);
        assert_eq!(harness.run_call(session), Routing::New);
    }
}

/// R16: a session that is not read again is marked by one sweep and removed by a sweep after the grace. Its worker is
/// notified once.
#[test]
fn unread_expired_session_is_removed_by_the_sweep() {
    let mut harness = harness(OnExpired::Reject);
    harness.run_call("ann");
    let sweep = |harness: &mut Harness, after: Duration| {
        harness.now = Timestamp(0) + after;
        harness.effects.clear();
        let (removed, more) = harness.core.sweep(harness.now, 256, &mut harness.effects);
        (removed, more, harness.effects.len())
    };
    assert_eq!(sweep(&mut harness, TIMEOUT - INSTANT), (0, false, 0));
    assert_eq!(harness.core.sessions.next_removal(), Timestamp::NEVER);
    assert_eq!(sweep(&mut harness, TIMEOUT), (0, false, 0));
    assert_eq!(harness.core.affinity_status(harness.now).map(|status| status.expired_sessions), Some(1));
    assert_eq!(harness.core.sessions.next_removal(), Timestamp(0) + TIMEOUT + GRACE);
    assert_eq!(sweep(&mut harness, TIMEOUT + GRACE - INSTANT), (0, false, 0));
    assert_eq!(sweep(&mut harness, TIMEOUT + GRACE), (1, false, 1));
    assert!(matches!(harness.effects[..], [Effect::EndSession { reason: SessionEndReason::Expired, .. }]));
    assert_eq!(harness.core.affinity_status(harness.now).map(|status| status.expired_sessions), Some(0));
}

/// R16: if calls of expired sessions are rebound, the reply states it, and the old state ends first.
#[test]
fn expired_session_can_start_a_new_life() {
    let mut harness = harness(OnExpired::Rebind);
    harness.run_call("ann");
    harness.now = harness.now + TIMEOUT;
    let (call, effects) = harness.call(Some("ann"));
    assert!(
        matches!(effects[..], [Effect::EndSession { reason: SessionEndReason::Expired, .. }, Effect::Send { .. }]),
        "{effects:?}"
    );
    let effects = harness.finish(sent(&effects, call).unwrap());
    assert_eq!(routing(&effects, call), Some(Routing::Rebound(RebindReason::Expired)));
}

/// R16: the timeout counts from the last finished call. A session with a queued or running call does not expire.
#[test]
fn session_with_a_call_does_not_expire() {
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
    assert_eq!(harness.lookup("ann"), Lookup::Bound(process(1, 1)));
    harness.now = harness.now + INSTANT;
    assert_eq!(harness.lookup("ann"), Lookup::Expired);
}

/// R6: due sessions are counted exactly once, whether or not they were read.
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

/// R16: pools of every type sweep by their own timer, and workers are notified of each removed session once.
#[test]
fn every_pool_type_sweeps_by_timer() {
    let two_phase = two_phase(GRACE, OnExpired::Reject);
    let kinds = [
        (WorkerTypeSettings::Basic, 0, TIMEOUT),
        (WorkerTypeSettings::enhanced(), 1, TIMEOUT),
        (two_phase, 1, TIMEOUT + GRACE),
    ];
    for (kind, expected, after) in kinds {
        let mut settings = Settings::new(kind.clone(), 1); // sweeps every minute
        settings.health.interval = Duration::MAX;
        let mut harness = Harness::with(settings);
        harness.run_call("ann");
        let ends =
            |effects: Effects| effects.iter().filter(|effect| matches!(effect, Effect::EndSession { .. })).count();
        assert_eq!(ends(harness.wait(after - INSTANT)), 0, "{kind:?}");
        assert_eq!(harness.core.sessions.len(), 1, "{kind:?}");
        assert_eq!((ends(harness.wait(INSTANT)), harness.core.sessions.len()), (expected, 0), "{kind:?}");
        assert_eq!(harness.core.status(harness.now).counters.sessions_expired, 1);
    }
}

/// R16, I8: a session that a read marked is removed after its grace, however far away the next sweep is. With a grace
/// of zero, the sweep does not repeat without a pause.
#[test]
fn session_marked_by_a_read_is_removed_after_its_grace() {
    for grace in [Duration::ZERO, GRACE] {
        let mut settings = Settings::new(two_phase(grace, OnExpired::Reject), 1);
        settings.sessions.cleanup_interval = TIMEOUT * 10;
        let mut harness = Harness::with(settings);
        harness.run_call("ann");
        harness.wait(TIMEOUT * 2);
        assert_eq!(harness.core.sessions.len(), 1);
        assert_eq!(harness.lookup("ann"), Lookup::Expired);
        assert_eq!(harness.core.verify(), [""; 0]);
        // The shortest pause between two sweeps.
        let least = grace.max(Duration::from_millis(1));
        harness.wait(least - INSTANT);
        assert_eq!(harness.core.sessions.len(), 1);
        harness.wait(INSTANT);
        assert_eq!(harness.core.sessions.len(), 0);
        harness.wait(TIMEOUT * 30);
    }
}

/// R16: a sweep of many sessions runs in steps, with calls in between.
#[test]
fn sweep_runs_in_bounded_steps() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    (0..1000).for_each(|n| harness.bind(&format!("s{n}"), 1));
    harness.wait(TIMEOUT - INSTANT);
    let remaining: Vec<usize> = (0..5)
        .map(|_| {
            harness.now = harness.core.next_wakeup().unwrap();
            harness.step(Input::Tick);
            harness.core.sessions.len()
        })
        .collect();
    assert!(remaining.is_sorted_by(|more, less| more >= less && more - less <= 256), "{remaining:?}");
    assert_eq!(remaining.last(), Some(&0), "{remaining:?}");
}

/// R16: a sweep that marks one session and removes another one is one sweep.
#[test]
fn sweep_that_marks_and_removes_is_counted_once() {
    let mut harness = harness(OnExpired::Reject);
    harness.run_call("ann");
    harness.now = harness.now + GRACE;
    harness.run_call("bob");
    let counted = |harness: &Harness| {
        harness.core.affinity_status(harness.now).map(|status| (status.cleanup_runs, status.sessions_cleaned))
    };
    harness.wait(TIMEOUT - GRACE);
    let Some((runs, 0)) = counted(&harness) else { panic!("{:?}", counted(&harness)) };
    harness.wait(GRACE);
    assert_eq!(counted(&harness), Some((runs + 1, 1)), "`ann` is removed and `bob` is marked");
    harness.wait(GRACE);
    assert_eq!(counted(&harness), Some((runs + 2, 2)));
}
