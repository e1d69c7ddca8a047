//! Turns the output lines and the log records of workers into `tracing` events, on a thread of its own. Holds the queue between
//! the monitor and that thread.
//!
//! The subscriber is code of the application: it may be slow, block on a stopped terminal, or panic. The monitor therefore
//! never calls it. When the queue is full the monitor stops reading. A worker that prints faster than the log accepts then
//! blocks in `write`, as it does on a terminal, and no line is dropped. A worker that sends log records faster drops them and
//! counts them: sending never blocks.

use crate::{
    lines::Stream,
    log_record::{Level, Record},
    thread::thread_builder,
    waker::Waker,
};
use std::{
    borrow::Cow,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

/// The queue is full above this many bytes. The last read of a worker that has exited may exceed it.
const QUEUE_LIMIT: usize = 1024 * 1024;
/// The size of an entry besides its text.
const OVERHEAD: usize = 64;
/// The target of all events of workers.
const TARGET: &str = "herder::worker";

/// The sending end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: mpsc::Sender<Entry>,
    backlog: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Entry {
    Line {
        label: Arc<str>,
        stream: Stream,
        text: String,
    },
    Record {
        label: Arc<str>,
        record: Box<Record>,
        /// The size of the datagram.
        size: usize,
    },
    Warning(String),
}

impl Log {
    /// Starts the thread. It ends when the last `Log` is dropped.
    pub(crate) fn start(monitor: Waker) -> io::Result<Self> {
        let (queue, entries) = mpsc::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let log = Self { queue, backlog: backlog.clone() };
        thread_builder("herder-log").spawn(move || write_all(&entries, &backlog, &monitor))?;
        Ok(log)
    }

    /// Queues one line that a worker printed.
    pub(crate) fn line(&self, label: &Arc<str>, stream: Stream, text: String) {
        self.push(Entry::Line { label: label.clone(), stream, text });
    }

    /// Queues one log record that a worker sent in a datagram of `size` bytes.
    pub(crate) fn record(&self, label: &Arc<str>, record: Record, size: usize) {
        self.push(Entry::Record { label: label.clone(), record: Box::new(record), size });
    }

    /// Queues a warning about the operation of this crate.
    pub(crate) fn warning(&self, text: String) {
        self.push(Entry::Warning(text));
    }

    /// Whether reading more would only grow the queue. The monitor is woken when this changes.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Acquire) > QUEUE_LIMIT
    }

    fn push(&self, entry: Entry) {
        self.backlog.fetch_add(entry.cost(), Ordering::AcqRel);
        // Fails only after the thread has ended, when the process ends.
        let _ = self.queue.send(entry);
    }
}

fn write_all(entries: &mpsc::Receiver<Entry>, backlog: &AtomicUsize, monitor: &Waker) {
    for entry in entries {
        // A panic of the subscriber must not lose the following lines, nor block the workers by a queue that stays full.
        let _ = catch_unwind(AssertUnwindSafe(|| entry.emit()));
        let cost = entry.cost();
        let before = backlog.fetch_sub(cost, Ordering::AcqRel);
        if before > QUEUE_LIMIT && before - cost <= QUEUE_LIMIT {
            monitor.wake();
        }
    }
}

/// Escapes control characters except tabs. What a worker prints may come from a user, and could move the cursor of a terminal
/// back over other lines.
fn printable(text: &str) -> Cow<'_, str> {
    let is_unprintable = |char: char| char.is_control() && char != '\t';
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if is_unprintable(char) { escaped.extend(char.escape_default()) } else { escaped.push(char) }
    }
    Cow::Owned(escaped)
}

impl Entry {
    fn cost(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Line { text, .. } | Self::Warning(text) => text.len(),
                Self::Record { size, .. } => *size,
            }
    }

    fn emit(&self) {
        match self {
            Self::Line { label, stream, text } => {
                let (text, (pool, worker)) = (printable(text), split(label));
                tracing::info!(target: TARGET, worker = %worker, pool, stream = stream.name(), "{text}");
            }
            Self::Record { label, record, .. } => emit_record(label, record),
            Self::Warning(text) => tracing::warn!(target: "herder::process", "{text}"),
        }
    }
}

/// Returns the pool and the worker in a label such as `shop/w1.1`.
fn split(label: &str) -> (Option<&str>, &str) {
    label.split_once('/').map_or((None, label), |(pool, worker)| (Some(pool), worker))
}

/// Emits one event for a record, and one before it if the worker has dropped records.
fn emit_record(label: &str, record: &Record) {
    let (pool, worker) = split(label);
    let dropped = record.dropped;
    if dropped > 0 {
        tracing::warn!(target: TARGET, worker = %worker, pool, dropped, "log records were dropped: the worker sent them faster than the log is written");
    }
    let Some(message) = &record.message else { return };
    let message = printable(message);
    let fields = record.fields_as_json();
    // The level of an event is a constant. Texts are fields of type `str`: a formatter escapes them, or they could contain a
    // line break and what looks like another event.
    macro_rules! emit {
        ($level:ident) => {
            tracing::event!(
                target: TARGET,
                tracing::Level::$level,
                worker = %worker,
                pool,
                logger = record.logger.as_deref(),
                level_name = record.level_name.as_deref(),
                attempt = record.attempt,
                session = record.session.as_deref(),
                command = record.command.as_deref(),
                process = record.process,
                fields = fields.as_deref(),
                stack = record.stack.as_deref(),
                traceback = record.traceback.as_deref(),
                "{message}"
            )
        };
    }
    match record.level {
        Level::Error => emit!(ERROR),
        Level::Warn => emit!(WARN),
        Level::Info => emit!(INFO),
        Level::Debug => emit!(DEBUG),
        Level::Trace => emit!(TRACE),
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn terminal_control_characters_are_escaped() {
        assert_eq!(printable("a\tb \u{e9}"), "a\tb \u{e9}");
        assert_eq!(printable("a\r2026 INFO forged\u{1b}[2J"), "a\\r2026 INFO forged\\u{1b}[2J");
    }
}
