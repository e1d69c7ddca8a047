//! How calls end: by a final frame, a deadline, or because nobody waits any more. Answered is not finished: the slot and
//! the session's turn stay taken until the worker's final frame, or its death.

use super::{
    Core, Delivery, Effect, Effects, Extras, Note, Phase,
    call::{Call, Place},
};
use crate::{
    CallId, CancelSettings, Now, StopHow, WireId, WorkerId, WorkerRef,
    failure::{Doom, Failure},
    session::Happened,
    timers::Timer,
    worker::{Escalation, Occupant, Process, Running},
};

impl Core {
    /// The final frame of an attempt: its call is answered, if it still waits, and its slot is free.
    pub(super) fn finish(&mut self, now: Now, at: WorkerRef, wire: WireId, ok: bool, fx: &mut Effects) {
        let Some(attempt) = self.current(at).and_then(|slot| slot.take_attempt(wire)) else {
            self.counters.unknown_frames += 1;
            return fx.push(Effect::Note(Note::UnknownAnswer(at, wire)));
        };
        match attempt.occupant {
            Occupant::Call(id) => self.deliver(now, id, at, &attempt, ok, fx),
            Occupant::Abandoned { .. } => {
                self.counters.late_answers += 1;
                fx.push(Effect::Note(Note::LateAnswer(at, wire)));
            }
        }
        self.freed(now, at, &attempt, ok, fx);
    }

    fn deliver(&mut self, now: Now, id: CallId, at: WorkerRef, attempt: &Running, ok: bool, fx: &mut Effects) {
        let Some(call) = self.calls.remove(&id) else { return };
        if ok {
            self.counters.ok += 1;
            self.budget.success(now);
        } else {
            self.counters.failed += 1;
        }
        if let Some(breaker) = &self.settings.breaker {
            self.end_permit(now, call.permit, breaker.counts.answer(ok));
        }
        let (queued, ran) = (attempt.since - call.admitted, now - attempt.since);
        let (routing, attempts, admitted) = (attempt.routing, call.attempts, call.admitted);
        let delivery = Delivery { at, routing, attempts, admitted, queued, ran };
        fx.push(Effect::Deliver { call: id, delivery, earlier: call.into_losses() });
    }

    /// The one way in which an admitted call ends without a worker's answer.
    pub(super) fn fail(&mut self, now: Now, id: CallId, call: Call, failure: Failure, fx: &mut Effects) {
        if let Some(breaker) = &self.settings.breaker {
            self.end_permit(now, call.permit, breaker.counts.failure(&failure));
        }
        fx.push(Effect::Settle { call: id, failure, earlier: call.into_losses() });
    }

    fn freed(&mut self, now: Now, at: WorkerRef, attempt: &Running, ok: bool, fx: &mut Effects) {
        if let Some(pace) = &mut self.pace {
            pace.observe(now - attempt.since);
        }
        if let Extras::Enhanced { metrics: Some(metrics), .. } = &mut self.extras {
            metrics[super::index(at.worker)].count(now - attempt.since, ok);
        }
        self.slot_mut(at.worker).served += 1;
        if let Some((row, turn)) = attempt.session {
            self.release(now, row, turn, true, fx);
        }
        self.fill(now, at.worker, fx);
        self.note_idle(now, at.worker);
        self.check_drained(now, fx);
    }

    /// The time of an overflow worker without work runs from here.
    fn note_idle(&mut self, now: Now, worker: WorkerId) {
        if let Process::Live { idle_since, .. } = &mut self.slot_mut(worker).process {
            *idle_since = now;
        }
    }

    /// A call's timer: its deadline or its queue timeout may have come.
    pub(super) fn call_due(&mut self, now: Now, id: CallId, fx: &mut Effects) {
        let Some(call) = self.calls.get(&id) else { return };
        let (due, deadline, queued) = (call.due(), call.deadline, call.is_queued());
        if now < due {
            return self.timers.set(due, Timer::Call(id));
        }
        if matches!(call.place, Place::Backoff { .. }) && now < deadline {
            return self.retry(now, id, fx);
        }
        let failure = match () {
            () if !queued => Failure::DeadlineExceeded { may_have_run: true },
            () if now >= deadline => Failure::DeadlineExceeded { may_have_run: call.attempts > 0 },
            () => Failure::QueueTimeout,
        };
        self.counters.timeouts += 1;
        self.settle_early(now, id, failure, fx);
    }

    /// The caller went away.
    pub(super) fn abandon(&mut self, now: Now, id: CallId, fx: &mut Effects) {
        if self.calls.contains_key(&id) {
            self.counters.abandoned += 1;
            self.settle_early(now, id, Failure::Abandoned, fx);
        }
    }

    /// Settles a call that no worker answered: a waiting one is gone, a sent one leaves its attempt behind.
    pub(super) fn settle_early(&mut self, now: Now, id: CallId, failure: Failure, fx: &mut Effects) {
        if self.calls.get(&id).is_some_and(Call::is_queued) {
            self.withdraw(now, id, failure, fx);
            return self.check_drained(now, fx);
        }
        let Some(call) = self.calls.remove(&id) else { return };
        let place = call.place;
        self.fail(now, id, call, failure, fx);
        if let Place::Sent { at, wire } = place {
            self.leave_attempt(now, at, wire, fx);
        }
        self.check_drained(now, fx);
    }

    /// Settles a waiting call and gives its session's turn to the next.
    pub(super) fn withdraw(&mut self, now: Now, id: CallId, failure: Failure, fx: &mut Effects) {
        self.unqueue(id);
        let Some(call) = self.calls.remove(&id) else { return };
        let (row, waited) = (call.role.row(), now - call.admitted);
        self.fail(now, id, call, failure, fx);
        if let Some(row) = row {
            self.note_wait(now, row, Happened::GaveUp, None, waited);
            let turn = self.turn_of(row) == Some(id);
            self.release(now, row, turn, false, fx);
        }
    }

    /// The attempt goes on without a caller: it is asked to stop, then interrupted, then its worker is killed.
    fn leave_attempt(&mut self, now: Now, at: WorkerRef, wire: WireId, fx: &mut Effects) {
        let CancelSettings { interrupt, kill } = self.settings.cancel;
        let Some(attempt) = self.current(at).and_then(|slot| slot.attempt(wire)) else { return };
        let (next, due) = match interrupt < kill {
            true => (Escalation::Interrupt(now + interrupt), now + interrupt),
            false => (Escalation::Kill(now + kill), now + kill),
        };
        attempt.occupant = Occupant::Abandoned { next };
        fx.push(Effect::Cancel { at, wire, interrupt: false });
        self.timers.set(due, Timer::Attempt(at.worker, wire));
    }

    /// An abandoned attempt's patience is over. A pool that comes late still interrupts first and leaves the worker all of
    /// the time between the two: one that was given none would be killed for the pool's own pause.
    pub(super) fn attempt_due(&mut self, now: Now, worker: WorkerId, wire: WireId, fx: &mut Effects) {
        let CancelSettings { interrupt, kill } = self.settings.cancel;
        let slot = self.slot_mut(worker);
        let (at, live) = (slot.at, slot.is_live());
        let Some(attempt) = slot.attempt(wire).filter(|_| live) else { return };
        let Occupant::Abandoned { next } = &mut attempt.occupant else { return };
        match *next {
            Escalation::Interrupt(due) if now >= due => {
                let kill_at = now + kill.saturating_sub(interrupt);
                *next = Escalation::Kill(kill_at);
                fx.push(Effect::Cancel { at, wire, interrupt: true });
                self.timers.set(kill_at, Timer::Attempt(worker, wire));
            }
            Escalation::Kill(due) if now >= due => self.doom(now, at, Doom::CancelPatience, StopHow::Kill, fx),
            Escalation::Interrupt(due) | Escalation::Kill(due) => self.timers.set(due, Timer::Attempt(worker, wire)),
        }
    }

    pub(super) fn check_drained(&mut self, now: Now, fx: &mut Effects) {
        if matches!(self.phase, Phase::Draining { .. }) {
            self.drain(now, fx);
        }
    }
}
