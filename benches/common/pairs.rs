//! Paired rounds: first, second, first, second, and so on, so that a change of the machine's speed affects both sides.

use super::rounds::{Figures, round};
use std::{future::Future, time::Duration};

/// The number of measured rounds of each side, and the length of each.
#[derive(Clone, Copy)]
pub struct Rounds {
    pub count: usize,
    pub length: Duration,
}

impl Rounds {
    pub const FULL: Self = Self { count: 15, length: Duration::from_millis(250) };
}

/// The figures of both sides for each round.
#[derive(Default)]
pub struct Pair {
    pub first: Vec<Figures>,
    pub second: Vec<Figures>,
}

impl Pair {
    /// Applies a function to both sides of each round.
    pub fn each(&self, of: impl Fn(&Figures, &Figures) -> f64) -> Vec<f64> {
        self.first.iter().zip(&self.second).map(|(first, second)| of(first, second)).collect()
    }
}

/// Runs both sides alternately with this many callers. The first pair of rounds is a warm-up and is not counted.
pub async fn paired<A, AF, B, BF>(rounds: Rounds, callers: usize, first: A, second: B) -> Pair
where
    A: Fn() -> AF + Clone + 'static,
    AF: Future<Output = ()>,
    B: Fn() -> BF + Clone + 'static,
    BF: Future<Output = ()>,
{
    let mut pair = Pair::default();
    for number in 0..=rounds.count {
        let (one, other) =
            (round(callers, rounds.length, first.clone()).await, round(callers, rounds.length, second.clone()).await);
        if number > 0 {
            pair.first.push(one);
            pair.second.push(other);
        }
    }
    pair
}
