//! The queues of waiting calls and their order. Holds call ids and their virtual times; which queue a call belongs to
//! is decided elsewhere.
//!
//! The order is fair between sessions (R36): the next call of a session waits behind at most one call of each other
//! session that waits. It is the order of fair queueing (Demers, Keshav, Shenker, SIGCOMM 1989): each waiting session,
//! and each waiting call without a session, is a flow. The calls of a flow are one *round* of virtual time apart, and
//! the virtual clock advances by one round while each waiting flow is served once.

use crate::{CallId, session::RowKey};
use foldhash::fast::FixedState;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher},
};

/// One round of the virtual clock, large enough to be divided among a million flows.
const ROUND: u64 = 1 << 24;

/// The position of a call in the order: the lowest virtual time first, then the oldest call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VirtualTime(u64);

/// Waiting calls in their order. Most inserts append (O(1)); the others search for their position (O(log n)) and move
/// at most half of the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct WaitQueue(VecDeque<(VirtualTime, CallId)>);

impl WaitQueue {
    pub(crate) fn insert(&mut self, virtual_time: VirtualTime, call: CallId) {
        // Most calls belong at the end. A retried call, and a call of a flow that has none waiting while other flows
        // have several, belong before it. They must be sorted in: `remove` relies on the order for its binary search.
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

    /// Removes a call at any position. Returns false if the call is not in this queue.
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

/// The virtual clock, and the sessions that have waiting calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fairness {
    clock: u64,
    /// The number of waiting calls without a session.
    alone: u64,
    /// Never iterated to make a decision, since the order of a hash map must not decide anything.
    flows: HashMap<RowKey, Flow, FixedState>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Flow {
    next: u64,
    waiting: u32,
}

impl Fairness {
    /// Returns the virtual time of a call that is admitted now, if its session has no other waiting call.
    pub(crate) fn now(&self) -> VirtualTime {
        VirtualTime(self.clock)
    }

    /// Returns the virtual time for a call whose session was just served: behind one call of each waiting flow.
    pub(crate) fn next_round(&self) -> VirtualTime {
        VirtualTime(self.clock + ROUND)
    }

    /// Registers a call that begins to wait and returns its virtual time: `virtual_time`, or one round after the last
    /// waiting call of its session if that is later.
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

    /// Registers a call that waited before. It keeps its virtual time, so that a retry does not lose its position.
    pub(crate) fn join_again(&mut self, session: Option<RowKey>, virtual_time: VirtualTime) {
        let Some(session) = session else {
            self.alone += 1;
            return;
        };
        let flow = self.flows.entry(session).or_default();
        *flow = Flow { next: flow.next.max(virtual_time.0 + ROUND), waiting: flow.waiting + 1 };
    }

    /// Unregisters a call that no longer waits.
    pub(crate) fn leave(&mut self, session: Option<RowKey>) {
        let Some(session) = session else {
            self.alone = self.alone.saturating_sub(1);
            return;
        };
        if let Some(flow) = self.flows.get_mut(&session) {
            flow.waiting = flow.waiting.saturating_sub(1);
            if flow.waiting == 0 {
                // Removed with its last call: a map of all sessions that ever waited would grow without bound (I6).
                self.flows.remove(&session);
            }
        }
    }

    /// Advances the clock by one flow's share of a round. Called before a waiting call is sent.
    pub(crate) fn advance_clock(&mut self) {
        // The number of flows must still include the flow of the call that is sent, so this runs before `leave`. If the
        // clock advanced too fast, new calls would be placed behind the second and third calls of sessions that wait
        // already.
        let flows = self.alone + self.flows.len() as u64;
        self.clock += ROUND / flows.max(1);
    }

    /// Reports flows that do not agree with `waiting`: the session of each call that has joined and not left, `None`
    /// for a call without a session.
    pub(crate) fn verify(&self, waiting: impl Iterator<Item = Option<RowKey>>, broken: &mut Vec<String>) {
        let (mut alone, mut flows) = (0, HashMap::<RowKey, u32, FixedState>::default());
        for session in waiting {
            match session {
                Some(session) => *flows.entry(session).or_default() += 1,
                None => alone += 1,
            }
        }
        if alone != self.alone {
            broken.push(format!("{} calls without a session are flows, but {alone} wait", self.alone));
        }
        for (session, flow) in &self.flows {
            let waiting = flows.remove(session).unwrap_or(0);
            if waiting != flow.waiting || waiting == 0 {
                broken.push(format!("the flow of {session:?} has {} calls, but {waiting} wait", flow.waiting));
            }
        }
        broken.extend(flows.keys().map(|session| format!("{session:?} has waiting calls and no flow")));
    }
}

/// Hashes the flows as a sum, since a hash map has no defined order.
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

    /// R36: returns the order in which waiting calls of these sessions are served; 0 means no session.
    fn order(sessions: &[u32]) -> Vec<usize> {
        let (mut fairness, mut queue) = (Fairness::default(), WaitQueue::default());
        let row = |session: u32| (session > 0).then(|| RowKey::of(session));
        for (place, &session) in sessions.iter().enumerate() {
            let virtual_time = fairness.join(row(session), fairness.now());
            queue.insert(virtual_time, CallId(place as u64));
        }
        std::iter::from_fn(|| {
            let (virtual_time, call) = queue.first()?;
            fairness.advance_clock();
            fairness.leave(row(sessions[call.0 as usize]));
            queue.remove(virtual_time, call).then_some(call.0 as usize)
        })
        .collect()
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
        let (mut fairness, mut queue) = (Fairness::default(), WaitQueue::default());
        for call in 0..3 {
            let virtual_time = fairness.join(Some(RowKey::of(1)), fairness.now());
            queue.insert(virtual_time, CallId(call));
        }
        let mut served = 0;
        for call in 3.. {
            let virtual_time = fairness.join(None, fairness.now());
            // One new call for each call that is served.
            queue.insert(virtual_time, CallId(call));
            let (virtual_time, first) = queue.first().unwrap();
            fairness.advance_clock();
            fairness.leave((first.0 < 3).then(|| RowKey::of(1)));
            queue.remove(virtual_time, first);
            served += u32::from(first.0 < 3);
            if served == 3 {
                break;
            }
            assert!(call < 20, "the calls of the session are never served");
        }
        assert!(fairness.flows.is_empty());
    }
}
