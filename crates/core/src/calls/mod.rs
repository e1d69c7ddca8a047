//! The admitted calls that are not settled: what each requires, and where it waits or runs. Holds the state of the
//! calls; which queue or worker a call gets is decided elsewhere, and the arguments and the caller are held by the
//! shell.

mod call;
mod due_calls;
mod indices;
mod stream;

pub(crate) use call::{Call, CallState, Role};
pub(crate) use stream::CallStream;

use crate::{
    CallId, Fingerprint, StreamWait, Timestamp, WireId, WorkerRef,
    admission::Permit,
    derived::Derived,
    failure::{CallFailure, WorkerLoss},
    slab::Slab,
    waiting::{Queue, QueuePosition, WaitingCalls},
};
use due_calls::DueCalls;
pub(crate) use indices::CallKey;
use indices::{CallIndex, Indices};
use std::{
    hash::{Hash, Hasher},
    mem,
    time::Duration,
};

/// The admitted calls that are not settled.
///
/// # Invariants
///
/// - A call is in here from [`admit`](Self::admit) to [`settle`](Self::settle), which is the only removal, so it is
///   settled once ([I1](crate#invariants)).
/// - The state of a call and its times change together, only in the methods of this type.
/// - `due` has exactly one entry for each call, at the time at which it must be examined
///   ([I8](crate#invariants)).
/// - `indices` has exactly one entry for each call, which leads to its cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    cells: Slab<Call>,
    indices: Indices,
    due: Derived<DueCalls>,
}

impl Calls {
    #[inline(always)]
    pub(crate) fn admit(&mut self, call: Call) -> CallKey {
        let (id, due) = (call.id, call.due());
        let index = CallIndex(self.cells.insert(call));
        self.indices.insert(id, index);
        self.due.add(index, due, id);
        CallKey { id, index: Derived(index) }
    }

    /// Removes a call that is about to be answered.
    pub(crate) fn settle(&mut self, id: CallId) -> Option<Call> {
        let index = Derived(self.index(id)?);
        self.settle_key(CallKey { id, index })
    }

    /// Removes a call that is about to be answered.
    // Inlined, so that a caller that needs a few fields does not copy the whole call.
    #[inline(always)]
    pub(crate) fn settle_key(&mut self, CallKey { id, index }: CallKey) -> Option<Call> {
        // The index may be that of another call by now (I1).
        let call = self.cells.remove_if(index.0.0, |call| call.id == id)?;
        self.indices.remove(id, *index);
        self.due.remove(*index);
        Some(call)
    }

    /// Returns the number of calls that are due at some time.
    pub(crate) fn due_len(&self) -> usize {
        self.due.len()
    }

    /// Returns the call that must be examined first, and when: at its deadline, at the end of its wait for any worker,
    /// at its retry, or as a stream.
    pub(crate) fn next_due(&self) -> Option<(Timestamp, CallId)> {
        self.due.first()
    }

    /// Returns when the next call must be examined, or [`Timestamp::NEVER`].
    #[inline]
    pub(crate) fn next_due_at(&self) -> Timestamp {
        self.due.next_at()
    }

    /// Returns the index of a pending call.
    #[inline]
    fn index(&self, id: CallId) -> Option<CallIndex> {
        self.indices.get(id)
    }

    #[inline]
    pub(crate) fn get(&self, id: CallId) -> Option<&Call> {
        self.cells.get(self.index(id)?.0)
    }

    pub(crate) fn contains(&self, id: CallId) -> bool {
        self.indices.get(id).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.indices.len() == 0
    }

    /// Returns the calls, in no particular order. Sort what is collected from them: equal pools may have the same calls
    /// under different indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Call> {
        // Cells that were used at a peak stay: those after the last call need not be looked at.
        self.cells.iter().take(self.len())
    }

    /// Returns the ids of the calls, in the order of admission.
    pub(crate) fn in_order(&self) -> Vec<CallId> {
        let mut ids: Vec<CallId> = self.iter().map(|call| call.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Adds a call to a queue.
    pub(crate) fn enqueue(&mut self, id: CallId, queue: Queue, waiting: &mut WaitingCalls) {
        self.change(id, |call| {
            waiting.join(id, queue, call.role.row(), call.batched, &mut call.position);
            call.state = CallState::Queued(queue);
        });
    }

    /// Removes a waiting call from its queue. Its state is then `New`.
    pub(crate) fn unqueue(&mut self, id: CallId, waiting: &mut WaitingCalls) {
        self.change(id, |call| {
            match call.state {
                CallState::Queued(queue) => {
                    waiting.leave(id, queue, call.role.row(), call.batched, &call.position);
                }
                CallState::Backoff { .. } => waiting.end_backoff(),
                CallState::New | CallState::Sent { .. } | CallState::InAdvance { .. } => {}
            }
            call.state = CallState::New;
        });
    }

    /// Removes a call from its queue because a worker takes it. Its state is then `New`.
    pub(crate) fn serve(&mut self, id: CallId, waiting: &mut WaitingCalls) {
        self.change(id, |call| {
            if let CallState::Queued(queue) = call.state {
                waiting.serve(id, queue, call.role.row(), call.batched, &call.position);
            }
            call.state = CallState::New;
        });
    }

    /// Restarts the wait of a call for any worker, which ends at `queue_until`, and for its batch.
    pub(crate) fn restart_wait(&mut self, id: CallId, now: Timestamp, queue_until: Timestamp) {
        self.change(id, |call| {
            call.queue_until = queue_until;
            call.restart_batch_wait(now);
        });
    }

    /// Changes the position of a call among the waiting ones.
    pub(crate) fn set_position(&mut self, id: CallId, position: QueuePosition) {
        self.change(id, |call| call.position = position);
    }

    /// Counts an attempt, and returns the call that is sent.
    pub(crate) fn sent(
        &mut self,
        now: Timestamp,
        id: CallId,
        worker: WorkerRef,
        wire: WireId,
    ) -> Option<(CallKey, &Call)> {
        let index = Derived(self.index(id)?);
        let call = self.change(id, |call| {
            call.state = CallState::Sent { worker, wire };
            call.attempts += 1;
            call.begin_stream(now);
        });
        Some((CallKey { id, index }, call?))
    }

    /// Records that a call that was just sent is in advance.
    #[inline(never)]
    pub(crate) fn set_in_advance(&mut self, id: CallId) {
        self.change(id, |call| {
            if let CallState::Sent { worker, wire } = call.state {
                call.state = CallState::InAdvance { worker, wire, is_revoked: false };
            }
        });
    }

    /// Records that a call in advance counts as begun.
    pub(crate) fn begin(&mut self, now: Timestamp, id: CallId) {
        self.change(id, |call| {
            if let CallState::InAdvance { worker, wire, .. } = call.state {
                call.state = CallState::Sent { worker, wire };
                call.begin_stream(now);
            }
        });
    }

    /// Records that a call in advance is being taken back. Its wait ends with the answer of the worker.
    pub(crate) fn set_revoked(&mut self, id: CallId) {
        self.change(id, |call| {
            if let CallState::InAdvance { is_revoked, .. } = &mut call.state {
                *is_revoked = true;
            }
        });
    }

    /// Undoes the send of a call that has not begun. Its state is then `New`. A wait for any worker that is not already
    /// running ends at `queue_until`.
    pub(crate) fn take_back(&mut self, id: CallId, now: Timestamp, queue_until: Timestamp) {
        self.change(id, |call| {
            call.restart_batch_wait(now);
            if matches!(call.state, CallState::Sent { .. }) {
                call.queue_until = queue_until;
            }
            if call.attempt().is_some() {
                call.state = CallState::New;
                call.attempts -= 1;
            }
        });
    }

    /// Lets a call wait before its next attempt.
    pub(crate) fn back_off(&mut self, id: CallId, now: Timestamp, loss: WorkerLoss, wait: Duration) {
        self.change(id, |call| {
            call.losses.push(loss);
            call.losses.set_last_wait(wait);
            call.batched = None;
            call.state = CallState::Backoff { until: now + wait };
        });
    }

    /// Takes back the loss of the last attempt of a call.
    pub(crate) fn take_last_loss(&mut self, id: CallId) -> Option<WorkerLoss> {
        let mut loss = None;
        self.change(id, |call| loss = call.losses.pop());
        loss
    }

    /// Records that the first chunk of a call has arrived. The call is not sent again: its caller may have the chunk. `began`
    /// takes the permit, and returns what is left of it.
    pub(crate) fn first_chunk(&mut self, now: Timestamp, id: CallId, began: impl FnOnce(Permit) -> Permit) {
        self.change(id, |call| {
            call.idempotent = false;
            call.permit = began(mem::replace(&mut call.permit, Permit::NONE));
            if let Some(stream) = &mut call.stream {
                stream.first_chunk(now);
            }
        });
    }

    /// Drops what is known of a stream, if the call is one: it is about to be settled.
    pub(crate) fn end_stream(&mut self, id: CallId) {
        self.change(id, |call| call.stream = None);
    }

    /// Records that a stream is being examined.
    pub(crate) fn examining_stream(&mut self, now: Timestamp, id: CallId) {
        self.change(id, |call| {
            if let Some(stream) = &mut call.stream {
                stream.examining(now);
            }
        });
    }

    /// Handles what a stream that is examined waits for. Returns its failure if it has waited too long.
    pub(crate) fn examined_stream(&mut self, now: Timestamp, id: CallId, wait: StreamWait) -> Option<CallFailure> {
        let mut failure = None;
        self.change(id, |call| {
            if let (CallState::Sent { .. }, Some(stream)) = (call.state, &mut call.stream) {
                failure = stream.examined(now, wait);
            }
        });
        failure
    }

    pub(crate) fn set_fingerprint(&mut self, id: CallId, fingerprint: Fingerprint) {
        self.change(id, |call| call.fingerprint = Some(fingerprint));
    }

    /// The only way in which a call changes. Moves its entry in `due` if its time has changed.
    #[inline]
    fn change(&mut self, id: CallId, change: impl FnOnce(&mut Call)) -> Option<&Call> {
        let index = self.index(id)?;
        let call = self.cells.get_mut(index.0)?;
        let before = call.due();
        change(call);
        if call.due() != before {
            self.due.set(index, call.due(), id);
        }
        Some(call)
    }

    /// Reports calls that are not found under their ids, and ids without a call.
    pub(crate) fn verify(&self, broken: &mut Vec<String>) {
        for call in self.iter() {
            if self.get(call.id).is_none_or(|found| !std::ptr::eq(found, call)) {
                broken.push(format!("the index of {} does not lead to it", call.id));
            }
        }
        let due = self.iter().filter_map(|call| Some(((call.due(), call.id), self.index(call.id)?)));
        self.due.verify(due.filter(|((at, _), _)| *at != Timestamp::NEVER), broken);
        let calls = self.cells.iter().count();
        if calls != self.indices.len() {
            broken.push(format!("{calls} calls have {} indices", self.indices.len()));
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
            batched: None,
            state: CallState::New,
            position: QueuePosition::default(),
            permit: Permit::NONE,
            fingerprint: None,
            losses: crate::LostAttempts::default(),
            stream: None,
        }
    }

    fn calls(ids: &[u64]) -> Calls {
        let mut calls = Calls::default();
        ids.iter().for_each(|id| _ = calls.admit(call(*id)));
        calls
    }

    fn hash(calls: &Calls) -> u64 {
        use std::hash::BuildHasher;
        foldhash::fast::FixedState::default().hash_one(calls)
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
        calls.sent(Timestamp(0), CallId(1), WORKER, WireId(1));
        assert_eq!(calls.get(CallId(3)).map(|call| call.state), Some(CallState::New));
        let mut broken = Vec::new();
        calls.verify(&mut broken);
        assert_eq!(broken, [""; 0]);
    }

    /// I1: the key of a settled call does not settle the call that has its place now.
    #[test]
    fn i1_key_of_a_settled_call_settles_no_other() {
        let mut calls = Calls::default();
        let key = calls.admit(call(1));
        assert!(calls.settle_key(key).is_some());
        let other = calls.admit(call(2));
        assert_eq!(other.index.0, key.index.0);
        assert_eq!((calls.settle_key(key), calls.len()), (None, 1));
    }

    #[test]
    fn equal_calls_are_equal_under_any_index() {
        let (mut one, other) = (calls(&[9, 1, 2]), calls(&[2, 1]));
        assert!(one != other);
        one.settle(CallId(9));
        assert!(one == other && hash(&one) == hash(&other) && one.in_order() == [CallId(1), CallId(2)]);
        one.sent(Timestamp(0), CallId(1), WORKER, WireId(1));
        assert!(one != other && hash(&one) != hash(&other));
    }

    /// I8: a call has one entry, which moves with its state and leaves with it.
    #[test]
    fn i8_entries_move_with_the_state_of_the_call() {
        let mut calls = calls(&[1, 2]);
        assert_eq!((calls.next_due(), calls.due.len()), (Some((Timestamp(100), CallId(1))), 2));
        let mut waiting = WaitingCalls::new(&crate::Settings::new(crate::WorkerTypeSettings::Basic, 1).queue, 1);
        calls.enqueue(CallId(2), Queue::AnyWorker, &mut waiting);
        assert_eq!(calls.next_due(), Some((Timestamp(50), CallId(2))));
        calls.restart_wait(CallId(2), Timestamp(60), Timestamp(70));
        assert_eq!(calls.next_due(), Some((Timestamp(70), CallId(2))));
        calls.serve(CallId(2), &mut waiting);
        calls.sent(Timestamp(0), CallId(2), WORKER, WireId(1));
        assert_eq!(calls.next_due(), Some((Timestamp(100), CallId(1))));
        let loss = WorkerLoss { worker: WORKER, exit: None, may_have_run: true };
        calls.back_off(CallId(2), Timestamp(10), loss, Duration::from_nanos(5));
        assert_eq!(calls.next_due(), Some((Timestamp(15), CallId(2))));
        calls.settle(CallId(2));
        assert_eq!((calls.next_due(), calls.due.len()), (Some((Timestamp(100), CallId(1))), 1));
    }
}
