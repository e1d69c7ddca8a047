//! The waiting calls of a pool: their queues, their order, and the limits on them (R36). Holds call ids only, not calls.
//! Does not know which workers are free, and decides neither where a call waits nor where it runs.

mod fairness;
mod list;
mod queue;
mod service_time;

use crate::{CallId, QueueSettings, RowKey, Timestamp, WorkerId, derived::Derived, failure::CallFailure, time::Nanos};
use fairness::{Fairness, VirtualTime};
use foldhash::fast::FixedState;
use list::{CallList, WaitingSlab};
pub(crate) use queue::Queue;
use queue::{Queues, WaitQueue};
use service_time::ServiceTimeEwma;
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
    time::Duration,
};

/// A call is refused only if its expected wait is more than twice the time that it can wait, since the durations of
/// other calls are only an estimate.
const OVERLOAD_FACTOR: u32 = 2;

/// The position of a call in the fair order. The call keeps it from its admission to its end, so that a retry does not
/// lose its position. Only [`WaitingCalls`] reads and changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct QueuePosition {
    virtual_time: VirtualTime,
    /// Whether the call has waited in the fair order; its virtual time is then final.
    has_waited: bool,
    /// The number of the call among the waiting ones, while it is in a queue.
    number: Derived<u32>,
}

/// The calls of one session in the queues that need to find them by their session.
#[derive(Clone, Debug, Default)]
struct SessionCalls {
    /// The strict calls behind the current call of the session, in the order of admission.
    line: CallList,
    /// The calls of the queue of unbound sessions, in the order in which they joined it.
    unbound: CallList,
}

/// All waiting calls of a pool.
///
/// # Invariants
///
/// - W1: a call is in at most one queue, and in the one that its state names.
/// - W2: [`len`](Self::len) is the number of the calls in all queues and in backoff.
/// - W3: [`next_for`](Self::next_for) returns the call with the lowest virtual time, and the oldest of these, of all
///   queues from which the worker takes calls.
/// - W4: a flow exists as long as a call of its session waits in the fair order.
#[derive(Clone, Debug)]
pub(crate) struct WaitingCalls {
    queues: Queues,
    calls: WaitingSlab,
    /// For each session that has any. Never iterated to make a decision, since the order of a hash map must not decide
    /// anything.
    sessions: HashMap<RowKey, SessionCalls, FixedState>,
    /// The number of calls between two attempts. They are in no queue, but count as waiting.
    in_backoff: usize,
    /// The number of waiting calls.
    len: usize,
    fairness: Fairness,
    /// `None` if `queue.shed` is off, so that no call is refused for its expected wait.
    service_time: Option<ServiceTimeEwma>,
    limit: usize,
    per_session: usize,
    /// The time for which a call waits for any worker.
    timeout: Nanos,
}

impl WaitingCalls {
    pub(crate) fn new(settings: &QueueSettings, slots: usize) -> Self {
        Self {
            queues: Queues::new(slots),
            calls: WaitingSlab::default(),
            sessions: HashMap::default(),
            in_backoff: 0,
            len: 0,
            fairness: Fairness::default(),
            service_time: settings.shed.then(ServiceTimeEwma::default),
            limit: settings.limit,
            per_session: settings.per_session,
            timeout: settings.timeout.into(),
        }
    }

    /// Adds a queue for one more slot.
    pub(crate) fn add_slot(&mut self) {
        self.queues.workers.push(WaitQueue::default());
    }

    /// Returns when a wait for any worker ends that begins now.
    #[inline]
    pub(crate) fn wait_until(&self, now: Timestamp) -> Timestamp {
        now.after(self.timeout)
    }

    /// Returns the position of a call that is admitted now, if its session has no other waiting call.
    #[inline]
    pub(crate) fn new_position(&self) -> QueuePosition {
        QueuePosition { virtual_time: self.fairness.now(), ..QueuePosition::default() }
    }

    /// Returns the position of a call whose session was just served: behind one call of each waiting session.
    pub(crate) fn position_in_next_round(&self) -> QueuePosition {
        QueuePosition { virtual_time: self.fairness.next_round(), ..QueuePosition::default() }
    }

    /// Adds a call to a queue. A call that has waited before keeps its virtual time. A call of `Queue::Session` has a
    /// session.
    pub(crate) fn join(&mut self, call: CallId, queue: Queue, session: Option<RowKey>, position: &mut QueuePosition) {
        self.len += 1;
        if queue != Queue::Session {
            self.join_fair_order(session, position);
        }
        let number = self.calls.insert(position.virtual_time, call);
        position.number = Derived(number);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.insert(number, &mut self.calls);
        }
        if let (Some(row), Some(list)) = (session, list_of(queue)) {
            self.calls.append(list(self.sessions.entry(row).or_default()), number);
        }
    }

    fn join_fair_order(&mut self, session: Option<RowKey>, position: &mut QueuePosition) {
        if position.has_waited {
            return self.fairness.join_again(session, position.virtual_time);
        }
        position.virtual_time = self.fairness.join(session, position.virtual_time);
        position.has_waited = true;
    }

    /// Removes a call from its queue.
    pub(crate) fn leave(&mut self, queue: Queue, session: Option<RowKey>, position: &QueuePosition) {
        self.len -= 1;
        if queue != Queue::Session {
            self.fairness.leave(session);
        }
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.remove(*position.number, &mut self.calls);
        }
        if let (Some(row), Some(list)) = (session, list_of(queue)) {
            self.unlink(row, list, *position.number);
        }
        self.calls.remove(*position.number);
    }

    fn unlink(&mut self, row: RowKey, list: fn(&mut SessionCalls) -> &mut CallList, number: u32) {
        let Some(session) = self.sessions.get_mut(&row) else { return };
        self.calls.unlink(list(session), number);
        if session.line.len() + session.unbound.len() == 0 {
            // Removed with its last call: a map of all sessions that ever waited would grow without bound (I6).
            self.sessions.remove(&row);
        }
    }

    /// Removes a call from its queue because a worker takes it.
    pub(crate) fn serve(&mut self, queue: Queue, session: Option<RowKey>, position: &QueuePosition) {
        // The clock must count the flow of this call, so it advances before `leave` removes the flow.
        self.fairness.advance_clock();
        self.leave(queue, session, position);
    }

    /// Counts a call that waits between two attempts.
    pub(crate) fn begin_backoff(&mut self) {
        self.in_backoff += 1;
        self.len += 1;
    }

    /// Stops counting a call that waited between two attempts.
    pub(crate) fn end_backoff(&mut self) {
        self.in_backoff -= 1;
        self.len -= 1;
    }

    /// Returns the waiting call that this worker runs next. `takes_unbound` states whether sessions may be bound to it.
    pub(crate) fn next_for(&self, worker: WorkerId, takes_unbound: bool) -> Option<CallId> {
        let own = self.queues.of_worker(worker).and_then(WaitQueue::first);
        let unbound = if takes_unbound { self.queues.unbound.first() } else { None };
        // The fair order holds across the queues: the call with the lowest virtual time is next, wherever it waits. A
        // fixed order of the queues would let the calls of bound sessions keep all others from this worker (R36).
        [own, self.queues.any_worker.first(), unbound].into_iter().flatten().min().map(|(_, call)| call)
    }

    /// Returns the calls of a session that wait for a worker to which it can be bound, in the order in which they are
    /// served. Costs the number of these calls.
    pub(crate) fn unbound_calls_of(&self, row: RowKey) -> Vec<CallId> {
        if self.queues.unbound.len() == 0 {
            return Vec::new();
        }
        let list = self.sessions.get(&row).map(|session| &session.unbound);
        let mut calls: Vec<_> = list.map_or_else(Vec::new, |list| self.calls.entries(list).collect());
        // A retried call has joined the list late and belongs before others.
        calls.sort_unstable();
        calls.into_iter().map(|(_, call)| call).collect()
    }

    /// Returns the calls that wait for the process of this slot, in the order in which they are served. Costs
    /// O(n log n).
    pub(crate) fn calls_of_worker(&self, worker: WorkerId) -> Vec<CallId> {
        self.queues
            .of_worker(worker)
            .map_or_else(Vec::new, |queue| queue.sorted().into_iter().map(|(_, call)| call).collect())
    }

    /// Returns the first call that waits for the current call of its session.
    #[inline]
    pub(crate) fn next_of_session(&self, row: RowKey) -> Option<CallId> {
        // Asked whenever a call of a session is finished: a pool without waiting calls need not search.
        if self.len == 0 { None } else { self.calls_of_session(row).next() }
    }

    fn calls_of_session(&self, row: RowKey) -> impl Iterator<Item = CallId> {
        let line = self.sessions.get(&row).map(|session| &session.line);
        line.into_iter().flat_map(|line| self.calls.calls(line))
    }

    /// Returns the number of waiting calls in all queues, including calls between two attempts.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of waiting calls that any base worker could run.
    pub(crate) fn for_base_workers(&self) -> usize {
        self.queues.any_worker.len() + self.queues.unbound.len()
    }

    /// Returns the number of calls that wait for any worker.
    pub(crate) fn for_any_worker(&self) -> usize {
        self.queues.any_worker.len()
    }

    /// Returns the number of calls that wait for a worker to which their session can be bound.
    pub(crate) fn unbound(&self) -> usize {
        self.queues.unbound.len()
    }

    /// Returns the number of calls that wait for the process of this slot.
    pub(crate) fn for_worker(&self, worker: WorkerId) -> usize {
        self.queues.of_worker(worker).map_or(0, WaitQueue::len)
    }

    /// Returns the number of calls that are before a new one in this queue.
    pub(crate) fn ahead_of(&self, queue: Queue, session: Option<RowKey>) -> usize {
        match queue {
            Queue::AnyWorker | Queue::Unbound => self.for_base_workers(),
            Queue::Worker(worker) => self.for_worker(worker.id),
            Queue::Session => session.and_then(|row| self.sessions.get(&row)).map_or(0, |session| session.line.len()),
        }
    }

    /// Adds the duration of a finished attempt to the estimate of the wait.
    #[inline]
    pub(crate) fn observe(&mut self, ran_ns: u64) {
        if let Some(estimate) = &mut self.service_time {
            estimate.observe(ran_ns);
        }
    }

    /// Returns the expected time until `ahead` calls have run in `places` call slots, if it can be estimated.
    pub(crate) fn expected_wait(&self, ahead: usize, places: usize) -> Option<Duration> {
        self.service_time.as_ref()?.expected(ahead, places)
    }

    /// Refuses a call if no more calls may wait. `in_advance` calls wait in workers.
    pub(crate) fn check_room(&self, in_advance: usize) -> Result<(), CallFailure> {
        let limit = self.limit;
        if self.len + in_advance >= limit { Err(CallFailure::QueueFull { limit }) } else { Ok(()) }
    }

    /// Refuses a call if no more calls of its session may wait.
    pub(crate) fn check_room_of_session(&self, row: RowKey) -> Result<(), CallFailure> {
        let limit = self.per_session;
        let is_full = self.ahead_of(Queue::Session, Some(row)) >= limit;
        if is_full { Err(CallFailure::SessionQueueFull { limit }) } else { Ok(()) }
    }

    /// Refuses a call whose expected wait is much longer than `max_wait`.
    pub(crate) fn check_expected_wait(
        &self,
        ahead: usize,
        places: usize,
        max_wait: Duration,
    ) -> Result<(), CallFailure> {
        match self.expected_wait(ahead, places) {
            Some(expected_wait) if expected_wait > max_wait * OVERLOAD_FACTOR => {
                Err(CallFailure::Overloaded { expected_wait, max_wait })
            }
            _ => Ok(()),
        }
    }
}

/// Returns the list of the session in which the calls of this queue are, if the queue needs one.
fn list_of(queue: Queue) -> Option<fn(&mut SessionCalls) -> &mut CallList> {
    match queue {
        Queue::Session => Some(|session| &mut session.line),
        Queue::Unbound => Some(|session| &mut session.unbound),
        Queue::AnyWorker | Queue::Worker(_) => None,
    }
}

/// Compares the order of the calls behind the current call of each session, and what does not follow from the calls.
/// The rest follows from their states and positions, which are compared with the calls.
impl PartialEq for WaitingCalls {
    fn eq(&self, other: &Self) -> bool {
        let has_same_line = |row: &RowKey| self.calls_of_session(*row).eq(other.calls_of_session(*row));
        (&self.fairness, &self.service_time) == (&other.fairness, &other.service_time)
            && self.sessions.keys().chain(other.sessions.keys()).all(has_same_line)
    }
}

impl Eq for WaitingCalls {}

/// Hashes the queues of the sessions as a sum, since a hash map has no defined order.
impl Hash for WaitingCalls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let with_line = self.sessions.iter().filter(|(_, session)| session.line.len() > 0);
        let lines = with_line.map(|(row, session)| (row, self.calls.calls(&session.line).collect::<Vec<_>>()));
        let sum = lines.map(|line| FixedState::default().hash_one(line)).fold(0, u64::wrapping_add);
        (sum, &self.fairness, &self.service_time).hash(state);
    }
}

/// A waiting call, as its owner knows it, to compare it with the queues.
pub(crate) struct Waiting<'a> {
    pub(crate) call: CallId,
    /// `None` in backoff.
    pub(crate) queue: Option<Queue>,
    pub(crate) session: Option<RowKey>,
    pub(crate) position: &'a QueuePosition,
}

impl WaitingCalls {
    /// Reports broken invariants. `waiting` are all calls that wait, in any order.
    pub(crate) fn verify(&self, waiting: &[Waiting<'_>], broken: &mut Vec<String>) {
        let is_fair = |call: &&Waiting<'_>| call.queue.is_some_and(|queue| queue != Queue::Session);
        self.fairness.verify(waiting.iter().filter(is_fair).map(|call| call.session), broken);
        let counted = (self.len, self.in_backoff);
        let counts = (waiting.len(), waiting.iter().filter(|call| call.queue.is_none()).count());
        if counted != counts {
            broken.push(format!("W2: {counted:?} calls are counted as waiting and in backoff, not {counts:?}"));
        }
        for (queue, is_this) in self.queues.iter() {
            broken.extend(self.verify_queue(queue, waiting, is_this));
        }
        self.verify_sessions(waiting, broken);
    }

    /// Compares a queue with the calls whose state names it.
    fn verify_queue(
        &self,
        queue: &WaitQueue,
        waiting: &[Waiting<'_>],
        is_this: impl Fn(Queue) -> bool,
    ) -> Option<String> {
        let expected = waiting.iter().filter(|call| call.queue.is_some_and(&is_this));
        let mut expected: Vec<_> = expected.map(|call| (call.position.virtual_time, call.call)).collect();
        expected.sort_unstable();
        let is_right = queue.first() == expected.first().copied() && queue.sorted() == expected;
        (!is_right || !queue.is_valid(&self.calls)).then(|| format!("W1, W3: {queue:?}, not {expected:?}"))
    }

    /// Compares the lists of the sessions with the calls, and the number of calls in the queues with the slab.
    fn verify_sessions(&self, waiting: &[Waiting<'_>], broken: &mut Vec<String>) {
        type ListOf = fn(&SessionCalls) -> &CallList;
        let (line, unbound): (ListOf, ListOf) = (|session| &session.line, |session| &session.unbound);
        for (queue, list) in [(Queue::Session, line), (Queue::Unbound, unbound)] {
            let calls = |row: RowKey, session| self.calls.calls(list(session)).map(move |call| (row, call));
            let mut found: Vec<_> = self.sessions.iter().flat_map(|(row, session)| calls(*row, session)).collect();
            let expected = waiting.iter().filter(|call| call.queue == Some(queue));
            let mut expected: Vec<_> = expected.filter_map(|call| Some((call.session?, call.call))).collect();
            found.sort_unstable();
            expected.sort_unstable();
            if found != expected || !self.sessions.values().all(|session| self.calls.is_linked(list(session))) {
                broken.push(format!("W1: lists of sessions for {queue:?} {found:?}, not {expected:?}"));
            }
        }
        let is_empty = |session: &SessionCalls| session.line.len() + session.unbound.len() == 0;
        if self.sessions.values().any(is_empty) || self.calls.count() + self.in_backoff != self.len {
            broken.push(format!("W2: {} calls are in the slab, or a session has none", self.calls.count()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            waiting.join(CallId(call as u64), Queue::AnyWorker, row(session), &mut position);
            positions.push(position);
        }
        let order = std::iter::from_fn(|| {
            let call = waiting.next_for(WorkerId(1), false)?;
            let place = call.0 as usize;
            waiting.serve(Queue::AnyWorker, row(sessions[place]), &positions[place]);
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
            waiting.join(CallId(call), Queue::AnyWorker, session(call), &mut position);
            position
        };
        positions.extend((0..3).map(|call| join(&mut waiting, call)));
        let mut served = 0;
        for call in 3.. {
            // One new call for each call that is served.
            positions.push(join(&mut waiting, call));
            let first = waiting.next_for(WorkerId(1), false).unwrap();
            waiting.serve(Queue::AnyWorker, session(first.0), &positions[first.0 as usize]);
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
            waiting.join(CallId(call as u64), queue, None, position);
        }
        assert_eq!(waiting.next_for(WorkerId(1), true), Some(CallId(0)));
        assert_eq!(waiting.next_for(WorkerId(1), false), Some(CallId(1)), "it takes no new sessions");
        assert_eq!(waiting.next_for(WorkerId(2), false), Some(CallId(2)), "it has no queue of its own");
        assert_eq!((waiting.len(), waiting.for_base_workers(), waiting.for_worker(WorkerId(1))), (3, 2, 1));
        assert_eq!(waiting.calls_of_worker(WorkerId(1)), [CallId(1)]);
    }

    #[test]
    fn limits_count_waiting_calls_and_calls_in_backoff() {
        let mut waiting = waiting_calls();
        let mut positions = [waiting.new_position(), waiting.new_position()];
        for (call, position) in (0..).zip(&mut positions) {
            waiting.join(CallId(call), Queue::Session, row(1), position);
        }
        assert_eq!(waiting.check_room_of_session(RowKey::of(1)), Err(CallFailure::SessionQueueFull { limit: 2 }));
        assert_eq!(waiting.check_room_of_session(RowKey::of(2)), Ok(()));
        (0..8).for_each(|_| waiting.begin_backoff());
        assert_eq!(waiting.check_room(0), Err(CallFailure::QueueFull { limit: 10 }));
        waiting.leave(Queue::Session, row(1), &positions[0]);
        assert_eq!(waiting.check_room(0), Ok(()));
        assert_eq!(waiting.next_of_session(RowKey::of(1)), Some(CallId(1)));
    }

    /// Each invariant is checked against calls that do not agree with the queues.
    #[test]
    fn broken_invariants_are_found() {
        let mut waiting = waiting_calls();
        let mut position = waiting.new_position();
        waiting.join(CallId(1), Queue::AnyWorker, row(1), &mut position);
        let call = |queue, session| Waiting { call: CallId(1), queue, session: row(session), position: &position };
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
}
