//! Batches: when a waiting call of a batched command is sent, and with which others. Which batch is due, and which call is next in
//! it, is known by [`WaitingCalls`](crate::waiting::WaitingCalls).
//!
//! - A batch takes one place of a process. Its calls are attempts of their own.
//! - A batch has at most one strict call of a session, since the others wait for it in the queue of the session.
//! - The first call of a session that is not bound binds it to the process of the batch. A hint call joins the first batch that is
//!   sent, wherever that runs.
//! - A batch of one call is sent as any other call.

use crate::{
    BatchKey, BatchLimits, CallId, Effect, Effects, RowKey, Timestamp, WorkerRef,
    batch::BatchQueue,
    calls::Role,
    pool::Core,
    session::Binding,
    waiting::{BatchWorker, Queue},
};

impl Core {
    /// Records that a process, whose [`Input::Ready`](crate::Input::Ready) follows, runs batches of these commands. It gets single
    /// calls of all others.
    pub fn state_batches(&mut self, worker: WorkerRef, commands: &[BatchKey]) {
        self.waiting.state_batches(worker, commands);
    }

    /// Sets when the batches of a command are due, also for the calls that wait already.
    pub fn set_batch(&mut self, now: Timestamp, command: BatchKey, limits: BatchLimits, effects: &mut Effects) {
        self.tick(now, effects);
        self.waiting.set_batch(command, limits);
        self.fill_workers(now, effects);
        self.start_processes_for_waiting_calls(now, effects);
    }

    /// Returns the queue in which a call waits for its batch.
    pub(in crate::pool) fn queue_for_batch(&mut self, now: Timestamp, role: Role, effects: &mut Effects) -> Queue {
        let (row, is_strict) = match role {
            Role::AnyWorker | Role::Tracked(_) => return Queue::AnyWorker,
            Role::Hint(row) => (row, false),
            Role::Strict { row, .. } => (row, true),
        };
        if !is_strict {
            self.drop_dead_binding(now, row, effects);
        }
        match self.sessions.binding(row) {
            Binding::Bound { worker, .. } if is_strict => Queue::Worker(worker),
            Binding::Bound { .. } => Queue::AnyWorker,
            Binding::Unbound(_) => Queue::Unbound,
        }
    }

    /// Handles a batch whose first call has waited long enough for others. Without a worker that could run it, it is sent once
    /// there is one.
    pub(in crate::pool) fn batch_due(&mut self, now: Timestamp, queue: BatchQueue, effects: &mut Effects) {
        self.waiting.ripen(queue);
        let queue = match queue.place {
            0 => Queue::AnyWorker,
            1 => Queue::Unbound,
            place => match self.processes().find(|worker| worker.id.0 + 1 == place) {
                Some(worker) => Queue::Worker(worker),
                None => return,
            },
        };
        self.send_due_batch(now, queue, effects);
    }

    /// Sends the calls of this queue if a process is free and their batch is due. Starts processes for those that are left.
    pub(in crate::pool) fn send_due_batch(&mut self, now: Timestamp, queue: Queue, effects: &mut Effects) {
        if let Some(worker) = self.worker_for_batch(queue) {
            // All that wait for the worker, so that the fair order holds between batches and other calls.
            self.fill_worker(now, worker.id, effects);
        }
        self.start_processes_for_waiting_calls(now, effects);
    }

    /// Returns the process with a free place that runs the next batch of this queue.
    pub(in crate::pool) fn worker_for_batch(&mut self, queue: Queue) -> Option<WorkerRef> {
        match queue {
            Queue::AnyWorker => self.workers.least_loaded(),
            Queue::Unbound => self.pick_worker_for_session(),
            Queue::Worker(worker) => Some(worker).filter(|worker| self.can_take(*worker)),
            Queue::Session => None,
        }
    }

    pub(super) fn batch_worker(&self, worker: WorkerRef) -> BatchWorker {
        let takes_unbound = self.takes_unbound(worker.id);
        BatchWorker { worker, takes_unbound, is_draining: self.restarts.is_draining() }
    }

    /// Sends a batch of this command to a process with a free place.
    pub(super) fn send_batch(&mut self, now: Timestamp, command: BatchKey, worker: WorkerRef, effects: &mut Effects) {
        let calls = self.take_batch(now, command, worker, effects);
        let waited = |id: &CallId| self.calls.get(*id)?.batched.map(|batched| now - batched.since);
        let waits: Vec<_> = calls.iter().filter_map(waited).collect();
        match calls[..] {
            [] => return,
            [id] => self.dispatch_to(now, id, worker, effects),
            _ => self.dispatch_batch(now, calls, worker, effects),
        }
        self.waiting.batch_sent(command, waits.into_iter());
    }

    /// Takes the calls of a batch out of their queues, in the fair order.
    fn take_batch(
        &mut self,
        now: Timestamp,
        command: BatchKey,
        worker: WorkerRef,
        effects: &mut Effects,
    ) -> Vec<CallId> {
        let max_batch_size = self.waiting.max_batch_size(command, worker) as usize;
        let mut calls = Vec::new();
        while calls.len() < max_batch_size
            && let Some(id) = self.waiting.next_of_batch(command, self.batch_worker(worker))
        {
            // It ends before the next batch. To end a call may send others, which must not happen in the middle of this loop.
            if !calls.is_empty() && self.is_poison(now, id) {
                break;
            }
            self.calls.serve(id, &mut self.waiting);
            if self.must_wait_unbound(now, id, worker.id, effects) {
                // As in `fill_from_queues`.
                self.calls.enqueue(id, Queue::Unbound, &mut self.waiting);
                continue;
            }
            calls.push(id);
        }
        calls
    }

    /// Sends these calls to a process as one batch.
    fn dispatch_batch(&mut self, now: Timestamp, calls: Vec<CallId>, worker: WorkerRef, effects: &mut Effects) {
        let (mut sends, mut attempts, mut bound) = (Vec::new(), Vec::new(), Vec::<RowKey>::new());
        for id in calls {
            let (routing, row) = self.route_to(now, id, worker, effects);
            bound.extend(row);
            if let Some((send, attempt)) = self.mark_sent(now, id, worker, routing) {
                sends.push(send);
                attempts.push(attempt);
            }
        }
        self.workers.start_batch(worker.id, attempts);
        effects.push(Effect::SendBatch(sends));
        // Only now, since this may send other calls, whose wire ids must not be between those of the batch.
        for row in bound {
            self.requeue_bound_calls(now, row, effects);
        }
    }
}
