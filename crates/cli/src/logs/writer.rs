//! Writes lines to a descriptor: a bounded queue, and one thread that writes. Holds the queue and a copy of the
//! descriptor.
//!
//! `tracing-appender` is not used. Its queue is bounded only in lines, it does not count lines that could not be
//! written, and it reports errors with `eprintln!`, which panics if standard error has failed.

use super::format::{self, Format, LONGEST};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Map;
use std::{
    collections::VecDeque,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tracing::Level;
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

/// The message of a JSON log where lines are missing.
const DROPPED: &str = "dropped log lines: the log is read too slowly or cannot be written";
/// The bytes that a line counts in addition to its text.
const OVERHEAD: usize = 64;
/// The bytes of lines that are written together, unless a single line is longer. Linux writes so many to a pipe as a whole, so that
/// lines remain whole if other programs write to it, too.
const BATCH: usize = 4096;
/// The queued bytes that end a pause.
const URGENT: usize = 64 * 1024;

/// The source of a line. Each source has a separate budget, so that a worker that prints endlessly does not displace
/// lines of Herder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A line of Herder. It never waits for space, because the thread that logs may serve requests.
    Host,
    /// A line that a worker has printed. It may wait for space, because only the thread that reads the output of
    /// workers logs such lines.
    Worker,
}

/// The limits of the queue.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The bytes of queued lines of the host and of workers. Each line counts [`OVERHEAD`] bytes more.
    bytes: [usize; 2],
    /// How long lines of workers may wait for space in total, from the moment the queue is full until it is half empty
    /// again. Meanwhile workers block in `print`. So a short burst loses no lines, and a log that is not read at all
    /// blocks workers only for this time.
    patience: Duration,
    /// How long the thread pauses after it has written all lines, so that a busy server does not wake it for each line. The
    /// first line after a pause is written at once.
    pause: Duration,
}

const LIMITS: Limits =
    Limits { bytes: [1024 * 1024, 4 * 1024 * 1024], patience: Duration::from_secs(1), pause: Duration::from_millis(5) };

/// The destination of lines. Tests replace it.
trait Sink: Send + 'static {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until a full, non-blocking descriptor accepts more bytes.
    fn wait(&mut self) -> io::Result<()>;
}

/// A descriptor that lines are written to. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Handle>);

/// Lets the thread end after it has written all lines, when the last handle is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    format: Format,
    queue: Mutex<Queue>,
    /// Notified when a line is queued for which the thread waits, and when the thread must not pause any longer.
    arrived: Condvar,
    /// Notified when lines were written or dropped.
    done: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    /// The queued bytes of each source.
    used: [usize; 2],
    /// The number of lines that were dropped since the last line was queued.
    dropped: u64,
    /// Whether the thread is writing lines that it has removed from the queue.
    writing: bool,
    /// What the thread waits for, until it has been notified.
    waits_for: Option<Wait>,
    /// The number of threads that wait for the queue to become empty or less full. The thread does not pause meanwhile.
    hurried: usize,
    /// The time at which workers' lines had no space; cleared when half of the space is free.
    full_since: Option<Instant>,
    closed: bool,
}

/// What the thread that writes waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Line,
    /// The end of its pause.
    Pause,
}

#[derive(Debug)]
struct Line {
    source: Source,
    text: Vec<u8>,
    /// The number of lines that were dropped directly before this one.
    dropped: u64,
}

impl Output {
    /// Starts a thread with this name that writes to a copy of the descriptor.
    pub(crate) fn start(thread: &str, to: BorrowedFd<'_>, format: Format) -> io::Result<Self> {
        Self::with(thread, Descriptor(to.try_clone_to_owned()?), LIMITS, format)
    }

    fn with(thread: &str, sink: impl Sink, limits: Limits, format: Format) -> io::Result<Self> {
        let (queue, dropped) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { limits, format, queue, arrived: Condvar::new(), done: Condvar::new(), dropped });
        let output = Self(Arc::new(Handle(shared.clone())));
        thread::Builder::new().name(thread.into()).spawn(move || {
            WriterThread { shared: &shared, sink, unreported_drops: 0, last_line_partial: false }.run();
        })?;
        Ok(output)
    }

    /// Queues a line, or drops and counts it. Never fails. Does not wait for a line of [`Source::Host`].
    pub(crate) fn push(&self, source: Source, line: &[u8]) {
        let shared = &self.0.0;
        let (text, mut queue) = (cut(line), shared.lock());
        if source == Source::Worker {
            queue = shared.wait_for_room(queue, cost(&text));
        }
        if shared.has_room(&queue, source, cost(&text)) {
            queue.used[source as usize] += cost(&text);
            // The count stays with the line that follows the gap, so that the log reports the gap at its place.
            let dropped = std::mem::take(&mut queue.dropped);
            queue.lines.push_back(Line { source, text, dropped });
        } else {
            queue.dropped += 1;
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let must_notify = queue.must_notify();
        drop(queue);
        if must_notify {
            shared.arrived.notify_one();
        }
    }

    /// Returns the form of the lines.
    pub(crate) fn format(&self) -> Format {
        self.0.0.format
    }

    /// Queues a text with a line break; in a JSON log as an event with level ERROR.
    pub(crate) fn line(&self, text: &str) {
        let line = match self.format() {
            Format::Text => format!("{text}\n"),
            Format::Json => format::line(Level::ERROR, "herder", text.to_owned(), Map::new()),
        };
        self.push(Source::Host, line.as_bytes());
    }

    /// Queues a notice for whoever started the program: a text with a line break; in a JSON log an event with level INFO and these
    /// fields.
    pub(crate) fn notice(&self, text: &str, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        let line = match self.format() {
            Format::Text => format!("{text}\n"),
            Format::Json => format::line(Level::INFO, "herder", text.to_owned(), fields.collect()),
        };
        self.push(Source::Host, line.as_bytes());
    }

    /// Returns the number of lines that were dropped: because there was no space, or because they could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, or until this time has passed.
    #[expect(clippy::disallowed_methods, reason = "a reader that stopped must not keep the process from ending")]
    pub(crate) fn finish(&self, within: Duration) {
        let shared = &self.0.0;
        let has_unwritten = |queue: &mut Queue| queue.writing || queue.dropped > 0 || !queue.lines.is_empty();
        let waited = shared.done.wait_timeout_while(shared.hurry(shared.lock()), within, has_unwritten);
        waited.unwrap_or_else(PoisonError::into_inner).0.hurried -= 1;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.arrived.notify_one();
    }
}

impl Shared {
    /// Locks the queue. No code that can panic runs while it is locked, so that a poisoned lock is still consistent.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, queue: &Queue, source: Source, cost: usize) -> bool {
        queue.used[source as usize] + cost <= self.limits.bytes[source as usize]
    }

    /// Waits for space for a worker's line. All waits together are bounded by the patience.
    #[expect(clippy::disallowed_methods, reason = "how long workers are held up is bounded")]
    fn wait_for_room<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, cost: usize) -> MutexGuard<'a, Queue> {
        while !self.has_room(&queue, Source::Worker, cost) {
            let waited = queue.full_since.get_or_insert_with(Instant::now).elapsed();
            let Some(rest) = self.limits.patience.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
                break;
            };
            queue = self.done.wait_timeout(self.hurry(queue), rest).unwrap_or_else(PoisonError::into_inner).0;
            queue.hurried -= 1;
        }
        queue
    }

    /// Ends the pause of the thread. The caller waits for it, and then reduces `hurried`.
    fn hurry<'a>(&self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        queue.hurried += 1;
        if queue.must_notify() {
            self.arrived.notify_one();
        }
        queue
    }

    /// Waits for lines and removes as many from the queue as are written together. Returns whether there are any, or a number of
    /// dropped lines to report: not if all lines are written and the last handle has been dropped.
    fn next(&self, batch: &mut Vec<Line>) -> bool {
        let mut queue = self.lock();
        // The previous lines are written. `writing` and the queue change under one lock: otherwise `finish` could find
        // the queue empty while the last line is still being written, and the process would end without it.
        if std::mem::take(&mut queue.writing) {
            self.done.notify_all();
            if queue.lines.is_empty() {
                queue = self.pause(queue);
            }
        }
        while !queue.take(batch, self.limits) {
            if queue.closed {
                return false;
            }
            queue.waits_for = Some(Wait::Line);
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "lines are only written later, and nobody who waits for them waits longer"
    )]
    fn pause<'a>(&self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        queue.waits_for = Some(Wait::Pause);
        let waited = self.arrived.wait_timeout_while(queue, self.limits.pause, |queue| !queue.is_urgent());
        queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        queue.waits_for = None;
        queue
    }
}

impl Queue {
    /// Whether the lines must be written without a pause.
    fn is_urgent(&self) -> bool {
        self.closed || self.hurried > 0 || self.dropped > 0 || self.used.iter().sum::<usize>() >= URGENT
    }

    /// Returns whether the thread must be notified now. To notify a thread that does not wait would still be a system call
    /// for each line.
    fn must_notify(&mut self) -> bool {
        let must_notify = match self.waits_for {
            Some(Wait::Line) => true,
            Some(Wait::Pause) => self.is_urgent(),
            None => false,
        };
        self.waits_for = self.waits_for.filter(|_| !must_notify);
        must_notify
    }

    /// Removes the lines that are written next, up to the next gap, so that the log reports the gap at its place. Returns `false`
    /// if there is nothing to write.
    fn take(&mut self, batch: &mut Vec<Line>, limits: Limits) -> bool {
        let mut length = 0;
        while let Some(line) = self.lines.pop_front() {
            length += line.text.len();
            if !batch.is_empty() && (line.dropped > 0 || length > BATCH) {
                self.lines.push_front(line);
                break;
            }
            let used = &mut self.used[line.source as usize];
            *used = used.saturating_sub(cost(&line.text));
            batch.push(line);
        }
        if batch.is_empty() && self.dropped > 0 {
            // Report the dropped lines now: the next line may be a long time away.
            let dropped = std::mem::take(&mut self.dropped);
            batch.push(Line { source: Source::Host, text: Vec::new(), dropped });
        }
        if self.used[Source::Worker as usize] <= limits.bytes[Source::Worker as usize] / 2 {
            self.full_since = None;
        }
        self.writing = !batch.is_empty();
        self.writing
    }
}

/// The state of the thread that writes.
struct WriterThread<'a, S> {
    shared: &'a Shared,
    sink: S,
    /// The number of dropped lines that the log does not mention yet.
    unreported_drops: u64,
    /// Whether the last line was written only in part. The next line must then start with a line break.
    last_line_partial: bool,
}

impl<S: Sink> WriterThread<'_, S> {
    fn run(mut self) {
        let (mut batch, mut text, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        while self.shared.next(&mut batch) {
            for line in batch.drain(..) {
                self.unreported_drops += line.dropped;
                text.extend(line.text);
                ends.push(text.len());
            }
            self.write(&text, &ends);
            text.clear();
            ends.clear();
        }
    }

    /// Writes the lines that end at these positions. If lines were dropped before them, a note that says so comes first. If a
    /// write fails, the line where it failed counts as dropped too, and the other lines follow after a new note.
    fn write(&mut self, text: &[u8], ends: &[usize]) {
        let (mut from, mut ends) = (0, ends);
        while let Err(written) = self.write_rest(&text[from..]) {
            ends = &ends[ends.partition_point(|end| *end <= from + written)..];
            // Without a line, only a note was written.
            let Some(&end) = ends.first() else { return };
            self.unreported_drops += 1;
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            from = end;
            if from == text.len() {
                return;
            }
        }
    }

    /// Writes the note, if there is something to say, and the text. An error has the number of bytes of the text that were
    /// written.
    fn write_rest(&mut self, text: &[u8]) -> Result<(), usize> {
        if self.unreported_drops > 0 || self.last_line_partial {
            let note = self.note();
            self.write_all(note.as_bytes()).map_err(|_| 0_usize)?;
            self.unreported_drops = 0;
        }
        self.write_all(text)
    }

    fn note(&self) -> String {
        let mut note = if self.last_line_partial { String::from("\n") } else { String::new() };
        if self.unreported_drops > 0 && self.shared.format == Format::Json {
            let fields = Map::from_iter([("dropped".into(), self.unreported_drops.into())]);
            note += &format::line(Level::WARN, "herder::log", DROPPED.to_owned(), fields);
        } else if self.unreported_drops > 0 {
            // If the time cannot be formatted, write the note without it.
            _ = SystemTime.format_time(&mut Writer::new(&mut note));
            note += &format!(
                "  WARN herder::log: dropped {} log line(s): the log is read too slowly or cannot be written\n",
                self.unreported_drops
            );
        }
        note
    }

    /// Writes all bytes, or returns how many were written. After an error, the thread continues with the next line: the disk
    /// may have space again later, or a new reader may appear.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut written = 0;
        while written < bytes.len() {
            match self.sink.write(&bytes[written..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.sink.wait().map_err(|_| written)?,
                Ok(0) | Err(_) => return Err(written),
                Ok(count) => {
                    written += count;
                    self.last_line_partial = bytes[written - 1] != b'\n';
                }
            }
        }
        Ok(())
    }
}

fn cost(text: &[u8]) -> usize {
    text.len() + OVERHEAD
}

/// Returns the line; a line that is too long is cut between two characters.
fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= LONGEST {
        return line.to_vec();
    }
    let continues = |&position: &usize| line[position] & 0b1100_0000 == 0b1000_0000;
    let end = (LONGEST - 3..=LONGEST).rev().find(|position| !continues(position)).unwrap_or(LONGEST);
    let more = format!("... ({} bytes more)\n", line.len() - end);
    [&line[..end], more.as_bytes()].concat()
}

/// A blocking or non-blocking descriptor.
struct Descriptor(OwnedFd);

impl Sink for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn wait(&mut self) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
