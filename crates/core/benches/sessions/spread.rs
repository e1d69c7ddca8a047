//! Medians and ranges of rounds that alternate between two sides.

use std::time::Instant;

const ROUNDS: usize = 31;

/// The operations per second of both sides, by round.
pub(crate) struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    /// Runs both sides alternately; each round does `operations`. The first rounds are a warm-up and are not counted.
    pub(crate) fn of(operations: usize, mut ours: impl FnMut(usize), mut plain: impl FnMut(usize)) -> Self {
        let rate = |side: &mut dyn FnMut(usize), round| {
            let begin = Instant::now();
            side(round);
            operations as f64 / begin.elapsed().as_secs_f64()
        };
        let both: Vec<(f64, f64)> =
            (0..ROUNDS).map(|round| (rate(&mut ours, round), rate(&mut plain, round))).collect();
        Self(both[3..].to_vec())
    }

    pub(crate) fn ours(&self) -> f64 {
        median(self.0.iter().map(|(ours, _)| *ours))[1]
    }

    pub(crate) fn plain(&self) -> f64 {
        median(self.0.iter().map(|(_, plain)| *plain))[1]
    }

    /// Returns the smallest ratio, the median and the largest.
    pub(crate) fn ratio(&self) -> [f64; 3] {
        median(self.0.iter().map(|(ours, plain)| ours / plain))
    }
}

fn median(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}
