//! What `why` tells of a session, step by step (R22).

use super::*;
use crate::{Happened, OnExpired};

fn story(bench: &Bench, session: &str) -> Vec<(Happened, u32)> {
    let trail = bench.core.trail_of(bench.now, session).unwrap();
    trail.events.iter().map(|event| (event.what, event.times)).collect()
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
        (Happened::Sent(Routing::New), 1),
        (Happened::Sent(Routing::Hit), 3),
        (Happened::Marked, 1),
        (Happened::Unbound(SessionEnd::Expired), 1),
        (Happened::Sent(Routing::Rebound(RebindReason::Expired)), 1),
    ];
    assert_eq!(story(&bench, "ann"), told);
}

/// Expired, ended and never seen are told apart, as long as the list of the gone reaches back.
#[test]
fn the_gone_are_known_for_a_while() {
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
    bench.run("ann");
    bench.run("ann");
    assert!(bench.core.end_session(bench.now, "ann", &mut bench.fx));
    bench.run("ann");
    bench.now = bench.now + Duration::from_secs(300);
    assert_eq!(bench.look("ann"), Lookup::NoAffinity);
    let trail = bench.core.trail_of(bench.now, "ann").unwrap();
    let past: Vec<_> = trail.past.iter().map(|life| (life.why, life.operations)).collect();
    assert_eq!((trail.present, trail.complete), (None, true));
    assert_eq!(past, [(SessionEnd::Ended, 2), (SessionEnd::Expired, 1)]);
    assert_eq!(story(&bench, "ann").last(), Some(&(Happened::Gone(SessionEnd::Expired), 1)));
    let never = bench.core.trail_of(bench.now, "eve").unwrap();
    assert!(never.present.is_none() && never.past.is_empty() && never.events.is_empty());
}

#[test]
fn a_loss_is_told_as_a_loss() {
    let mut bench = Bench::new(KindSettings::enhanced(), 2);
    bench.bind("ann", 1);
    bench.run("ann");
    bench.die(at(1, 1));
    assert_eq!(bench.core.trail_of(bench.now, "ann").unwrap().lost, Some(at(1, 1)), "before anybody was told");
    bench.call(Some("ann"));
    let trail = bench.core.trail_of(bench.now, "ann").unwrap();
    assert_eq!(trail.lost, None);
    assert_eq!(trail.events.last().map(|event| (event.what, event.at)), Some((Happened::ToldOfLoss, Some(at(1, 1)))));
    bench.run("ann");
    let told = [
        (Happened::Bound, 1),
        (Happened::Sent(Routing::Hit), 1),
        (Happened::Lost, 1),
        (Happened::ToldOfLoss, 1),
        (Happened::Sent(Routing::Rebound(RebindReason::WorkerLost)), 1),
    ];
    assert_eq!(story(&bench, "ann"), told);
}

/// Waits, refusals and detours are told with their length and number.
#[test]
fn waits_and_refusals_are_told() {
    let mut settings = Settings::new(KindSettings::enhanced(), 2);
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
    let trail = bench.core.trail_of(bench.now, "ann").unwrap();
    let told = [
        (Happened::Bound, 1),
        (Happened::Sent(Routing::Hit), 1),
        (Happened::RefusedFull, 3),
        (Happened::RefusedBusy, 1),
        (Happened::Sent(Routing::Rebound(RebindReason::Busy)), 1),
        (Happened::Sent(Routing::Hit), 1),
    ];
    assert_eq!(story(&bench, "ann"), told);
    assert_eq!(trail.events.last().map(|event| event.waited), Some(Duration::from_secs(2)));
    bench.call(Some("ann"));
    bench.wait(Duration::from_secs(31));
    assert_eq!(story(&bench, "ann").last(), Some(&(Happened::GaveUp, 1)));
}

/// I5: a basic pool has no trail.
#[test]
fn a_basic_pool_tells_nothing() {
    let mut bench = Bench::new(KindSettings::Basic, 1);
    bench.run("ann");
    assert_eq!(bench.core.trail_of(bench.now, "ann"), None);
}
