//! What a part of the suite printed, read: libtest's events (`--format json`), of which pytest's plugin prints the same. Pure.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt::Write};

/// How the program ended that printed them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Success,
    /// By itself, with a status that says failure.
    Failure,
    /// It said nothing for as long as the guard waits, and was killed.
    Hung,
}

/// What came of one part in one run.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// The tests that ran, those that failed among them.
    pub(crate) ran: BTreeSet<String>,
    pub(crate) ignored: usize,
    pub(crate) failures: Vec<Failure>,
}

/// A test that failed.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Failure {
    pub(crate) test: String,
    pub(crate) output: String,
}

/// A part that failed while none of its tests ran.
const NO_TEST: &str = "(no test)";
/// How much of an output is kept: the last of it.
const KEPT: usize = 16 << 10;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event {
    Test {
        event: String,
        name: String,
        stdout: Option<String>,
        message: Option<String>,
    },
    Suite {
        event: String,
    },
    #[serde(other)]
    Other,
}

/// Reads the events among what was printed. Tests that began and did not end have failed, unless their suite did end.
pub(crate) fn outcome(stdout: &str, stderr: &str, end: End) -> Outcome {
    let (mut outcome, mut running) = (Outcome::default(), BTreeSet::new());
    for event in stdout.lines().flat_map(events) {
        match event {
            Event::Test { event, name, stdout, message } => outcome.note(&mut running, &event, name, message, stdout),
            Event::Suite { event } if event != "started" => running.clear(),
            Event::Suite { .. } | Event::Other => {}
        }
    }
    if end != End::Success {
        outcome.blame(running, stdout, stderr, end);
    }
    outcome
}

impl Outcome {
    /// One event of a test.
    fn note(
        &mut self,
        running: &mut BTreeSet<String>,
        event: &str,
        name: String,
        message: Option<String>,
        stdout: Option<String>,
    ) {
        match event {
            "started" => {
                running.insert(name.clone());
                self.ran.insert(name);
            }
            "ignored" => {
                running.remove(&name);
                self.ran.remove(&name);
                self.ignored += 1;
            }
            "ok" => drop(running.remove(&name)),
            "failed" => {
                running.remove(&name);
                self.failures.push(Failure { test: name, output: told(message, stdout) });
            }
            _ => {} // `timeout`: it runs for over a minute, and on
        }
    }

    /// Who it was that took the program down, or hung.
    fn blame(&mut self, mut running: BTreeSet<String>, stdout: &str, stderr: &str, end: End) {
        if running.is_empty() && (self.failures.is_empty() || end == End::Hung) {
            running.insert(NO_TEST.into());
        }
        let what = if end == End::Hung { "said nothing until the guard ended it" } else { "the program ended" };
        for test in running {
            let output = format!("{what}\n--- stdout\n{}\n--- stderr\n{}", last(stdout), last(stderr));
            self.ran.insert(test.clone());
            self.failures.push(Failure { test, output });
        }
    }
}

/// The events in one line: what a test's process prints past the capture may stand before and behind them.
fn events(line: &str) -> impl Iterator<Item = Event> {
    let begin = ["{ \"type\"", "{\"type\""].iter().filter_map(|start| line.find(start)).min().unwrap_or(line.len());
    serde_json::Deserializer::from_str(&line[begin..]).into_iter().map_while(Result::ok)
}

fn told(message: Option<String>, stdout: Option<String>) -> String {
    let mut told = message.unwrap_or_default();
    if let Some(stdout) = stdout {
        let _ = write!(told, "{stdout}");
    }
    last(&told).to_owned()
}

/// The last of a text.
fn last(text: &str) -> &str {
    let begin = (text.len().saturating_sub(KEPT)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[begin.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"
{ "type": "suite", "event": "started", "test_count": 4, "shuffle_seed": 5 }
{ "type": "test", "event": "started", "name": "a" }
{ "type": "test", "name": "a", "event": "ok" }
{ "type": "test", "event": "started", "name": "b" }
hello from a process of b{ "type": "test", "name": "b", "event": "failed", "stdout": "thread 'b' panicked\n" }
{ "type": "test", "event": "started", "name": "c" }
{ "type": "test", "name": "c", "event": "ignored" }
{"type": "test", "event": "started", "name": "d"}
"#;

    fn names(outcome: &Outcome) -> Vec<&str> {
        outcome.failures.iter().map(|failure| failure.test.as_str()).collect()
    }

    #[test]
    fn r49_failures_come_with_their_output() {
        let rest = "{ \"type\": \"test\", \"name\": \"d\", \"event\": \"ok\" } left behind\n{ \"type\": \"suite\", \"event\": \"failed\" }\n";
        let outcome = outcome(&format!("{PRINTED}{rest}"), "", End::Failure);
        assert_eq!(outcome.ran, ["a", "b", "d"].map(String::from).into());
        assert_eq!(outcome.ignored, 1);
        assert_eq!(outcome.failures, [Failure { test: "b".into(), output: "thread 'b' panicked\n".into() }]);
    }

    #[test]
    fn r49_a_program_that_ends_or_hangs_is_a_failure_of_the_test_that_ran() {
        for (end, said) in [(End::Failure, "the program ended"), (End::Hung, "said nothing")] {
            let outcome = outcome(PRINTED, "SIGSEGV", end);
            assert_eq!(names(&outcome), ["b", "d"]);
            assert!(outcome.failures[1].output.contains(said) && outcome.failures[1].output.contains("SIGSEGV"));
            assert!(outcome.ran.contains("d"));
        }
    }

    #[test]
    fn r49_a_part_that_fails_without_a_test_is_a_failure_of_its_own() {
        let outcome = outcome("", "error: could not compile", End::Failure);
        assert_eq!(names(&outcome), [NO_TEST]);
        assert_eq!(outcome.ran.len(), 1);
    }

    /// Its last event may be lost to what a process printed in the middle of it.
    #[test]
    fn a_test_whose_end_is_not_seen_has_not_failed_if_the_suite_ended() {
        assert_eq!(names(&outcome(PRINTED, "", End::Success)), ["b"]);
        let ended = format!("{PRINTED}{{ \"type\": \"suite\", \"event\": \"failed\", \"passed\": 2 }}\n");
        assert_eq!(names(&outcome(&ended, "", End::Failure)), ["b"]);
    }

    #[test]
    fn outputs_are_cut_between_characters() {
        let text = "ä".repeat(KEPT);
        assert!(last(&text).len() <= KEPT && last("ä") == "ä");
    }
}
