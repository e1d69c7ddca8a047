//! Checks of the core from inside, for tests: what its parts derive is compared with what it follows from, and bounds
//! are counted ([I6 and I7](crate#invariants)). Reads only, and costs at least the size of the pool.

use super::Core;
use crate::{
    CallId,
    calls::{Call, CallState},
    session::Sessions,
};

impl Core {
    /// Returns a line for each invariant that is broken between the parts of the core. Always empty. Tests call it after
    /// each step: derived data is not compared, so that a wrong counter or a missing timer would stay unnoticed until it
    /// decides something.
    #[doc(hidden)]
    pub fn verify(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.calls.verify(&mut broken);
        self.verify_timers(&mut broken);
        self.workers.verify(&mut broken);
        self.verify_waiting_calls(&mut broken);
        let in_order = self.calls.iter().filter(|call| has_virtual_time(call));
        self.fairness.verify(in_order.map(|call| call.role.row()), &mut broken);
        if let Sessions::Routed(routes) = &self.sessions {
            let live = self.workers.iter().filter(|slot| slot.is_live()).map(|slot| slot.worker);
            routes.verify(live, &mut broken);
            let sessions = |worker| (routes.bound_to(worker), routes.is_changed(worker));
            self.workers.verify_placement(sessions, &mut broken);
        }
        broken
    }

    /// Reports calls that are not in the queue that they name, or are in a second one, and a wrong count of the calls
    /// in all queues.
    fn verify_waiting_calls(&self, broken: &mut Vec<String>) {
        let mut found = 0;
        let mut check = |call: CallId, queue: &str, is_expected: &dyn Fn(CallState) -> bool| {
            found += 1;
            let state = self.calls.get(call).map(|call| call.state);
            if !state.is_some_and(is_expected) {
                broken.push(format!("{call} is in {queue}, but its state is {state:?}"));
            }
        };
        for call in self.any_worker_queue.iter() {
            check(call, "the queue for any worker", &|state| state == CallState::AnyWorkerQueue);
        }
        for call in self.unbound_queue.iter() {
            check(call, "the queue of unbound sessions", &|state| state == CallState::UnboundQueue);
        }
        for slot in self.workers.iter() {
            for call in slot.queue.iter() {
                check(call, "the queue of a worker", &|state| state == CallState::WorkerQueue(slot.worker));
            }
        }
        if let Sessions::Routed(routes) = &self.sessions {
            for call in routes.table.iter().flat_map(|(_, row)| row.route.waiting()) {
                check(call, "the queue of a session", &|state| state == CallState::SessionQueue);
            }
        }
        // With this, every call that waits is in a queue, and in only one.
        found += self.calls.iter().filter(|call| matches!(call.state, CallState::Backoff { .. })).count();
        let waiting = self.calls.iter().filter(|call| call.is_queued()).count();
        if (found, waiting) != (self.queued, self.queued) {
            broken.push(format!("{} calls are counted as waiting, {waiting} wait, {found} are in queues", self.queued));
        }
    }

    /// Returns the number of timer entries, including stale ones. It is O(calls + workers) at any time
    /// ([I6](crate#invariants)).
    pub fn timers_held(&self) -> usize {
        self.timers.len()
    }

    /// Returns the number of base slots with neither a process nor a scheduled start. It is zero unless the pool has
    /// failed or shuts down, or will do so soon ([I7](crate#invariants)).
    pub fn missing_starts(&self) -> usize {
        self.workers.absent_base_len()
    }
}

/// Returns whether the call has joined the fair order. Calls in a session's queue, and between two attempts, have not.
fn has_virtual_time(call: &Call) -> bool {
    call.is_queued() && !matches!(call.state, CallState::SessionQueue | CallState::Backoff { .. })
}
