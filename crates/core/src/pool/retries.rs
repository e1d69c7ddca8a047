//! Sending a call again whose process died: whether, when, and what its caller hears if not (R33).

use super::{
    Core, Effects, Phase,
    call::{CallState, RetryState},
    dispatch::DispatchOutcome,
};
use crate::{
    CallId, Timestamp,
    failure::{CallFailure, WorkerLoss},
    retry::scatter,
    timers::Timer,
};
use std::time::Duration;

impl Core {
    /// A call without a strict session lost its process: again if it may, else lost.
    pub(super) fn lose_or_retry(&mut self, now: Timestamp, id: CallId, loss: WorkerLoss, effects: &mut Effects) {
        let failure = match self.wait_before_retry(now, id) {
            Ok(wait) => return self.back_off(now, id, loss, wait, effects),
            Err(Some(poison)) => poison,
            Err(None) => CallFailure::WorkerLost(loss),
        };
        let Some(mut call) = self.calls.remove(&id) else { return };
        if matches!(failure, CallFailure::Poison(_)) {
            call.retry.get_or_insert_default().losses.push(loss);
        }
        let row = call.role.row();
        self.counters.lost += 1;
        self.fail(now, id, call, failure, effects);
        if let Some(row) = row {
            self.release(now, row, false, false, effects);
        }
    }

    /// How long it waits before it is sent again; else why not, if there is more to say than that its process died.
    fn wait_before_retry(&mut self, now: Timestamp, id: CallId) -> Result<Duration, Option<CallFailure>> {
        let call = self.calls.get(&id).ok_or(None)?;
        let retry = &self.settings.retry;
        if !call.idempotent || call.attempts >= retry.attempts || self.phase != Phase::Running {
            return Err(None);
        }
        let before = call.retry.as_ref().map_or(Duration::ZERO, |retried| retried.wait);
        let wait = retry.wait(call.attempts, before, scatter(self.seed, id.0, call.attempts));
        let (fingerprint, in_time) = (call.fingerprint, now + wait < call.deadline);
        self.check_poison(now, fingerprint).map_err(Some)?;
        if in_time && self.budget.allows(now, self.settings.retry.budget) { Ok(wait) } else { Err(None) }
    }

    fn back_off(&mut self, now: Timestamp, id: CallId, loss: WorkerLoss, wait: Duration, effects: &mut Effects) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let retried: &mut RetryState = call.retry.get_or_insert_default();
        retried.losses.push(loss);
        retried.wait = wait;
        call.state = CallState::Backoff { until: now + wait };
        self.queued += 1;
        if wait.is_zero() {
            return self.retry(now, id, effects);
        }
        self.timers.set(now + wait, Timer::Call(id));
    }

    /// The wait is over. Quarantine and budget are looked at again: others may have ended workers, or used it up, meanwhile.
    pub(super) fn retry(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        if self.ends_as_poison(now, id, effects) {
            return;
        }
        if !self.budget.allows(now, self.settings.retry.budget) {
            return self.fail_with_last_loss(now, id, effects);
        }
        self.unqueue(id);
        self.budget.spend(now);
        self.counters.retries += 1;
        if let Some(call) = self.calls.get_mut(&id) {
            call.queue_until = now + self.settings.queue.timeout;
        }
        match self.try_dispatch(now, id, effects) {
            DispatchOutcome::WouldWait(state) => self.wait(now, id, state, effects),
            DispatchOutcome::Sent => self.watch_deadline(id), // the timer that led here is used up, and may have been the call's last one
        }
    }

    fn watch_deadline(&mut self, id: CallId) {
        if let Some(call) = self.calls.get(&id) {
            self.timers.set(call.due(), Timer::Call(id));
        }
    }

    /// A call between two attempts whose payload others brought into quarantine is not sent again, however long it waits (R37).
    pub(super) fn ends_as_poison(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) -> bool {
        let call = self.calls.get(&id).filter(|call| call.retry.is_some());
        let Err(poison) = self.check_poison(now, call.and_then(|call| call.fingerprint)) else { return false };
        self.counters.lost += 1;
        self.withdraw(now, id, poison, effects);
        self.check_drained(now, effects);
        true
    }

    /// The caller hears of the last loss.
    fn fail_with_last_loss(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        let retried = self.calls.get_mut(&id).and_then(|call| call.retry.as_mut());
        let Some(loss) = retried.and_then(|retried| retried.losses.pop()) else { return };
        self.counters.lost += 1;
        self.withdraw(now, id, CallFailure::WorkerLost(loss), effects);
        self.check_drained(now, effects);
    }
}
