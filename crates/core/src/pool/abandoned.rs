//! Abandoned attempts: those whose calls are settled. The worker is asked to stop the attempt. If it runs, it is
//! interrupted, and then its worker is killed.
//!
//! Only the worker knows which of its attempts has begun; it states this in its answer to a cancel. An attempt that has
//! not begun costs nothing and ends by itself, after those before it. Killing its worker would cost other calls and all
//! sessions of the worker. As long as a worker does not answer (C code holds the GIL, or the worker has no control
//! channel), the oldest of its attempts is assumed to run, and no other.
//!
//! A worker that withdraws its oldest attempt and never sends the final frame is blocked by something that is not a
//! call. Hooks have a time limit of their own, but a background task that blocks an event loop has none. The worker is
//! killed after a time that exceeds the limit of hooks.

use super::Core;
use crate::{
    AttemptState, CancelSettings, Effect, Effects, StopMethod, Timestamp, WireId, WorkerId, WorkerRef,
    failure::KillReason,
    worker::{Attempt, Escalation, SlotHolder},
};

impl Core {
    /// Asks the worker to stop an attempt whose call is settled.
    pub(super) fn abandon_attempt(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId, effects: &mut Effects) {
        if self.workers.attempt(worker, wire).is_none() {
            return;
        }
        self.workers.set_escalation(worker.id, wire, Escalation::Asked);
        effects.push(Effect::Cancel { worker, wire, interrupt: false });
        self.start_timeouts_of_oldest_attempt(now, worker);
    }

    /// Handles the worker's answer to a cancel: the state of the attempt.
    pub(super) fn on_attempt_state(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId, state: AttemptState) {
        let kill = self.settings.cancel.kill;
        let Some(&SlotHolder::Abandoned { next }) = self.workers.attempt(worker, wire).map(|attempt| &attempt.holder)
        else {
            return;
        };
        match (state, next) {
            (AttemptState::Running, Escalation::Asked | Escalation::Withdrawn { .. }) => {
                self.start_cancel_timeouts(now, worker, wire);
            }
            // A timeout that already runs is not restarted. Otherwise a worker that keeps sending this answer would
            // never be killed.
            (AttemptState::Running, Escalation::Interrupt(_) | Escalation::Kill(_)) => {}
            (AttemptState::Withdrawn, Escalation::Withdrawn { .. }) => {}
            (AttemptState::Withdrawn, _) => {
                self.workers.set_escalation(worker.id, wire, Escalation::Withdrawn { kill: None });
                self.start_timeouts_of_oldest_attempt(now, worker);
            }
            // The final frame will follow, so there is nothing left to interrupt.
            (AttemptState::Finished, Escalation::Kill(_)) => {}
            (AttemptState::Finished, _) => {
                self.workers.set_escalation(worker.id, wire, Escalation::Kill(now + kill));
            }
        }
    }

    /// Starts the timeouts of the oldest attempts of a process: of the one that is assumed to run, if it is abandoned
    /// and the worker has not answered, and of a withdrawn one with no attempt before it. Called whenever another
    /// attempt may have become the oldest ([I8](crate#invariants)).
    #[inline]
    pub(super) fn start_timeouts_of_oldest_attempt(&mut self, now: Timestamp, worker: WorkerRef) {
        let is_abandoned = |attempt: &Attempt| matches!(attempt.holder, SlotHolder::Abandoned { .. });
        // By far the most frequent case is that none of the attempts is abandoned.
        if self.workers.current(worker).is_some_and(|slot| slot.running().iter().any(is_abandoned)) {
            self.start_timeouts_of_abandoned_attempt(now, worker);
        }
    }

    #[cold]
    fn start_timeouts_of_abandoned_attempt(&mut self, now: Timestamp, worker: WorkerRef) {
        let kill = now + self.settings.cancel.withdrawn;
        if let Some(first) = self.workers.current(worker).and_then(|slot| slot.oldest_if_withdrawn())
            && first.holder == (SlotHolder::Abandoned { next: Escalation::Withdrawn { kill: None } })
        {
            self.workers.set_escalation(worker.id, first.wire, Escalation::Withdrawn { kill: Some(kill) });
        }
        let oldest = self.workers.current(worker).and_then(|slot| slot.oldest_running());
        if let Some(attempt) = oldest
            && matches!(attempt.holder, SlotHolder::Abandoned { next: Escalation::Asked })
        {
            self.start_cancel_timeouts(now, worker, attempt.wire);
        }
    }

    fn start_cancel_timeouts(&mut self, now: Timestamp, worker: WorkerRef, wire: WireId) {
        let CancelSettings { interrupt, kill, .. } = self.settings.cancel;
        let next = match interrupt < kill {
            true => Escalation::Interrupt(now + interrupt),
            false => Escalation::Kill(now + kill),
        };
        self.workers.set_escalation(worker.id, wire, next);
    }

    /// Handles a timeout of an abandoned attempt.
    pub(super) fn attempt_due(&mut self, now: Timestamp, worker: WorkerId, wire: WireId, effects: &mut Effects) {
        let CancelSettings { interrupt, kill, .. } = self.settings.cancel;
        let worker_ref = self.slot(worker).worker;
        let Some(&SlotHolder::Abandoned { next }) = self.slot(worker).attempt(wire).map(|attempt| &attempt.holder)
        else {
            return;
        };
        match next {
            Escalation::Interrupt(due) if now >= due => {
                // Counted from now, not from the cancel: if the pool itself was delayed, the worker still gets all the
                // time between interrupt and kill. Otherwise it would be killed for a pause of the pool.
                let kill_at = now + kill.saturating_sub(interrupt);
                self.workers.set_escalation(worker, wire, Escalation::Kill(kill_at));
                effects.push(Effect::Cancel { worker: worker_ref, wire, interrupt: true });
            }
            Escalation::Kill(due) | Escalation::Withdrawn { kill: Some(due) } if now >= due => {
                self.stop_process(now, worker_ref, KillReason::CancelTimeout, StopMethod::Kill, effects);
            }
            // Not due.
            Escalation::Interrupt(_) | Escalation::Kill(_) | Escalation::Withdrawn { .. } | Escalation::Asked => {}
        }
    }
}
