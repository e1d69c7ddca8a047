//! The calls of a process that has exited (R20, R33, R36). `processes/death.rs` has the order of the steps around them.
//!
//! - **A strict call**, sent to the process or queued for it: fails with `SessionWorkerLost`, idempotent or not, since the
//!   state of its session is lost. So do the calls behind it in the queue of its session. Calls that were admitted after
//!   the session had been ended need only a new state, and are sent to another worker.
//! - **A session that was bound to the process and had no such call**: its next strict call is refused with
//!   `SessionWorkerLost` (R20), in `report_loss` (`session/admission.rs`). If a hint call comes before it, that one binds
//!   the session anew, and the loss is not reported.
//! - **A hint call, or a call without a routed session**, that was sent to the process: `retries` sends it again if it is
//!   idempotent, and otherwise it fails with `WorkerLost`. A hint call that is sent again binds its session anew.
//! - **A call that the process had not begun**, if the process began its calls in order, or if nothing of the call was
//!   written to it: is not lost. It waits again as if it had not been sent, or fails as a strict call that did not run.
//! - **A hint call that waits** is not affected: it waits for any worker, or if its session is not bound, for one to which
//!   the session can be bound.
//! - **A call that `retries` would send again, but whose arguments are in quarantine**, maybe by this death: fails with
//!   `Poison`. A call that fails anyway fails with the loss.
//! - **In a pool that has failed or shuts down**: the same, but no call of this process is retried. Calls that were in
//!   backoff before still are, as long as the pool serves calls. Once a failed pool has no worker left, all calls that wait
//!   fail with `PoolFailed`, in `fail_waiting_calls_of_failed_pool` (`processes/restarts.rs`).
//! - **A call that was settled before** has its answer. Its attempt ends here, and with it the wait of its session.

use crate::{
    CallId, Effects, Epoch, RowKey, Timestamp,
    failure::CallFailure,
    pool::Core,
    session::{Binding, SessionEventKind},
    worker::{Attempt, DeadProcess},
};

impl Core {
    /// Undoes the sends of the calls that the process had not begun, so that they count as not sent.
    pub(in crate::pool) fn take_back_calls_not_begun(&mut self, now: Timestamp, dead: &DeadProcess) {
        let may_have_run = dead.may_have_run();
        for id in dead.attempts.iter().filter(|attempt| !may_have_run(attempt)).filter_map(Attempt::call) {
            self.calls.take_back(id, now, self.waiting.wait_until(now));
        }
    }

    /// Fails the strict calls of each session that the process had calls of, and then starts the next call of each.
    pub(in crate::pool) fn fail_strict_calls(&mut self, now: Timestamp, dead: &DeadProcess, effects: &mut Effects) {
        let sent = dead.attempts.iter().filter_map(Attempt::strict_row);
        let queued = self.waiting.calls_of_worker(dead.worker);
        let queued = queued.iter().filter_map(|id| self.calls.get(*id).and_then(|call| call.role.row()));
        // Each row is here once: only the current call of a session is sent, or waits for its worker, and it does one of
        // the two (I3). A second visit would take the next call, which has been started, for a finished one.
        let mut next = Vec::new();
        for row in sent.chain(queued).collect::<Vec<RowKey>>() {
            self.fail_calls_of_session(now, row, dead, effects);
            next.extend(self.advance_session(now, row, effects).map(|id| (row, id)));
        }
        // Only then is anything sent: a waiting hint call must not be sent before the lost calls of its session have
        // failed, nor bind its session under another epoch than that of the session's next call.
        for (row, id) in next {
            self.place_current_call(now, row, id, effects);
        }
    }

    /// Fails each call of the lost epoch, whether in flight or waiting. If there is no lost call, the void binding stays,
    /// and the next call of the session reports the loss.
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

    /// Retries or fails each call that was sent to the process and has no strict session, unless it had not begun.
    pub(in crate::pool) fn retry_or_fail_other_calls(
        &mut self,
        now: Timestamp,
        dead: &DeadProcess,
        effects: &mut Effects,
    ) {
        let may_have_run = dead.may_have_run();
        for attempt in dead.attempts.iter().filter(|attempt| attempt.strict_row().is_none()) {
            match (attempt.call(), attempt.session) {
                (Some(id), _) if !may_have_run(attempt) => self.requeue(now, id, dead.worker, effects),
                (Some(id), _) => self.retry_or_fail(now, id, dead.loss(true), effects),
                // The call was settled before. Its session counted the attempt.
                (None, Some(session)) => self.end_session_call(now, session.row, false, false, effects),
                (None, None) => {}
            }
        }
    }
}
