//! The calls that wait: a process that becomes free runs the next of them, and a session starts its next strict call
//! when the one before is finished, in the order of admission ([I3](crate#invariants)). Here the calls of a session meet
//! its state, which [`Sessions`](crate::session::Sessions) holds: a state that was to end, ends between two calls.

use crate::{
    CallId, Effects, RowKey, Timestamp, WorkerId, WorkerRef,
    calls::{Call, Role},
    pool::Core,
    routing::Routing,
    session::Binding,
    waiting::Queue,
    worker::Workers,
};

impl Core {
    /// Sends waiting calls to a process, in the order of their virtual times, until it has all the calls that it may have
    /// ([I2](crate#invariants)).
    #[inline]
    pub(in crate::pool) fn fill_worker(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        // By far the most frequent case. Costs one comparison.
        if self.waiting.len() > 0 {
            self.fill_from_queues(now, worker, Workers::accepts, effects);
        }
    }

    /// Sends waiting calls to all processes that can take some.
    pub(in crate::pool) fn fill_workers(&mut self, now: Timestamp, effects: &mut Effects) {
        // Most exits happen while nothing waits.
        if self.waiting.len() == 0 {
            return;
        }
        let last = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        // All free places first: a call must not be sent to one worker in advance while another one could run it.
        for worker in (1..=last).map(WorkerId) {
            self.fill_from_queues(now, worker, Workers::has_place, effects);
        }
        for worker in (1..=last).map(WorkerId) {
            self.fill_worker(now, worker, effects);
        }
    }

    fn fill_from_queues(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        accepts: impl Fn(&Workers, WorkerId) -> bool,
        effects: &mut Effects,
    ) {
        while accepts(&self.workers, worker) {
            let Some(id) = self.next_call_for(now, worker) else { return };
            if self.ends_as_poison(now, id, effects) {
                continue;
            }
            if let Some(batched) = self.calls.get(id).and_then(|call| call.batched) {
                self.send_batch(now, batched.command, self.slot(worker).worker, effects);
                continue;
            }
            self.calls.serve(id, &mut self.waiting);
            if self.must_wait_unbound(now, id, worker, effects) {
                self.enqueue(now, id, Queue::Unbound, effects);
                // The call does not fit this worker after all. It keeps its virtual time, and the loop continues with
                // the next call: this terminates, since the worker does not take calls from the unbound queue now.
                continue;
            }
            self.dispatch_to(now, id, self.slot(worker).worker, effects);
        }
    }

    fn next_call_for(&self, now: Timestamp, worker: WorkerId) -> Option<CallId> {
        // Never in advance: a batch that waits in a worker gets no further calls.
        let batches = self.workers.has_place(worker).then(|| self.batch_worker(self.slot(worker).worker));
        self.waiting.next_for(now, worker, self.takes_unbound(worker), batches)
    }

    /// Returns whether a worker may be sent a call that binds its session. Not in advance: a call that is taken back would
    /// otherwise have to undo the binding. Not an overflow worker while a base worker is alive (R12).
    pub(super) fn takes_unbound(&self, worker: WorkerId) -> bool {
        (self.slot(worker).base || !self.has_live_base_worker()) && self.workers.has_place(worker)
    }

    /// Returns whether a hint call must wait for a worker to which its session can be bound: the session has no binding
    /// any more, and this worker must not be sent a call that binds it.
    pub(super) fn must_wait_unbound(
        &mut self,
        now: Timestamp,
        id: CallId,
        worker: WorkerId,
        effects: &mut Effects,
    ) -> bool {
        let Some(Role::Hint(row)) = self.calls.get(id).map(|call| call.role) else { return false };
        self.drop_dead_binding(now, row, effects);
        matches!(self.sessions.binding(row), Binding::Unbound(_)) && !self.takes_unbound(worker)
    }

    pub(in crate::pool) fn has_live_base_worker(&self) -> bool {
        self.workers.live_base() > 0
    }

    /// Sends a waiting call to the process that has become free for it.
    pub(super) fn dispatch_to(&mut self, now: Timestamp, id: CallId, worker: WorkerRef, effects: &mut Effects) {
        let (routing, bound) = self.route_to(now, id, worker, effects);
        self.send(now, id, worker, routing, effects);
        if let Some(row) = bound {
            self.requeue_bound_calls(now, row, effects);
        }
    }

    /// Prepares the session of a waiting call for this process, to which the call is sent next. Also returns the session if
    /// it was bound.
    pub(super) fn route_to(
        &mut self,
        now: Timestamp,
        id: CallId,
        worker: WorkerRef,
        effects: &mut Effects,
    ) -> (Routing, Option<RowKey>) {
        let role = self.calls.get(id).map_or(Role::AnyWorker, |call| call.role);
        let Some(row) = role.row().filter(|_| !matches!(role, Role::Tracked(_))) else {
            return (Routing::Unrouted, None);
        };
        // The session's worker may have died since the call was enqueued (I4).
        self.drop_dead_binding(now, row, effects);
        match self.sessions.binding(row) {
            Binding::Bound { worker: bound, .. } if bound == worker => (Routing::Hit, None),
            Binding::Bound { .. } => (self.go_off_affinity(now, row, worker, effects), None),
            Binding::Unbound(_) => (self.bind(now, row, worker, effects), Some(row)),
        }
    }
}

/// The queue of a session.
impl Core {
    /// Finishes a call of a session: counts it, and starts the next call if it was the current one. `ran` is true if a
    /// worker finished it.
    pub(in crate::pool) fn end_session_call(
        &mut self,
        now: Timestamp,
        row: RowKey,
        was_current: bool,
        ran: bool,
        effects: &mut Effects,
    ) {
        let has_followup = self.sessions.finish_call(now, row, was_current, ran);
        self.follow_session_call(now, row, was_current, has_followup, effects);
    }

    /// Does what follows from the end of a call of a session. `has_followup` is what
    /// [`finish_call`](crate::session::Sessions::finish_call) returned.
    #[inline(never)]
    pub(in crate::pool) fn follow_session_call(
        &mut self,
        now: Timestamp,
        row: RowKey,
        was_current: bool,
        has_followup: bool,
        effects: &mut Effects,
    ) {
        if was_current && (has_followup || self.waiting.next_of_session(row).is_some()) {
            self.start_next_call(now, row, effects);
        } else if has_followup {
            self.drop_if_forgotten(now, row, effects);
        }
    }

    fn drop_if_forgotten(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.drop_if_forgotten(row, &mut step);
    }

    /// Starts the next call of a session, after the current one is finished or settled in the queue.
    fn start_next_call(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        if let Some(next) = self.advance_session(now, row, effects) {
            self.place_current_call(now, row, next, effects);
        }
    }

    /// Makes the next call of a session its current one, after that is finished or settled. Ends the state of the session
    /// first, if its end waited for the current call. Returns the next call, which is in no queue.
    pub(in crate::pool) fn advance_session(
        &mut self,
        now: Timestamp,
        row: RowKey,
        effects: &mut Effects,
    ) -> Option<CallId> {
        // Cleared first: `close_ended_epoch` must not find the finished call as the current one.
        self.sessions.set_current_call(row, None);
        let next = self.waiting.next_of_session(row);
        // Before the next call is dispatched. Otherwise a call of the next epoch would be sent to the worker that holds
        // the state of the ended one (I3).
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.close_ended_epoch(row, next.and_then(|next| step.epoch_of_call(next)), &mut step);
        let Some(next) = next else {
            self.drop_if_forgotten(now, row, effects);
            return None;
        };
        self.calls.unqueue(next, &mut self.waiting);
        // The call's wait for any worker begins now, if it waits for one.
        self.calls.restart_wait(next, now, self.waiting.wait_until(now));
        self.calls.set_position(next, self.waiting.position_in_next_round());
        self.sessions.set_current_call(row, Some(next));
        Some(next)
    }

    /// Sends the call that has become the current one of its session, or adds it to a queue.
    pub(in crate::pool) fn place_current_call(
        &mut self,
        now: Timestamp,
        row: RowKey,
        id: CallId,
        effects: &mut Effects,
    ) {
        // The call enters the fair order behind one call of each waiting session. If it were sent at once, a session with a
        // long queue would keep its worker from all other calls, and one that begins a new state would overtake calls that
        // wait for any worker (R36).
        let place = match self.sessions.binding(row) {
            Binding::Bound { worker, .. } => Some((worker, Queue::Worker(worker))),
            Binding::Unbound(_) => self.pick_worker_for_session().map(|worker| (worker, Queue::Unbound)),
        };
        match place {
            Some((worker, queue)) if self.has_waiting_calls(now, worker) => {
                self.calls.enqueue(id, queue, &mut self.waiting);
                self.fill_worker(now, worker.id, effects);
                // Last, so that processes are started only for calls that still wait.
                self.start_processes_for_waiting_calls(now, effects);
            }
            _ => self.dispatch_or_enqueue(now, id, effects),
        }
    }

    /// Returns whether other calls wait that this process may run. The next call of a session does not overtake them
    /// (R36).
    fn has_waiting_calls(&self, now: Timestamp, worker: WorkerRef) -> bool {
        self.is_alive(worker) && self.next_call_for(now, worker.id).is_some()
    }

    /// Dispatches the other waiting calls of a session that was just bound, so that they wait for its worker only.
    pub(in crate::pool) fn requeue_bound_calls(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        // Collected first: to dispatch a call changes the queue.
        for id in self.waiting.unbound_calls_of(row) {
            // A batch that one of the calls made due may have taken others of them.
            if self.calls.get(id).and_then(Call::queue) != Some(Queue::Unbound) {
                continue;
            }
            self.calls.unqueue(id, &mut self.waiting);
            self.dispatch_or_enqueue(now, id, effects);
        }
    }
}
