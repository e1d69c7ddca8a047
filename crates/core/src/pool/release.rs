//! All sessions of a worker, unbound at once: none of their rows is touched then, however many they are. Each follows when it is
//! met, and a walk in small steps meets those that nobody asks for, so that the worker is told of each (R22).

use super::{Core, Effects};
use crate::{
    Timestamp, WorkerId, WorkerRef,
    session::{AfterEpoch, RowKey, Sessions},
    timers::Timer,
};
use std::time::Duration;

/// Rows the walk looks at before it makes way for calls.
const SCAN_STEP: usize = 512;
/// Between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(1);

impl Core {
    /// Unbinds every session of a slot's present process: how many. No lookup gives them from now on; those with calls are unbound
    /// after these, as are calls that come meanwhile. Costs the calls the pool has; the worker is told of the others step by step.
    /// Bindings to a process that is gone are void already, and stay to tell who asks next (R20).
    pub fn remove_worker_sessions(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) -> usize {
        let Some(worker_ref) = self.process_of(worker).filter(|worker_ref| self.is_alive(*worker_ref)) else {
            return 0;
        };
        let busy = self.busy_rows_of(worker_ref);
        let Sessions::Routed(routes) = &mut self.sessions else { return 0 };
        if routes.bound_to(worker_ref) == 0 {
            return 0;
        }
        if !routes.is_scanning() {
            self.timers.set(now + STEP_PAUSE, Timer::ReleaseScan);
        }
        let released = routes.release_all(worker_ref);
        for row in busy {
            self.keep_until_over(row, effects, now);
        }
        released
    }

    /// The session goes on under the present lease until its calls are over.
    fn keep_until_over(&mut self, row: RowKey, effects: &mut Effects, now: Timestamp) {
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.renew_binding(row);
        }
        self.end_routed(now, row, AfterEpoch::Stay, effects);
    }

    /// Sessions that are bound to this process and have calls, queued or unfinished, wherever.
    fn busy_rows_of(&self, worker: WorkerRef) -> Vec<RowKey> {
        let calls = self.calls.values().filter_map(|call| call.role.row());
        let attempts = self.slots.iter().flat_map(|slot| &slot.running).filter_map(|attempt| attempt.session);
        let here = |row: &RowKey| self.bound_process(*row) == Some(worker);
        let mut rows: Vec<RowKey> = calls.chain(attempts.map(|(row, _)| row)).filter(here).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Looks at the next rows, and unbinds those that were released.
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

    /// A row that was released with others is met: it is unbound, and its worker told.
    pub(super) fn unbind_released(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        if self.is_released(row) {
            self.end_routed(now, row, AfterEpoch::Stay, effects);
        }
    }

    pub(super) fn is_released(&self, row: RowKey) -> bool {
        self.routes().is_some_and(|routes| routes.route(row).is_some_and(|route| routes.is_released(route)))
    }
}
