//! The fair order of waiting calls between sessions (R36): the virtual clock and the flows. Holds no calls.
//!
//! The next call of a session waits behind at most one call of each other session that waits. It is the order of fair
//! queueing (Demers, Keshav, Shenker, SIGCOMM 1989): each waiting session, and each waiting call without a session, is a
//! flow. The calls of a flow are one *round* of virtual time apart, and the virtual clock advances by one round while
//! each waiting flow is served once.

use crate::RowKey;
use foldhash::fast::FixedState;
use std::{
    cmp::Ordering,
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
};

/// One round of the virtual clock, large enough to be divided among a million flows.
const ROUND: u64 = 1 << 24;

/// The position of a call in the order: the lowest virtual time first, then the oldest call.
///
/// The clock wraps around after 2^40 rounds, which a busy pool reaches after months. Times are therefore compared by their
/// distance, as the sequence numbers of TCP are (RFC 1982). The order is right as long as no call is older than 2^39 rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct VirtualTime(pub(super) u64);

impl VirtualTime {
    fn after(self, time: u64) -> Self {
        Self(self.0.wrapping_add(time))
    }
}

impl Ord for VirtualTime {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.wrapping_sub(other.0).cast_signed().cmp(&0)
    }
}

impl PartialOrd for VirtualTime {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The virtual clock, and the sessions that have waiting calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fairness {
    clock: VirtualTime,
    /// The number of waiting calls without a session.
    alone: u64,
    /// Never iterated to make a decision, since the order of a hash map must not decide anything.
    flows: HashMap<RowKey, Flow, FixedState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    next: VirtualTime,
    waiting: u32,
}

impl Fairness {
    /// Returns the virtual time of a call that is admitted now, if its session has no other waiting call.
    pub(super) fn now(&self) -> VirtualTime {
        self.clock
    }

    /// Returns the virtual time for a call whose session was just served: behind one call of each waiting flow.
    pub(super) fn next_round(&self) -> VirtualTime {
        self.clock.after(ROUND)
    }

    /// Registers a call that begins to wait and returns its virtual time: `virtual_time`, or one round after the last
    /// waiting call of its session if that is later.
    pub(super) fn join(&mut self, session: Option<RowKey>, virtual_time: VirtualTime) -> VirtualTime {
        let Some(session) = session else {
            self.alone += 1;
            return virtual_time;
        };
        let flow = self.flows.entry(session).or_insert(Flow { next: virtual_time, waiting: 0 });
        let virtual_time = virtual_time.max(flow.next);
        *flow = Flow { next: virtual_time.after(ROUND), waiting: flow.waiting + 1 };
        virtual_time
    }

    /// Registers a call that waited before. It keeps its virtual time, so that a retry does not lose its position.
    pub(super) fn join_again(&mut self, session: Option<RowKey>, virtual_time: VirtualTime) {
        let Some(session) = session else {
            self.alone += 1;
            return;
        };
        let next = virtual_time.after(ROUND);
        let flow = self.flows.entry(session).or_insert(Flow { next, waiting: 0 });
        *flow = Flow { next: flow.next.max(next), waiting: flow.waiting + 1 };
    }

    /// Unregisters a call that no longer waits.
    pub(super) fn leave(&mut self, session: Option<RowKey>) {
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
    pub(super) fn advance_clock(&mut self) {
        // The number of flows must still include the flow of the call that is sent, so this runs before `leave`. If the
        // clock advanced too fast, new calls would be placed behind the second and third calls of sessions that wait
        // already.
        let flows = self.alone + self.flows.len() as u64;
        self.clock = self.clock.after(ROUND / flows.max(1));
    }

    /// Reports flows that do not agree with `waiting`: the session of each call that has joined and not left, `None`
    /// for a call without a session.
    pub(super) fn verify(&self, waiting: impl Iterator<Item = Option<RowKey>>, broken: &mut Vec<String>) {
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

    /// R36: with the clock about to wrap around, the calls of a session still wait behind one call of each other session.
    #[test]
    fn r36_order_continues_when_the_clock_wraps_around() {
        let mut fairness = Fairness { clock: VirtualTime(u64::MAX - 3 * ROUND / 2), ..Fairness::default() };
        let (ann, ben) = (Some(RowKey::of(1)), Some(RowKey::of(2)));
        let first: Vec<VirtualTime> = (0..4).map(|_| fairness.join(ann, fairness.now())).collect();
        let other = fairness.join(ben, fairness.now());
        assert!(first.is_sorted_by(|earlier, later| earlier < later) && first[0] == other && other < first[1]);
        // The calls of `ann` are served, and the clock wraps around with them.
        (0..4).for_each(|_| {
            fairness.advance_clock();
            fairness.leave(ann);
        });
        fairness.leave(ben);
        assert!(fairness.clock.0 < 3 * ROUND, "{:?}", fairness.clock);
        let next = fairness.join(ann, fairness.now());
        assert!(other < next && next < fairness.next_round());
        fairness.join_again(ann, first[3]);
        assert!(fairness.join(ann, fairness.now()) > next, "a retried call does not move the flow back");
    }
}
