//! How calls end: by a final frame, a deadline, or because nobody waits any more. Answered is not finished: the slot and
//! the session's turn stay taken until the worker's final frame, or its death.

use super::{
    Core, Delivery, Effect, Effects, EnhancedState, LogEvent, Phase,
    call::{Call, CallState},
};
use crate::{
    CallId, Outcome, Timestamp, WireId, WorkerId, WorkerRef,
    failure::CallFailure,
    session::SessionEventKind,
    timers::Timer,
    worker::{Attempt, Process, SlotHolder},
};

impl Core {
    /// The final frame of an attempt: its call is answered, if it still waits, and its slot is free.
    pub(super) fn finish(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId, ok: bool, effects: &mut Effects) {
        let Some(attempt) = self.current(worker).and_then(|slot| slot.take_attempt(wire)) else {
            self.counters.unknown_frames += 1;
            return effects.push(Effect::Log(LogEvent::UnknownAnswer(worker, wire)));
        };
        self.time_oldest_attempt(now, worker);
        match attempt.holder {
            SlotHolder::Call(id) => self.deliver(now, id, worker, &attempt, ok, effects),
            SlotHolder::Abandoned { .. } => {
                self.counters.late_answers += 1;
                effects.push(Effect::Log(LogEvent::LateAnswer(worker, wire)));
            }
        }
        self.freed(now, worker, &attempt, ok, effects);
    }

    fn deliver(
        &mut self,
        now: Timestamp,
        id: CallId,
        worker: WorkerRef,
        attempt: &Attempt,
        ok: bool,
        effects: &mut Effects,
    ) {
        let Some(call) = self.calls.remove(&id) else { return };
        if ok {
            self.counters.ok += 1;
            self.budget.success(now);
        } else {
            self.counters.failed += 1;
        }
        if let Some(breaker) = &self.settings.breaker {
            self.return_permit(now, call.permit, breaker.counts.outcome_of_answer(ok));
        }
        let (queued, ran) = (attempt.since - call.admitted, now - attempt.since);
        let (routing, attempts, admitted) = (attempt.routing, call.attempts, call.admitted);
        let delivery = Delivery { worker, routing, attempts, admitted, queued, ran };
        effects.push(Effect::Deliver { call: id, delivery, earlier: call.into_losses() });
    }

    /// The one way in which an admitted call ends without a worker's answer.
    pub(super) fn fail(&mut self, now: Timestamp, id: CallId, call: Call, failure: CallFailure, effects: &mut Effects) {
        if let Some(breaker) = &self.settings.breaker {
            self.return_permit(now, call.permit, breaker.counts.outcome_of_failure(&failure));
        }
        effects.push(Effect::Settle { call: id, failure, earlier: call.into_losses() });
    }

    /// Takes back a call that the shell could not send. The shell answers its caller. No worker saw the call, so nothing counts it as an
    /// answer: neither the breaker, nor the quarantine, nor the statistics.
    pub(super) fn send_failed(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId, effects: &mut Effects) {
        let Some(attempt) = self.current(worker).and_then(|slot| slot.take_attempt(wire)) else { return };
        let SlotHolder::Call(id) = attempt.holder else { return };
        if let Some(call) = self.calls.remove(&id) {
            self.counters.failed_by_pool += 1;
            self.return_permit(now, call.permit, Outcome::Ignored);
        }
        if let Some((row, was_current)) = attempt.session {
            self.release(now, row, was_current, false, effects);
        }
        self.fill(now, worker.id, effects);
        self.check_drained(now, effects);
    }

    fn freed(&mut self, now: Timestamp, worker: WorkerRef, attempt: &Attempt, ok: bool, effects: &mut Effects) {
        if let Some(estimate) = &mut self.service_time {
            estimate.observe(now - attempt.since);
        }
        if let EnhancedState::Enhanced { metrics: Some(metrics), .. } = &mut self.enhanced_state {
            metrics[super::index(worker.id)].count(now - attempt.since, ok);
        }
        self.slot_mut(worker.id).finished_attempts += 1;
        if let Some((row, was_current)) = attempt.session {
            self.release(now, row, was_current, true, effects);
        }
        self.fill(now, worker.id, effects);
        self.note_idle(now, worker.id);
        self.check_drained(now, effects);
    }

    /// The time of an overflow worker without work runs from here.
    fn note_idle(&mut self, now: Timestamp, worker: WorkerId) {
        if let Process::Live { idle_since, .. } = &mut self.slot_mut(worker).process {
            *idle_since = now;
        }
    }

    /// A call's timer: its deadline or its queue timeout may have come.
    pub(super) fn call_due(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        let Some(call) = self.calls.get(&id) else { return };
        let (due, deadline, queued) = (call.due(), call.deadline, call.is_queued());
        if now < due {
            return self.timers.set(due, Timer::Call(id));
        }
        if matches!(call.state, CallState::Backoff { .. }) && now < deadline {
            return self.retry(now, id, effects);
        }
        let failure = match () {
            () if !queued => CallFailure::DeadlineExceeded { may_have_run: true },
            () if now >= deadline => CallFailure::DeadlineExceeded { may_have_run: call.attempts > 0 },
            () => CallFailure::QueueTimeout,
        };
        self.counters.timeouts += 1;
        self.settle_early(now, id, failure, effects);
    }

    /// The caller went away.
    pub(super) fn abandon(&mut self, now: Timestamp, id: CallId, effects: &mut Effects) {
        if self.calls.contains_key(&id) {
            self.counters.abandoned += 1;
            self.settle_early(now, id, CallFailure::Abandoned, effects);
        }
    }

    /// Settles a call that no worker answered: a waiting one is gone, a sent one leaves its attempt behind.
    pub(super) fn settle_early(&mut self, now: Timestamp, id: CallId, failure: CallFailure, effects: &mut Effects) {
        if self.calls.get(&id).is_some_and(Call::is_queued) {
            self.withdraw(now, id, failure, effects);
            return self.check_drained(now, effects);
        }
        let Some(call) = self.calls.remove(&id) else { return };
        let state = call.state;
        self.fail(now, id, call, failure, effects);
        if let CallState::Sent { worker, wire } = state {
            self.abandon_attempt(now, worker, wire, effects);
        }
        self.check_drained(now, effects);
    }

    /// Settles a waiting call and gives its session's turn to the next.
    pub(super) fn withdraw(&mut self, now: Timestamp, id: CallId, failure: CallFailure, effects: &mut Effects) {
        self.unqueue(id);
        let Some(call) = self.calls.remove(&id) else { return };
        let (row, waited) = (call.role.row(), now - call.admitted);
        self.fail(now, id, call, failure, effects);
        if let Some(row) = row {
            self.record_wait(now, row, SessionEventKind::LeftQueue, None, waited);
            let was_current = self.current_call_of(row) == Some(id);
            self.release(now, row, was_current, false, effects);
        }
    }

    pub(super) fn check_drained(&mut self, now: Timestamp, effects: &mut Effects) {
        if matches!(self.phase, Phase::Draining { .. }) {
            self.drain(now, effects);
        }
    }
}
