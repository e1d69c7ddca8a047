//! What is shown while runs go on: a line for each, failures as they come, and on a terminal what runs now.

use super::{events::Outcome, ledger::Run};
use std::io::{IsTerminal, Write, stderr};

/// Takes the terminal's line back.
const CLEAR: &str = "\r\x1b[K";

/// What runs now; only a terminal is told.
pub(crate) fn now(part: &str) {
    if stderr().is_terminal() {
        eprint!("{CLEAR}  {part}");
        let _ = stderr().flush(); // nothing depends on it
    }
}

/// What failed in a part, with its output.
pub(crate) fn part(name: &str, outcome: &Outcome) {
    clear();
    for failure in &outcome.failures {
        println!("\n--- {name} {} FAILED\n{}", failure.test, failure.output);
    }
}

/// A run is over.
pub(crate) fn over(at: usize, of: u32, run: &Run) {
    let load =
        run.load_average.map(|average| average.map_or("?".into(), |average| format!("{average:.1}"))).join(" to ");
    let (seed, tests, failures) = (run.seed, run.tests(), run.failures());
    let loaded = if run.loaded { ", under load" } else { "" };
    println!(
        "run {at} of {of}: seed {seed}{loaded}, load average {load}; {tests} tests, {failures} failed; {:.0} s",
        run.seconds
    );
}

fn clear() {
    if stderr().is_terminal() {
        eprint!("{CLEAR}");
    }
}
