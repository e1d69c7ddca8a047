//! What stays bounded however long a pool runs (I6): schedules are too short to show it.

use super::*;

/// I6: an overflow worker that goes idle ten thousand times leaves no ten thousand timers behind.
#[test]
fn timers_do_not_grow_with_the_calls_that_were() {
    let mut bench = Bench::new(KindSettings::Basic, 1);
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
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
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

/// R25, I6
#[test]
fn a_workers_history_keeps_its_last_transitions() {
    let mut bench = Bench::new(KindSettings::enhanced(), 1);
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
