//! Emits the log events of pools and of HTTP requests: a bounded queue for each source, and one thread of the process that calls
//! the application's `tracing` subscriber.
//!
//! The subscriber is code of the application: it may be slow, wait for a lock or a full pipe, or panic. So it is never called
//! on a thread that runs a pool or serves a request, nor while a lock of ours is held. `tracing`'s macros are called only in
//! closures given to [`EventLog::queue`].

mod entry_queue;

use entry_queue::EntryQueue;
use herder_process::{ProcessMark, thread_builder};
use std::{
    fmt::{self, Display, Formatter, Write},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;
use tracing::{
    Level,
    dispatcher::{WeakDispatch, get_default, with_default},
    level_filters::LevelFilter,
    subscriber::NoSubscriber,
};

/// The maximum number of queued events of one source. Most take less than 1 KiB; an event of a worker's exit may take 24 KiB.
const LIMIT: usize = 8192;
/// The maximum time that the end of a pool waits for the subscriber.
const EMIT_TIMEOUT: Duration = Duration::from_secs(1);

static EMITTER: OnceLock<Emitter> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The thread that calls the subscriber, in the process that started it. It runs until the process exits.
struct Emitter {
    process: ProcessMark,
    entries: Arc<EntryQueue<Entry>>,
}

enum Entry {
    Event {
        source: Arc<Source>,
        event: Box<dyn FnOnce() + Send>,
    },
    /// A closure that runs after all earlier entries have been emitted.
    Marker(Box<dyn FnOnce() + Send>),
}

/// The events of one source, such as a pool, that wait for the thread that calls the subscriber. Clones share the limit.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Source>);

#[derive(Debug)]
struct Source {
    /// The pool. `None`: the source is none.
    pool: Option<Box<str>>,
    /// The subscriber of the thread that created this source. Weak: a pool does not keep a subscriber alive that the
    /// application has dropped.
    subscriber: Option<WeakDispatch>,
    limit: usize,
    pending: AtomicUsize,
    /// The number of events dropped since the last event that reported this number.
    dropped: AtomicU64,
}

impl EventLog {
    /// Creates the queue of a pool. Its events go to the current subscriber of this thread, or else to that of the process.
    pub(crate) fn new(pool: &str) -> Self {
        Self::with_limit(Some(pool), LIMIT)
    }

    /// Creates the queue of a source that is no pool. Its events go to the current subscriber of this thread, or else to that of the
    /// process.
    #[must_use]
    pub fn of_no_pool() -> Self {
        Self::with_limit(None, LIMIT)
    }

    fn with_limit(pool: Option<&str>, limit: usize) -> Self {
        let subscriber = get_default(|current| (!current.is::<NoSubscriber>()).then(|| current.downgrade()));
        let (pending, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Source { pool: pool.map(Into::into), subscriber, limit, pending, dropped }))
    }

    /// Queues a closure that emits an event of this level or a more severe one. Never blocks, and runs no code of the
    /// application: whether the level is enabled is read from a static. If the queue is full, the event is dropped and
    /// counted.
    pub fn queue(&self, level: Level, event: impl FnOnce() + Send + 'static) {
        if !may_be_enabled(level) {
            return;
        }
        let source = &self.0;
        // Counted before it is sent, so that concurrent senders never queue more than `limit` together.
        let has_room = source.pending.fetch_add(1, Ordering::AcqRel) < source.limit;
        match emitter().filter(|_| has_room) {
            Some(emitter) => emitter.entries.push(Entry::Event { source: source.clone(), event: Box::new(event) }),
            None => {
                source.dropped.fetch_add(1, Ordering::AcqRel);
                source.pending.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// Returns whether a subscriber may record events of this level. Without a subscriber all levels are off; but the application
/// may use `tracing`'s feature `log`, which then passes events to the crate `log`.
fn may_be_enabled(level: Level) -> bool {
    let enabled = LevelFilter::current();
    level <= enabled || (enabled == LevelFilter::OFF && level <= Level::INFO)
}

/// Waits until the events queued so far were emitted, at most one second, since a subscriber may block. Called at the end of
/// a pool and of a server, before the process may exit. Cancel safe.
#[expect(clippy::disallowed_methods, reason = "a subscriber that blocks must not keep a pool from ending")]
pub async fn wait_emitted() {
    let (done, emitted) = oneshot::channel();
    if queue_marker(move || _ = done.send(())) {
        let _ = tokio::time::timeout(EMIT_TIMEOUT, emitted).await;
    }
}

/// Like [`wait_emitted`], for tests that read the log: blocks the thread.
#[cfg(feature = "testing")]
#[expect(clippy::disallowed_methods, reason = "another test may block its subscriber")]
pub(crate) fn block_until_emitted() {
    let (done, emitted) = std::sync::mpsc::channel();
    if queue_marker(move || _ = done.send(())) {
        let _ = emitted.recv_timeout(EMIT_TIMEOUT);
    }
}

/// Queues a marker. Returns false if no event was ever queued.
fn queue_marker(reached: impl FnOnce() + Send + 'static) -> bool {
    let emitter = EMITTER.get().filter(|emitter| emitter.process.is_here());
    emitter.map(|emitter| emitter.entries.push_urgent(Entry::Marker(Box::new(reached)))).is_some()
}

/// Returns the emitter; starts its thread if there is none. `None` if the thread cannot be started, and in a forked copy of
/// the process, which has no such thread.
fn emitter() -> Option<&'static Emitter> {
    // The lock keeps two threads from both starting an emitter. `get_or_init` cannot be used, because starting the thread can
    // fail and is tried again with the next event.
    if EMITTER.get().is_none() {
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if EMITTER.get().is_none() {
            let _ = EMITTER.set(start()?);
        }
    }
    EMITTER.get().filter(|emitter| emitter.process.is_here())
}

fn start() -> Option<Emitter> {
    let entries = Arc::new(EntryQueue::new());
    let queued = entries.clone();
    thread_builder("herder-events").spawn(move || emit_all(&queued)).ok()?;
    Some(Emitter { process: ProcessMark::here(), entries })
}

/// Emits entries until the process exits.
fn emit_all(queued: &EntryQueue<Entry>) {
    let mut batch = Vec::new();
    loop {
        queued.next_batch(&mut batch);
        batch.drain(..).for_each(Entry::emit);
    }
}

impl Entry {
    fn emit(self) {
        match self {
            Self::Event { source, event } => source.emit(event),
            Self::Marker(reached) => run_catching(reached),
        }
    }
}

impl Source {
    fn emit(&self, event: Box<dyn FnOnce() + Send>) {
        run_catching(|| self.with_subscriber(event));
        self.pending.fetch_sub(1, Ordering::AcqRel);
        // An event is dropped only while others are queued, so at least one event is emitted after it and reports it here.
        // `pending` was decreased before: an event that is queued from now on finds room.
        let dropped = self.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 {
            let pool = self.pool.as_deref();
            let report = || tracing::warn!(pool, dropped, "log events were dropped: the subscriber is too slow");
            run_catching(|| self.with_subscriber(report));
        }
    }

    fn with_subscriber(&self, event: impl FnOnce()) {
        match self.subscriber.as_ref().and_then(WeakDispatch::upgrade) {
            Some(subscriber) => with_default(&subscriber, event),
            None => event(),
        }
    }
}

/// Runs the closure. If the subscriber panics, only this event is lost.
fn run_catching(event: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(event)) {
        mem::forget(panic); // its destructor is code of the application, too, and may panic again
    }
}

/// Formats text on one line: control characters are escaped. Callers choose parts of an error's text, such as the name of a
/// command, and could otherwise forge log lines or send escape sequences to a terminal.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| match char.is_control() {
            true => write!(self.0, "{}", char.escape_default()),
            false => self.0.write_char(char),
        })
    }
}

#[cfg(test)]
mod tests;
