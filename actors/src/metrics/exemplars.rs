//! The last recorded call of each bucket of run times: it leads from a histogram to a trace.

use crate::traces::RecordedSpan;
use std::{
    num::{NonZeroU64, NonZeroU128},
    time::SystemTime,
};

/// The upper bounds of the buckets of times that metrics show, in microseconds. All of them are bounds of
/// [`Histogram`](super::Histogram), so that the counts are exact.
pub const TIME_BOUNDS: [u64; 19] = [
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// A recorded call, as an example of the calls of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exemplar {
    /// The trace of the call.
    pub trace: NonZeroU128,
    /// The span of the call.
    pub span: NonZeroU64,
    /// Its run time in microseconds.
    pub run_us: u64,
    /// When it was answered.
    pub at: SystemTime,
}

/// The last recorded call of each bucket of [`TIME_BOUNDS`], and of those above.
#[derive(Clone, Debug, Default)]
pub(super) struct Exemplars([Option<Exemplar>; TIME_BOUNDS.len() + 1]);

impl Exemplars {
    pub(super) fn record(&mut self, span: RecordedSpan, run_us: u64, at: SystemTime) {
        let bucket = TIME_BOUNDS.partition_point(|bound| *bound < run_us);
        self.0[bucket] = Some(Exemplar { trace: span.trace, span: span.id, run_us, at });
    }

    pub(super) fn buckets(&self) -> &[Option<Exemplar>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_its_last_call_and_includes_its_bound() {
        let mut exemplars = Exemplars::default();
        for (id, run_us) in [(1, 0), (2, 100), (3, 101), (4, 300_000_000), (5, 300_000_001), (6, u64::MAX)] {
            let span = RecordedSpan { trace: NonZeroU128::MIN, id: NonZeroU64::new(id).unwrap() };
            exemplars.record(span, run_us, SystemTime::UNIX_EPOCH);
        }
        let kept = exemplars.buckets().iter().map(|bucket| bucket.map(|exemplar| exemplar.span.get()));
        let kept: Vec<_> = kept.enumerate().filter_map(|(bucket, span)| Some((bucket, span?))).collect();
        assert_eq!(kept, [(0, 2), (1, 3), (18, 4), (19, 6)]);
    }
}
