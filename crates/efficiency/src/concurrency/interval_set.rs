//! [`IntervalSet`]: a set of moments, as intervals that are in order and don't touch.

use super::Interval;

/// Intervals, sorted and apart.
#[derive(Clone, Debug, Default)]
pub(super) struct IntervalSet(Vec<Interval>);

impl IntervalSet {
    /// The union: O(n log n).
    pub(super) fn of(intervals: impl IntoIterator<Item = Interval>) -> Self {
        let mut sorted: Vec<Interval> = intervals.into_iter().filter(|interval| interval.length() > 0).collect();
        sorted.sort_unstable();
        let mut apart: Vec<Interval> = Vec::new();
        for next in sorted {
            match apart.last_mut().filter(|last| next.started <= last.ended) {
                Some(last) => last.ended = last.ended.max(next.ended),
                None => apart.push(next),
            }
        }
        Self(apart)
    }

    pub(super) fn length(&self) -> u64 {
        self.0.iter().map(|interval| interval.length()).sum()
    }

    /// Takes out of `pieces`, which are in order and apart, what lies in this set; gives how much that was.
    pub(super) fn take_from(&self, pieces: &mut Vec<Interval>) -> u64 {
        let (mut taken, mut left) = (0, Vec::with_capacity(pieces.len()));
        for piece in pieces.drain(..) {
            let mut from = piece.started;
            let first = self.0.partition_point(|interval| interval.ended <= piece.started);
            for interval in self.0[first..].iter().take_while(|interval| interval.started < piece.ended) {
                let common = interval.within(piece);
                taken += common.length();
                left.push(Interval { started: from, ended: common.started });
                from = common.ended;
            }
            left.push(Interval { started: from, ended: piece.ended });
        }
        left.retain(|piece| piece.length() > 0);
        *pieces = left;
        taken
    }
}
