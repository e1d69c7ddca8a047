//! What `why` tells of a session, step by step (R22).

use super::*;
use crate::{OnExpired, SessionEventKind};

fn story(harness: &Harness, session: &str) -> Vec<(SessionEventKind, u32)> {
    let history = harness.core.session_events(harness.now, session).unwrap();
    history.events.iter().map(|event| (event.kind, event.times)).collect()
}

#[test]
fn a_session_that_was_hit_expired_and_rebound() {
    let mut harness = Harness::new(two_phase(Duration::from_secs(1), OnExpired::Rebind), 1);
    for _ in 0..4 {
        harness.run("ann");
    }
    harness.now = harness.now + Duration::from_secs(300);
    assert_eq!(harness.look("ann"), Lookup::Expired);
    harness.run("ann");
    let told = [
        (SessionEventKind::Sent(Routing::New), 1),
        (SessionEventKind::Sent(Routing::Hit), 3),
        (SessionEventKind::MarkedExpired, 1),
        (SessionEventKind::Unbound(SessionEndReason::Expired), 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::Expired)), 1),
    ];
    assert_eq!(story(&harness, "ann"), told);
}

/// Expired, ended and never seen are told apart, as long as the list of the gone reaches back.
#[test]
fn the_gone_are_known_for_a_while() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.run("ann");
    harness.run("ann");
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    harness.run("ann");
    harness.now = harness.now + Duration::from_secs(300);
    assert_eq!(harness.look("ann"), Lookup::NotBound);
    let history = harness.core.session_events(harness.now, "ann").unwrap();
    let past: Vec<_> = history.past.iter().map(|life| (life.why, life.operations)).collect();
    assert_eq!((history.present, history.complete), (None, true));
    assert_eq!(past, [(SessionEndReason::Ended, 2), (SessionEndReason::Expired, 1)]);
    assert_eq!(story(&harness, "ann").last(), Some(&(SessionEventKind::Removed(SessionEndReason::Expired), 1)));
    let never = harness.core.session_events(harness.now, "eve").unwrap();
    assert!(never.present.is_none() && never.past.is_empty() && never.events.is_empty());
}

#[test]
fn a_loss_is_told_as_a_loss() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    harness.bind("ann", 1);
    harness.run("ann");
    harness.die(at(1, 1));
    assert_eq!(
        harness.core.session_events(harness.now, "ann").unwrap().lost,
        Some(at(1, 1)),
        "before anybody was told"
    );
    harness.call(Some("ann"));
    let history = harness.core.session_events(harness.now, "ann").unwrap();
    assert_eq!(history.lost, None);
    assert_eq!(
        history.events.last().map(|event| (event.kind, event.worker)),
        Some((SessionEventKind::LossReported, Some(at(1, 1))))
    );
    harness.run("ann");
    let told = [
        (SessionEventKind::Bound, 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
        (SessionEventKind::StateLost, 1),
        (SessionEventKind::LossReported, 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::WorkerLost)), 1),
    ];
    assert_eq!(story(&harness, "ann"), told);
}

/// Waits, refusals and detours are told with their length and number.
#[test]
fn waits_and_refusals_are_told() {
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
    let (astray, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
    harness.finish(sent(&effects, astray).unwrap());
    harness.now = harness.now + Duration::from_secs(2);
    let effects = harness.finish(running);
    assert!(sent(&effects, second).is_some());
    let history = harness.core.session_events(harness.now, "ann").unwrap();
    let told = [
        (SessionEventKind::Bound, 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
        (SessionEventKind::RefusedFull, 3),
        (SessionEventKind::RefusedBusy, 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::Busy)), 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
    ];
    assert_eq!(story(&harness, "ann"), told);
    assert_eq!(history.events.last().map(|event| event.waited), Some(Duration::from_secs(2)));
    harness.call(Some("ann"));
    harness.wait(Duration::from_secs(31));
    assert_eq!(story(&harness, "ann").last(), Some(&(SessionEventKind::LeftQueue, 1)));
}

/// I5: a basic pool has no trail.
#[test]
fn basic_pool_keeps_no_session_events() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    harness.run("ann");
    assert_eq!(harness.core.session_events(harness.now, "ann"), None);
}
