//! The calls of a process that has exited (R20, R33, R36). `processes/death.rs` has the order of the steps around them.
//!
//! - **A strict call**, sent to the process or queued for it: fails with `SessionWorkerLost`, idempotent or not, since the
//!   state of its session is lost. So do the calls behind it in the queue of its session. Calls that were admitted after
//!   the session had been ended need only a new state, and are sent to another worker.
//! - **A session that was bound to the process and had no such call**: its next call is refused with
//!   `SessionWorkerLost` (R20), in [`Sessions::admit`](crate::session::Sessions::admit).
//! - **A hint call, or a call without a routed session**, that was sent to the process: `retries` sends it again if it is
//!   idempotent, and otherwise it fails with `WorkerLost`. A hint call that is sent again binds its session anew.
//! - **A hint call that waits** is not affected: it waits for any worker.
//! - **A call whose arguments are in quarantine**, maybe by this death: is not sent again, and fails with `Poison`.
//! - **In a pool that has failed or shuts down**: the same, but nothing is retried.
//! - **A call that was settled before** has its answer. Its attempt ends here, and with it the wait of its session.

use crate::{
    CallId, Effects, Epoch, RowKey, Timestamp,
    failure::CallFailure,
    pool::Core,
    session::{Binding, SessionEventKind},
    worker::{Attempt, DeadProcess},
};

impl Core {
    /// Fails the strict calls of each session that the process had calls of.
    pub(in crate::pool) fn fail_strict_calls(&mut self, now: Timestamp, dead: &DeadProcess, effects: &mut Effects) {
        let sent = dead.attempts.iter().filter_map(strict_row);
        let queued = self.waiting.calls_of_worker(dead.worker.id);
        let queued = queued.iter().filter_map(|id| self.calls.get(*id).and_then(|call| call.role.row()));
        for row in sent.chain(queued).collect::<Vec<RowKey>>() {
            self.fail_calls_of_session(now, row, dead, effects);
        }
    }

    /// Fails each call of the lost epoch, whether in flight or waiting, and starts the next one. If there is no lost
    /// call, the void binding stays, and the next call of the session reports the loss.
    fn fail_calls_of_session(&mut self, now: Timestamp, row: RowKey, dead: &DeadProcess, effects: &mut Effects) {
        let lost_epoch = match self.sessions.binding(row) {
            Binding::Bound { worker, epoch, .. } if worker == dead.worker => Some(epoch),
            _ => None,
        };
        // The epoch ends before the calls are answered, so that a caller that calls again at once gets a new state.
        if let Some(epoch) = lost_epoch.filter(|_| self.next_lost_call(row, lost_epoch).is_some()) {
            let (sessions, mut step) = self.sessions_step(now, effects);
            sessions.invalidate_epoch(row, epoch, &mut step);
        }
        if self.sessions.current_call(row).is_some_and(|id| !self.calls.contains(id)) {
            // The current call was settled before, and its attempt occupied the session. That attempt is gone now.
            self.sessions.finish_call(now, row, false, false);
        }
        while let Some(id) = self.next_lost_call(row, lost_epoch) {
            self.fail_strict_call(now, id, row, dead, effects);
        }
        self.start_next_call(now, row, effects);
    }

    /// Returns the next unsettled call of the session that belongs to the lost epoch: its current call, and then those
    /// in its queue. Calls of a later epoch stay in the queue: their state does not exist yet, so they have lost
    /// nothing. They are behind all calls of the lost epoch, since the epochs of a session rise and its queue is in the
    /// order of admission.
    fn next_lost_call(&self, row: RowKey, lost_epoch: Option<Epoch>) -> Option<CallId> {
        let epoch_of = |id: &CallId| self.calls.get(*id).and_then(|call| call.role.epoch());
        let is_lost = |id: &CallId| lost_epoch.is_some() && epoch_of(id) == lost_epoch;
        let current = self.sessions.current_call(row).filter(is_lost);
        current.or_else(|| self.waiting.next_of_session(row).filter(is_lost))
    }

    fn fail_strict_call(&mut self, now: Timestamp, id: CallId, row: RowKey, dead: &DeadProcess, effects: &mut Effects) {
        self.calls.unqueue(id, &mut self.waiting);
        let Some(call) = self.calls.settle(id) else { return };
        let Some(session) = self.sessions.id(row) else { return };
        let loss = dead.loss(call.attempts > 0);
        self.counters.lost += 1;
        self.sessions.record(now, row, SessionEventKind::LossReported, Some(dead.worker));
        self.fail(now, id, call, CallFailure::SessionWorkerLost { session, loss }, effects);
        self.sessions.finish_call(now, row, false, false);
    }

    /// Retries or fails each call that was sent to the process and has no strict session.
    pub(in crate::pool) fn retry_or_fail_other_calls(
        &mut self,
        now: Timestamp,
        dead: &DeadProcess,
        effects: &mut Effects,
    ) {
        for attempt in dead.attempts.iter().filter(|attempt| strict_row(attempt).is_none()) {
            match (attempt.call(), attempt.session) {
                (Some(id), _) => self.retry_or_fail(now, id, dead.loss(true), effects),
                // The call was settled before. Its session counted the attempt.
                (None, Some((row, _))) => self.end_session_call(now, row, false, false, effects),
                (None, None) => {}
            }
        }
    }
}

fn strict_row(attempt: &Attempt) -> Option<RowKey> {
    attempt.session.filter(|(_, is_strict)| *is_strict).map(|(row, _)| row)
}
