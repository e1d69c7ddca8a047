//! Lines on their way to a descriptor: a bounded queue, and the one thread that writes. Holds the queue, and a copy of the
//! descriptor.
//!
//! Not `tracing-appender`: its queue is bounded in lines alone, a line that cannot be written is not counted, and it reports errors
//! by `eprintln!`, which panics when standard error is what failed.

use rustix::event::{PollFd, PollFlags, poll};
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
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

/// A longer line is cut.
const LONGEST: usize = 64 * 1024;
/// What a line costs beside its text.
const OVERHEAD: usize = 64;

/// Whose line it is: each source has a budget of its own, so that a worker that prints without end displaces nothing that Herder
/// itself has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Herder's own. Never waits for room: the thread that logs may be one that serves.
    Host,
    /// Printed by a worker. Waits for room, since only the thread that reads workers' output logs these.
    Worker,
}

/// How much may wait to be written.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Bytes of lines of the host, and of workers; each line counts 64 bytes besides.
    bytes: [usize; 2],
    /// How long workers' lines may wait for room altogether, from when it runs out until half of it is free again. A worker is held
    /// up in `print` meanwhile, so that a log that is read slowly loses nothing; one that is not read at all holds nobody up after
    /// that.
    patience: Duration,
}

const LIMITS: Limits = Limits { bytes: [1024 * 1024, 4 * 1024 * 1024], patience: Duration::from_secs(1) };

/// Where lines end up. Tests play it.
trait Sink: Send + 'static {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until it takes more: it is a non-blocking descriptor, and full.
    fn wait(&mut self) -> io::Result<()>;
}

/// A descriptor that lines are written to. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Handle>);

/// Ends the thread when the last handle is gone, once all is written.
#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    queue: Mutex<Queue>,
    /// A line arrived, or the last handle is gone.
    arrived: Condvar,
    /// A line was written, or dropped.
    done: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    /// Bytes that wait, by source.
    used: [usize; 2],
    /// Dropped since the last line that was taken.
    dropped: u64,
    /// The thread is writing a line.
    writing: bool,
    /// When workers' lines ran out of room, until half of it is free again.
    full_since: Option<Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Line {
    source: Source,
    text: Vec<u8>,
    /// How many were dropped in front of it.
    dropped: u64,
}

impl Output {
    /// Starts a thread of this name that writes to a copy of the descriptor.
    pub(crate) fn start(thread: &str, to: BorrowedFd<'_>) -> io::Result<Self> {
        Self::with(thread, Descriptor(to.try_clone_to_owned()?), LIMITS)
    }

    fn with(thread: &str, sink: impl Sink, limits: Limits) -> io::Result<Self> {
        let (queue, dropped) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { limits, queue, arrived: Condvar::new(), done: Condvar::new(), dropped });
        let output = Self(Arc::new(Handle(shared.clone())));
        thread::Builder::new().name(thread.into()).spawn(move || {
            WriterThread { shared: &shared, sink, unreported_drops: 0, last_line_partial: false }.run()
        })?;
        Ok(output)
    }

    /// Puts a line into the queue, or drops and counts it. Never fails. [`Source::Host`] never waits.
    pub(crate) fn push(&self, source: Source, line: &[u8]) {
        let shared = &self.0.0;
        let (text, mut queue) = (cut(line), shared.lock());
        if source == Source::Worker {
            queue = shared.wait_for_room(queue, cost(&text));
        }
        if shared.has_room(&queue, source, cost(&text)) {
            queue.used[source as usize] += cost(&text);
            let dropped = std::mem::take(&mut queue.dropped);
            queue.lines.push_back(Line { source, text, dropped });
        } else {
            queue.dropped += 1;
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(queue);
        shared.arrived.notify_one();
    }

    /// Puts a text in, and a line's end.
    pub(crate) fn line(&self, text: &str) {
        self.push(Source::Host, format!("{text}\n").as_bytes());
    }

    /// Returns how many lines were dropped: for want of room, or because they could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all is written, or this time has passed.
    #[expect(clippy::disallowed_methods, reason = "a reader that stopped must not keep the process from ending")]
    pub(crate) fn finish(&self, within: Duration) {
        let shared = &self.0.0;
        let unwritten = |queue: &mut Queue| queue.writing || queue.dropped > 0 || !queue.lines.is_empty();
        _ = shared.done.wait_timeout_while(shared.lock(), within, unwritten);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.arrived.notify_one();
    }
}

impl Shared {
    /// Nothing that may panic runs while it is locked.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, queue: &Queue, source: Source, cost: usize) -> bool {
        queue.used[source as usize] + cost <= self.limits.bytes[source as usize]
    }

    /// Waits for room for a worker's line, within the patience.
    #[expect(clippy::disallowed_methods, reason = "how long workers are held up is bounded")]
    fn wait_for_room<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, cost: usize) -> MutexGuard<'a, Queue> {
        while !self.has_room(&queue, Source::Worker, cost) {
            let waited = queue.full_since.get_or_insert_with(Instant::now).elapsed();
            let Some(left) = self.limits.patience.checked_sub(waited).filter(|left| !left.is_zero()) else { break };
            queue = self.done.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue
    }

    /// Takes the next line, when it is there; `None` when there will be none.
    fn next(&self) -> Option<Line> {
        let mut queue = self.lock();
        queue.writing = false;
        self.done.notify_all();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.take(&line, self.limits);
                return Some(line);
            }
            if queue.dropped > 0 {
                // Nothing may follow for long: what is lost is told now.
                let dropped = std::mem::take(&mut queue.dropped);
                queue.writing = true;
                return Some(Line { source: Source::Host, text: Vec::new(), dropped });
            }
            if queue.closed {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn take(&mut self, line: &Line, limits: Limits) {
        let used = &mut self.used[line.source as usize];
        *used = used.saturating_sub(cost(&line.text));
        if self.used[Source::Worker as usize] <= limits.bytes[Source::Worker as usize] / 2 {
            self.full_since = None;
        }
        self.writing = true;
    }
}

/// The thread that writes.
struct WriterThread<'a, S> {
    shared: &'a Shared,
    sink: S,
    /// Lines that are lost, and that the log does not tell of yet.
    unreported_drops: u64,
    /// The last line was written in part: the next one must not continue it.
    last_line_partial: bool,
}

impl<S: Sink> WriterThread<'_, S> {
    fn run(mut self) {
        while let Some(line) = self.shared.next() {
            self.unreported_drops += line.dropped;
            self.write(&line.text);
        }
    }

    /// Writes the line, behind a note of those that are lost. If it cannot be written it is lost as well, and the note is due again.
    fn write(&mut self, text: &[u8]) {
        let written = match (self.unreported_drops, self.last_line_partial) {
            (0, false) => self.write_all(text),
            _ => self.write_all(&[self.note().as_bytes(), text].concat()),
        };
        if written.is_ok() {
            (self.unreported_drops, self.last_line_partial) = (0, false);
        } else {
            let lines = u64::from(!text.is_empty());
            self.unreported_drops += lines;
            self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn note(&self) -> String {
        let mut note = if self.last_line_partial { String::from("\n") } else { String::new() };
        if self.unreported_drops > 0 {
            // Without the time if it cannot be told: the note is what matters.
            _ = SystemTime.format_time(&mut Writer::new(&mut note));
            note += &format!(
                "  WARN herder::log: dropped {} log line(s): the log is read too slowly or cannot be written\n",
                self.unreported_drops
            );
        }
        note
    }

    /// No error of the sink is final: the disk may have room again, the next reader may be there.
    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), ()> {
        while !bytes.is_empty() {
            let written = match self.sink.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sink.wait().map_err(drop)?;
                    continue;
                }
                Ok(0) | Err(_) => return Err(()),
                Ok(written) => written,
            };
            bytes = &bytes[written..];
            self.last_line_partial = !bytes.is_empty();
        }
        Ok(())
    }
}

fn cost(text: &[u8]) -> usize {
    text.len() + OVERHEAD
}

/// The line, cut between characters if it is too long.
fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= LONGEST {
        return line.to_vec();
    }
    let continues = |&at: &usize| line[at] & 0b1100_0000 == 0b1000_0000;
    let at = (LONGEST - 3..=LONGEST).rev().find(|at| !continues(at)).unwrap_or(LONGEST);
    let more = format!("... ({} bytes more)\n", line.len() - at);
    [&line[..at], more.as_bytes()].concat()
}

/// A descriptor, blocking or not.
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
