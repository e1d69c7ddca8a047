//! When waiting calls start overflow workers (R12). Holds no state: the time of the next examination is a field of the
//! pool. Which slot starts, and how failed starts are delayed, is decided by [`Restarts`](crate::restarts::Restarts).
//!
//! Calls that take microseconds wait in every busy pool, but not for long. An overflow worker would not shorten their
//! wait: it competes with the other workers for the cores. So a call must have waited for `overflow_delay`.

use crate::{Effects, Timestamp, calls::Call, pool::Core, waiting::Queue};

impl Core {
    /// Starts overflow workers for the waiting calls at once if there is no delay. Otherwise decides when to examine them.
    pub(super) fn request_overflow_workers(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.settings.overflow_delay.is_zero() {
            self.start_overflow_workers(now, self.calls_waiting_for_overflow(), effects);
        } else if self.overflow_check == Timestamp::NEVER && self.could_use_overflow_worker(now) {
            self.overflow_check = now + self.settings.overflow_delay;
        }
    }

    /// Starts overflow workers for the calls that have waited long enough, and decides when to examine the others.
    pub(in crate::pool) fn overflow_due(&mut self, now: Timestamp, effects: &mut Effects) {
        self.overflow_check = Timestamp::NEVER;
        if !self.restarts.is_running() {
            return;
        }
        let delay = self.settings.overflow_delay;
        // The calls of a batch need one place together.
        let waited = self.calls_for_overflow().filter(|call| call.admitted + delay <= now).count();
        let waited = waited.min(self.calls_waiting_for_overflow());
        self.start_overflow_workers(now, waited, effects);
        if self.could_use_overflow_worker(now) {
            // All have waited long enough if starts fail: one is tried at a time.
            let next = self.calls_for_overflow().map(|call| call.admitted + delay).filter(|at| *at > now).min();
            self.overflow_check = next.unwrap_or(now + delay);
        }
    }

    /// Starts overflow workers while there are more of these waiting calls than capacity that is starting.
    fn start_overflow_workers(&mut self, now: Timestamp, calls: usize, effects: &mut Effects) {
        // Each round schedules one slot, which raises `coming_capacity`, so the loop ends.
        while calls > self.workers.coming_capacity(now) {
            // This search costs the number of slots, but each one leads to a start.
            let absent = self.workers.absent_overflow().map(|slot| slot.worker.id);
            let is_any_coming = self.workers.overflow_is_starting_or_scheduled();
            let next = self.restarts.next_overflow_start(now, is_any_coming, absent);
            let Some((worker, start_at)) = next else { return };
            self.workers.schedule(worker, start_at);
            self.start_due_processes(now, effects);
        }
    }

    /// Returns whether more calls wait than the workers that are starting could run, and a slot is left. O(log slots).
    pub(in crate::pool) fn could_use_overflow_worker(&self, now: Timestamp) -> bool {
        self.calls_waiting_for_overflow() > self.workers.coming_capacity(now) && self.workers.has_absent_overflow()
    }

    /// Returns the number of places that an overflow worker could offer to waiting calls.
    pub(super) fn calls_waiting_for_overflow(&self) -> usize {
        // Sessions are bound to base workers as long as one is alive.
        let in_advance = self.workers.in_advance().for_any_worker();
        let waiting = &self.waiting;
        let needed =
            if self.has_live_base_worker() { waiting.needed_of_any_worker() } else { waiting.needed_of_base_workers() };
        in_advance + needed
    }

    /// Returns these calls. O(calls).
    fn calls_for_overflow(&self) -> impl Iterator<Item = &Call> {
        let takes_unbound = !self.has_live_base_worker();
        self.calls.iter().filter(move |call| match call.queue() {
            Some(Queue::AnyWorker) => true,
            Some(Queue::Unbound) => takes_unbound,
            Some(Queue::Worker(_) | Queue::Session) => false,
            None => call.is_in_advance() && !call.role.is_strict(),
        })
    }
}
