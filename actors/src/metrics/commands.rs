//! The counts of each command of a pool. Commands that callers invent share one entry, and the number of entries is bounded.

use super::{
    histogram::{Histogram, micros},
    rate::Rate,
};
use foldhash::fast::FixedState;
use herder_core::{Delivery, Timestamp};
use std::collections::HashMap;

/// The maximum number of commands with counts of their own. Applications have fewer; without a limit, one that names its
/// commands anew at each reload would make the pool grow.
const MAX_COMMANDS: usize = 1024;
/// The name of the entry for all other calls, as OpenTelemetry names it.
const OTHER_COMMANDS: &str = "_OTHER";

/// The number of a command in a [`CommandTable`]. The default stands for all commands that have none of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandNumber(u16);

/// What is counted of the answer of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedAnswer<'a> {
    pub(crate) delivery: &'a Delivery,
    /// Whether it is a result.
    pub(crate) ok: bool,
    /// The bytes of the arguments.
    pub(crate) arguments: usize,
    /// The bytes of the result; `None` for an error and the end of a stream.
    pub(crate) result: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct CommandTable {
    /// The first one stands for the calls without a command of its own.
    entries: Vec<CommandMetrics>,
    numbers: HashMap<Box<str>, CommandNumber, FixedState>,
}

impl Default for CommandTable {
    fn default() -> Self {
        Self { entries: vec![CommandMetrics::new(OTHER_COMMANDS)], numbers: HashMap::default() }
    }
}

impl CommandTable {
    pub(super) fn add(&mut self, name: &str) -> CommandNumber {
        let next = CommandNumber(self.entries.len() as u16);
        match self.numbers.get(name) {
            Some(number) => *number,
            // A command with the name of that entry shares it: two entries with one name would be the same series twice.
            None if self.entries.len() > MAX_COMMANDS || name == OTHER_COMMANDS => CommandNumber::default(),
            None => {
                self.numbers.insert(name.into(), next);
                self.entries.push(CommandMetrics::new(name));
                next
            }
        }
    }

    pub(super) fn named(&mut self, name: &str) -> &mut CommandMetrics {
        let number = self.numbers.get(name).copied().unwrap_or_default();
        &mut self.entries[number.0 as usize]
    }

    /// Returns the entry of a call. One that was submitted before the first worker was ready has no number yet.
    #[inline]
    pub(super) fn of_call(&mut self, name: &str, number: CommandNumber) -> &mut CommandMetrics {
        if number == CommandNumber::default() { self.named(name) } else { &mut self.entries[number.0 as usize] }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CommandMetrics> {
        self.entries.iter()
    }
}

/// The counts of one command.
#[derive(Clone, Debug)]
pub struct CommandMetrics {
    name: Box<str>,
    ok: u64,
    /// The failed calls by the kind of error. A list, because most commands have few kinds.
    errors: Vec<(&'static str, u64)>,
    rate: Rate,
    /// Allocated by the first answer.
    answers: Option<Box<AnswerMetrics>>,
}

/// The counts of the answers of workers: microseconds and bytes.
#[derive(Clone, Debug, Default)]
struct AnswerMetrics {
    queue: Histogram,
    run: Histogram,
    arguments: Histogram,
    results: Histogram,
}

impl CommandMetrics {
    fn new(name: &str) -> Self {
        Self { name: name.into(), ok: 0, errors: Vec::new(), rate: Rate::default(), answers: None }
    }

    #[inline]
    pub(super) fn answered(&mut self, answer: &CountedAnswer<'_>) {
        let CountedAnswer { delivery, ok, arguments, result } = *answer;
        self.ok += u64::from(ok);
        self.rate.count(delivery.finished);
        let answers = self.answers.get_or_insert_default();
        answers.queue.record(micros(delivery.queued()));
        answers.run.record(micros(delivery.ran()));
        answers.arguments.record(arguments as u64);
        if let Some(result) = result {
            answers.results.record(result as u64);
        }
    }

    pub(super) fn failed(&mut self, kind: &'static str, calls: u64) {
        match self.errors.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += calls,
            None => self.errors.push((kind, calls)),
        }
    }

    /// Returns the name of the command; `_OTHER` for all calls without a command of the application.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the entry stands for the calls without a command of the application.
    pub fn is_other(&self) -> bool {
        &*self.name == OTHER_COMMANDS
    }

    /// Returns the number of calls with a result.
    pub fn ok(&self) -> u64 {
        self.ok
    }

    /// Returns the failed and refused calls by the kind of their error, as `Error::slug` names it.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.errors.iter().copied()
    }

    /// Returns the number of calls, however they ended.
    pub fn calls(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum::<u64>() + self.ok
    }

    /// Returns how long the calls that workers answered had waited, in microseconds. `None` before the first answer.
    pub fn queue_wait(&self) -> Option<&Histogram> {
        self.answers.as_ref().map(|answers| &answers.queue)
    }

    /// Returns how long these calls ran, from the last send to the answer, in microseconds. `None` before the first answer.
    pub fn run_time(&self) -> Option<&Histogram> {
        self.answers.as_ref().map(|answers| &answers.run)
    }

    /// Returns the sizes of their arguments in bytes, with their buffers. `None` before the first answer.
    pub fn argument_bytes(&self) -> Option<&Histogram> {
        self.answers.as_ref().map(|answers| &answers.arguments)
    }

    /// Returns the sizes of the results in bytes, with their buffers and without those of streams. `None` before the first
    /// answer.
    pub fn result_bytes(&self) -> Option<&Histogram> {
        self.answers.as_ref().map(|answers| &answers.results)
    }

    pub(crate) fn per_second(&self, now: Timestamp, since: Timestamp) -> f64 {
        self.rate.per_second(now, since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I6: names that an application or its callers invent do not make the table grow without limit.
    #[test]
    fn the_number_of_commands_is_bounded() {
        let mut table = CommandTable::default();
        let first = table.add("first");
        for number in 0..2 * MAX_COMMANDS {
            table.add(&number.to_string());
            table.named(&format!("unknown{number}")).failed("unknown-command", 1);
        }
        assert_eq!((table.iter().count(), table.add("first")), (1 + MAX_COMMANDS, first));
        assert_eq!(CommandTable::default().add(OTHER_COMMANDS), CommandNumber::default());
        let other = table.iter().next().unwrap();
        assert!(other.is_other());
        assert_eq!((other.calls(), other.errors().count()), (2 * MAX_COMMANDS as u64, 1));
    }
}
