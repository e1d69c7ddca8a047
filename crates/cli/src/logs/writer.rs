//! Writes lines to a descriptor: a bounded queue, and one thread that writes. Holds the queue and a copy of the
//! descriptor.
//!
//! `tracing-appender` is not used. Its queue is bounded only in lines, it does not count lines that could not be
//! written, and it reports errors with `eprintln!`, which panics if standard error has failed.

mod queue;

pub(crate) use queue::Source;

use super::{
    fields::Fields,
    format::{Format, LONGEST},
    json, timestamp,
};
use queue::{BATCH, Batch, LIMITS, Limits, Shared};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, fstat},
};
use std::{
    borrow::Cow,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};
use tracing::Level;

/// The message of a JSON log where lines are missing.
const DROPPED: &str = "dropped log lines: the log is read too slowly or cannot be written";
/// The bytes of lines that are written together to a file. Other programs that append to it wait meanwhile.
const FILE_BATCH: usize = 64 * 1024;

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

impl Output {
    /// Starts a thread with this name that writes to a copy of the descriptor.
    pub(crate) fn start(thread: &str, to: BorrowedFd<'_>, format: Format) -> io::Result<Self> {
        let is_file = fstat(to).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        let limits = Limits { batch: if is_file { FILE_BATCH } else { BATCH }, ..LIMITS };
        Self::with(thread, Descriptor(to.try_clone_to_owned()?), limits, format)
    }

    fn with(thread: &str, sink: impl Sink, limits: Limits, format: Format) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(limits, format));
        let output = Self(Arc::new(Handle(shared.clone())));
        thread::Builder::new().name(thread.into()).spawn(move || {
            WriterThread { shared: &shared, sink, unreported_drops: 0, last_line_partial: false }.run();
        })?;
        Ok(output)
    }

    /// Queues a line, or drops and counts it. Never fails. Does not wait for a line of [`Source::Host`].
    pub(crate) fn push(&self, source: Source, line: &[u8]) {
        let line = match self.format() {
            Format::Text => cut(line),
            // Its length is limited when it is formed. Only its secrets can make it longer later, by what stands in their place, and
            // half an object is no JSON.
            Format::Json => line.into(),
        };
        self.0.0.push(source, &line);
    }

    /// Returns the form of the lines.
    pub(crate) fn format(&self) -> Format {
        self.0.0.format
    }

    /// Queues a text with a line break; in a JSON log as an event with level ERROR.
    pub(crate) fn line(&self, text: &str) {
        let line = match self.format() {
            Format::Text => format!("{text}\n"),
            Format::Json => json::line(Level::ERROR, "herder", Fields::new(text, [])),
        };
        self.push(Source::Host, line.as_bytes());
    }

    /// Queues a notice for whoever started the program: a text with a line break; in a JSON log an event with level INFO and these
    /// fields.
    pub(crate) fn notice(&self, text: &str, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).into()));
        let line = match self.format() {
            Format::Text => format!("{text}\n"),
            Format::Json => json::line(Level::INFO, "herder", Fields::new(text, fields)),
        };
        self.push(Source::Host, line.as_bytes());
    }

    /// Returns the number of lines that were dropped: because there was no space, or because they could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, or until this time has passed.
    pub(crate) fn finish(&self, within: Duration) {
        self.0.0.finish(within);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
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
        let mut batch = Batch::default();
        while self.shared.next(&mut batch) {
            self.unreported_drops += batch.dropped;
            self.write(&batch.text, &batch.ends);
            batch.clear();
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
            let fields = Fields::new(DROPPED, [("dropped", self.unreported_drops.into())]);
            note += &json::line(Level::WARN, "herder::log", fields);
        } else if self.unreported_drops > 0 {
            note += &format!(
                "{}  WARN herder::log: dropped {} log line(s): the log is read too slowly or cannot be written\n",
                timestamp::now(),
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

/// Returns the line; a line that is too long is cut between two characters.
fn cut(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= LONGEST {
        return line.into();
    }
    let continues = |&position: &usize| line[position] & 0b1100_0000 == 0b1000_0000;
    let end = (LONGEST - 3..=LONGEST).rev().find(|position| !continues(position)).unwrap_or(LONGEST);
    let more = format!("... ({} bytes more)\n", line.len() - end);
    [&line[..end], more.as_bytes()].concat().into()
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
