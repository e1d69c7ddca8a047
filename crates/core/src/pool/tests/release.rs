//! What concerns many sessions at once touches few of them at once.

use super::*;

const SESSIONS: u32 = 6000;

/// Sessions bound in turn to two workers, which know them from a call.
fn bench() -> Bench {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 2);
    settings.sessions.max = SESSIONS as usize;
    let mut bench = Bench::with(settings);
    for n in 0..SESSIONS {
        bench.bind(&format!("s{n}"), 1 + n % 2);
        bench.run(&format!("s{n}"));
    }
    bench.fx.clear();
    bench
}

fn told(fx: &Effects) -> Vec<(SessionId, WorkerRef, SessionEndReason)> {
    let end = |effect: &Effect| match effect {
        Effect::EndSession { session, at, reason, .. } => Some((session.clone(), *at, *reason)),
        _ => None,
    };
    fx.iter().filter_map(end).collect()
}

/// R14, R22: a worker's sessions are unbound at once, and the worker is told of each exactly once, a few at a time.
#[test]
fn the_sessions_of_a_worker_go_at_once_and_are_told_in_steps() {
    let mut bench = bench();
    let mut fx = Vec::new();
    assert_eq!(bench.core.remove_worker_sessions(bench.now, WorkerId(1), &mut fx), SESSIONS as usize / 2);
    assert_eq!(fx, [], "however many they are");
    assert_eq!((bench.look("s0"), bench.look("s1")), (Lookup::NotBound, Lookup::Bound(at(2, 1))));
    assert_eq!(bench.core.session_info(bench.now, "s2").and_then(|info| info.worker), None);
    assert_eq!(bench.core.workers(bench.now)[0].sessions, Some(0));
    let (call, fx) = bench.call(Some("s4"));
    assert_eq!(told(&fx), [(id("s4"), at(1, 1), SessionEndReason::Ended)], "before its next call begins anew");
    let fx = bench.finish(sent(&fx, call).unwrap());
    assert_eq!(routing(&fx, call), Some(Routing::New));
    let mut ends = Vec::new();
    while let Some(next) = bench.core.next_wakeup().filter(|next| *next < Timestamp(0) + Duration::from_secs(1)) {
        bench.now = next;
        let step = told(&bench.step(Input::Tick));
        assert!(step.len() <= 512, "a step of {}", step.len());
        ends.extend(step.into_iter().map(|(session, ..)| session));
    }
    let told = ends.len();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!((ends.len(), told), (SESSIONS as usize / 2 - 2, SESSIONS as usize / 2 - 2), "s0 and s4 were met before");
    assert_eq!(bench.core.affinity_status(bench.now).unwrap().total_sessions, SESSIONS as usize);
}

/// R14: a session with a call is unbound after it; what is bound meanwhile stays bound.
#[test]
fn who_has_a_call_goes_after_it() {
    let mut bench = bench();
    let (call, fx) = bench.call(Some("s0"));
    let running = sent(&fx, call).unwrap();
    let mut fx = Vec::new();
    assert_eq!(bench.core.remove_worker_sessions(bench.now, WorkerId(1), &mut fx), SESSIONS as usize / 2);
    assert_eq!(bench.look("s0"), Lookup::Bound(at(1, 1)), "its call runs");
    bench.bind("s2", 1);
    let fx = bench.finish(running);
    assert_eq!(told(&fx), [(id("s0"), at(1, 1), SessionEndReason::Ended)]);
    bench.wait(Duration::from_secs(1));
    assert_eq!((bench.look("s0"), bench.look("s2")), (Lookup::NotBound, Lookup::Bound(at(1, 1))));
}

/// R14, R22: sessions that begin during the walk hide none that was removed (found by fuzzing).
#[test]
fn a_session_that_comes_meanwhile_hides_none() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    for round in 0..2 {
        bench.bind("a", 1);
        bench.bind("b", 1);
        assert_eq!(bench.core.remove_worker_sessions(bench.now, WorkerId(1), &mut bench.fx), 2, "round {round}");
        if round == 1 {
            bench.bind("c", 1);
        }
        bench.wait(Duration::from_millis(2));
    }
    assert_eq!(bench.look("b"), Lookup::NotBound);
    assert_eq!(bench.look("c"), Lookup::Bound(at(1, 1)));
}

/// R14, R20: whose binding was removed is not told of the death of that worker, nor does its successor's removal hide one.
#[test]
fn a_removed_binding_is_no_loss() {
    let mut bench = bench();
    bench.core.remove_worker_sessions(bench.now, WorkerId(1), &mut Vec::new());
    bench.die(at(1, 1));
    bench.die(at(2, 1));
    assert_eq!(bench.core.remove_worker_sessions(bench.now, WorkerId(2), &mut Vec::new()), 0);
    for worker in 1..=2 {
        bench.step(Input::Tick);
        bench.wait(Duration::from_millis(200));
        bench.step(Input::Ready { at: at(worker, 2), window: 1, control: true });
    }
    bench.bind("s8", 2);
    assert_eq!(bench.core.remove_worker_sessions(bench.now, WorkerId(2), &mut Vec::new()), 1);
    let (call, fx) = bench.call(Some("s0"));
    assert_eq!(settled(&fx, call), None, "it was removed before its worker died");
    let (call, fx) = bench.call(Some("s1"));
    assert!(matches!(settled(&fx, call), Some(CallFailure::SessionWorkerLost { .. })), "it was lost");
}

/// R20: a death touches no row of an idle session.
#[test]
fn a_death_costs_nothing_for_its_idle_sessions() {
    let mut bench = bench();
    let fx = bench.die(at(1, 1));
    assert!(fx.iter().all(|effect| matches!(effect, Effect::Log(_) | Effect::Start(_))), "{fx:?}");
    assert_eq!((bench.look("s0"), bench.look("s1")), (Lookup::NotBound, Lookup::Bound(at(2, 1))));
}

/// R22: the pages hold every session once, also between many that are gone, and each looks at a bounded part.
#[test]
fn pages_hold_every_session_once() {
    let mut bench = bench();
    for n in (0..SESSIONS).filter(|n| n % 10 != 0 && *n < 5500) {
        assert!(bench.core.end_session(bench.now, format!("s{n}"), &mut bench.fx));
    }
    let left = bench.core.affinity_status(bench.now).unwrap().total_sessions;
    let sparse = bench.core.list_sessions(bench.now, 0, 1000);
    assert_eq!((sparse.sessions.len(), sparse.next), (crate::PAGE_SCAN.div_ceil(10), Some(crate::PAGE_SCAN)));
    for limit in [1, 7, 100, 1000] {
        let (mut cursor, mut ids) = (Some(0), Vec::new());
        while let Some(at) = cursor {
            let page = bench.core.list_sessions(bench.now, at, limit);
            assert!(page.sessions.len() <= limit);
            ids.extend(page.sessions.into_iter().map(|info| info.id));
            cursor = page.next;
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), left, "pages of {limit}");
    }
    assert_eq!(bench.core.list_sessions(bench.now, usize::MAX, 5), SessionPage { sessions: vec![], next: None });
}
