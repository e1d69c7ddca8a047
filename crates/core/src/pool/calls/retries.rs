//! Retries of calls whose process was lost: whether, when, and what the caller receives otherwise (R33).

use crate::{
    CallId, Effects, Timestamp,
    failure::{CallFailure, WorkerLoss},
    pool::Core,
};
use std::time::Duration;

impl Core {
    /// Handles the loss of the process that had a call without a strict session: retries the call if that is allowed,
    /// and otherwise fails it.
    pub(super) fn retry_or_fail(&mut self, now: Timestamp, id: CallId, loss: WorkerLoss, effects: &mut Effects) {
        let failure = match self.wait_before_retry(now, id) {
            Ok(wait) => return self.back_off(now, id, loss, wait, effects),
            Err(Some(poison)) => poison,
            Err(None) => CallFailure::WorkerLost(loss),
        };
        let Some(mut call) = self.calls.settle(id) else { return };
        // If the quarantine is the failure, the loss is reported as one of the earlier attempts.
        if matches!(failure, CallFailure::Poison(_)) {
            call.losses.push(loss);
        }
        let row = call.role.row();
        self.counters.lost += 1;
        self.fail(now, id, call, failure, effects);
        if let Some(row) = row {
            self.end_session_call(now, row, false, false, effects);
        }
    }

    /// Returns the wait before the retry. If the call may not be retried, returns the failure that explains it, or
    /// `None` if the loss itself is the failure.
    fn wait_before_retry(&mut self, now: Timestamp, id: CallId) -> Result<Duration, Option<CallFailure>> {
        let call = self.calls.get(id).ok_or(None)?;
        if !call.idempotent || !self.restarts.is_running() {
            return Err(None);
        }
        let wait = self.retries.wait_before_next(id, call.attempts, call.losses.last_wait()).ok_or(None)?;
        let (fingerprint, in_time) = (call.fingerprint, now + wait < call.deadline);
        self.admission.check_poison(now, fingerprint).map_err(Some)?;
        // The budget is checked here and spent when the retry is sent: calls that wait may still be abandoned.
        if in_time && self.retries.has_budget(now) { Ok(wait) } else { Err(None) }
    }

    fn back_off(&mut self, now: Timestamp, id: CallId, loss: WorkerLoss, wait: Duration, effects: &mut Effects) {
        self.calls.back_off(id, now, loss, wait);
        // A call in backoff counts as waiting, until `unqueue`.
        self.waiting.begin_backoff();
        if wait.is_zero() {
            self.retry(now, id, effects);
        }
    }

    /// Retries a call whose wait is over. Checks quarantine and budget again, since other calls may have changed both
    /// during the wait.
    pub(super) fn retry(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        if self.ends_as_poison(now, id, effects) {
            return;
        }
        if !self.retries.has_budget(now) {
            return self.settle_with_last_loss(now, id, effects);
        }
        // Removed from the backoff before it is dispatched, so that it counts as waiting once.
        self.calls.unqueue(id, &mut self.waiting);
        self.retries.spend(now);
        self.counters.retries += 1;
        self.calls.restart_wait(id, now + self.settings.queue.timeout);
        self.dispatch_or_enqueue(now, id, effects);
    }

    /// Settles a retried call whose fingerprint was quarantined while it waited, and returns true. However long it
    /// waits, it is not sent again (R37).
    pub(in crate::pool) fn ends_as_poison(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) -> bool {
        let call = self.calls.get(id).filter(|call| !call.losses.is_empty());
        let Err(poison) = self.admission.check_poison(now, call.and_then(|call| call.fingerprint)) else {
            return false;
        };
        self.counters.lost += 1;
        self.settle_queued(now, id, poison, effects);
        self.close_if_drained(now, effects);
        true
    }

    /// Fails a call with the loss of its last attempt.
    fn settle_with_last_loss(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        let Some(loss) = self.calls.take_last_loss(id) else { return };
        self.counters.lost += 1;
        self.settle_queued(now, id, CallFailure::WorkerLost(loss), effects);
        self.close_if_drained(now, effects);
    }
}
