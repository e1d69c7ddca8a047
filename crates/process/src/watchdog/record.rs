//! The messages from the host to the watchdog: groups added and removed, and signals for groups. Of fixed size and without
//! allocation, because they are also used after a fork.

use rustix::process::{Pid, Signal};
use std::collections::HashSet;

/// The maximum number of groups in the watchdog's table.
pub(crate) const CAPACITY: usize = 4096;

const ADD: i32 = 1;
const REMOVE: i32 = 2;
const TERM: i32 = 3;
const KILL: i32 = 4;

/// One message on the lifeline. It is small enough that a stream socket delivers it completely or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record([u8; Record::SIZE]);

impl Record {
    pub(crate) const SIZE: usize = 8;

    pub(crate) fn add(group: Pid) -> Self {
        Self::new(ADD, group)
    }

    pub(crate) fn remove(group: Pid) -> Self {
        Self::new(REMOVE, group)
    }

    /// Requests a signal for a group in the table: SIGTERM, or SIGKILL for any other signal.
    pub(crate) fn signal(group: Pid, signal: Signal) -> Self {
        Self::new(if signal == Signal::TERM { TERM } else { KILL }, group)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    fn new(verb: i32, group: Pid) -> Self {
        let (verb, group) = (verb.to_ne_bytes(), group.as_raw_nonzero().get().to_ne_bytes());
        Self([verb[0], verb[1], verb[2], verb[3], group[0], group[1], group[2], group[3]])
    }
}

/// The watchdog's table of groups.
pub(super) struct Table {
    len: usize,
    groups: [i32; CAPACITY],
}

impl Table {
    /// The initial table of a new watchdog. Allocated by the host before the fork.
    pub(super) fn of(groups: &HashSet<i32>) -> Box<Self> {
        let mut table = Box::new(Self { len: 0, groups: [0; CAPACITY] });
        groups.iter().for_each(|&group| table.add(group));
        table
    }

    /// Applies the bytes read from the lifeline; `send` sends a signal to a group. Does not allocate or panic.
    pub(super) fn apply(&mut self, bytes: &[u8], send: impl Fn(Pid, Signal)) {
        for record in bytes.chunks_exact(Record::SIZE) {
            if let [v0, v1, v2, v3, g0, g1, g2, g3] = *record {
                let group = i32::from_ne_bytes([g0, g1, g2, g3]);
                match i32::from_ne_bytes([v0, v1, v2, v3]) {
                    ADD => self.add(group),
                    REMOVE => self.remove(group),
                    // Only a group in the table is signaled: any other number may belong to another program.
                    TERM => self.groups().filter(|known| is(*known, group)).for_each(|known| send(known, Signal::TERM)),
                    KILL => self.groups().filter(|known| is(*known, group)).for_each(|known| send(known, Signal::KILL)),
                    _ => {}
                }
            }
        }
    }

    /// Returns the groups. None is 0 or 1, which would mean the watchdog's own group and all processes.
    pub(super) fn groups(&self) -> impl Iterator<Item = Pid> {
        self.groups.iter().take(self.len).filter(|&&group| group > 1).filter_map(|&group| Pid::from_raw(group))
    }

    fn add(&mut self, group: i32) {
        if self.groups.iter().take(self.len).any(|&known| known == group) {
            return;
        }
        if let Some(slot) = self.groups.get_mut(self.len) {
            *slot = group;
            self.len += 1;
        }
    }

    fn remove(&mut self, group: i32) {
        let Some(at) = self.groups.iter().take(self.len).position(|&known| known == group) else { return };
        let last = self.len.saturating_sub(1);
        let moved = self.groups.get(last).copied().unwrap_or(0);
        if let Some(slot) = self.groups.get_mut(at) {
            *slot = moved;
            self.len = last;
        }
    }
}

fn is(known: Pid, group: i32) -> bool {
    known.as_raw_nonzero().get() == group
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn nothing(_: Pid, _: Signal) {}

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    fn listed(table: &Table) -> Vec<i32> {
        let mut groups: Vec<i32> = table.groups().map(|group| group.as_raw_nonzero().get()).collect();
        groups.sort_unstable();
        groups
    }

    /// R30: the watchdog will kill exactly the groups that were added and not removed.
    #[test]
    fn the_table_follows_the_records() {
        let mut table = Table::of(&HashSet::from([10, 11]));
        let records = [Record::add(pid(12)), Record::add(pid(12)), Record::remove(pid(10)), Record::remove(pid(99))];
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes()).copied().collect();
        table.apply(&bytes, nothing);
        assert_eq!(listed(&table), [11, 12]);
        table.apply(Record::remove(pid(12)).as_bytes(), nothing);
        table.apply(Record::remove(pid(11)).as_bytes(), nothing);
        assert_eq!(listed(&table), [0_i32; 0]);
    }

    /// R30: a signal reaches only the group in the table that it names: never a removed group, and never all processes.
    #[test]
    fn only_listed_groups_are_signalled() {
        let sent = RefCell::new(Vec::new());
        let mut table = Table::of(&HashSet::from([1, 10, 11]));
        let signal = |group, signal| Record::signal(pid(group), signal);
        let records = [
            signal(10, Signal::TERM),
            signal(10, Signal::KILL),
            signal(12, Signal::KILL),
            signal(1, Signal::KILL),
            Record::remove(pid(11)),
            signal(11, Signal::KILL),
        ];
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes()).copied().collect();
        table.apply(&bytes, |group, signal| sent.borrow_mut().push((group, signal)));
        assert_eq!(sent.into_inner(), [(pid(10), Signal::TERM), (pid(10), Signal::KILL)]);
    }

    #[test]
    fn a_full_table_takes_no_more_and_1_is_never_killed() {
        let mut table = Table::of(&HashSet::from([1]));
        (2..=CAPACITY as i32 + 50).for_each(|group| table.apply(Record::add(pid(group)).as_bytes(), nothing));
        assert_eq!(table.len, CAPACITY);
        assert_eq!(listed(&table).first(), Some(&2));
    }
}
