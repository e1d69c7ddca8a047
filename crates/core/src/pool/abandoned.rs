//! Attempts whose callers have gone. The worker is asked to stop; an attempt that runs is interrupted, and then its worker is killed.
//!
//! Only the worker knows which of its calls has begun, and says so in its answer to a cancel. An attempt that has not begun costs nothing and
//! ends by itself, behind those before it: to kill its worker would cost an innocent call and all sessions there. As long as a worker says
//! nothing (C code holds the GIL, or it serves no control channel), the oldest of its attempts is taken to run, and no other.
//!
//! A worker that withdraws its oldest attempt and never sends the final frame is held up by something that is no call: a hook has its own
//! limit, but a background task that blocks an event loop has none. It is killed after a time that covers what hooks may take.

use super::{AttemptState, Core, Effect, Effects};
use crate::{
    CancelSettings, StopMethod, Timestamp, WireId, WorkerId, WorkerRef,
    failure::KillReason,
    timers::Timer,
    worker::{Escalation, SlotHolder},
};

impl Core {
    /// Asks the worker to stop an attempt that nobody waits for any more.
    pub(super) fn abandon_attempt(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId, effects: &mut Effects) {
        let Some(attempt) = self.current(worker).and_then(|slot| slot.attempt(wire)) else { return };
        attempt.holder = SlotHolder::Abandoned { next: Escalation::Asked };
        effects.push(Effect::Cancel { worker, wire, interrupt: false });
        self.time_oldest_attempt(now, worker);
    }

    /// What the worker says of an attempt that it was asked to stop.
    pub(super) fn attempt_state(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId, state: AttemptState) {
        let kill = self.settings.cancel.kill;
        let Some(attempt) = self.current(worker).and_then(|slot| slot.attempt(wire)) else { return };
        let SlotHolder::Abandoned { next } = &mut attempt.holder else { return };
        match (state, *next) {
            (AttemptState::Running, Escalation::Asked | Escalation::Withdrawn { .. }) => {
                self.start_cancel_timeouts(now, worker, wire);
            }
            // Patience that already runs is not begun anew: a worker could say this for ever.
            (AttemptState::Running, Escalation::Interrupt(_) | Escalation::Kill(_)) => {}
            (AttemptState::Withdrawn, Escalation::Withdrawn { .. }) => {}
            (AttemptState::Withdrawn, _) => {
                *next = Escalation::Withdrawn { kill: None };
                self.time_oldest_attempt(now, worker);
            }
            // Its final frame is on the way: there is nothing left to interrupt.
            (AttemptState::Finished, Escalation::Kill(_)) => {}
            (AttemptState::Finished, _) => {
                *next = Escalation::Kill(now + kill);
                self.timers.set(now + kill, Timer::Attempt(worker.id, wire));
            }
        }
    }

    /// Begins the patience with the process's oldest attempt: with the one that is taken to run, if it is abandoned and the worker has said
    /// nothing of it, and with a withdrawn one that has nothing before it.
    pub(super) fn time_oldest_attempt(&mut self, now: Timestamp, worker: WorkerRef) {
        let kill = now + self.settings.cancel.withdrawn;
        if let Some(first) = self.current(worker).and_then(|slot| slot.oldest_if_withdrawn())
            && first.holder == (SlotHolder::Abandoned { next: Escalation::Withdrawn { kill: None } })
        {
            first.holder = SlotHolder::Abandoned { next: Escalation::Withdrawn { kill: Some(kill) } };
            let wire = first.wire;
            self.timers.set(kill, Timer::Attempt(worker.id, wire));
        }
        let oldest = self.current(worker).and_then(|slot| slot.oldest_running());
        if let Some(attempt) = oldest
            && matches!(attempt.holder, SlotHolder::Abandoned { next: Escalation::Asked })
        {
            let wire = attempt.wire;
            self.start_cancel_timeouts(now, worker, wire);
        }
    }

    fn start_cancel_timeouts(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId) {
        let CancelSettings { interrupt, kill, .. } = self.settings.cancel;
        let (next, due) = match interrupt < kill {
            true => (Escalation::Interrupt(now + interrupt), now + interrupt),
            false => (Escalation::Kill(now + kill), now + kill),
        };
        if let Some(attempt) = self.current(worker).and_then(|slot| slot.attempt(wire)) {
            attempt.holder = SlotHolder::Abandoned { next };
            self.timers.set(due, Timer::Attempt(worker.id, wire));
        }
    }

    /// An abandoned attempt's patience is over. A pool that comes late still interrupts first and leaves the worker all of
    /// the time between the two: one that was given none would be killed for the pool's own pause.
    pub(super) fn attempt_due(&mut self, now: Timestamp, worker: WorkerId, wire: WireId, effects: &mut Effects) {
        let CancelSettings { interrupt, kill, .. } = self.settings.cancel;
        let slot = self.slot_mut(worker);
        let (worker_ref, live) = (slot.worker, slot.is_live());
        let Some(attempt) = slot.attempt(wire).filter(|_| live) else { return };
        let SlotHolder::Abandoned { next } = &mut attempt.holder else { return };
        match *next {
            Escalation::Interrupt(due) if now >= due => {
                let kill_at = now + kill.saturating_sub(interrupt);
                *next = Escalation::Kill(kill_at);
                effects.push(Effect::Cancel { worker: worker_ref, wire, interrupt: true });
                self.timers.set(kill_at, Timer::Attempt(worker, wire));
            }
            Escalation::Kill(due) | Escalation::Withdrawn { kill: Some(due) } if now >= due => {
                self.stop_process(now, worker_ref, KillReason::CancelTimeout, StopMethod::Kill, effects);
            }
            Escalation::Interrupt(due) | Escalation::Kill(due) | Escalation::Withdrawn { kill: Some(due) } => {
                self.timers.set(due, Timer::Attempt(worker, wire));
            }
            Escalation::Asked | Escalation::Withdrawn { kill: None } => {}
        }
    }
}
