//! The queue of lines, bounded in bytes, between the threads that log and the one that writes. Holds the lines that are not
//! written yet.

use crate::logs::format::Format;
use std::{
    collections::VecDeque,
    mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The bytes that a line counts in addition to its text.
pub(super) const OVERHEAD: usize = 64;
/// The bytes of lines that are written together to what is no file. Linux writes so many to a pipe as a whole, so that lines remain
/// whole if other programs write to it, too.
pub(super) const BATCH: usize = 4096;
/// The queued bytes that end a pause.
pub(super) const URGENT: usize = 64 * 1024;
/// The largest memory of the queued text that is kept when all lines are written.
pub(super) const KEPT: usize = 4 * URGENT;

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
pub(super) struct Limits {
    /// The bytes of queued lines of the host and of workers. Each line counts [`OVERHEAD`] bytes more.
    pub(super) bytes: [usize; 2],
    /// How long lines of workers may wait for space in total, from the moment the queue is full until it is half empty
    /// again. Meanwhile workers block in `print`. So a short burst loses no lines, and a log that is not read at all
    /// blocks workers only for this time.
    pub(super) patience: Duration,
    /// How long the thread pauses after it has written all lines, so that a busy server does not wake it for each line. The
    /// first line after a pause is written at once.
    pub(super) pause: Duration,
    /// The bytes of lines that are written together, unless a single line is longer.
    pub(super) batch: usize,
}

pub(super) const LIMITS: Limits = Limits {
    bytes: [1024 * 1024, 4 * 1024 * 1024],
    patience: Duration::from_secs(1),
    pause: Duration::from_millis(10),
    batch: BATCH,
};

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) format: Format,
    queue: Mutex<Queue>,
    /// Notified when a line is queued for which the thread waits, and when the thread must not pause any longer.
    arrived: Condvar,
    /// Notified when lines were written or dropped.
    done: Condvar,
    pub(super) dropped: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) lines: VecDeque<Line>,
    /// The texts of the lines, one after the other. If each line had its own memory, one thread would allocate it and another one
    /// free it, which keeps the allocator of the first one from using its fast path.
    pub(super) text: VecDeque<u8>,
    /// The queued bytes of each source.
    used: [usize; 2],
    /// The number of lines that were dropped since the last line was queued.
    dropped: u64,
    /// Whether the thread is writing lines that it has removed from the queue.
    pub(super) writing: bool,
    /// What the thread waits for, until it has been notified.
    pub(super) waits_for: Option<Wait>,
    /// The number of threads that wait for the queue to become empty or less full. The thread does not pause meanwhile.
    hurried: usize,
    /// The time at which workers' lines had no space; cleared when half of the space is free.
    full_since: Option<Instant>,
    closed: bool,
}

/// What the thread that writes waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Line,
    /// The end of its pause.
    Pause,
}

#[derive(Debug)]
pub(super) struct Line {
    source: Source,
    length: usize,
    /// The number of lines that were dropped directly before this one.
    dropped: u64,
}

/// Lines that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    /// Where each line ends.
    pub(super) ends: Vec<usize>,
    /// The number of lines that were dropped directly before the first one.
    pub(super) dropped: u64,
}

impl Shared {
    pub(super) fn new(limits: Limits, format: Format) -> Self {
        let (queue, dropped) = (Mutex::default(), AtomicU64::new(0));
        Self { limits, format, queue, arrived: Condvar::new(), done: Condvar::new(), dropped }
    }

    /// Queues a line, or drops and counts it. Does not wait for a line of [`Source::Host`].
    pub(super) fn push(&self, source: Source, text: &[u8]) {
        let (cost, mut queue) = (cost(text.len()), self.lock());
        if source == Source::Worker {
            queue = self.wait_for_room(queue, cost);
        }
        if self.has_room(&queue, source, cost) {
            queue.push(source, text);
        } else {
            queue.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let must_notify = queue.must_notify();
        drop(queue);
        if must_notify {
            self.arrived.notify_one();
        }
    }

    /// Waits until all lines are written, or until this time has passed.
    #[expect(clippy::disallowed_methods, reason = "a reader that stopped must not keep the process from ending")]
    pub(super) fn finish(&self, within: Duration) {
        let has_unwritten = |queue: &mut Queue| queue.writing || queue.dropped > 0 || !queue.lines.is_empty();
        let waited = self.done.wait_timeout_while(self.hurry(self.lock()), within, has_unwritten);
        waited.unwrap_or_else(PoisonError::into_inner).0.hurried -= 1;
    }

    /// Lets the thread end after it has written all lines.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Locks the queue. No code that can panic runs while it is locked, so that a poisoned lock is still consistent.
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_room(&self, queue: &Queue, source: Source, cost: usize) -> bool {
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
    pub(super) fn next(&self, batch: &mut Batch) -> bool {
        let mut queue = self.lock();
        // The previous lines are written. `writing` and the queue change under one lock: otherwise `finish` could find
        // the queue empty while the last line is still being written, and the process would end without it.
        if mem::take(&mut queue.writing) {
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

    fn push(&mut self, source: Source, text: &[u8]) {
        self.used[source as usize] += cost(text.len());
        self.text.extend(text);
        // The count stays with the line that follows the gap, so that the log reports the gap at its place.
        let dropped = mem::take(&mut self.dropped);
        self.lines.push_back(Line { source, length: text.len(), dropped });
    }

    /// Moves the lines that are written next into the empty batch, up to the next gap, so that the log reports the gap at its
    /// place. Returns `false` if there is nothing to write.
    fn take(&mut self, batch: &mut Batch, limits: Limits) -> bool {
        let mut length = 0;
        while let Some(line) = self.lines.front().filter(|line| batch.accepts(line, length, limits)) {
            length += line.length;
            batch.ends.push(length);
            batch.dropped += line.dropped;
            let used = &mut self.used[line.source as usize];
            *used = used.saturating_sub(cost(line.length));
            self.lines.pop_front();
        }
        self.take_text(length, &mut batch.text);
        if batch.ends.is_empty() {
            // Report the dropped lines now: the next line may be a long time away.
            batch.dropped = mem::take(&mut self.dropped);
        }
        if self.used[Source::Worker as usize] <= limits.bytes[Source::Worker as usize] / 2 {
            self.full_since = None;
        }
        self.writing = !batch.ends.is_empty() || batch.dropped > 0;
        self.writing
    }

    fn take_text(&mut self, length: usize, to: &mut Vec<u8>) {
        let (first, second) = self.text.as_slices();
        let of_first = length.min(first.len());
        to.extend_from_slice(&first[..of_first]);
        to.extend_from_slice(&second[..length - of_first]);
        self.text.drain(..length);
        // Not the memory of a backlog for ever.
        if self.text.is_empty() && self.text.capacity() > KEPT {
            self.text.shrink_to(URGENT);
        }
    }
}

impl Batch {
    /// Whether the line is written together with the lines of the batch, which have this length.
    fn accepts(&self, line: &Line, length: usize, limits: Limits) -> bool {
        self.ends.is_empty() || (line.dropped == 0 && length + line.length <= limits.batch)
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.dropped = 0;
    }
}

fn cost(length: usize) -> usize {
    length + OVERHEAD
}
