//! The times at which calls, attempts and slots must be examined, and the check that each has a timer
//! ([I8](crate#invariants)). This file sets no timers: whatever makes an item pending, or uses up its entry, sets the
//! next one.

use super::Core;
use crate::{
    Effects, Timestamp, WireId, WorkerId,
    calls::Call,
    timers::Timer,
    worker::{Escalation, Ping, Process, Slot, SlotHolder},
};
use std::time::Duration;

/// The due time of items that are examined repeatedly until they are finished: any entry is in time.
const REPEATED: Timestamp = Timestamp(Timestamp::NEVER.0 - 1);

/// Returns the due time of an item that is examined at this interval, or `None` if the interval is infinite.
fn repeated(interval: Duration) -> Option<Timestamp> {
    (Timestamp(0) + interval != Timestamp::NEVER).then_some(REPEATED)
}

impl Core {
    pub(super) fn tick(&mut self, now: Timestamp, effects: &mut Effects) {
        // A handler that sets its entry again must set it later than `now`, or this loop would not end.
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Call(call) => self.call_due(now, call, effects),
                Timer::Attempt(worker, wire) => self.attempt_due(now, worker, wire, effects),
                Timer::Worker(worker) => self.worker_due(now, worker, effects),
                Timer::OverflowIdle(worker_ref) => self.overflow_idle_due(now, worker_ref, effects),
                Timer::Sweep => {
                    let (sessions, mut step) = self.sessions_step(now, effects);
                    sessions.sweep_due(&mut step);
                }
                Timer::ReleaseScan => {
                    let (sessions, mut step) = self.sessions_step(now, effects);
                    sessions.release_scan_due(&mut step);
                }
                Timer::Pool => self.pool_due(now, effects),
            }
        }
    }

    /// Removes stale timer entries, once they outnumber the live ones.
    pub(super) fn shrink_timers(&mut self) {
        let live = 2 * self.calls.len() + 4 * self.workers.len() + self.workers.in_flight();
        if self.timers.is_crowded(live) {
            // Taken out for the call, since `due` reads the rest of the core.
            let mut timers = std::mem::take(&mut self.timers);
            timers.shrink(|timer| self.due(timer));
            self.timers = timers;
        }
    }

    /// Returns when an item must be examined, or `None` if it is finished or waits for no time.
    fn due(&self, timer: Timer) -> Option<Timestamp> {
        match timer {
            Timer::Call(call) => self.calls.get(call).map(Call::due),
            Timer::Attempt(worker, wire) => self.attempt_due_at(worker, wire),
            Timer::Worker(worker) => self.worker_due_at(worker),
            Timer::OverflowIdle(worker_ref) if self.slot(worker_ref.id).base || !self.is_alive(worker_ref) => None,
            Timer::OverflowIdle(_) => repeated(self.settings.overflow_idle_timeout),
            Timer::Sweep => Some(self.sessions.sweep_at()),
            Timer::ReleaseScan => self.sessions.is_scanning().then_some(REPEATED),
            Timer::Pool => Some(self.restarts.due()),
        }
        .filter(|due| *due != Timestamp::NEVER)
    }

    /// Returns the time of the next step of stopping an abandoned attempt. An attempt of a process that is being
    /// stopped ends with its process.
    fn attempt_due_at(&self, worker: WorkerId, wire: WireId) -> Option<Timestamp> {
        let slot = Some(self.slot(worker)).filter(|slot| slot.is_live())?;
        match slot.running().iter().find(|attempt| attempt.wire == wire)?.holder {
            SlotHolder::Abandoned { next: Escalation::Interrupt(due) | Escalation::Kill(due) } => Some(due),
            SlotHolder::Abandoned { next: Escalation::Withdrawn { kill } } => kill,
            SlotHolder::Abandoned { next: Escalation::Asked } | SlotHolder::Call(_) => None,
        }
    }

    fn worker_due_at(&self, worker: WorkerId) -> Option<Timestamp> {
        match *self.slot(worker).process() {
            Process::Scheduled { at } => Some(at),
            Process::Starting { since } => Some(since + self.settings.start_timeout),
            Process::Live { ping, .. } => match ping {
                Ping::Due { at: due } | Ping::Sent { until: due, .. } | Ping::Examined { until: due, .. } => Some(due),
                Ping::Off => None,
            },
            // The exit is awaited; the stop sequence of the shell bounds it.
            Process::Absent | Process::Stopping { .. } => None,
        }
    }
}

/// Checks of the timers, for tests.
impl Core {
    /// Reports the pending items that have no timer at or before their due time ([I8](crate#invariants)). Costs calls x
    /// timers.
    pub(super) fn verify_timers(&self, broken: &mut Vec<String>) {
        let missing = |timer: &Timer| {
            let due = self.due(*timer).filter(|due| !self.timers.covers(*timer, *due));
            due.is_some() && !self.waits_for_room(*timer)
        };
        broken.extend(self.pending().filter(missing).map(|timer| format!("I8: {timer:?} has no timer")));
    }

    /// From now on, removes stale timers in each step. A pool does this only with very many timers; tests do it with
    /// few.
    pub fn drop_stale_timers(&mut self) {
        self.timers.shrink_always();
        self.shrink_timers();
    }

    /// Returns every item that may have a timer.
    fn pending(&self) -> impl Iterator<Item = Timer> + '_ {
        let of_slot = |slot: &'_ Slot| [Timer::Worker(slot.worker.id), Timer::OverflowIdle(slot.worker)];
        let attempts = |slot: &Slot| {
            let worker = slot.worker.id;
            slot.running().iter().map(|attempt| Timer::Attempt(worker, attempt.wire)).collect::<Vec<_>>()
        };
        let calls = self.calls.iter().map(|call| Timer::Call(call.id));
        let slots = self.workers.iter().flat_map(of_slot).chain(self.workers.iter().flat_map(attempts));
        calls.chain(slots).chain([Timer::Sweep, Timer::ReleaseScan, Timer::Pool])
    }

    /// Returns whether a start is due and waits for another one, because as many processes are starting as are allowed.
    /// The end of each of those starts leads to the next one, so it needs no timer.
    fn waits_for_room(&self, timer: Timer) -> bool {
        let Timer::Worker(worker) = timer else { return false };
        matches!(self.slot(worker).process(), Process::Scheduled { .. })
            && self.workers.starting() >= self.settings.start_batch as usize
    }
}
