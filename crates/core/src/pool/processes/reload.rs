//! A reload: every worker is replaced, and its replacement is ready before it is stopped.
//!
//! Replacements need a slot while the slots of the pool are taken. So the first reload adds one base slot. From then on one
//! base slot is always vacant: the replacement starts there, takes over from an old worker, and the slot of that worker is
//! the vacant one once its process has exited. One worker is replaced at a time.

use crate::{
    Effect, Effects, ReloadOutcome, StopMethod, Timestamp, WorkerId, WorkerRef,
    failure::KillReason,
    pool::Core,
    reload::{Reload, Reloaded},
    restarts::PhaseEnd,
    worker::{DeadProcess, Process, Slot},
};

impl Core {
    /// Begins a reload. One that is in progress ends.
    pub(in crate::pool) fn begin_reload(&mut self, now: Timestamp, effects: &mut Effects) {
        self.end_reload(ReloadOutcome::Superseded, effects);
        if self.restarts.starts_on_demand() || !self.restarts.may_start() {
            effects.push(Effect::ReloadEnded(ReloadOutcome::PoolClosed));
            return;
        }
        if self.restarts.is_idle() {
            effects.push(Effect::ReloadEnded(ReloadOutcome::Completed(Reloaded::default())));
            return;
        }
        self.add_vacant_slot();
        let live = |base| {
            let is_live = move |slot: &&Slot| slot.base == base && slot.is_live();
            self.workers.iter().filter(is_live).map(|slot| slot.worker)
        };
        self.reload = Some(Reload::new(live(true), live(false)));
        self.restart_unready(now, effects);
        if self.restarts.bring_probe_forward(now) && self.restarts.phase_end(now) == Some(PhaseEnd::Probe) {
            self.probe_due(now, effects);
        }
        self.schedule_replacement(now);
        self.start_due_processes(now, effects);
    }

    /// Gives the pool the slot that replacements need, unless it has one.
    pub(in crate::pool) fn add_vacant_slot(&mut self) {
        if self.workers.vacant().is_none() {
            self.workers.add_vacant_slot();
            self.restarts.add_slot();
            self.waiting.add_slot();
            self.sessions.add_slot();
        }
    }

    /// Starts every process again that is not ready: it may have read what the reload is to replace. There is nothing that
    /// would be lost, so its slot is used again.
    fn restart_unready(&mut self, now: Timestamp, effects: &mut Effects) {
        let is_waiting = |slot: &&Slot| slot.base && matches!(slot.process(), Process::Scheduled { .. });
        let waiting: Vec<WorkerId> = self.workers.iter().filter(is_waiting).map(|slot| slot.worker.id).collect();
        let starting: Vec<WorkerRef> = self.processes().filter(|worker| self.workers.is_starting(*worker)).collect();
        for worker in waiting {
            self.restarts.forget_failures(worker);
            self.workers.schedule(worker, now);
        }
        // Each stop makes room in the batch, so that some of the others start at once.
        for worker in starting {
            self.stop_process(now, worker, KillReason::Reload, StopMethod::Kill, effects);
        }
    }

    /// Schedules the replacement of the next worker, if the vacant slot has no process any more.
    fn schedule_replacement(&mut self, now: Timestamp) {
        let (Some(reload), Some(vacant)) = (&self.reload, self.workers.vacant()) else { return };
        if let Some(old) = reload.next()
            && matches!(self.slot(vacant).process(), Process::Absent)
        {
            self.workers.set_number(vacant, self.slot(old.id).number);
            self.workers.schedule(vacant, now);
        }
    }

    /// Handles a process that became ready during a reload: a replacement takes over.
    pub(super) fn ready_in_reload(&mut self, now: Timestamp, worker: WorkerRef, effects: &mut Effects) {
        let Some(reload) = &mut self.reload else { return };
        if self.workers.vacant() == Some(worker.id) {
            let old = reload.next();
            reload.advance();
            self.take_over(now, old, worker, effects);
        } else if reload.is_replacing() {
            return;
        }
        if self.reload.as_ref().is_some_and(Reload::is_replacing) {
            return self.schedule_replacement(now);
        }
        self.complete_reload(now, effects);
    }

    /// Makes the slot of an old worker the vacant one, so that its replacement stays.
    fn take_over(&mut self, now: Timestamp, old: Option<WorkerRef>, replacement: WorkerRef, effects: &mut Effects) {
        // A generation begins with the start, so a start that is only scheduled can be cancelled.
        let Some(old) = old.filter(|old| self.slot(old.id).worker == *old) else {
            // The old worker has exited, and its slot started a new process by itself.
            return self.stop_process(now, replacement, KillReason::Reload, StopMethod::Graceful, effects);
        };
        self.workers.cancel_start(old.id);
        self.workers.set_vacant(old.id);
        if let Some(reload) = &mut self.reload {
            reload.count_worker();
        }
        self.stop_for_reload(now, old, effects);
    }

    /// Stops an old worker: it finishes the calls that it was sent. Its sessions are lost from here on.
    fn stop_for_reload(&mut self, now: Timestamp, old: WorkerRef, effects: &mut Effects) {
        let sessions = if self.is_alive(old) { self.sessions.bound_to(old) } else { 0 };
        if let Some(reload) = &mut self.reload {
            reload.count_sessions(sessions);
        }
        self.stop_process(now, old, KillReason::Reload, StopMethod::AfterCalls, effects);
    }

    /// Ends a reload whose base workers are replaced.
    fn complete_reload(&mut self, now: Timestamp, effects: &mut Effects) {
        // Overflow workers last: only now is it known that the new processes start. Calls that wait start new ones.
        for old in self.reload.as_mut().map(Reload::take_overflow).unwrap_or_default() {
            self.stop_for_reload(now, old, effects);
        }
        let replaced = self.reload.as_ref().map(Reload::replaced).unwrap_or_default();
        self.end_reload(ReloadOutcome::Completed(replaced), effects);
    }

    /// Handles the exit of a process as far as a reload is concerned.
    pub(super) fn exited_in_reload(&mut self, now: Timestamp, dead: &DeadProcess, effects: &mut Effects) {
        let Some(reload) = &self.reload else { return };
        let is_replacement = self.workers.vacant() == Some(dead.worker.id);
        // Without an old worker that is ready, the first process that is started decides.
        let decides = is_replacement || (!reload.is_replacing() && self.slot(dead.worker.id).base);
        if decides && dead.live_since.is_none() && !dead.exit.is_expected() {
            let replaced = reload.replaced();
            self.end_reload(ReloadOutcome::StartFailed { worker: dead.worker, exit: dead.exit, replaced }, effects);
        }
        self.schedule_replacement(now);
    }

    /// Ends a reload of a pool that shuts down.
    pub(in crate::pool) fn abort_reload(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.reload.is_none() {
            return;
        }
        self.end_reload(ReloadOutcome::PoolClosed, effects);
        let Some(vacant) = self.workers.vacant() else { return };
        self.workers.cancel_start(vacant);
        self.restarts.base_start_cancelled(now, self.workers.base_start_is_pending());
        let replacement = self.slot(vacant).worker;
        if self.workers.is_starting(replacement) {
            self.stop_process(now, replacement, KillReason::Reload, StopMethod::Kill, effects);
        }
    }

    fn end_reload(&mut self, outcome: ReloadOutcome, effects: &mut Effects) {
        if self.reload.take().is_some() {
            effects.push(Effect::ReloadEnded(outcome));
        }
    }
}
