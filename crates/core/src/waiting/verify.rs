//! Compares the queues with the calls that wait, and two states of the queues with each other. Holds no state, and is not part of
//! serving calls.

use super::{
    CallList, QueuePosition, SessionCalls, WaitingCalls,
    batches::WaitingForBatch,
    queue::{Queue, WaitQueue},
};
use crate::{CallId, RowKey, batch::Batched};
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hash, Hasher};

/// Compares the order of the calls behind the current call of each session, and what does not follow from the calls.
/// The rest follows from their states and positions, which are compared with the calls.
impl PartialEq for WaitingCalls {
    fn eq(&self, other: &Self) -> bool {
        let has_same_line = |row: &RowKey| self.calls_of_session(*row).eq(other.calls_of_session(*row));
        (&self.fairness, &self.service_time, &self.batches) == (&other.fairness, &other.service_time, &other.batches)
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
        (sum, &self.fairness, &self.service_time, &self.batches).hash(state);
    }
}

/// A waiting call, as its owner knows it, to compare it with the queues.
pub(crate) struct Waiting<'a> {
    pub(crate) call: CallId,
    /// `None` in backoff.
    pub(crate) queue: Option<Queue>,
    pub(crate) session: Option<RowKey>,
    pub(crate) batched: Option<Batched>,
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
        let for_batch = waiting.iter().filter_map(|call| {
            let (batched, queue) = (call.batched?, call.queue?);
            Some(WaitingForBatch { batched, queue, key: (call.position.virtual_time, call.call) })
        });
        self.batches.verify(&for_batch.collect::<Vec<_>>(), &self.calls, broken);
        self.verify_sessions(waiting, broken);
    }

    /// Compares a queue with the calls whose state names it.
    fn verify_queue(
        &self,
        queue: &WaitQueue,
        waiting: &[Waiting<'_>],
        is_this: impl Fn(Queue) -> bool,
    ) -> Option<String> {
        let in_queues = waiting.iter().filter(|call| call.batched.is_none());
        let expected = in_queues.filter(|call| call.queue.is_some_and(&is_this));
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
