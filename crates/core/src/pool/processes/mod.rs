//! The life of a process: [`start`] (which processes are started, and what their readiness changes), [`stop`] (by a
//! timeout, a missed ping or a request), [`overflow`] (when waiting calls start overflow workers), [`death`] (its exit, step
//! by step), [`restarts`] (what replaces it, and the failure of the pool) and [`reload`] (the replacement of all on request).
//! The records of the processes are in [`Workers`](crate::worker::Workers).

mod death;
mod overflow;
mod reload;
mod restarts;
mod start;
mod stop;

use super::Core;
use crate::{Effects, Timestamp, WorkerId, failure::KillReason, worker::Process};

impl Core {
    /// Handles a slot that is due: its start, its start timeout or its ping.
    pub(super) fn worker_due(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) {
        let worker_ref = self.slot(worker).worker;
        match *self.slot(worker).process() {
            Process::Scheduled { at } if at <= now => self.start_due_processes(now, effects),
            Process::Starting { until } if now >= until => {
                self.kill(now, worker_ref, KillReason::StartTimeout, effects);
            }
            Process::Live { .. } => {
                let outcome = self.workers.ping_due(now, worker_ref, effects);
                self.apply_ping_outcome(now, worker_ref, outcome, effects);
            }
            _ => {}
        }
    }
}
