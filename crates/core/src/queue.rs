//! The queue of waiting calls, and its order. Holds ids and their turns; who waits for what is known elsewhere.
//!
//! Fair between sessions (R36): a session's next call stands behind one call of everybody else who waits. The order is that of
//! fair queueing (Demers, Keshav, Shenker, SIGCOMM 1989): each waiting session, and each call without one, is a flow; a flow's
//! calls stand one *round* apart, and the clock of rounds goes on by one when each waiting flow was served once.

use crate::{CallId, session::RowKey};
use foldhash::fast::FixedState;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher},
};

/// One round of the fair clock: fine enough that a million flows share it.
const ROUND: u64 = 1 << 24;

/// A call's place in the order: the lowest first, then the oldest call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VirtualTime(u64);

/// Waiting calls in their order. Most come last (O(1)); others find their place (O(log n) and a move of at most half the queue).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct WaitQueue(VecDeque<(VirtualTime, CallId)>);

impl WaitQueue {
    pub(crate) fn insert(&mut self, virtual_time: VirtualTime, call: CallId) {
        let entry = (virtual_time, call);
        match self.0.back() {
            Some(&last) if last > entry => {
                let place = self.0.partition_point(|&other| other < entry);
                self.0.insert(place, entry);
            }
            _ => self.0.push_back(entry),
        }
    }

    pub(crate) fn first(&self) -> Option<(VirtualTime, CallId)> {
        self.0.front().copied()
    }

    /// Takes a call out, wherever it stands. False if it is not here.
    pub(crate) fn remove(&mut self, virtual_time: VirtualTime, call: CallId) -> bool {
        let found = self.0.binary_search(&(virtual_time, call));
        if let Ok(place) = found {
            self.0.remove(place);
        }
        found.is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = CallId> + '_ {
        self.0.iter().map(|&(_, call)| call)
    }
}

/// The fair clock, and the sessions that have calls waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fairness {
    clock: u64,
    /// Waiting calls that belong to no session.
    alone: u64,
    /// Never iterated to decide anything.
    flows: HashMap<RowKey, Flow, FixedState>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Flow {
    next: u64,
    waiting: u32,
}

impl Fairness {
    /// The turn of a call that is admitted now, as long as its session has nothing else waiting.
    pub(crate) fn now(&self) -> VirtualTime {
        VirtualTime(self.clock)
    }

    /// The turn of a call whose session was just served: behind everybody who waits.
    pub(crate) fn next_round(&self) -> VirtualTime {
        VirtualTime(self.clock + ROUND)
    }

    /// A call begins to wait: gives its turn, which is `current_call` unless others of its session wait.
    pub(crate) fn join(&mut self, session: Option<RowKey>, virtual_time: VirtualTime) -> VirtualTime {
        let Some(session) = session else {
            self.alone += 1;
            return virtual_time;
        };
        let flow = self.flows.entry(session).or_default();
        let virtual_time = virtual_time.0.max(flow.next);
        *flow = Flow { next: virtual_time + ROUND, waiting: flow.waiting + 1 };
        VirtualTime(virtual_time)
    }

    /// A call that waited before waits again, with the turn it had.
    pub(crate) fn join_again(&mut self, session: Option<RowKey>, virtual_time: VirtualTime) {
        let Some(session) = session else {
            self.alone += 1;
            return;
        };
        let flow = self.flows.entry(session).or_default();
        *flow = Flow { next: flow.next.max(virtual_time.0 + ROUND), waiting: flow.waiting + 1 };
    }

    /// A call waits no more.
    pub(crate) fn leave(&mut self, session: Option<RowKey>) {
        let Some(session) = session else {
            self.alone = self.alone.saturating_sub(1);
            return;
        };
        if let Some(flow) = self.flows.get_mut(&session) {
            flow.waiting = flow.waiting.saturating_sub(1);
            if flow.waiting == 0 {
                self.flows.remove(&session);
            }
        }
    }

    /// A waiting call is about to be sent: its share of the round has passed.
    pub(crate) fn served(&mut self) {
        let flows = self.alone + self.flows.len() as u64;
        self.clock += ROUND / flows.max(1);
    }
}

/// The flows as a sum, since they have no order.
impl Hash for Fairness {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let flows = self.flows.iter().map(|flow| FixedState::default().hash_one(flow));
        (self.clock, self.alone, flows.fold(0, u64::wrapping_add)).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retried_call_keeps_its_virtual_time() {
        let mut queue = WaitQueue::default();
        for id in [1, 2, 5, 3, 4] {
            queue.insert(VirtualTime(0), CallId(id));
        }
        assert!(queue.remove(VirtualTime(0), CallId(4)));
        assert!(!queue.remove(VirtualTime(0), CallId(4)));
        queue.insert(VirtualTime(1), CallId(0));
        let order: Vec<u64> = queue.iter().map(|call| call.0).collect();
        assert_eq!(queue.first(), Some((VirtualTime(0), CallId(1))));
        assert_eq!(order, [1, 2, 3, 5, 0]);
    }

    /// R36: the order in which calls of these sessions are served that all wait; 0 is no session.
    fn order(sessions: &[u32]) -> Vec<usize> {
        let (mut fairness, mut queue) = (Fairness::default(), WaitQueue::default());
        let row = |session: u32| (session > 0).then(|| RowKey::of(session));
        for (place, &session) in sessions.iter().enumerate() {
            let virtual_time = fairness.join(row(session), fairness.now());
            queue.insert(virtual_time, CallId(place as u64));
        }
        std::iter::from_fn(|| {
            let (virtual_time, call) = queue.first()?;
            fairness.served();
            fairness.leave(row(sessions[call.0 as usize]));
            queue.remove(virtual_time, call).then_some(call.0 as usize)
        })
        .collect()
    }

    #[test]
    fn r36_a_session_with_many_calls_keeps_no_other_waiting() {
        assert_eq!(order(&[1, 1, 1, 1, 2, 3]), [0, 4, 5, 1, 2, 3]);
        assert_eq!(order(&[1, 1, 1, 2, 2, 2]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(order(&[0, 0, 0, 0]), [0, 1, 2, 3], "without a session: first come, first served");
        assert_eq!(order(&[1, 1, 0, 0]), [0, 2, 3, 1]);
    }

    /// R36: whoever comes later can't keep those that wait back for ever.
    #[test]
    fn r36_no_flow_starves() {
        let (mut fairness, mut queue) = (Fairness::default(), WaitQueue::default());
        for call in 0..3 {
            let virtual_time = fairness.join(Some(RowKey::of(1)), fairness.now());
            queue.insert(virtual_time, CallId(call));
        }
        let mut served = 0;
        for call in 3.. {
            let virtual_time = fairness.join(None, fairness.now());
            queue.insert(virtual_time, CallId(call)); // one comes for each that goes
            let (virtual_time, first) = queue.first().unwrap();
            fairness.served();
            fairness.leave((first.0 < 3).then(|| RowKey::of(1)));
            queue.remove(virtual_time, first);
            served += u32::from(first.0 < 3);
            if served == 3 {
                break;
            }
            assert!(call < 20, "a session starves");
        }
        assert!(fairness.flows.is_empty());
    }
}
