//! The calls of a process that has exited (R20, R36): which of them fail, and in which order. `retries` decides which
//! are sent again.

use crate::{
    CallId, Effects, Epoch, RowKey, Timestamp, WorkerRef,
    calls::Role,
    failure::{CallFailure, ProcessExit, WorkerLoss},
    pool::Core,
    session::{Binding, SessionEventKind},
    worker::{Attempt, Attempts},
};

impl Core {
    /// Answers or retries each call that the process had (R20, R36).
    pub(in crate::pool) fn lose_calls(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        exit: ProcessExit,
        running: &Attempts,
        effects: &mut Effects,
    ) {
        let strict_row = |attempt: &Attempt| attempt.session.filter(|(_, is_strict)| *is_strict).map(|(row, _)| row);
        let strict_rows = running.iter().filter_map(strict_row);
        let waiting = self.waiting.calls_of_worker(worker.id);
        let queued_rows = waiting.iter().filter_map(|id| self.calls.get(*id).and_then(|call| call.role.row()));
        // Strict sessions first: a hint call whose retry is due at once must not find its session bound to the dead
        // process.
        for row in strict_rows.chain(queued_rows).collect::<Vec<RowKey>>() {
            self.lose_session(now, row, worker, exit, effects);
        }
        for attempt in running.iter().filter(|attempt| strict_row(attempt).is_none()) {
            match (attempt.call(), attempt.session) {
                (Some(id), _) => {
                    self.lose_or_retry(now, id, WorkerLoss { worker, exit: Some(exit), may_have_run: true }, effects);
                }
                (None, Some((row, _))) => {
                    self.end_session_call(now, row, false, false, effects);
                }
                (None, None) => {}
            }
        }
    }

    /// Answers each call of the lost epoch, whether in flight or waiting. If there is none, the void binding stays, and
    /// the next call of the session reports the loss.
    fn lose_session(
        &mut self,
        now: Timestamp,
        row: RowKey,
        worker: WorkerRef,
        exit: ProcessExit,
        effects: &mut Effects,
    ) {
        let epoch = match self.sessions.binding(row) {
            Binding::Bound { worker: bound, epoch, .. } if bound == worker => Some(epoch),
            _ => None,
        };
        let current_call = self.sessions.current_call(row);
        let head = current_call.filter(|id| self.calls.contains(*id));
        let lost_head = head.filter(|id| self.is_lost(*id, epoch));
        // The epoch ends before the calls are answered, so that a caller that calls again at once gets a new state.
        if let Some(epoch) = epoch
            && (lost_head.is_some() || self.next_lost_call(row, Some(epoch)).is_some())
        {
            let (sessions, mut step) = self.sessions_step(now, effects);
            sessions.invalidate_epoch(row, epoch, &mut step);
        }
        if current_call.is_some() && head.is_none() {
            // The current call was settled before, and its attempt occupied the session. That attempt is gone now.
            self.sessions.finish_call(now, row, false, false);
        }
        if let Some(id) = lost_head {
            self.lose_session_call(now, id, row, worker, exit, effects);
        }
        while let Some(id) = self.next_lost_call(row, epoch) {
            self.lose_session_call(now, id, row, worker, exit, effects);
        }
        self.start_next_call(now, row, effects);
    }

    /// Returns the next call in the queue of the session that belongs to the lost epoch. Calls of a later epoch stay in
    /// the queue: their state does not exist yet, so they have lost nothing. They are behind all calls of the lost
    /// epoch, since the epochs of a session rise and its queue is in the order of admission.
    fn next_lost_call(&self, row: RowKey, epoch: Option<Epoch>) -> Option<CallId> {
        self.waiting.next_of_session(row).filter(|id| self.is_lost(*id, epoch))
    }

    fn is_lost(&self, id: CallId, epoch: Option<Epoch>) -> bool {
        epoch.is_some() && self.epoch_of_call(id) == epoch
    }

    fn epoch_of_call(&self, id: CallId) -> Option<Epoch> {
        match self.calls.get(id)?.role {
            Role::Strict { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    fn lose_session_call(
        &mut self,
        now: Timestamp,
        id: CallId,
        row: RowKey,
        worker: WorkerRef,
        exit: ProcessExit,
        effects: &mut Effects,
    ) {
        self.calls.unqueue(id, &mut self.waiting);
        let Some(call) = self.calls.settle(id) else { return };
        let Some(session) = self.sessions.id(row) else { return };
        let loss = WorkerLoss { worker, exit: Some(exit), may_have_run: call.attempts > 0 };
        self.counters.lost += 1;
        self.sessions.record(now, row, SessionEventKind::LossReported, Some(worker));
        self.fail(now, id, call, CallFailure::SessionWorkerLost { session, loss }, effects);
        self.sessions.finish_call(now, row, false, false);
    }
}
