//! Operations on many sessions at once update only a few of them in each step.

use super::*;

/// Those of one worker are more than two steps of the scan visit. Few, because the harness verifies all sessions after each step.
const SESSIONS: u32 = 2400;

/// Sessions bound alternately to two workers, which have run a call of each.
fn harness(sessions: u32) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 2);
    settings.sessions.max = sessions as usize;
    let mut harness = Harness::with(settings);
    for n in 0..sessions {
        harness.bind(&format!("s{n}"), 1 + n % 2);
        harness.run_call(&format!("s{n}"));
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

/// R14, R22: all sessions of a worker are unbound at once, and the worker is notified of each exactly once, in small
/// steps.
#[test]
fn sessions_are_unbound_at_once_and_reported_in_steps() {
    let mut harness = harness(SESSIONS);
    let mut effects = Vec::new();
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut effects), SESSIONS as usize / 2);
    assert_eq!(effects, [], "no effect at once, however many sessions there are");
    assert_eq!((harness.lookup("s0"), harness.lookup("s1")), (Lookup::NotBound, Lookup::Bound(process(2, 1))));
    assert_eq!(harness.core.session_info(harness.now, "s2").and_then(|info| info.worker), None);
    assert_eq!(harness.core.workers(harness.now)[0].sessions, Some(0));
    let (call, effects) = harness.call(Some("s4"));
    assert_eq!(notified(&effects), [(id("s4"), process(1, 1), SessionEndReason::Ended)], "sent before its next call");
    let effects = harness.finish(sent(&effects, call).unwrap());
    assert_eq!(routing(&effects, call), Some(Routing::New));
    let mut ends = Vec::new();
    while let Some(next) = harness.core.next_wakeup().filter(|next| *next < Timestamp(0) + Duration::from_secs(1)) {
        harness.now = next;
        let step = notified(&harness.step(Input::Tick));
        assert!(step.len() <= 512, "one step reported {} sessions", step.len());
        ends.extend(step.into_iter().map(|(session, ..)| session));
    }
    let notifications = ends.len();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!(
        (ends.len(), notifications),
        (SESSIONS as usize / 2 - 2, SESSIONS as usize / 2 - 2),
        "s0 and s4 were visited before"
    );
    assert_eq!(harness.core.affinity_status(harness.now).unwrap().total_sessions, SESSIONS as usize);
}

/// R14: a session with a call is unbound after that call. A session that is bound in the meantime stays bound.
#[test]
fn released_session_is_unbound_after_its_call() {
    let mut harness = harness(SESSIONS);
    let (call, effects) = harness.call(Some("s0"));
    let running = sent(&effects, call).unwrap();
    let mut effects = Vec::new();
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut effects), SESSIONS as usize / 2);
    assert_eq!(harness.lookup("s0"), Lookup::Bound(process(1, 1)), "its call still runs");
    harness.bind("s2", 1);
    let effects = harness.finish(running);
    assert_eq!(notified(&effects), [(id("s0"), process(1, 1), SessionEndReason::Ended)]);
    harness.wait(Duration::from_secs(1));
    assert_eq!((harness.lookup("s0"), harness.lookup("s2")), (Lookup::NotBound, Lookup::Bound(process(1, 1))));
}

/// R14, R22: sessions that are created during the scan do not hide a released one from it (found by fuzzing).
#[test]
fn new_sessions_do_not_hide_released_ones_from_the_scan() {
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
    assert_eq!(harness.lookup("b"), Lookup::NotBound);
    assert_eq!(harness.lookup("c"), Lookup::Bound(process(1, 1)));
}

/// R14, R20: the death of a worker is not reported for a session whose binding was removed before; and removing the
/// bindings of its successor hides no loss.
#[test]
fn removed_binding_is_not_reported_as_a_loss() {
    let mut harness = harness(SESSIONS);
    harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut Vec::new());
    harness.exit_by_signal(process(1, 1));
    harness.exit_by_signal(process(2, 1));
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(2), &mut Vec::new()), 0);
    for worker in 1..=2 {
        harness.step(Input::Tick);
        harness.wait(Duration::from_millis(200));
        harness.step(Input::Ready { worker: process(worker, 2), window: 1, control: true, in_order: None });
    }
    harness.bind("s8", 2);
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(2), &mut Vec::new()), 1);
    let (call, effects) = harness.call(Some("s0"));
    assert_eq!(settled(&effects, call), None, "its binding was removed before its worker died");
    let (call, effects) = harness.call(Some("s1"));
    assert!(matches!(settled(&effects, call), Some(CallFailure::SessionWorkerLost { .. })), "its state was lost");
}

/// R20: a death updates no row of an idle session.
#[test]
fn worker_death_touches_no_idle_session() {
    let mut harness = harness(SESSIONS);
    let effects = harness.exit_by_signal(process(1, 1));
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Log(_) | Effect::Start(_))), "{effects:?}");
    assert_eq!((harness.lookup("s0"), harness.lookup("s1")), (Lookup::NotBound, Lookup::Bound(process(2, 1))));
}

/// R22: the pages contain every session once, also among many removed ones, and each page visits a bounded number of
/// rows.
#[test]
fn pages_list_every_session_once() {
    let sessions = 6000; // more than one page visits
    let mut harness = harness(sessions);
    for n in (0..sessions).filter(|n| n % 10 != 0 && *n < 5500) {
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
    let beyond = SessionPage { sessions: vec![], next: None, active_sessions: left };
    assert_eq!(harness.core.list_sessions(harness.now, usize::MAX, 5), beyond);
}

/// R14, R22: a session that was ended is gone after its calls, even if all sessions of its worker are removed meanwhile.
#[test]
fn r22_removal_of_all_sessions_does_not_keep_an_ended_one() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (call, effects) = harness.call(Some("ann"));
    let running = sent(&effects, call).unwrap();
    assert!(harness.core.end_session(harness.now, "ann", &mut harness.effects));
    assert_eq!(harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut harness.effects), 1);
    assert_eq!(notified(&harness.finish(running)).len(), 1);
    assert_eq!(harness.core.session_info(harness.now, "ann"), None);
}
