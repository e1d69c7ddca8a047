//! The admitted calls that are not settled: what each requires, and where it waits or runs. Holds the state of the
//! calls; which queue or worker a call gets is decided elsewhere, and the arguments and the caller are held by the
//! shell.

mod call;

pub(crate) use call::{Call, CallState, Role};

use crate::{
    CallId, Fingerprint, Timestamp, WireId, WorkerRef,
    failure::WorkerLoss,
    slab::{Chunks, Slab},
    waiting::{Queue, QueuePosition, WaitingCalls},
};
use foldhash::fast::FixedState;
use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    time::Duration,
};

/// The place of a call among the pending ones: a dense number. Another part that keeps data for each call keeps it in
/// a [`PerCall`] under this number. The number of a settled call is used again, so each part forgets its data when the
/// call leaves it, and at the latest when the call is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallIndex(u32);

/// The admitted calls that are not settled.
///
/// # Invariants
///
/// - A call is in here from [`admit`](Self::admit) to [`settle`](Self::settle), which is the only removal, so it is
///   settled once ([I1](crate#invariants)).
/// - The state of a call and its times change together, only in the methods of this type.
/// - `indices` has exactly one entry for each call, which leads to its cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    cells: Slab<Call>,
    /// Never iterated, since the order of a hash map must not decide anything.
    indices: HashMap<CallId, CallIndex, FixedState>,
}

impl Calls {
    pub(crate) fn admit(&mut self, call: Call) {
        let id = call.id;
        let index = self.cells.insert(call);
        self.indices.insert(id, CallIndex(index));
    }

    /// Removes a call that is about to be answered.
    pub(crate) fn settle(&mut self, id: CallId) -> Option<Call> {
        let index = self.indices.remove(&id)?;
        self.cells.remove(index.0)
    }

    /// Returns the index of a pending call.
    pub(crate) fn index(&self, id: CallId) -> Option<CallIndex> {
        self.indices.get(&id).copied()
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&Call> {
        self.cells.get(self.index(id)?.0)
    }

    pub(crate) fn contains(&self, id: CallId) -> bool {
        self.indices.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Returns the calls, in no particular order. Sort what is collected from them: equal pools may have the same calls
    /// under different indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.cells.iter()
    }

    /// Returns the ids of the calls, in the order of admission.
    pub(crate) fn in_order(&self) -> Vec<CallId> {
        let mut ids: Vec<CallId> = self.iter().map(|call| call.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Adds a call to a queue. Returns when the call must be examined there.
    pub(crate) fn enqueue(&mut self, id: CallId, queue: Queue, waiting: &mut WaitingCalls) -> Option<Timestamp> {
        let call = self.get_mut(id)?;
        waiting.join(id, queue, call.role.row(), &mut call.position);
        call.state = CallState::Queued(queue);
        Some(call.due())
    }

    /// Removes a waiting call from its queue. Its state is then `New`.
    pub(crate) fn unqueue(&mut self, id: CallId, waiting: &mut WaitingCalls) {
        let Some(call) = self.get_mut(id) else { return };
        match call.state {
            CallState::Queued(queue) => waiting.leave(queue, call.role.row(), &call.position),
            CallState::Backoff { .. } => waiting.end_backoff(),
            CallState::New | CallState::Sent { .. } => {}
        }
        call.state = CallState::New;
    }

    /// Removes a call from its queue because a worker takes it. Its state is then `New`.
    pub(crate) fn serve(&mut self, id: CallId, waiting: &mut WaitingCalls) {
        let Some(call) = self.get_mut(id) else { return };
        if let CallState::Queued(queue) = call.state {
            waiting.serve(queue, call.role.row(), &call.position);
        }
        call.state = CallState::New;
    }

    /// Restarts the wait of a call for any worker.
    pub(crate) fn restart_wait(&mut self, id: CallId, queue_until: Timestamp) {
        if let Some(call) = self.get_mut(id) {
            call.queue_until = queue_until;
        }
    }

    /// Changes the position of a call among the waiting ones.
    pub(crate) fn set_position(&mut self, id: CallId, position: QueuePosition) {
        if let Some(call) = self.get_mut(id) {
            call.position = position;
        }
    }

    /// Counts an attempt, and returns the call that is sent.
    pub(crate) fn sent(&mut self, id: CallId, worker: WorkerRef, wire: WireId) -> Option<&Call> {
        let call = self.get_mut(id)?;
        call.state = CallState::Sent { worker, wire };
        call.attempts += 1;
        Some(call)
    }

    /// Lets a call wait before its next attempt.
    pub(crate) fn back_off(&mut self, id: CallId, now: Timestamp, loss: WorkerLoss, wait: Duration) {
        let Some(call) = self.get_mut(id) else { return };
        let retried = call.retry.get_or_insert_default();
        retried.losses.push(loss);
        retried.wait = wait;
        call.state = CallState::Backoff { until: now + wait };
    }

    /// Takes back the loss of the last attempt of a call.
    pub(crate) fn take_last_loss(&mut self, id: CallId) -> Option<WorkerLoss> {
        self.get_mut(id)?.retry.as_mut()?.losses.pop()
    }

    pub(crate) fn set_fingerprint(&mut self, id: CallId, fingerprint: Fingerprint) {
        if let Some(call) = self.get_mut(id) {
            call.fingerprint = Some(fingerprint);
        }
    }

    fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.cells.get_mut(self.index(id)?.0)
    }

    /// Reports calls that are not found under their ids, and ids without a call.
    pub(crate) fn verify(&self, broken: &mut Vec<String>) {
        for call in self.iter() {
            if self.get(call.id).is_none_or(|found| !std::ptr::eq(found, call)) {
                broken.push(format!("the index of {} does not lead to it", call.id));
            }
        }
        if self.iter().count() != self.indices.len() {
            broken.push(format!("{} calls have {} indices", self.iter().count(), self.indices.len()));
        }
    }
}

/// Compares the calls, and not their indices, which depend on the calls before them.
impl PartialEq for Calls {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|call| other.get(call.id) == Some(call))
    }
}

impl Eq for Calls {}

impl Hash for Calls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for id in self.in_order() {
            self.get(id).hash(state);
        }
    }
}

/// Data that another part keeps for each call, by the index of the call. Items that were never written are the default
/// ones. Memory is kept for the largest number of calls that were pending at one time.
#[derive(Clone, Debug)]
pub(crate) struct PerCall<T>(Chunks<T>);

impl<T> Default for PerCall<T> {
    fn default() -> Self {
        Self(Chunks::default())
    }
}

#[cfg_attr(not(test), expect(dead_code, reason = "the parts that will use it are not there yet"))]
impl<T: Default> PerCall<T> {
    /// Returns the item of a call, if one was written for this index before.
    pub(crate) fn get(&self, call: CallIndex) -> Option<&T> {
        self.0.get(call.0)
    }

    /// Returns the item of a call.
    pub(crate) fn entry(&mut self, call: CallIndex) -> &mut T {
        self.0.entry(call.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerRef = WorkerRef { id: crate::WorkerId(1), generation: crate::Generation(1) };

    fn call(id: u64) -> Call {
        Call {
            id: CallId(id),
            admitted: Timestamp(0),
            deadline: Timestamp(100),
            queue_until: Timestamp(50),
            idempotent: false,
            attempts: 0,
            role: Role::AnyWorker,
            state: CallState::New,
            position: QueuePosition::default(),
            permit: crate::admission::Permit::NONE,
            fingerprint: None,
            retry: None,
        }
    }

    fn calls(ids: &[u64]) -> Calls {
        let mut calls = Calls::default();
        ids.iter().for_each(|id| calls.admit(call(*id)));
        calls
    }

    fn hash(calls: &Calls) -> u64 {
        use std::hash::BuildHasher;
        FixedState::default().hash_one(calls)
    }

    /// I1
    #[test]
    fn i1_a_call_is_settled_once() {
        let mut calls = calls(&[7]);
        assert_eq!(calls.settle(CallId(7)).map(|call| call.id), Some(CallId(7)));
        assert_eq!((calls.settle(CallId(7)), calls.get(CallId(7)), calls.is_empty()), (None, None, true));
    }

    #[test]
    fn index_of_a_settled_call_is_used_again_and_leads_to_the_new_call() {
        let mut calls = calls(&[1, 2]);
        let index = calls.index(CallId(1));
        calls.settle(CallId(1));
        calls.admit(call(3));
        assert_eq!(calls.index(CallId(3)), index);
        // The id of the settled call does not lead to the new one.
        calls.sent(CallId(1), WORKER, WireId(1));
        assert_eq!(calls.get(CallId(3)).map(|call| call.state), Some(CallState::New));
        let mut broken = Vec::new();
        calls.verify(&mut broken);
        assert_eq!(broken, [""; 0]);
    }

    #[test]
    fn equal_calls_are_equal_under_any_index() {
        let (mut one, other) = (calls(&[9, 1, 2]), calls(&[2, 1]));
        assert!(one != other);
        one.settle(CallId(9));
        assert!(one == other && hash(&one) == hash(&other) && one.in_order() == [CallId(1), CallId(2)]);
        one.sent(CallId(1), WORKER, WireId(1));
        assert!(one != other && hash(&one) != hash(&other));
    }

    #[test]
    fn data_of_other_parts_is_kept_by_index() {
        let calls = calls(&[1, 2, 3]);
        let mut data = PerCall::<u32>::default();
        let (first, last) = (calls.index(CallId(1)).unwrap(), calls.index(CallId(3)).unwrap());
        assert_eq!(data.get(last), None);
        *data.entry(last) = 5;
        assert_eq!((data.get(first), data.get(last)), (Some(&0), Some(&5)));
    }
}
