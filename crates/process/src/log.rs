//! Turns workers' lines into `tracing` events on a thread of their own. Holds the queue between the warden and that thread.
//!
//! The subscriber is the user's code: it may be slow, block on a stopped terminal, or panic. Hence the warden never calls it.
//! When the queue is full the warden stops reading the pipes, so a worker that prints faster than the log takes it waits in
//! `write`, as it would on a terminal; nothing is dropped.

use crate::{output::Stream, thread::thread_builder, waker::Waker};
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

/// The queue is full beyond this many bytes; the last read of a worker that ended may exceed it.
const QUEUE_LIMIT: usize = 1024 * 1024;
/// What an entry costs beside its text.
const OVERHEAD: usize = 64;

/// The writing end.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: mpsc::Sender<Entry>,
    backlog: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Entry {
    Line { worker: Arc<str>, stream: Stream, text: String },
    Warning(String),
}

impl Log {
    /// Starts the thread; it ends when the last `Log` is gone.
    pub(crate) fn start(monitor: Waker) -> io::Result<Self> {
        let (queue, entries) = mpsc::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let log = Self { queue, backlog: backlog.clone() };
        thread_builder("herder-log").spawn(move || write_all(&entries, &backlog, &monitor))?;
        Ok(log)
    }

    /// One line a worker printed.
    pub(crate) fn line(&self, worker: &Arc<str>, stream: Stream, text: String) {
        self.push(Entry::Line { worker: worker.clone(), stream, text });
    }

    /// Something the operator should know about this crate's own keeping.
    pub(crate) fn warning(&self, text: String) {
        self.push(Entry::Warning(text));
    }

    /// Whether reading more would only grow the queue; the warden is woken when this has passed.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Acquire) > QUEUE_LIMIT
    }

    fn push(&self, entry: Entry) {
        self.backlog.fetch_add(entry.cost(), Ordering::AcqRel);
        // It fails only when the thread is gone, at the end of the process.
        let _ = self.queue.send(entry);
    }
}

fn write_all(entries: &mpsc::Receiver<Entry>, backlog: &AtomicUsize, monitor: &Waker) {
    for entry in entries {
        // A subscriber that panics must not cost the lines after this one, nor stop the workers by a queue that stays full.
        let _ = catch_unwind(AssertUnwindSafe(|| entry.emit()));
        let cost = entry.cost();
        let before = backlog.fetch_sub(cost, Ordering::AcqRel);
        if before > QUEUE_LIMIT && before - cost <= QUEUE_LIMIT {
            monitor.wake();
        }
    }
}

/// Escapes control characters but tabs: what a worker prints may be a user's text, and could move a terminal's cursor back over other lines.
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
            }
    }

    fn emit(&self) {
        match self {
            Self::Line { worker, stream, text } => {
                let text = printable(text);
                tracing::info!(target: "herder::worker", worker = %worker, stream = stream.name(), "{text}");
            }
            Self::Warning(text) => tracing::warn!(target: "herder::process", "{text}"),
        }
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
