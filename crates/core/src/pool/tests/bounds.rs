//! The bounds of a pool that runs for long (I6). Schedules are too short to test them.

use super::*;

/// I6: an overflow worker that becomes idle ten thousand times does not leave ten thousand timers.
#[test]
fn timers_do_not_grow_with_finished_calls() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    harness.call(None);
    harness.call(None);
    harness.step(Input::Ready { worker: process(2, 1), window: 1, control: true, in_order: None });
    let mut sent_now = (process(2, 1), WireId(2));
    for _ in 0..10_000 {
        harness.finish(sent_now);
        harness.now = harness.now + Duration::from_micros(1);
        let (call, effects) = harness.call(None);
        sent_now = sent(&effects, call).unwrap();
    }
    assert!(harness.core.timers_held() < 200, "{}", harness.core.timers_held());
}

/// I6: pings add no timers for an overflow worker that holds a session.
#[test]
fn timers_do_not_grow_with_pings() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.call(None);
    harness.call(None);
    harness.step(Input::Ready { worker: process(2, 1), window: 1, control: true, in_order: None });
    harness.core.bind_session(harness.now, SessionId::new("ann").unwrap(), WorkerId(2), &mut Vec::new()).unwrap();
    harness.finish((process(2, 1), WireId(2)));
    for _ in 0..500 {
        harness.core.update_session_activity(harness.now, &SessionId::new("ann").unwrap(), &mut Vec::new());
        harness.wait_and_pong(Duration::from_secs(31));
    }
    assert!(harness.core.timers_held() < 100, "{}", harness.core.timers_held());
    assert!(harness.core.process_of(WorkerId(2)).is_some(), "it holds a session");
}

/// I6: deaths leave no timers, however long a start may take, with and without calls.
#[test]
fn timers_do_not_grow_with_deaths() {
    for calls in [0, 1] {
        let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
        let day = Duration::from_secs(24 * 3600);
        (settings.start_timeout, settings.health.interval, settings.overflow_idle_timeout) = (day, day, day);
        let mut harness = Harness::with(settings);
        for generation in 1..2000 {
            harness.wait(Duration::from_secs(11));
            harness.exit_by_signal(process(1, generation));
            harness.step(Input::Ready { worker: process(1, generation + 1), window: 1, control: true, in_order: None });
            for _ in 0..calls {
                let (call, effects) = harness.call(None);
                harness.finish(sent(&effects, call).unwrap());
            }
            assert!(harness.core.timers_held() < 120, "{} after {generation}", harness.core.timers_held());
        }
    }
}

/// I6: a session remembers only live processes among those that ran its hint calls.
#[test]
fn dead_off_affinity_workers_are_forgotten() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (first, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, first).map(|(to, _)| to), Some(process(1, 1)));
    for generation in 1..1000 {
        let (hint, effects) = harness.call_with(Some("ann"), Some(Affinity::Hint), false);
        let elsewhere = sent(&effects, hint).unwrap();
        assert_eq!(elsewhere.0, process(2, generation));
        harness.finish(elsewhere);
        harness.now = harness.now + Duration::from_secs(11);
        harness.exit_by_signal(process(2, generation));
        harness.step(Input::Ready { worker: process(2, generation + 1), window: 1, control: false, in_order: None });
    }
    let known = harness.core.sessions.off_affinity_workers(b"ann");
    assert!(known.len() <= 2, "{} processes", known.len());
}

/// I6, R22: a process is notified only of the end of sessions of which it was sent a call. Otherwise binding and ending
/// sessions in a loop would fill the socket of a worker that does not read.
#[test]
fn workers_are_not_told_of_sessions_without_calls() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    harness.call(None);
    harness.effects.clear();
    for n in 0..1000 {
        harness.bind("ann", 1 + n % 2);
        harness.bind("ann", 1);
        let ended = match n % 3 {
            0 => harness.core.end_session(harness.now, "ann", &mut harness.effects),
            1 => harness.core.unbind_session(harness.now, "ann", &mut harness.effects),
            _ => harness.core.remove_worker_sessions(harness.now, WorkerId(1), &mut harness.effects) == 1,
        };
        assert!(ended);
    }
    let (sessions, mut step) = harness.core.sessions_step(harness.now, &mut harness.effects);
    sessions.release_scan_due(&mut step);
    assert_eq!(harness.effects, []);
    harness.run_call("ann");
    harness.effects.clear();
    let before = harness.core.worker_of(harness.now, "ann", &mut Vec::new());
    let Lookup::Bound(bound) = before else { panic!("{before:?}") };
    harness.bind("ann", 3 - bound.id.0);
    assert!(
        matches!(harness.effects[..], [Effect::EndSession { worker, reason: SessionEndReason::Moved, .. }] if worker == bound)
    );
}

/// R25, I6
#[test]
fn a_workers_history_keeps_its_last_transitions() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    for generation in 1..100 {
        harness.now = harness.now + Duration::from_secs(20);
        harness.exit_by_signal(process(1, generation));
        harness.step(Input::Tick);
        harness.step(Input::Ready { worker: process(1, generation + 1), window: 1, control: false, in_order: None });
    }
    let workers = harness.core.workers(harness.now);
    let history = workers[0].history.as_ref().unwrap();
    assert_eq!(history.len(), crate::HISTORY_LIMIT);
    assert_eq!(history.last().map(|change| change.to), Some(crate::WorkerState::Ready));
}

/// I8: waits of no length, which the configuration refuses, do not keep a step from ending.
#[test]
fn steps_end_with_waits_of_no_length() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow_idle_timeout, settings.restart.cooldown) = (Duration::ZERO, Duration::ZERO);
    (settings.health.timeout, settings.health.failures, settings.restart.max) = (Duration::ZERO, u32::MAX, 0);
    let second = Duration::from_secs(1);
    let mut harness = Harness::with(settings);
    (0..2).for_each(|_| _ = harness.call(None));
    harness.step(Input::Ready { worker: process(2, 1), window: 1, control: false, in_order: None });
    assert_eq!(harness.core.queue_status().in_flight, 2, "the overflow worker is busy when it is looked at");
    harness.wait_silent(31 * second, ProcessActivity::Computing);
    harness.step(Input::PrepareShutdown);
    harness.exit_by_signal(process(1, 1));
    harness.wait(second);
    assert!(harness.core.next_wakeup() > Some(harness.now));
}
