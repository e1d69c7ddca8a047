//! The counts of each command of a pool. Commands that callers invent share one entry, and the number of entries is bounded.

use super::{
    exemplars::{Exemplar, Exemplars},
    histogram::{Histogram, micros},
    rate::Rate,
};
use crate::traces::RecordedSpan;
use foldhash::fast::FixedState;
use herder_core::{BatchStatus, Delivery, Timestamp};
use std::{collections::HashMap, sync::Arc, time::SystemTime};

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
    /// The bytes of the buffers in both; `None` if there are none.
    pub(crate) buffers: Option<usize>,
    /// Whether the caller takes items.
    pub(crate) is_stream: bool,
    /// The span of the call, if it is recorded.
    pub(crate) span: Option<RecordedSpan>,
}

#[derive(Clone, Debug)]
pub(super) struct CommandTable {
    /// The first one stands for the calls without a command of its own.
    entries: Vec<CommandMetrics>,
    numbers: Arc<HashMap<Arc<str>, CommandNumber, FixedState>>,
}

impl Default for CommandTable {
    fn default() -> Self {
        Self { entries: vec![CommandMetrics::new(OTHER_COMMANDS)], numbers: Arc::default() }
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
                let entry = CommandMetrics::new(name);
                Arc::make_mut(&mut self.numbers).insert(entry.name.clone(), next);
                self.entries.push(entry);
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
    name: Arc<str>,
    ok: u64,
    /// The failed calls by the kind of error. A list, because most commands have few kinds.
    errors: Vec<(&'static str, u64)>,
    rate: Rate,
    /// Allocated by the first answer. Clones share it until the next one.
    answers: Option<Arc<AnswerMetrics>>,
    /// Allocated by the first use.
    feature_use: Option<Box<FeatureUse>>,
}

/// How often calls of a command have used what most commands do not use.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FeatureUse {
    /// Answered calls whose callers took a stream.
    pub streams: u64,
    /// Answered calls with buffers in their arguments or results, without those in the items of streams.
    pub with_buffers: u64,
    /// The bytes of these buffers.
    pub buffer_bytes: u64,
    /// Batches that were sent before the state of the pool was last rebuilt. The status has those since then.
    pub earlier_batches: u64,
    /// The calls in them.
    pub earlier_batched_calls: u64,
}

/// The counts of the answers of workers: microseconds and bytes.
#[derive(Clone, Debug, Default)]
struct AnswerMetrics {
    queue: Histogram,
    run: Histogram,
    arguments: Histogram,
    results: Histogram,
    /// Allocated by the first recorded call.
    exemplars: Option<Box<Exemplars>>,
}

impl CommandMetrics {
    fn new(name: &str) -> Self {
        Self { name: name.into(), ok: 0, errors: Vec::new(), rate: Rate::default(), answers: None, feature_use: None }
    }

    #[inline]
    pub(super) fn answered(&mut self, answer: &CountedAnswer<'_>) {
        let CountedAnswer { delivery, ok, arguments, result, buffers, is_stream, span } = *answer;
        self.ok += u64::from(ok);
        self.rate.count(delivery.finished);
        let answers = Arc::make_mut(self.answers.get_or_insert_default());
        answers.queue.record(micros(delivery.queued()));
        answers.run.record(micros(delivery.ran()));
        answers.arguments.record(arguments as u64);
        if let Some(result) = result {
            answers.results.record(result as u64);
        }
        if let Some(span) = span {
            answers.exemplars.get_or_insert_default().record(span, micros(delivery.ran()), SystemTime::now());
        }
        if is_stream || buffers.is_some() {
            self.count_features(is_stream, buffers);
        }
    }

    /// Counts the use of features by an answered call.
    fn count_features(&mut self, is_stream: bool, buffers: Option<usize>) {
        let feature_use = self.feature_use.get_or_insert_default();
        feature_use.streams += u64::from(is_stream);
        feature_use.with_buffers += u64::from(buffers.is_some());
        feature_use.buffer_bytes += buffers.unwrap_or(0) as u64;
    }

    /// Keeps the batches that the core has counted, and begins to count anew.
    pub(super) fn keep_batches(&mut self, counts: &BatchStatus) {
        let feature_use = self.feature_use.get_or_insert_default();
        feature_use.earlier_batches += counts.batches;
        feature_use.earlier_batched_calls += counts.calls;
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

    /// Returns the last recorded call of each bucket of [`TIME_BOUNDS`](crate::TIME_BOUNDS) and of those above. `None` before
    /// the first one.
    pub fn exemplars(&self) -> Option<&[Option<Exemplar>]> {
        Some(self.answers.as_ref()?.exemplars.as_ref()?.buckets())
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

    /// Returns how often its calls were streams, had buffers and were sent in batches. `None` before the first use, except of
    /// batches since the last rebuild of the state.
    pub fn feature_use(&self) -> Option<&FeatureUse> {
        self.feature_use.as_deref()
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
