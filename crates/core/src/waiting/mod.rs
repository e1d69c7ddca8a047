//! The waiting calls of a pool: their queues, their order, and the limits on them (R36). Holds call ids only, not calls.
//! Does not know which workers are free, and decides neither where a call waits nor where it runs.

mod batches;
mod fairness;
mod list;
mod queue;
mod service_time;
pub(crate) mod verify;

use crate::{
    BatchKey, BatchLimits, BatchStatus, CallId, QueueSettings, RowKey, Timestamp, WorkerId, WorkerRef,
    batch::{BatchQueue, Batched},
    derived::Derived,
    failure::CallFailure,
    time::Nanos,
};
pub(crate) use batches::BatchWorker;
use batches::Batches;
use fairness::{Fairness, VirtualTime};
use foldhash::fast::FixedState;
use list::{CallList, WaitingSlab};
pub(crate) use queue::Queue;
use queue::{Queues, WaitQueue};
use service_time::ServiceTimeEwma;
use std::{collections::HashMap, time::Duration};

/// A call is refused only if its estimated wait is more than twice the time that it can wait, since the durations of
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
///   queues from which the worker takes calls. Of a batched command, only while a batch is due.
/// - W4: a flow exists as long as a call of its session waits in the fair order.
#[derive(Clone, Debug)]
pub(crate) struct WaitingCalls {
    queues: Queues,
    /// The calls of batched commands, which are in no other queue.
    batches: Batches,
    calls: WaitingSlab,
    /// For each session that has any. Never iterated to make a decision, since the order of a hash map must not decide
    /// anything.
    sessions: HashMap<RowKey, SessionCalls, FixedState>,
    /// The number of calls between two attempts. They are in no queue, but count as waiting.
    in_backoff: usize,
    /// The number of waiting calls.
    len: usize,
    fairness: Fairness,
    /// `None` if `queue.shed` is off, so that no call is refused for its estimated wait.
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
            batches: Batches::new(slots),
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
    pub(crate) fn join(
        &mut self,
        call: CallId,
        queue: Queue,
        session: Option<RowKey>,
        batched: Option<Batched>,
        position: &mut QueuePosition,
    ) {
        self.len += 1;
        if queue != Queue::Session {
            self.join_fair_order(session, position);
        }
        let number = self.calls.insert(position.virtual_time, call);
        position.number = Derived(number);
        match batched {
            Some(batched) => self.batches.join(batched, queue, number, call, &mut self.calls),
            None => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.insert(number, &mut self.calls);
                }
            }
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
    pub(crate) fn leave(
        &mut self,
        call: CallId,
        queue: Queue,
        session: Option<RowKey>,
        batched: Option<Batched>,
        position: &QueuePosition,
    ) {
        self.len -= 1;
        if queue != Queue::Session {
            self.fairness.leave(session);
        }
        match batched {
            Some(batched) => self.batches.leave(batched, queue, *position.number, call, &mut self.calls),
            None => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.remove(*position.number, &mut self.calls);
                }
            }
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
    pub(crate) fn serve(
        &mut self,
        call: CallId,
        queue: Queue,
        session: Option<RowKey>,
        batched: Option<Batched>,
        position: &QueuePosition,
    ) {
        // The clock must count the flow of this call, so it advances before `leave` removes the flow.
        self.fairness.advance_clock();
        self.leave(call, queue, session, batched, position);
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

    /// Returns the waiting call that this worker runs next: one without a batch, or the first one of a batch that is due.
    /// `takes_unbound` states whether sessions may be bound to the worker. `batches` is `None` if it can run no batch.
    pub(crate) fn next_for(
        &self,
        now: Timestamp,
        worker: WorkerId,
        takes_unbound: bool,
        batches: Option<BatchWorker>,
    ) -> Option<CallId> {
        let batch = batches.and_then(|worker| self.batches.first_due(now, worker));
        let own = self.queues.of_worker(worker).and_then(WaitQueue::first);
        let unbound = if takes_unbound { self.queues.unbound.first() } else { None };
        // The fair order holds across the queues: the call with the lowest virtual time is next, wherever it waits. A
        // fixed order of the queues would let the calls of bound sessions keep all others from this worker (R36).
        [own, self.queues.any_worker.first(), unbound, batch].into_iter().flatten().min().map(|(_, call)| call)
    }

    /// Returns the waiting call of this command that this worker runs next.
    pub(crate) fn next_of_batch(&self, command: BatchKey, worker: BatchWorker) -> Option<CallId> {
        self.batches.first(command, worker).map(|(_, call)| call)
    }

    /// Returns the calls of a session that wait for a worker to which it can be bound, in the order in which they are
    /// served. Costs the number of these calls.
    pub(crate) fn unbound_calls_of(&self, row: RowKey) -> Vec<CallId> {
        if self.unbound() == 0 {
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
    pub(crate) fn calls_of_worker(&self, worker: WorkerRef) -> Vec<CallId> {
        let mut calls = self.queues.of_worker(worker.id).map_or_else(Vec::new, WaitQueue::sorted);
        calls.extend(self.batches.calls_of(Queue::Worker(worker)));
        calls.sort_unstable();
        calls.into_iter().map(|(_, call)| call).collect()
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
        self.queues.any_worker.len() + self.batches.len_of(Queue::AnyWorker) + self.unbound()
    }

    /// Returns the number of places that the calls need that wait for any worker. Calls whose batch is not due need none.
    pub(crate) fn needed_of_any_worker(&self) -> usize {
        self.queues.any_worker.len() + self.batches.places_needed(Queue::AnyWorker)
    }

    /// Returns the same as [`needed_of_any_worker`](Self::needed_of_any_worker), with the calls of unbound sessions.
    pub(crate) fn needed_of_base_workers(&self) -> usize {
        let unbound = self.queues.unbound.len() + self.batches.places_needed(Queue::Unbound);
        self.needed_of_any_worker() + unbound
    }

    /// Returns the number of calls that wait for a worker to which their session can be bound.
    pub(crate) fn unbound(&self) -> usize {
        self.queues.unbound.len() + self.batches.len_of(Queue::Unbound)
    }

    /// Returns the number of calls that wait for the process of this slot.
    pub(crate) fn for_worker(&self, worker: WorkerRef) -> usize {
        self.queues.of_worker(worker.id).map_or(0, WaitQueue::len) + self.batches.len_of(Queue::Worker(worker))
    }

    /// Returns the number of calls that are before a new one in this queue.
    pub(crate) fn ahead_of(&self, queue: Queue, session: Option<RowKey>) -> usize {
        match queue {
            Queue::AnyWorker | Queue::Unbound => self.for_base_workers(),
            Queue::Worker(worker) => self.for_worker(worker),
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
    pub(crate) fn estimated_wait(&self, ahead: usize, places: usize) -> Option<Duration> {
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

    /// Refuses a call whose estimated wait is much longer than `max_wait`.
    pub(crate) fn check_estimated_wait(
        &self,
        ahead: usize,
        places: usize,
        max_wait: Duration,
    ) -> Result<(), CallFailure> {
        match self.estimated_wait(ahead, places) {
            Some(estimated_wait) if estimated_wait > max_wait * OVERLOAD_FACTOR => {
                Err(CallFailure::Overloaded { estimated_wait, max_wait })
            }
            _ => Ok(()),
        }
    }
}

/// Batches.
impl WaitingCalls {
    /// Records that this process runs batches of these commands.
    pub(crate) fn state_batches(&mut self, worker: WorkerRef, commands: &[BatchKey]) {
        self.batches.state(worker, commands);
    }

    /// Sets the limits of the batches of a command.
    pub(crate) fn set_batch(&mut self, command: BatchKey, limits: BatchLimits) {
        self.batches.set(command, limits);
    }

    /// Returns whether a call of this command that is admitted now waits for a batch.
    pub(crate) fn is_batched(&self, command: BatchKey) -> bool {
        self.batches.is_batched(command)
    }

    /// Returns the maximum number of calls of the next batch of this worker.
    pub(crate) fn max_batch_size(&self, command: BatchKey, worker: WorkerRef) -> u32 {
        self.batches.max_batch_size(command, worker)
    }

    /// Returns the queue whose batch is due first, and when.
    pub(crate) fn next_due(&self) -> Option<(Timestamp, BatchQueue)> {
        self.batches.next_due()
    }

    /// Returns when a batch is due, or [`Timestamp::NEVER`].
    #[inline]
    pub(crate) fn next_due_at(&self) -> Timestamp {
        self.batches.next_due_at()
    }

    /// Records that the first call of a queue has waited for its batch. From now on it waits for a worker.
    pub(crate) fn ripen(&mut self, queue: BatchQueue) {
        self.batches.ripen(queue);
    }

    /// Records a batch that was sent. `waits` are the times that its calls waited.
    pub(crate) fn batch_sent(&mut self, command: BatchKey, waits: impl Iterator<Item = Duration>) {
        self.batches.sent(command, waits);
    }

    /// Returns what the batches of a command were like.
    pub(crate) fn batch_status(&self, command: BatchKey) -> Option<BatchStatus> {
        self.batches.status(command)
    }

    /// Returns the number of batches that are due at some time.
    pub(crate) fn due_len(&self) -> usize {
        self.batches.due_len()
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

#[cfg(test)]
mod tests;
