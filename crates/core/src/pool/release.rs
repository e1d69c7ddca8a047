//! The release of all sessions of a worker at once. It touches none of their rows, however many there are. A row is
//! unbound when it is next visited. A scan in small steps visits those that no call visits, so that the worker is
//! notified of the end of each session (R22).

use super::{Core, Effects};
use crate::{
    Timestamp, WorkerId, WorkerRef,
    session::{AfterEpoch, RowKey, Sessions},
    timers::Timer,
};
use std::time::Duration;

/// The number of rows that the scan visits before it lets calls run.
const SCAN_STEP: usize = 512;
/// The time between two steps of the scan.
const STEP_PAUSE: Duration = Duration::from_millis(1);

impl Core {
    /// Unbinds all sessions of a slot's current process and returns their number. From now on no lookup returns them.
    /// Sessions with calls keep their state until these calls are finished; calls that are admitted from now on do not
    /// use it. Costs the number of the pool's calls; the worker is notified of the other sessions step by step.
    /// Bindings to a process that is gone are void already. They stay, so that the next call reports the loss (R20).
    pub fn remove_worker_sessions(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) -> usize {
        let Some(worker_ref) = self.process_of(worker).filter(|worker_ref| self.is_alive(*worker_ref)) else {
            return 0;
        };
        // Collected before the release, which makes all bindings void.
        let busy = self.busy_rows_of(worker_ref);
        let Sessions::Routed(routes) = &mut self.sessions else { return 0 };
        if routes.bound_to(worker_ref) == 0 {
            return 0;
        }
        if !routes.is_scanning() {
            self.timers.set(now + STEP_PAUSE, Timer::ReleaseScan);
        }
        let released = routes.release_all(worker_ref);
        // These sessions are exempted again, one by one: their calls still use the state, which ends after the last of
        // them (I3).
        for row in busy {
            self.keep_until_calls_finish(row, effects, now);
        }
        released
    }

    /// Keeps a session bound until its calls are finished.
    fn keep_until_calls_finish(&mut self, row: RowKey, effects: &mut Effects, now: Timestamp) {
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.renew_binding(row);
        }
        self.end_routed(now, row, AfterEpoch::Stay, effects);
    }

    /// Returns the sessions that are bound to this process and have queued or unfinished calls, here or on other
    /// workers.
    fn busy_rows_of(&self, worker: WorkerRef) -> Vec<RowKey> {
        let calls = self.calls.iter().filter_map(|call| call.role.row());
        let attempts = self.workers.iter().flat_map(|slot| slot.running()).filter_map(|attempt| attempt.session);
        let bound_to_worker = |row: &RowKey| self.bound_process(*row) == Some(worker);
        let mut rows: Vec<RowKey> = calls.chain(attempts.map(|(row, _)| row)).filter(bound_to_worker).collect();
        // `calls` has no order: without the sort the order of the effects would depend on the indices of the calls.
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Visits the next rows of the scan, and unbinds those that were released.
    pub(super) fn release_scan_due(&mut self, now: Timestamp, effects: &mut Effects) {
        for _ in 0..SCAN_STEP {
            let Sessions::Routed(routes) = &mut self.sessions else { return };
            let Some(index) = routes.next_released_row() else { return };
            if let Some((row, _)) = routes.table.row_at(index) {
                self.unbind_released(now, row, effects);
            }
        }
        self.timers.set(now + STEP_PAUSE, Timer::ReleaseScan);
    }

    /// Unbinds a row if it was released with all sessions of its worker, and notifies that worker.
    pub(super) fn unbind_released(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        if self.is_released(row) {
            self.end_routed(now, row, AfterEpoch::Stay, effects);
        }
    }

    pub(super) fn is_released(&self, row: RowKey) -> bool {
        self.routes().is_some_and(|routes| routes.route(row).is_some_and(|route| routes.is_released(route)))
    }
}
