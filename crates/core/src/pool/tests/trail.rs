//! What `why` tells of a session, step by step (R22).

use super::*;
use crate::{OnExpired, SessionEventKind};

fn story(bench: &Bench, session: &str) -> Vec<(SessionEventKind, u32)> {
    let trail = bench.core.session_events(bench.now, session).unwrap();
    trail.events.iter().map(|event| (event.kind, event.times)).collect()
}

#[test]
fn a_session_that_was_hit_expired_and_rebound() {
    let mut bench = Bench::new(two_phase(Duration::from_secs(1), OnExpired::Rebind), 1);
    for _ in 0..4 {
        bench.run("ann");
    }
    bench.now = bench.now + Duration::from_secs(300);
    assert_eq!(bench.look("ann"), Lookup::Expired);
    bench.run("ann");
    let told = [
        (SessionEventKind::Sent(Routing::New), 1),
        (SessionEventKind::Sent(Routing::Hit), 3),
        (SessionEventKind::MarkedExpired, 1),
        (SessionEventKind::Unbound(SessionEndReason::Expired), 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::Expired)), 1),
    ];
    assert_eq!(story(&bench, "ann"), told);
}

/// Expired, ended and never seen are told apart, as long as the list of the gone reaches back.
#[test]
fn the_gone_are_known_for_a_while() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    bench.run("ann");
    bench.run("ann");
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    bench.run("ann");
    bench.now = bench.now + Duration::from_secs(300);
    assert_eq!(bench.look("ann"), Lookup::NotBound);
    let trail = bench.core.session_events(bench.now, "ann").unwrap();
    let past: Vec<_> = trail.past.iter().map(|life| (life.why, life.operations)).collect();
    assert_eq!((trail.present, trail.complete), (None, true));
    assert_eq!(past, [(SessionEndReason::Ended, 2), (SessionEndReason::Expired, 1)]);
    assert_eq!(story(&bench, "ann").last(), Some(&(SessionEventKind::Removed(SessionEndReason::Expired), 1)));
    let never = bench.core.session_events(bench.now, "eve").unwrap();
    assert!(never.present.is_none() && never.past.is_empty() && never.events.is_empty());
}

#[test]
fn a_loss_is_told_as_a_loss() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    bench.bind("ann", 1);
    bench.run("ann");
    bench.die(at(1, 1));
    assert_eq!(bench.core.session_events(bench.now, "ann").unwrap().lost, Some(at(1, 1)), "before anybody was told");
    bench.call(Some("ann"));
    let trail = bench.core.session_events(bench.now, "ann").unwrap();
    assert_eq!(trail.lost, None);
    assert_eq!(
        trail.events.last().map(|event| (event.kind, event.at)),
        Some((SessionEventKind::LossReported, Some(at(1, 1))))
    );
    bench.run("ann");
    let told = [
        (SessionEventKind::Bound, 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
        (SessionEventKind::StateLost, 1),
        (SessionEventKind::LossReported, 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::WorkerLost)), 1),
    ];
    assert_eq!(story(&bench, "ann"), told);
}

/// Waits, refusals and detours are told with their length and number.
#[test]
fn waits_and_refusals_are_told() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 2);
    settings.queue.per_session = 1;
    let mut bench = Bench::with(settings);
    bench.bind("ann", 1);
    let (first, fx) = bench.call(Some("ann"));
    let running = sent(&fx, first).unwrap();
    let (second, _) = bench.call(Some("ann"));
    for _ in 0..3 {
        bench.call(Some("ann"));
    }
    bench.call_with(Some("ann"), Some(Affinity::StrictFailFast), false);
    let (astray, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
    bench.finish(sent(&fx, astray).unwrap());
    bench.now = bench.now + Duration::from_secs(2);
    let fx = bench.finish(running);
    assert!(sent(&fx, second).is_some());
    let trail = bench.core.session_events(bench.now, "ann").unwrap();
    let told = [
        (SessionEventKind::Bound, 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
        (SessionEventKind::RefusedFull, 3),
        (SessionEventKind::RefusedBusy, 1),
        (SessionEventKind::Sent(Routing::Rebound(RebindReason::Busy)), 1),
        (SessionEventKind::Sent(Routing::Hit), 1),
    ];
    assert_eq!(story(&bench, "ann"), told);
    assert_eq!(trail.events.last().map(|event| event.waited), Some(Duration::from_secs(2)));
    bench.call(Some("ann"));
    bench.wait(Duration::from_secs(31));
    assert_eq!(story(&bench, "ann").last(), Some(&(SessionEventKind::LeftQueue, 1)));
}

/// I5: a basic pool has no trail.
#[test]
fn a_basic_pool_tells_nothing() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    bench.run("ann");
    assert_eq!(bench.core.session_events(bench.now, "ann"), None);
}
