//! The release of all sessions of a worker at once. It touches none of their rows, however many there are. A row is
//! unbound when it is next visited. A scan in small steps visits those that no call visits, so that the worker is
//! notified of the end of each session (R22).

use super::{AfterEpoch, sessions::Sessions, step::Step};
use crate::{RowKey, Timestamp, WorkerRef};
use std::time::Duration;

/// The number of rows that the scan visits before it lets calls run.
const SCAN_STEP: usize = 512;
/// The time between two steps of the scan.
const STEP_PAUSE: Duration = Duration::from_millis(1);

impl Sessions {
    /// Unbinds all sessions of a process that is alive and returns their number. From now on no lookup returns them.
    /// `busy` are the sessions with queued or unfinished calls: those that are bound to this process keep their state
    /// until these calls are finished; calls that are admitted from now on do not use it. The worker is notified of the
    /// other sessions step by step.
    pub(crate) fn release_all(&mut self, worker: WorkerRef, busy: Vec<RowKey>, step: &mut Step<'_>) -> usize {
        // Selected before the release, which makes all bindings void.
        let mut busy: Vec<RowKey> = busy.into_iter().filter(|row| self.bound_process(*row) == Some(worker)).collect();
        // Calls have no order: without the sort the order of the effects would depend on their indices.
        busy.sort_unstable();
        busy.dedup();
        let Some(routes) = self.routes_mut() else { return 0 };
        if routes.bound_to(worker) == 0 {
            return 0;
        }
        if !routes.is_scanning() {
            self.next_scan.0 = step.now + STEP_PAUSE;
        }
        let Some(routes) = self.routes_mut() else { return 0 };
        let released = routes.release_all(worker);
        // These sessions are exempted again, one by one: their calls still use the state, which ends after the last of
        // them (I3).
        for row in busy {
            self.keep_until_calls_finish(row, step);
        }
        released
    }

    /// Keeps a session bound until its calls are finished.
    fn keep_until_calls_finish(&mut self, row: RowKey, step: &mut Step<'_>) {
        if let Some(routes) = self.routes_mut() {
            routes.renew_binding(row);
        }
        self.end_released_epoch(row, step);
    }

    /// Performs one step of the scan: visits the next rows, and unbinds those that were released.
    pub(crate) fn release_scan_due(&mut self, step: &mut Step<'_>) {
        for _ in 0..SCAN_STEP {
            let Some(routes) = self.routes_mut() else { return };
            let Some(index) = routes.next_released_row() else {
                self.next_scan.0 = Timestamp::NEVER;
                return;
            };
            if let Some((row, _)) = routes.table.row_at(index) {
                self.unbind_released(row, step);
            }
        }
        self.next_scan.0 = step.now + STEP_PAUSE;
    }

    /// Unbinds a row if it was released with all sessions of its worker, and notifies that worker.
    pub(super) fn unbind_released(&mut self, row: RowKey, step: &mut Step<'_>) {
        if self.is_released(row) {
            self.end_released_epoch(row, step);
        }
    }

    /// Ends the epoch of a session that was released. It stays, unless it was ended before: the release of all sessions of
    /// a worker must not keep it.
    fn end_released_epoch(&mut self, row: RowKey, step: &mut Step<'_>) {
        let is_ended = self.route(row).is_some_and(|route| route.after_epoch() == AfterEpoch::Forget);
        self.end_epoch(row, if is_ended { AfterEpoch::Forget } else { AfterEpoch::Stay }, step);
    }

    pub(super) fn is_released(&self, row: RowKey) -> bool {
        self.routes().is_some_and(|routes| routes.route(row).is_some_and(|route| routes.is_released(route)))
    }
}
