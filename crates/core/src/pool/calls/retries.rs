//! Retries of calls whose process was lost: whether, when, and what the caller receives otherwise (R33).

use crate::{
    CallId, Effects, Timestamp,
    failure::{CallFailure, WorkerLoss},
    pool::Core,
};
use std::time::Duration;

/// What happens to a call whose process was lost.
enum AfterLoss {
    /// The call is sent again after this wait.
    Retry(Duration),
    /// The loss is the failure of the call.
    Fail,
    /// The call would be retried, but its arguments are in quarantine. This is its failure, and the loss is one of its
    /// earlier attempts.
    Refuse(CallFailure),
}

impl Core {
    /// Handles the loss of the process that had a call without a strict session: retries the call if that is allowed,
    /// and otherwise fails it.
    pub(super) fn retry_or_fail(&mut self, now: Timestamp, id: CallId, loss: WorkerLoss, effects: &mut Effects) {
        let (failure, earlier) = match self.after_loss(now, id) {
            AfterLoss::Retry(wait) => return self.back_off(now, id, loss, wait),
            AfterLoss::Fail => (CallFailure::WorkerLost(loss), None),
            AfterLoss::Refuse(poison) => (poison, Some(loss)),
        };
        let Some(mut call) = self.calls.settle(id) else { return };
        if let Some(loss) = earlier {
            call.losses.push(loss);
        }
        let row = call.role.row();
        self.counters.lost += 1;
        self.fail(now, id, call, failure, effects);
        if let Some(row) = row {
            self.end_session_call(now, row, false, false, effects);
        }
    }

    fn after_loss(&mut self, now: Timestamp, id: CallId) -> AfterLoss {
        let Some(call) = self.calls.get(id).filter(|call| call.idempotent && self.restarts.is_running()) else {
            return AfterLoss::Fail;
        };
        let wait = self.retries.wait_before_next(id, call.attempts, call.losses.last_wait());
        let Some(wait) = wait else { return AfterLoss::Fail };
        let (fingerprint, in_time) = (call.fingerprint, now + wait < call.deadline);
        if let Err(poison) = self.admission.check_poison(now, fingerprint) {
            return AfterLoss::Refuse(poison);
        }
        // The budget is checked here and spent when the retry is sent: calls that wait may still be abandoned.
        if in_time && self.retries.has_budget(now) { AfterLoss::Retry(wait) } else { AfterLoss::Fail }
    }

    /// Lets a call wait for its retry. One that need not wait is due at once, but only after this step: what waits gets the
    /// capacity that the death left first, and only then does a call that was sent before compete for it (R36).
    fn back_off(&mut self, now: Timestamp, id: CallId, loss: WorkerLoss, wait: Duration) {
        self.calls.back_off(id, now, loss, wait);
        // A call in backoff counts as waiting, until `unqueue`.
        self.waiting.begin_backoff();
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
        self.calls.restart_wait(id, now, self.waiting.wait_until(now));
        self.dispatch_or_enqueue(now, id, effects);
    }

    /// Returns whether a retried call must not be sent again, since its fingerprint was quarantined while it waited.
    pub(in crate::pool) fn is_poison(&mut self, now: Timestamp, id: CallId) -> bool {
        let call = self.calls.get(id).filter(|call| !call.losses.is_empty());
        self.admission.check_poison(now, call.and_then(|call| call.fingerprint)).is_err()
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
