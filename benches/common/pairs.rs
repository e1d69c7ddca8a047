//! Paired rounds: first, second, first, second, ..., so that a machine that changes its pace changes both.

use super::rounds::{Figures, round};
use std::{future::Future, time::Duration};

/// How many rounds of each side count, and how long each is.
#[derive(Clone, Copy)]
pub struct Rounds {
    pub count: usize,
    pub length: Duration,
}

impl Rounds {
    pub const FULL: Self = Self { count: 15, length: Duration::from_millis(250) };
}

/// Both sides, round by round.
#[derive(Default)]
pub struct Pair {
    pub first: Vec<Figures>,
    pub second: Vec<Figures>,
}

impl Pair {
    /// A function of both sides, round by round.
    pub fn each(&self, of: impl Fn(&Figures, &Figures) -> f64) -> Vec<f64> {
        self.first.iter().zip(&self.second).map(|(first, second)| of(first, second)).collect()
    }
}

/// Runs both sides in turn with this many callers; the first pair of rounds warms up and is not counted.
pub async fn paired<A, AF, B, BF>(rounds: Rounds, callers: usize, first: A, second: B) -> Pair
where
    A: Fn() -> AF + Clone + 'static,
    AF: Future<Output = ()>,
    B: Fn() -> BF + Clone + 'static,
    BF: Future<Output = ()>,
{
    let mut pair = Pair::default();
    for at in 0..=rounds.count {
        let (one, other) =
            (round(callers, rounds.length, first.clone()).await, round(callers, rounds.length, second.clone()).await);
        if at > 0 {
            pair.first.push(one);
            pair.second.push(other);
        }
    }
    pair
}
