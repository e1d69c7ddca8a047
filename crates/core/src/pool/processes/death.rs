//! The exit of a process, step by step: what it means for its calls and sessions, for its slot, and for the pool.
//!
//! Its calls are in `calls/loss.rs`, which says what the caller of each receives.

use crate::{
    Answers, Effects, Fingerprint, Suspect, Timestamp, WireId, WorkerRef, admission::DeathAttribution,
    failure::ProcessExit, pool::Core, worker::DeadProcess,
};
use std::num::NonZeroU32;

impl Core {
    /// Handles the exit of a process. What it answered was handled before, as far as it was read.
    pub(in crate::pool) fn on_exit(
        &mut self,
        now: Timestamp,
        worker: WorkerRef,
        exit: ProcessExit,
        (answers, unwritten): (Answers, Option<WireId>),
        suspects: &[Suspect],
        effects: &mut Effects,
    ) {
        // The process is removed before anything else: from here on `is_alive` is false, no call is sent to it, and no
        // lookup returns it (I4).
        let Some(dead) = self.workers.exited(now, worker, exit, answers, unwritten) else { return };
        self.counters.exits += 1;
        self.sessions.reset_session_count(worker);
        // The order of the steps below matters.
        // The quarantine counts the death before calls are retried. Otherwise a call that this death quarantines would
        // be sent to the next worker (R37).
        self.attribute_death(now, &dead, suspects);
        // Before any call waits again: a replacement that starts at once then counts as coming capacity, so that no overflow
        // worker is started besides. No retry depends on it: only the death of a process without calls makes the pool fail
        // (`counts` in `Restarts::exited`).
        self.plan_restart(now, &dead, effects);
        // Before any call is answered, so that the answers say which calls did not run.
        self.take_back_calls_not_begun(now, &dead);
        // Strict sessions before anything is sent: as long as a session has a current strict call, its binding to the dead
        // process stays (`drop_dead_binding`). A hint call of it would be sent to another process as if the session were
        // bound, under the lost epoch.
        self.fail_strict_calls(now, &dead, effects);
        self.retry_or_fail_other_calls(now, &dead, effects);
        // A drain that is now complete closes the pool before the steps below, which would start workers only to stop
        // them at once.
        self.continue_shutdown(now, effects);
        // Waiting calls use the remaining capacity first. Overflow workers start only for calls that still wait.
        self.fill_workers(now, effects);
        self.start_due_processes(now, effects);
        self.start_processes_for_waiting_calls(now, effects);
        // Last: only now is it decided that no worker is alive or starting.
        self.fail_waiting_calls_of_failed_pool(now, effects);
    }

    /// Counts the death against the calls that may have caused it: those that may have run. Attempts that had not begun
    /// are not counted (R37).
    fn attribute_death(&mut self, now: Timestamp, dead: &DeadProcess, suspects: &[Suspect]) {
        let attribution = DeathAttribution::of(dead.exit.kill_reason);
        let may_run = dead.may_run(dead.in_order.map_or(self.settings.concurrency, NonZeroU32::get));
        let mut counted: Vec<Fingerprint> = Vec::new();
        for suspect in suspects {
            let Some(attempt) = dead.attempts.get(suspect.wire) else { continue };
            let call = attempt.call();
            let is_counted = counted.contains(&suspect.fingerprint);
            if attribution.applies_to(call) && may_run(attempt) && !is_counted {
                // One death counts once, however many calls with these arguments the process had.
                counted.push(suspect.fingerprint);
                self.admission.record_death(now, suspect, attempt.since);
            }
            // Also without an attribution: a retry of this call must be refused if its fingerprint is quarantined in
            // the meantime.
            if let Some(call) = call {
                self.calls.set_fingerprint(call, suspect.fingerprint);
            }
        }
    }
}
