//! [`IntervalSet`]: the union of intervals.

use super::Interval;

/// Intervals in order that neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub(super) struct IntervalSet(Vec<Interval>);

impl IntervalSet {
    /// Returns the union of the intervals in O(n log n).
    pub(super) fn of(intervals: impl IntoIterator<Item = Interval>) -> Self {
        let mut sorted: Vec<Interval> = intervals.into_iter().filter(|interval| interval.length() > 0).collect();
        sorted.sort_unstable();
        let mut merged: Vec<Interval> = Vec::new();
        for next in sorted {
            match merged.last_mut().filter(|last| next.started <= last.ended) {
                Some(last) => last.ended = last.ended.max(next.ended),
                None => merged.push(next),
            }
        }
        Self(merged)
    }

    pub(super) fn length(&self) -> u64 {
        self.0.iter().map(|interval| interval.length()).sum()
    }

    /// Removes this set from `pieces`, which are in order and do not overlap, and returns the removed length in nanoseconds.
    pub(super) fn remove_from(&self, pieces: &mut Vec<Interval>) -> u64 {
        let (mut removed, mut remaining) = (0, Vec::with_capacity(pieces.len()));
        for piece in pieces.drain(..) {
            // The part of the piece that starts at `rest` has not been compared yet. Only intervals from `first` on can
            // overlap the piece: all earlier ones end before it starts.
            let mut rest = piece.started;
            let first = self.0.partition_point(|interval| interval.ended <= piece.started);
            for interval in self.0[first..].iter().take_while(|interval| interval.started < piece.ended) {
                let common = interval.within(piece);
                removed += common.length();
                remaining.push(Interval { started: rest, ended: common.started });
                rest = common.ended;
            }
            remaining.push(Interval { started: rest, ended: piece.ended });
        }
        remaining.retain(|piece| piece.length() > 0);
        *pieces = remaining;
        removed
    }
}
