//! What stays bounded however long a pool runs (I6): schedules are too short to show it.

use super::*;

/// I6: an overflow worker that goes idle ten thousand times leaves no ten thousand timers behind.
#[test]
fn timers_do_not_grow_with_the_calls_that_were() {
    let mut bench = Bench::new(WorkerTypeSettings::Basic, 1);
    bench.call(None);
    bench.call(None);
    bench.step(Input::Ready { at: at(2, 1), window: 1, control: true });
    let mut sent_now = (at(2, 1), WireId(2));
    for _ in 0..10_000 {
        bench.finish(sent_now);
        bench.now = bench.now + Duration::from_micros(1);
        let (call, fx) = bench.call(None);
        sent_now = sent(&fx, call).unwrap();
    }
    assert!(bench.core.timers_held() < 200, "{}", bench.core.timers_held());
}

/// I6: an overflow worker that holds a session is looked at once in a while, not once more for each ping.
#[test]
fn timers_do_not_grow_with_pings() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    bench.call(None);
    bench.call(None);
    bench.step(Input::Ready { at: at(2, 1), window: 1, control: true });
    bench.core.bind_session(bench.now, SessionId::new("ann").unwrap(), WorkerId(2), &mut Vec::new()).unwrap();
    bench.finish((at(2, 1), WireId(2)));
    for _ in 0..500 {
        bench.core.update_session_activity(bench.now, &SessionId::new("ann").unwrap(), &mut Vec::new());
        bench.wait_and_pong(Duration::from_secs(31));
    }
    assert!(bench.core.timers_held() < 100, "{}", bench.core.timers_held());
    assert!(bench.core.process_of(WorkerId(2)).is_some(), "it holds a session");
}

/// I6: ends of processes leave no timers behind, however long a start may take, and whether or not there are calls.
#[test]
fn timers_do_not_grow_with_deaths() {
    for calls in [0, 1] {
        let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
        let day = Duration::from_secs(24 * 3600);
        (settings.start_timeout, settings.health.interval, settings.overflow_idle_timeout) = (day, day, day);
        let mut bench = Bench::with(settings);
        for generation in 1..2000 {
            bench.wait(Duration::from_secs(11));
            bench.die(at(1, generation));
            bench.step(Input::Ready { at: at(1, generation + 1), window: 1, control: true });
            for _ in 0..calls {
                let (call, fx) = bench.call(None);
                bench.finish(sent(&fx, call).unwrap());
            }
            assert!(bench.core.timers_held() < 120, "{} after {generation}", bench.core.timers_held());
        }
    }
}

/// I6: a session knows only the living of those that ran its hint calls elsewhere than at home.
#[test]
fn the_dead_that_served_a_session_are_forgotten() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (first, fx) = bench.call(Some("ann"));
    assert_eq!(sent(&fx, first).map(|(to, _)| to), Some(at(1, 1)));
    for generation in 1..1000 {
        let (hint, fx) = bench.call_with(Some("ann"), Some(Affinity::Hint), false);
        let elsewhere = sent(&fx, hint).unwrap();
        assert_eq!(elsewhere.0, at(2, generation));
        bench.finish(elsewhere);
        bench.now = bench.now + Duration::from_secs(11);
        bench.die(at(2, generation));
        bench.step(Input::Ready { at: at(2, generation + 1), window: 1, control: false });
    }
    let row = bench.core.meet_routed(bench.now, b"ann", &mut Vec::new()).unwrap();
    let known = bench.core.route_mut(row).unwrap().take_strays();
    assert!(known.len() <= 2, "{} processes", known.len());
}

/// I6, R22: a process is told only of ends of sessions that it was sent a call of: to bind and end sessions in a loop queues nothing for
/// a worker that does not read.
#[test]
fn binds_and_ends_of_sessions_without_calls_are_not_told() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    bench.call(None);
    bench.fx.clear();
    for n in 0..1000 {
        bench.bind("ann", 1 + n % 2);
        bench.bind("ann", 1);
        let ended = match n % 3 {
            0 => bench.core.end_session(bench.now, "ann", &mut bench.fx),
            1 => bench.core.unbind_session(bench.now, "ann", &mut bench.fx),
            _ => bench.core.remove_worker_sessions(bench.now, WorkerId(1), &mut bench.fx) == 1,
        };
        assert!(ended);
    }
    bench.core.walk_due(bench.now, &mut bench.fx);
    assert_eq!(bench.fx, []);
    bench.run("ann");
    bench.fx.clear();
    let before = bench.core.worker_of(bench.now, "ann", &mut Vec::new());
    let Lookup::Bound(home) = before else { panic!("{before:?}") };
    bench.bind("ann", 3 - home.worker.0);
    assert!(matches!(bench.fx[..], [Effect::EndSession { at, reason: SessionEndReason::Moved, .. }] if at == home));
}

/// R25, I6
#[test]
fn a_workers_history_keeps_its_last_transitions() {
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 1);
    for generation in 1..100 {
        bench.now = bench.now + Duration::from_secs(20);
        bench.die(at(1, generation));
        bench.step(Input::Tick);
        bench.step(Input::Ready { at: at(1, generation + 1), window: 1, control: false });
    }
    let workers = bench.core.workers(bench.now);
    let history = workers[0].history.as_ref().unwrap();
    assert_eq!(history.len(), crate::HISTORY_LIMIT);
    assert_eq!(history.last().map(|change| change.to), Some(crate::WorkerState::Ready));
}
