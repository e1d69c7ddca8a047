//! The measured steps of one size. Holds the times of the current operation; callgrind holds its instructions.

use std::{hint::black_box, time::Instant};

#[derive(Default)]
pub(crate) struct Steps {
    times: Vec<u64>,
}

impl Steps {
    /// Runs a step of the current operation, or one part of a step that has several.
    pub(crate) fn count<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let value = counted(step);
        self.times.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        value
    }

    /// Ends an operation whose steps have this many parts each, and prints its name, its number of steps and the median time
    /// of a step.
    pub(crate) fn end(&mut self, operation: &str, parts: usize) {
        let mut times: Vec<u64> = self.times.chunks(parts).map(|step| step.iter().sum()).collect();
        times.sort_unstable();
        println!("{operation}\t{}\t{}", times.len(), times[times.len() / 2]);
        // Not the last statement: callgrind does not notice the return of a function that was jumped to.
        end_operation();
        self.times.clear();
    }
}

/// Callgrind collects while this function runs; `child` names it.
#[inline(never)]
fn counted<T>(step: impl FnOnce() -> T) -> T {
    black_box(step())
}

/// Callgrind writes and clears its counters when this function returns; `child` names it.
#[inline(never)]
fn end_operation() {
    black_box(());
}
