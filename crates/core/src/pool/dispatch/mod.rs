//! Dispatch: which process runs a call, and in which queue a call waits if none can. `waiting` sends the calls that wait.

mod advance;
mod batches;
mod waiting;

use super::Core;
use crate::{
    CallId, Dispatch, Effects, Epoch, RowKey, Timestamp, WireId, WorkerRef,
    calls::{CallKey, Role},
    routing::{RebindReason, Routing},
    session::{Binding, Unbound},
    waiting::Queue,
    worker::{Attempt, AttemptSession, SlotHolder},
};

/// The result of looking for a process for a call.
pub(super) enum DispatchOutcome {
    Sent,
    /// No process can take the call now. It must wait in this queue.
    WouldWait(Queue),
}

impl Core {
    /// Dispatches a call, or adds it to a queue, even if the queues are full: the call was admitted before.
    pub(super) fn dispatch_or_enqueue(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        if let DispatchOutcome::WouldWait(queue) = self.try_dispatch(now, id, effects) {
            self.enqueue(now, id, queue, effects);
        }
    }

    /// Adds a call to a queue.
    pub(super) fn enqueue(&mut self, now: Timestamp, id: CallId, queue: Queue, effects: &mut Effects) {
        self.calls.enqueue(id, queue, &mut self.waiting);
        if self.calls.get(id).is_some_and(|call| call.batched.is_some()) {
            return self.send_due_batch(now, queue, effects);
        }
        self.start_processes_for_waiting_calls(now, effects);
        self.send_in_advance(now, queue, effects);
    }

    /// Sends the call if a process can take it now.
    pub(super) fn try_dispatch(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) -> DispatchOutcome {
        // A call that has been settled in the meantime needs no process.
        let Some(call) = self.calls.get(id) else { return DispatchOutcome::Sent };
        let (role, is_batched) = (call.role, call.batched.is_some());
        if is_batched {
            return DispatchOutcome::WouldWait(self.queue_for_batch(now, role, effects));
        }
        self.try_dispatch_as(now, id, role, effects)
    }

    /// Sends a call with this role if a process can take it now.
    // Inlined, so that the outcome, which most callers only compare, need not be stored.
    #[inline(always)]
    fn try_dispatch_as(&mut self, now: Timestamp, id: CallId, role: Role, effects: &mut Effects) -> DispatchOutcome {
        match role {
            Role::AnyWorker | Role::Tracked(_) => match self.workers.least_loaded() {
                Some(worker) => self.send(now, id, worker, Routing::Unrouted, effects),
                None => DispatchOutcome::WouldWait(Queue::AnyWorker),
            },
            Role::Hint(row) => self.try_dispatch_hint(now, id, row, effects),
            Role::Strict { row, .. } => self.try_dispatch_strict(now, id, row, effects),
        }
    }

    fn try_dispatch_strict(
        &mut self,
        now: Timestamp,
        id: CallId,
        row: RowKey,
        effects: &mut Effects,
    ) -> DispatchOutcome {
        match self.sessions.binding(row) {
            Binding::Bound { worker, .. } if self.can_take(worker) => self.send(now, id, worker, Routing::Hit, effects),
            Binding::Bound { worker, .. } => DispatchOutcome::WouldWait(Queue::Worker(worker)),
            Binding::Unbound(_) => match self.pick_worker_for_session() {
                Some(worker) => self.bind_and_send(now, id, row, worker, effects),
                None => DispatchOutcome::WouldWait(Queue::Unbound),
            },
        }
    }

    #[inline(never)]
    fn try_dispatch_hint(&mut self, now: Timestamp, id: CallId, row: RowKey, effects: &mut Effects) -> DispatchOutcome {
        self.drop_dead_binding(now, row, effects);
        match self.sessions.binding(row) {
            Binding::Bound { worker, .. } if self.can_take(worker) => self.send(now, id, worker, Routing::Hit, effects),
            // A hint call never waits for its own worker alone: the first free worker runs it.
            Binding::Bound { .. } => match self.workers.least_loaded() {
                Some(worker) => self.send_off_affinity(now, id, row, worker, effects),
                None => DispatchOutcome::WouldWait(Queue::AnyWorker),
            },
            Binding::Unbound(_) => match self.pick_worker_for_session() {
                Some(worker) => self.bind_and_send(now, id, row, worker, effects),
                None => DispatchOutcome::WouldWait(Queue::Unbound),
            },
        }
    }

    /// Returns the process for a new session.
    fn pick_worker_for_session(&mut self) -> Option<WorkerRef> {
        let Self { sessions, workers, .. } = self;
        sessions.take_changed_counts(|worker| workers.sessions_changed(worker));
        workers.for_new_session(|worker| sessions.bound_to(worker))
    }

    /// Binds the session to the process and sends the call to it.
    fn bind_and_send(
        &mut self,
        now: Timestamp,
        id: CallId,
        row: RowKey,
        worker: WorkerRef,
        effects: &mut Effects,
    ) -> DispatchOutcome {
        // The binding comes before the send: the send reads the epoch of the binding, and records that the process was
        // sent a call of the session.
        let routing = self.bind(now, row, worker, effects);
        let outcome = self.send(now, id, worker, routing, effects);
        // Other calls of the session that wait for any base worker must now wait for this one. If they were dispatched
        // independently, a second binding would replace the first (I3).
        self.requeue_bound_calls(now, row, effects);
        outcome
    }

    /// Binds a session that is not bound to the process.
    fn bind(&mut self, now: Timestamp, row: RowKey, worker: WorkerRef, effects: &mut Effects) -> Routing {
        let routing = match self.sessions.binding(row) {
            Binding::Unbound(Unbound::WorkerLost) => Routing::Rebound(RebindReason::WorkerLost),
            Binding::Unbound(Unbound::Expired) => Routing::Rebound(RebindReason::Expired),
            _ => Routing::New,
        };
        let (sessions, step) = self.sessions_step(now, effects);
        let epoch = sessions.next_epoch(row, &step);
        sessions.bind(row, worker, epoch);
        routing
    }

    /// Sends a hint call to another process than its session's worker.
    fn send_off_affinity(
        &mut self,
        now: Timestamp,
        id: CallId,
        row: RowKey,
        worker: WorkerRef,
        effects: &mut Effects,
    ) -> DispatchOutcome {
        let routing = self.go_off_affinity(now, row, worker, effects);
        self.send(now, id, worker, routing, effects)
    }

    /// Records that a hint call is sent to another process than its session's worker. The binding stays. The process is
    /// remembered, to be notified when the session ends.
    fn go_off_affinity(&mut self, now: Timestamp, row: RowKey, worker: WorkerRef, effects: &mut Effects) -> Routing {
        let (sessions, step) = self.sessions_step(now, effects);
        sessions.add_off_affinity_worker(row, worker, &step);
        Routing::Rebound(RebindReason::Busy)
    }

    fn send(
        &mut self,
        now: Timestamp,
        id: CallId,
        worker: WorkerRef,
        routing: Routing,
        effects: &mut Effects,
    ) -> DispatchOutcome {
        let Some((dispatch, attempt)) = self.mark_sent(now, id, worker, routing) else { return DispatchOutcome::Sent };
        if self.workers.start_attempt(now, worker.id, attempt) {
            self.calls.set_in_advance(id);
        }
        effects.push(dispatch.into());
        DispatchOutcome::Sent
    }

    /// Marks a call as sent. Returns `None` if it is settled.
    #[inline(always)]
    fn mark_sent(
        &mut self,
        now: Timestamp,
        id: CallId,
        worker: WorkerRef,
        routing: Routing,
    ) -> Option<(Dispatch, Attempt)> {
        let wire = self.fresh_wire();
        // The call is marked as sent before the shell carries out the effect. If the process dies in between, the call
        // counts as lost and is not sent twice unnoticed (I1).
        let (call, sent) = self.calls.sent(now, id, worker, wire)?;
        let (role, waited, is_stream) = (sent.role, now - sent.admitted, sent.stream.is_some());
        if let Some(row) = role.row() {
            self.sessions.record_sent(now, row, worker, routing, waited);
        }
        let epoch = self.wire_epoch(role);
        Some((Dispatch { worker, call: id, wire, epoch }, new_attempt(now, call, role, wire, routing, is_stream)))
    }

    fn wire_epoch(&self, role: Role) -> Option<Epoch> {
        match role {
            Role::AnyWorker | Role::Tracked(_) => None,
            Role::Strict { epoch, .. } => Some(epoch),
            Role::Hint(row) => match self.sessions.binding(row) {
                Binding::Bound { epoch, .. } => Some(epoch),
                Binding::Unbound(_) => Some(self.sessions.epoch(row)),
            },
        }
    }

    pub(super) fn can_take(&self, worker: WorkerRef) -> bool {
        self.workers.can_take(worker)
    }
}

/// Returns an attempt of a call that is sent now.
#[inline(always)]
pub(super) fn new_attempt(
    now: Timestamp,
    call: CallKey,
    role: Role,
    wire: WireId,
    routing: Routing,
    is_stream: bool,
) -> Attempt {
    let session = role.row().map(|row| AttemptSession { row, is_strict: role.is_strict() });
    let holder = if is_stream { SlotHolder::Stream(call) } else { SlotHolder::Call(call) };
    Attempt { wire, holder, sent: now, since: now, routing, session, is_taken_back: false, is_stream }
}
