//! Abandoned attempts: those whose calls are settled. The worker is asked to stop the attempt. If it runs, it is
//! interrupted, and then its worker is killed.
//!
//! Only the worker knows which of its attempts has begun; it states this in its answer to a cancel. An attempt that has
//! not begun costs nothing and ends by itself, after those before it. Killing its worker would cost other calls and all
//! sessions of the worker. As long as a worker does not answer (C code holds the GIL, or the worker has no control
//! channel), the oldest of its attempts is assumed to run, and no other.
//!
//! The attempts of a batch are stopped together: the timeouts of one of them stand for the invocation, and start once nobody
//! waits for any of them.
//!
//! A worker that withdraws its oldest attempt and never sends the final frame is blocked by something that is not a
//! call. Hooks have a time limit of their own, but a background task that blocks an event loop has none. The worker is
//! killed after a time that exceeds the limit of hooks.

use super::{Escalation, Workers};
use crate::{AttemptState, CallId, CancelSettings, Effect, Effects, Timestamp, WireId, WorkerId, WorkerRef};

impl Workers {
    /// Asks the worker to stop an attempt whose call is settled.
    pub(crate) fn abandon_attempt(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId, effects: &mut Effects) {
        if self.current(worker).is_some() && self.update(worker.id, |slot| slot.attempts.abandon(wire)) {
            effects.push(Effect::Cancel { worker, wire, interrupt: false });
            self.start_timeouts_of_oldest_attempt(now, worker);
        }
    }

    /// Handles the worker's answer to a cancel or a revoke: the state of the attempt. Returns its call, if the worker
    /// gave it back.
    pub(crate) fn attempt_state(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        wire: WireId,
        state: AttemptState,
    ) -> Option<CallId> {
        match self.current(worker)?.attempts.escalation(wire) {
            Some(next) => self.abandoned_attempt_state(now, worker, wire, state, next),
            None if state == AttemptState::Withdrawn => return self.take_back(now, worker, wire),
            // The attempt goes on as if nothing had been asked.
            None => {}
        }
        None
    }

    fn abandoned_attempt_state(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        wire: WireId,
        state: AttemptState,
        next: Escalation,
    ) {
        match (state, next) {
            (AttemptState::Running, Escalation::Asked | Escalation::Withdrawn { .. }) => {
                let may_end = self.update(worker.id, |slot| slot.attempts.report_running(wire));
                // Of a batch that somebody waits for, no attempt is interrupted: they are one invocation.
                let next = if may_end { first_timeout(now, &self.cancel) } else { Escalation::Asked };
                self.set_escalation(worker.id, wire, next);
            }
            // A timeout that already runs is not restarted. Otherwise a worker that keeps sending this answer would
            // never be killed.
            (AttemptState::Running, Escalation::Interrupt(_) | Escalation::Kill(_)) => {}
            (AttemptState::Withdrawn, Escalation::Withdrawn { .. }) => {}
            (AttemptState::Withdrawn, _) => {
                self.set_escalation(worker.id, wire, Escalation::Withdrawn { kill: None });
                self.start_timeouts_of_oldest_attempt(now, worker);
            }
            // The final frame will follow, so there is nothing left to interrupt.
            (AttemptState::Finished, Escalation::Kill(_)) => {}
            (AttemptState::Finished, _) => {
                let may_end = self.update(worker.id, |slot| slot.attempts.report_running(wire));
                let next = if may_end { Escalation::Kill(now + self.cancel.kill) } else { Escalation::Asked };
                self.set_escalation(worker.id, wire, next);
            }
        }
    }

    /// Starts the timeouts of the oldest attempts of a process: of the one that is assumed to run, if it is abandoned
    /// and the worker has not answered, and of a withdrawn one with no attempt before it. Called whenever another
    /// attempt may have become the oldest ([I8](crate#invariants)).
    #[cold]
    pub(super) fn start_timeouts_of_oldest_attempt(&mut self, now: Timestamp, worker: WorkerRef) {
        let Some(slot) = self.current(worker) else { return };
        let (withdrawn, asked) = slot.attempts.without_timeouts();
        if let Some(wire) = withdrawn {
            let kill = Some(now + self.cancel.withdrawn);
            self.set_escalation(worker.id, wire, Escalation::Withdrawn { kill });
        }
        if let Some(wire) = asked {
            self.set_escalation(worker.id, wire, first_timeout(now, &self.cancel));
        }
    }

    /// Handles a timeout of an abandoned attempt. Returns the process that must be killed, if it must.
    pub(crate) fn attempt_due(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        wire: WireId,
        effects: &mut Effects,
    ) -> Option<WorkerRef> {
        let CancelSettings { interrupt, kill, .. } = self.cancel;
        let worker_ref = self.slot(worker).worker;
        match self.slot(worker).attempts.escalation(wire)? {
            Escalation::Interrupt(due) if now >= due => {
                // Counted from now, not from the cancel: if the pool itself was delayed, the worker still gets all the
                // time between interrupt and kill. Otherwise it would be killed for a pause of the pool.
                self.set_escalation(worker, wire, Escalation::Kill(now + kill.saturating_sub(interrupt)));
                effects.push(Effect::Cancel { worker: worker_ref, wire, interrupt: true });
            }
            // A process that is being stopped stays in that state until it exits: the attempt must not be due again.
            Escalation::Kill(due) if now >= due => {
                self.set_escalation(worker, wire, Escalation::Kill(Timestamp::NEVER));
                return Some(worker_ref);
            }
            Escalation::Withdrawn { kill: Some(due) } if now >= due => {
                self.set_escalation(worker, wire, Escalation::Withdrawn { kill: Some(Timestamp::NEVER) });
                return Some(worker_ref);
            }
            // Not due.
            Escalation::Interrupt(_) | Escalation::Kill(_) | Escalation::Withdrawn { .. } | Escalation::Asked => {}
        }
        None
    }

    fn set_escalation(&mut self, worker: WorkerId, wire: WireId, next: Escalation) {
        self.update(worker, |slot| slot.attempts.set_escalation(wire, next));
    }
}

fn first_timeout(now: Timestamp, cancel: &CancelSettings) -> Escalation {
    match cancel.interrupt < cancel.kill {
        true => Escalation::Interrupt(now + cancel.interrupt),
        false => Escalation::Kill(now + cancel.kill),
    }
}
