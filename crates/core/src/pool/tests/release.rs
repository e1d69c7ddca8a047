//! What concerns many sessions at once touches few of them at once.

use super::*;

const SESSIONS: u32 = 6000;

/// Sessions bound in turn to two workers, which know them from a call.
fn harness() -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 2);
    settings.sessions.max = SESSIONS as usize;
    let mut harness = Harness::with(settings);
    for n in 0..SESSIONS {
        harness.bind(&format!("s{n}"), 1 + n % 2);
        harness.run(&format!("s{n}"));
    }
    harness.effects.clear();
    harness
}

fn notified(effects: &Effects) -> Vec<(SessionId, WorkerRef, SessionEndReason)> {
    let end = |effect: &Effect| match effect {
        Effect::EndSession { session, worker, reason, .. } => Some((session.clone(), *worker, *reason)),
        _ => None,
    };
    effects.iter().filter_map(end).collect()
}

/// R14, R22: a worker's sessions are unbound at once, and the worker is told of each exactly once, a few at a time.
#[test]
fn the_sessions_of_a_worker_go_at_once_and_are_told_in_steps() {
    let mut harness = harness();
    let mut effects = Vec::new();
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut effects), SESSIONS as usize / 2);
    assert_eq!(effects, [], "however many they are");
    assert_eq!((harness.look("s0"), harness.look("s1")), (Lookup::NotBound, Lookup::Bound(at(2, 1))));
    assert_eq!(harness.core.session_info(harness.now, "s2").and_then(|info| info.worker), None);
    assert_eq!(harness.core.workers(harness.now)[0].sessions, Some(0));
    let (call, effects) = harness.call(Some("s4"));
    assert_eq!(notified(&effects), [(id("s4"), at(1, 1), SessionEndReason::Ended)], "before its next call begins anew");
    let effects = harness.finish(sent(&effects, call).unwrap());
    assert_eq!(routing(&effects, call), Some(Routing::New));
    let mut ends = Vec::new();
    while let Some(next) = harness.core.next_wakeup().filter(|next| *next < Timestamp(0) + Duration::from_secs(1)) {
        harness.now = next;
        let step = notified(&harness.step(Input::Tick));
        assert!(step.len() <= 512, "a step of {}", step.len());
        ends.extend(step.into_iter().map(|(session, ..)| session));
    }
    let told = ends.len();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!((ends.len(), told), (SESSIONS as usize / 2 - 2, SESSIONS as usize / 2 - 2), "s0 and s4 were met before");
    assert_eq!(harness.core.affinity_status(harness.now).unwrap().total_sessions, SESSIONS as usize);
}

/// R14: a session with a call is unbound after it; what is bound meanwhile stays bound.
#[test]
fn released_session_is_unbound_after_its_call() {
    let mut harness = harness();
    let (call, effects) = harness.call(Some("s0"));
    let running = sent(&effects, call).unwrap();
    let mut effects = Vec::new();
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut effects), SESSIONS as usize / 2);
    assert_eq!(harness.look("s0"), Lookup::Bound(at(1, 1)), "its call runs");
    harness.bind("s2", 1);
    let effects = harness.finish(running);
    assert_eq!(notified(&effects), [(id("s0"), at(1, 1), SessionEndReason::Ended)]);
    harness.wait(Duration::from_secs(1));
    assert_eq!((harness.look("s0"), harness.look("s2")), (Lookup::NotBound, Lookup::Bound(at(1, 1))));
}

/// R14, R22: sessions that begin during the walk hide none that was removed (found by fuzzing).
#[test]
fn a_session_that_comes_meanwhile_hides_none() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    for round in 0..2 {
        harness.bind("a", 1);
        harness.bind("b", 1);
        assert_eq!(
            harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut harness.effects),
            2,
            "round {round}"
        );
        if round == 1 {
            harness.bind("c", 1);
        }
        harness.wait(Duration::from_millis(2));
    }
    assert_eq!(harness.look("b"), Lookup::NotBound);
    assert_eq!(harness.look("c"), Lookup::Bound(at(1, 1)));
}

/// R14, R20: whose binding was removed is not told of the death of that worker, nor does its successor's removal hide one.
#[test]
fn a_removed_binding_is_no_loss() {
    let mut harness = harness();
    harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut Vec::new());
    harness.die(at(1, 1));
    harness.die(at(2, 1));
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(2), &mut Vec::new()), 0);
    for worker in 1..=2 {
        harness.step(Input::Tick);
        harness.wait(Duration::from_millis(200));
        harness.step(Input::Ready { worker: at(worker, 2), window: 1, control: true });
    }
    harness.bind("s8", 2);
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(2), &mut Vec::new()), 1);
    let (call, effects) = harness.call(Some("s0"));
    assert_eq!(settled(&effects, call), None, "it was removed before its worker died");
    let (call, effects) = harness.call(Some("s1"));
    assert!(matches!(settled(&effects, call), Some(CallFailure::SessionWorkerLost { .. })), "it was lost");
}

/// R20: a death touches no row of an idle session.
#[test]
fn a_death_costs_nothing_for_its_idle_sessions() {
    let mut harness = harness();
    let effects = harness.die(at(1, 1));
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Log(_) | Effect::Start(_))), "{effects:?}");
    assert_eq!((harness.look("s0"), harness.look("s1")), (Lookup::NotBound, Lookup::Bound(at(2, 1))));
}

/// R22: the pages hold every session once, also between many that are gone, and each looks at a bounded part.
#[test]
fn pages_hold_every_session_once() {
    let mut harness = harness();
    for n in (0..SESSIONS).filter(|n| n % 10 != 0 && *n < 5500) {
        assert!(harness.core.end_session(harness.now, format!("s{n}"), &mut harness.effects));
    }
    let left = harness.core.affinity_status(harness.now).unwrap().total_sessions;
    let sparse = harness.core.list_sessions(harness.now, 0, 1000);
    assert_eq!((sparse.sessions.len(), sparse.next), (crate::PAGE_SCAN.div_ceil(10), Some(crate::PAGE_SCAN)));
    for limit in [1, 7, 100, 1000] {
        let (mut cursor, mut ids) = (Some(0), Vec::new());
        while let Some(at) = cursor {
            let page = harness.core.list_sessions(harness.now, at, limit);
            assert!(page.sessions.len() <= limit);
            ids.extend(page.sessions.into_iter().map(|info| info.id));
            cursor = page.next;
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), left, "pages of {limit}");
    }
    assert_eq!(harness.core.list_sessions(harness.now, usize::MAX, 5), SessionPage { sessions: vec![], next: None });
}
