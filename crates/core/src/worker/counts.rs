//! The numbers of slots in each state, and the calls and places of all of them. Holds no slots: [`Workers`](super::Workers)
//! reports each change of a slot here, and nothing else may.

use super::{InAdvance, Process, Slot};
use crate::{Timestamp, WorkerId, due::Due};

/// The numbers over all slots of a pool, so that no decision about one call costs the number of slots.
///
/// # Invariants
/// Equal to a count over all slots after each change of a slot. [`Workers::verify`](super::Workers::verify) compares
/// both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(super) base: KindCounts,
    pub(super) overflow: KindCounts,
    /// The number of unfinished attempts.
    pub(super) in_flight: usize,
    /// The sum of the places of the ready processes.
    pub(super) capacity: usize,
    /// The calls in advance.
    pub(super) in_advance: InAdvance,
}

/// The numbers of base slots, or of overflow slots, by the state of their process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KindCounts {
    pub(super) absent: usize,
    pub(super) scheduled: Schedule,
    pub(super) starting: usize,
    pub(super) live: usize,
    /// Processes that are being stopped after they were ready.
    pub(super) stopping: usize,
    /// Processes that are being stopped before they were ready.
    pub(super) stopping_unready: usize,
}

/// The scheduled starts, in the order of their times. Few slots are scheduled at the same time, except at the start of
/// a pool, when all times are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule(Vec<(Timestamp, WorkerId)>);

impl Counts {
    /// Adds a slot, or a slot after its change.
    pub(super) fn add(&mut self, slot: &Slot) {
        self.in_flight += slot.in_flight();
        self.capacity += slot.places();
        self.in_advance += slot.attempts().in_advance();
        let kind = if slot.base { &mut self.base } else { &mut self.overflow };
        match *slot.process() {
            Process::Scheduled { at } => kind.scheduled.insert(at, slot.worker.id),
            ref process => *kind.of(process) += 1,
        }
    }

    /// Removes a slot before its change.
    pub(super) fn remove(&mut self, slot: &Slot) {
        self.in_flight -= slot.in_flight();
        self.capacity -= slot.places();
        self.in_advance -= slot.attempts().in_advance();
        let kind = if slot.base { &mut self.base } else { &mut self.overflow };
        match *slot.process() {
            Process::Scheduled { at } => kind.scheduled.remove(at, slot.worker.id),
            ref process => *kind.of(process) -= 1,
        }
    }

    /// Returns the first scheduled start, and when it is due.
    pub(super) fn next_start(&self) -> Option<(Timestamp, Due)> {
        let first = [self.base.scheduled.first(), self.overflow.scheduled.first()].into_iter().flatten().min()?;
        Some((first.0, Due::Worker(first.1)))
    }

    pub(super) fn live(&self) -> usize {
        self.base.live + self.overflow.live
    }

    pub(super) fn starting(&self) -> usize {
        self.base.starting + self.overflow.starting
    }

    pub(super) fn processes(&self) -> usize {
        self.base.processes() + self.overflow.processes()
    }
}

impl KindCounts {
    fn of(&mut self, process: &Process) -> &mut usize {
        match process {
            Process::Absent | Process::Scheduled { .. } => &mut self.absent,
            Process::Starting { .. } => &mut self.starting,
            Process::Live { .. } => &mut self.live,
            Process::Stopping { live_since: Some(_), .. } => &mut self.stopping,
            Process::Stopping { live_since: None, .. } => &mut self.stopping_unready,
        }
    }

    pub(super) fn processes(&self) -> usize {
        self.starting + self.live + self.stopping + self.stopping_unready
    }

    pub(super) fn starting_or_scheduled(&self) -> usize {
        self.starting + self.scheduled.len()
    }
}

impl Schedule {
    fn insert(&mut self, at: Timestamp, worker: WorkerId) {
        let place = self.0.partition_point(|entry| *entry < (at, worker));
        self.0.insert(place, (at, worker));
    }

    fn remove(&mut self, at: Timestamp, worker: WorkerId) {
        if let Ok(place) = self.0.binary_search(&(at, worker)) {
            self.0.remove(place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns one of the scheduled slots.
    pub(super) fn any(&self) -> Option<WorkerId> {
        self.0.last().map(|(_, worker)| *worker)
    }

    fn first(&self) -> Option<(Timestamp, WorkerId)> {
        self.0.first().copied().filter(|(at, _)| *at != Timestamp::NEVER)
    }

    /// Returns the number of starts that are due.
    pub(super) fn due(&self, now: Timestamp) -> usize {
        self.0.partition_point(|(at, _)| *at <= now)
    }

    /// Returns the lowest slot whose start is due. O(due starts).
    pub(super) fn first_due(&self, now: Timestamp) -> Option<WorkerId> {
        self.0[..self.due(now)].iter().map(|(_, worker)| *worker).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_counts_due_starts_and_returns_the_lowest_slot() {
        let mut schedule = Schedule::default();
        for (at, worker) in [(5, 3), (2, 9), (5, 1), (8, 2)] {
            schedule.insert(Timestamp(at), WorkerId(worker));
        }
        let at = |time| (schedule.due(Timestamp(time)), schedule.first_due(Timestamp(time)));
        assert_eq!(at(1), (0, None));
        assert_eq!(at(4), (1, Some(WorkerId(9))));
        assert_eq!(at(5), (3, Some(WorkerId(1))), "not the earliest, but the lowest slot");
        schedule.remove(Timestamp(5), WorkerId(1));
        assert_eq!((schedule.len(), schedule.first_due(Timestamp(8))), (3, Some(WorkerId(2))));
    }
}
