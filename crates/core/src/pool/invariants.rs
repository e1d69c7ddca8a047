//! Checks of the core from inside, for tests: what its parts derive is compared with what it follows from, and bounds
//! are counted ([I6 and I7](crate#invariants)). Reads only, and costs at least the size of the pool.

use super::Core;
use crate::{Timestamp, calls::CallState, waiting::verify::Waiting};

impl Core {
    /// Returns a line for each invariant that is broken between the parts of the core. Always empty. Tests call it after
    /// each step: derived data is not compared, so that a wrong counter or a missing timer would stay unnoticed until it
    /// decides something.
    #[doc(hidden)]
    pub fn verify(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.calls.verify(&mut broken);
        self.restarts.verify(self.workers.base_start_is_pending(), &mut broken);
        self.admission.verify(self.calls.iter().map(|call| &call.permit), &mut broken);
        self.workers.verify(&mut broken);
        self.verify_waiting_calls(&mut broken);
        self.verify_calls_in_advance(&mut broken);
        self.verify_overflow_check(&mut broken);
        if self.restarts.is_idle() && (self.waiting.len() > 0 || self.workers.processes() > 0) {
            broken.push("I7: the pool is idle, but has a process or a call".into());
        }
        self.sessions.verify(&self.workers, &self.calls, &mut broken);
        if self.sessions.is_routed() {
            let sessions = |worker| (self.sessions.bound_to(worker), self.sessions.is_count_changed(worker));
            self.workers.verify_placement(sessions, &mut broken);
        }
        broken
    }

    fn verify_waiting_calls(&self, broken: &mut Vec<String>) {
        let waiting = self.calls.iter().filter_map(|call| {
            let queue = match call.state {
                CallState::Queued(queue) => Some(queue),
                CallState::Backoff { .. } => None,
                CallState::New | CallState::Sent { .. } | CallState::InAdvance { .. } => return None,
            };
            Some(Waiting {
                call: call.id,
                queue,
                session: call.role.row(),
                batched: call.batched,
                position: &call.position,
            })
        });
        self.waiting.verify(&waiting.collect::<Vec<_>>(), broken);
    }

    /// Compares the calls whose state is in advance with the attempts in advance.
    fn verify_calls_in_advance(&self, broken: &mut Vec<String>) {
        let mut calls: Vec<_> = self.calls.iter().filter(|call| call.is_in_advance()).map(|call| call.id).collect();
        let mut attempts: Vec<_> = self.workers.calls_in_advance().collect();
        calls.sort_unstable();
        attempts.sort_unstable();
        if calls != attempts || calls.len() != self.workers.in_advance().calls() {
            broken.push(format!("{calls:?} are in advance, but workers have {attempts:?}"));
        }
    }

    /// Calls that need an overflow worker are examined again, unless overflow workers start at once ([I8](crate#invariants)).
    fn verify_overflow_check(&self, broken: &mut Vec<String>) {
        let has_delay = !self.settings.overflow_delay.is_zero();
        // All base workers in backoff count as starting at that time. So this misses some needs, but reports no wrong one. The
        // exit of a process that is being stopped leads to an examination.
        let is_needed = self.restarts.is_running() && self.could_use_overflow_worker(Timestamp::NEVER);
        let is_stopping = self.workers.processes() > self.workers.live() + self.workers.starting();
        if has_delay && is_needed && !is_stopping && self.overflow_check == Timestamp::NEVER {
            broken.push("I8: calls wait for an overflow worker, but are never examined again".into());
        }
    }

    /// Returns the number of items that are due at some time: calls, slots and batches ([I6](crate#invariants)).
    pub fn timers_held(&self) -> usize {
        self.calls.due_len() + self.workers.due_len() + self.waiting.due_len()
    }

    /// Returns the number of base slots with neither a process nor a scheduled start. It is zero unless the pool is
    /// idle, has failed or shuts down, or will do so soon ([I7](crate#invariants)).
    pub fn missing_starts(&self) -> usize {
        self.workers.absent_base_len()
    }
}
