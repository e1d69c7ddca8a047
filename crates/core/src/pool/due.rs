//! What is due next, over all parts of the pool. Holds no times: each part returns its own next one, which follows from
//! its state, so that a change of a state cannot forget to set a timer ([I8](crate#invariants)).

use super::Core;
use crate::{Effects, Timestamp, due::Due, restarts::PhaseEnd};

impl Core {
    /// Handles everything that is due.
    #[inline]
    pub(in crate::pool) fn tick(&mut self, now: Timestamp, effects: &mut Effects) {
        // This comparison is all that most steps do here.
        if self.next_due_at() <= now {
            self.handle_all_due(now, effects);
        }
    }

    /// Handles everything that is due, in the order of the times.
    #[cold]
    fn handle_all_due(&mut self, now: Timestamp, effects: &mut Effects) {
        let (mut previous, mut repeated) = (None, 0);
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= now) {
            // Each handler finishes its item, or makes it due later. Otherwise this loop would not end. Only the end of a
            // drain is due once more, if the workers have no time to stop.
            repeated = if previous == Some((at, due)) { repeated + 1 } else { 0 };
            debug_assert!(repeated < 2, "{due:?} is still due at {at:?}");
            previous = Some((at, due));
            self.handle_due(now, due, effects);
        }
    }

    fn handle_due(&mut self, now: Timestamp, due: Due, effects: &mut Effects) {
        match due {
            Due::Call(call) => self.call_due(now, call, effects),
            Due::Batch(queue) => self.batch_due(now, queue, effects),
            Due::Attempt(worker, wire) => self.attempt_due(now, worker, wire, effects),
            Due::Worker(worker) => self.worker_due(now, worker, effects),
            Due::OverflowIdle(worker) => self.overflow_idle_due(now, worker, effects),
            Due::InAdvance(worker) => self.in_advance_due(now, worker, effects),
            Due::Overflow => self.overflow_due(now, effects),
            Due::Sweep => {
                let (sessions, mut step) = self.sessions_step(now, effects);
                sessions.sweep_due(&mut step);
            }
            Due::ReleaseScan => {
                let (sessions, mut step) = self.sessions_step(now, effects);
                sessions.release_scan_due(&mut step);
            }
            Due::Pool => self.pool_due(now, effects),
        }
    }

    /// Handles what is due in this phase: the probe of a failed pool, the end of the drain, or the end of the wait for the
    /// workers.
    fn pool_due(&mut self, now: Timestamp, effects: &mut Effects) {
        match self.restarts.phase_end(now) {
            Some(PhaseEnd::Probe) => self.probe_due(now, effects),
            Some(PhaseEnd::Drain) => self.abort_remaining(now, effects),
            Some(PhaseEnd::Closing) => self.stop_pool(effects),
            None => {}
        }
    }

    /// Returns when the next item is due, or [`Timestamp::NEVER`].
    #[inline]
    pub(super) fn next_due_at(&self) -> Timestamp {
        let others = self.sessions.next_due_at().min(self.restarts.due()).min(self.overflow_check);
        let others = others.min(self.waiting.next_due_at());
        self.calls.next_due_at().min(self.workers.next_due_at()).min(others)
    }

    /// Returns what is due next, and when. Of several items that are due at one time, the lowest one.
    fn next_due(&self) -> Option<(Timestamp, Due)> {
        let call = self.calls.next_due().map(|(at, call)| (at, Due::Call(call)));
        let batch = self.waiting.next_due().map(|(at, queue)| (at, Due::Batch(queue)));
        let worker = self.workers.next_due();
        let overflow = (self.overflow_check, Due::Overflow);
        let others = [self.sessions.next_due(), (self.restarts.due(), Due::Pool), overflow].into_iter();
        call.into_iter().chain(batch).chain(worker).chain(others).min().filter(|(at, _)| *at != Timestamp::NEVER)
    }
}
