//! The events of a session, as `herder why` shows them (R22).

use super::*;
use crate::{OnExpired, SessionEventKind};

fn event_counts(harness: &Harness, session: &str) -> Vec<(SessionEventKind, u32)> {
    let history = harness.core.session_events(harness.now, session).unwrap();
    history.events.iter().map(|event| (event.kind, event.times)).collect()
}

#[test]
fn events_of_a_session_that_expired_and_was_rebound() {
    let mut harness = Harness::new(two_phase(Duration::from_secs(1), OnExpired::Rebind), 1);
    for _ in 0..4 {
        harness.run_call("ann");
    }
    harness.now = harness.now + Duration::from_secs(300);
    assert_eq!(harness.lookup("ann"), Lookup::Expired);
    harness.run_call("ann");
    let expected = [
        (SessionEventKind::Sent(Routing::New), 1),
        (SessionEventKind::Sent(Routing::Hit), 3),
        (SessionEventKind::MarkedExpired, 1),
        (SessionEventKind::Unbound(SessionEndReason::Expired), 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::Expired)), 1),
    ];
    assert_eq!(event_counts(&harness, "ann"), expected);
}

/// Expired, ended and unknown sessions are distinguished, as long as the removed ones are remembered.
#[test]
fn removed_sessions_are_remembered() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.run_call("ann");
    harness.run_call("ann");
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    harness.run_call("ann");
    harness.now = harness.now + Duration::from_secs(300);
    assert_eq!(harness.lookup("ann"), Lookup::NotBound);
    let history = harness.core.session_events(harness.now, "ann").unwrap();
    let past: Vec<_> = history.past.iter().map(|life| (life.why, life.operations)).collect();
    assert_eq!((history.present, history.complete), (None, true));
    assert_eq!(past, [(SessionEndReason::Ended, 2), (SessionEndReason::Expired, 1)]);
    assert_eq!(event_counts(&harness, "ann").last(), Some(&(SessionEventKind::Removed(SessionEndReason::Expired), 1)));
    let unknown = harness.core.session_events(harness.now, "eve").unwrap();
    assert!(unknown.present.is_none() && unknown.past.is_empty() && unknown.events.is_empty());
}

#[test]
fn loss_and_its_report_are_recorded() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    harness.bind("ann", 1);
    harness.run_call("ann");
    harness.exit_by_signal(process(1, 1));
    assert_eq!(
        harness.core.session_events(harness.now, "ann").unwrap().lost,
        Some(process(1, 1)),
        "before the loss was reported"
    );
    harness.call(Some("ann"));
    let history = harness.core.session_events(harness.now, "ann").unwrap();
    assert_eq!(history.lost, None);
    assert_eq!(
        history.events.last().map(|event| (event.kind, event.worker)),
        Some((SessionEventKind::LossReported, Some(process(1, 1))))
    );
    harness.run_call("ann");
    let expected = [
        (SessionEventKind::Bound, 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
        (SessionEventKind::StateLost, 1),
        (SessionEventKind::LossReported, 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::WorkerLost)), 1),
    ];
    assert_eq!(event_counts(&harness, "ann"), expected);
}

/// Waits, refusals and calls on other workers are recorded with their number and duration.
#[test]
fn waits_and_refusals_are_recorded() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 2);
    settings.queue.per_session = 1;
    let mut harness = Harness::with(settings);
    harness.bind("ann", 1);
    let (first, effects) = harness.call(Some("ann"));
    let running = sent(&effects, first).unwrap();
    let (second, _) = harness.call(Some("ann"));
    for _ in 0..3 {
        harness.call(Some("ann"));
    }
    harness.call_with(Some("ann"), Some(Affinity::StrictFailFast), false);
    let (off_affinity, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    harness.finish(sent(&effects, off_affinity).unwrap());
    harness.now = harness.now + Duration::from_secs(2);
    let effects = harness.finish(running);
    assert!(sent(&effects, second).is_some());
    let history = harness.core.session_events(harness.now, "ann").unwrap();
    let expected = [
        (SessionEventKind::Bound, 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
        (SessionEventKind::RefusedFull, 3),
        (SessionEventKind::RefusedBusy, 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::Busy)), 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
    ];
    assert_eq!(event_counts(&harness, "ann"), expected);
    assert_eq!(history.events.last().map(|event| event.waited), Some(Duration::from_secs(2)));
    harness.call(Some("ann"));
    harness.wait(Duration::from_secs(31));
    assert_eq!(event_counts(&harness, "ann").last(), Some(&(SessionEventKind::LeftQueue, 1)));
}

/// I5: a basic pool records no session events.
#[test]
fn basic_pool_keeps_no_session_events() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    harness.run_call("ann");
    assert_eq!(harness.core.session_events(harness.now, "ann"), None);
}
