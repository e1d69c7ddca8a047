use super::{verify::Waiting, *};

fn waiting_calls() -> WaitingCalls {
    WaitingCalls::new(&QueueSettings { limit: 10, per_session: 2, timeout: Duration::ZERO, shed: true }, 1)
}

fn row(session: u32) -> Option<RowKey> {
    (session > 0).then(|| RowKey::of(session))
}

/// R36: returns the order in which waiting calls of these sessions are served; 0 means no session.
fn order(sessions: &[u32]) -> Vec<usize> {
    let mut waiting = waiting_calls();
    let mut positions = Vec::new();
    for (call, &session) in sessions.iter().enumerate() {
        let mut position = waiting.new_position();
        waiting.join(CallId(call as u64), Queue::AnyWorker, row(session), None, &mut position);
        positions.push(position);
    }
    let order = std::iter::from_fn(|| {
        let call = waiting.next_for(Timestamp(0), WorkerId(1), false, None)?;
        let place = call.0 as usize;
        waiting.serve(call, Queue::AnyWorker, row(sessions[place]), None, &positions[place]);
        Some(place)
    });
    let order = order.collect();
    assert_eq!(broken(&waiting, &[]), [""; 0], "no flow is left");
    order
}

#[test]
fn r36_a_session_with_many_calls_does_not_delay_others() {
    assert_eq!(order(&[1, 1, 1, 1, 2, 3]), [0, 4, 5, 1, 2, 3]);
    assert_eq!(order(&[1, 1, 1, 2, 2, 2]), [0, 3, 1, 4, 2, 5]);
    assert_eq!(order(&[0, 0, 0, 0]), [0, 1, 2, 3], "calls without a session keep the order of admission");
    assert_eq!(order(&[1, 1, 0, 0]), [0, 2, 3, 1]);
}

/// R36: calls that are submitted later cannot delay waiting calls without end.
#[test]
fn r36_no_flow_starves() {
    let mut waiting = waiting_calls();
    let mut positions = Vec::new();
    let session = |call: u64| row(u32::from(call < 3));
    let join = |waiting: &mut WaitingCalls, call: u64| {
        let mut position = waiting.new_position();
        waiting.join(CallId(call), Queue::AnyWorker, session(call), None, &mut position);
        position
    };
    positions.extend((0..3).map(|call| join(&mut waiting, call)));
    let mut served = 0;
    for call in 3.. {
        // One new call for each call that is served.
        positions.push(join(&mut waiting, call));
        let first = waiting.next_for(Timestamp(0), WorkerId(1), false, None).unwrap();
        waiting.serve(first, Queue::AnyWorker, session(first.0), None, &positions[first.0 as usize]);
        served += u32::from(first.0 < 3);
        if served == 3 {
            break;
        }
        assert!(call < 20, "the calls of the session are never served");
    }
}

/// The next call of a worker is the first of all queues from which it takes calls.
#[test]
fn next_call_is_the_first_of_all_queues() {
    let worker = crate::WorkerRef { id: WorkerId(1), generation: crate::Generation(1) };
    let mut waiting = waiting_calls();
    let mut positions = vec![waiting.new_position(); 3];
    let queues = [Queue::Unbound, Queue::Worker(worker), Queue::AnyWorker];
    for (call, (queue, position)) in queues.into_iter().zip(&mut positions).enumerate() {
        waiting.join(CallId(call as u64), queue, None, None, position);
    }
    assert_eq!(waiting.next_for(Timestamp(0), WorkerId(1), true, None), Some(CallId(0)));
    assert_eq!(waiting.next_for(Timestamp(0), WorkerId(1), false, None), Some(CallId(1)), "it takes no new sessions");
    assert_eq!(waiting.next_for(Timestamp(0), WorkerId(2), false, None), Some(CallId(2)), "it has no queue of its own");
    assert_eq!((waiting.len(), waiting.for_base_workers(), waiting.for_worker(worker)), (3, 2, 1));
    assert_eq!(waiting.calls_of_worker(worker), [CallId(1)]);
}

#[test]
fn limits_count_waiting_calls_and_calls_in_backoff() {
    let mut waiting = waiting_calls();
    let mut positions = [waiting.new_position(), waiting.new_position()];
    for (call, position) in (0..).zip(&mut positions) {
        waiting.join(CallId(call), Queue::Session, row(1), None, position);
    }
    assert_eq!(waiting.check_room_of_session(RowKey::of(1)), Err(CallFailure::SessionQueueFull { limit: 2 }));
    assert_eq!(waiting.check_room_of_session(RowKey::of(2)), Ok(()));
    (0..8).for_each(|_| waiting.begin_backoff());
    assert_eq!(waiting.check_room(0), Err(CallFailure::QueueFull { limit: 10 }));
    waiting.leave(CallId(0), Queue::Session, row(1), None, &positions[0]);
    assert_eq!(waiting.check_room(0), Ok(()));
    assert_eq!(waiting.next_of_session(RowKey::of(1)), Some(CallId(1)));
}

/// Each invariant is checked against calls that do not agree with the queues.
#[test]
fn broken_invariants_are_found() {
    let mut waiting = waiting_calls();
    let mut position = waiting.new_position();
    waiting.join(CallId(1), Queue::AnyWorker, row(1), None, &mut position);
    let call =
        |queue, session| Waiting { call: CallId(1), queue, session: row(session), batched: None, position: &position };
    assert_eq!(broken(&waiting, &[call(Some(Queue::AnyWorker), 1)]), [""; 0]);
    for (queue, session) in
        [(Some(Queue::Unbound), 1), (Some(Queue::Session), 1), (None, 1), (Some(Queue::AnyWorker), 2)]
    {
        assert_ne!(broken(&waiting, &[call(queue, session)]), [""; 0]);
    }
    assert_ne!(broken(&waiting, &[]), [""; 0]);
}

fn broken(waiting: &WaitingCalls, calls: &[Waiting<'_>]) -> Vec<String> {
    let mut broken = Vec::new();
    waiting.verify(calls, &mut broken);
    broken
}
