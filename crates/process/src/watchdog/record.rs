//! What host and watchdog say to each other: groups that come and go. Fixed size, no allocation: used after a fork, too.

use rustix::process::Pid;
use std::collections::HashSet;

/// How many groups the watchdog can hold.
pub(crate) const CAPACITY: usize = 4096;

const ADD: i32 = 1;
const REMOVE: i32 = 2;

/// One message on the lifeline. So small that a stream socket carries it whole or not at all.
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

    pub(crate) fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }

    fn new(verb: i32, group: Pid) -> Self {
        let (verb, group) = (verb.to_ne_bytes(), group.as_raw_nonzero().get().to_ne_bytes());
        Self([verb[0], verb[1], verb[2], verb[3], group[0], group[1], group[2], group[3]])
    }
}

/// The watchdog's list.
pub(super) struct Table {
    len: usize,
    groups: [i32; CAPACITY],
}

impl Table {
    /// The list a new watchdog begins with. Boxed by the host, before the fork.
    pub(super) fn of(groups: &HashSet<i32>) -> Box<Self> {
        let mut table = Box::new(Self { len: 0, groups: [0; CAPACITY] });
        groups.iter().for_each(|&group| table.add(group));
        table
    }

    /// Applies what was read from the lifeline. Does not allocate, does not panic.
    pub(super) fn apply(&mut self, bytes: &[u8]) {
        for record in bytes.chunks_exact(Record::SIZE) {
            if let [v0, v1, v2, v3, g0, g1, g2, g3] = *record {
                let group = i32::from_ne_bytes([g0, g1, g2, g3]);
                match i32::from_ne_bytes([v0, v1, v2, v3]) {
                    ADD => self.add(group),
                    REMOVE => self.remove(group),
                    _ => {}
                }
            }
        }
    }

    /// The groups, none of which is 0 or 1: those would be the watchdog's own group and everybody.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    fn listed(table: &Table) -> Vec<i32> {
        let mut groups: Vec<i32> = table.groups().map(|group| group.as_raw_nonzero().get()).collect();
        groups.sort_unstable();
        groups
    }

    /// R30: what the watchdog will kill is exactly what was added and not removed.
    #[test]
    fn the_table_follows_the_records() {
        let mut table = Table::of(&HashSet::from([10, 11]));
        let records = [Record::add(pid(12)), Record::add(pid(12)), Record::remove(pid(10)), Record::remove(pid(99))];
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes()).copied().collect();
        table.apply(&bytes);
        assert_eq!(listed(&table), [11, 12]);
        table.apply(Record::remove(pid(12)).as_bytes());
        table.apply(Record::remove(pid(11)).as_bytes());
        assert_eq!(listed(&table), []);
    }

    #[test]
    fn a_full_table_takes_no_more_and_1_is_never_killed() {
        let mut table = Table::of(&HashSet::from([1]));
        (2..=CAPACITY as i32 + 50).for_each(|group| table.apply(Record::add(pid(group)).as_bytes()));
        assert_eq!(table.len, CAPACITY);
        assert_eq!(listed(&table).first(), Some(&2));
    }
}
