//! I1 to I8 in 10,000 random schedules: submits, cancels, deadlines, frames, late frames, failed sends, exits and sweeps
//! in any order, against pools with small random settings and a virtual clock. A failing seed prints the command that replays
//! it. The same schedules are a fuzz target, with bytes instead of the seed.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "the restrictions of the core do not apply: the model uses ordered maps, and failures print the seed"
)]

mod harness;
mod invariants;
mod model;
mod operations;
mod processes;
mod quiesce;
mod rng;
mod settings;

use crate::corpus_tests;

/// The number of schedules, unless `HERDER_SCHEDULES` is set.
const SCHEDULES: u64 = 10_000;

/// I1, I2, I3, I4, I5, I6, I7; R12, R20, R22, R36. With `HERDER_TRACE`, prints a hash of each schedule, to compare two
/// versions of the core (`--nocapture`).
#[test]
#[expect(clippy::disallowed_methods, reason = "runs on all cores, and reads the environment")]
fn ten_thousand_schedules_hold_the_invariants() {
    let schedules = number("HERDER_SCHEDULES").unwrap_or(SCHEDULES);
    let is_traced = std::env::var_os("HERDER_TRACE").is_some();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let run = if is_traced { harness::trace } else { harness::run };
            scope.spawn(move || (thread..schedules).step_by(threads as usize).for_each(run));
        }
    });
}

/// I1, I2, I3, I4, I5, I6, I7: inputs that a fuzzer found.
#[test]
fn corpus_schedules_hold_the_invariants() {
    corpus_tests::replay("schedules", harness::check_input);
}

#[test]
fn mutated_corpus_schedules_hold_the_invariants() {
    corpus_tests::vary("schedules", 1000, harness::check_input);
}

/// Runs only the schedule of `HERDER_SEED`, or of the file `HERDER_INPUT`, and prints each step. Does nothing without
/// either.
#[test]
#[expect(clippy::disallowed_methods, reason = "reads the name of a file from the environment")]
fn replay() {
    if let Some(seed) = number("HERDER_SEED") {
        harness::replay(harness::Source::Seed(seed));
    }
    if let Some(path) = std::env::var_os("HERDER_INPUT") {
        harness::replay(harness::Source::Bytes(&std::fs::read(path).expect("a file")));
    }
}

#[expect(clippy::disallowed_methods, reason = "reads a number from the environment")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
