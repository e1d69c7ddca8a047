//! Events on their way to the application's subscriber: a bounded queue per pool, and one thread of the process that emits them.
//!
//! The subscriber is the application's code: it may be slow, wait for a lock or a full pipe, or panic. So it is never called on a thread that
//! runs a pool, and never with a lock of ours held. `tracing`'s macros are called in the closures given to [`EventLog::queue`] alone.

use herder_process::{ProcessMark, thread_builder};
use std::{
    fmt::{self, Display, Formatter, Write},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
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

/// How many events of one source may wait. Most take less than 1 KiB; one of a worker's end may take 24 KiB.
const LIMIT: usize = 8192;
/// How long the end of a pool waits for a subscriber.
const FINISH: Duration = Duration::from_secs(1);

static EMITTER: OnceLock<Emitter> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The thread that calls subscribers, in the process that started it. It lasts as long as the process.
struct Emitter {
    process: ProcessMark,
    entries: mpsc::Sender<Entry>,
}

enum Entry {
    Event {
        source: Arc<Source>,
        event: Box<dyn FnOnce() + Send>,
    },
    /// A closure that runs after all earlier entries have been emitted.
    Marker(Box<dyn FnOnce() + Send>),
}

/// Queues events of one pool. Clones share the limit.
#[derive(Clone, Debug)]
pub(crate) struct EventLog(Arc<Source>);

#[derive(Debug)]
struct Source {
    name: Box<str>,
    /// The subscriber of the thread that created this source. Weak: a pool does not keep a subscriber alive that its application has dropped.
    subscriber: Option<WeakDispatch>,
    limit: usize,
    pending: AtomicUsize,
    /// How many events were dropped since the last event that reported this number.
    dropped: AtomicU64,
}

impl EventLog {
    /// Creates the queue of a source. Its events go to the present subscriber of this thread, or else to that of the process.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_limit(name, LIMIT)
    }

    fn with_limit(name: &str, limit: usize) -> Self {
        let subscriber = get_default(|current| (!current.is::<NoSubscriber>()).then(|| current.downgrade()));
        let (pending, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Source { name: name.into(), subscriber, limit, pending, dropped }))
    }

    /// Queues a closure that emits an event of this level or a graver one. Never blocks, and runs no code of the application: whether the
    /// level is enabled is read from a static. Without room the event is dropped and counted.
    pub(crate) fn queue(&self, level: Level, event: impl FnOnce() + Send + 'static) {
        if !may_be_enabled(level) {
            return;
        }
        let source = &self.0;
        let has_room = source.pending.fetch_add(1, Ordering::AcqRel) < source.limit;
        let entry = || Entry::Event { source: source.clone(), event: Box::new(event) };
        if !has_room || emitter().is_none_or(|emitter| emitter.entries.send(entry()).is_err()) {
            source.dropped.fetch_add(1, Ordering::AcqRel);
            source.pending.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Whether anybody may want events of this level. Without a subscriber all are off; the application may have chosen `tracing`'s feature `log`
/// then, which passes them on to the crate `log`.
fn may_be_enabled(level: Level) -> bool {
    let enabled = LevelFilter::current();
    level <= enabled || (enabled == LevelFilter::OFF && level <= Level::INFO)
}

/// Waits until the events queued so far were emitted: those of a pool that ended, before its process does. A second at most, since a
/// subscriber may be blocked.
#[expect(clippy::disallowed_methods, reason = "a subscriber that blocks must not keep a pool from ending")]
pub(crate) async fn emitted() {
    let (done, emitted) = oneshot::channel();
    if mark(move || _ = done.send(())) {
        let _ = tokio::time::timeout(FINISH, emitted).await;
    }
}

/// [`emitted`] for tests that look at the log: blocks this thread.
#[cfg(feature = "testing")]
#[expect(clippy::disallowed_methods, reason = "another test may block its subscriber")]
pub(crate) fn wait_until_emitted() {
    let (done, emitted) = mpsc::channel();
    if mark(move || _ = done.send(())) {
        let _ = emitted.recv_timeout(FINISH);
    }
}

/// Queues a marker; false if nothing was ever queued.
fn mark(reached: impl FnOnce() + Send + 'static) -> bool {
    let emitter = EMITTER.get().filter(|emitter| emitter.process.is_here());
    emitter.is_some_and(|emitter| emitter.entries.send(Entry::Marker(Box::new(reached))).is_ok())
}

/// The thread, started if there is none yet. `None` if it cannot be started, and in a forked copy of the process, which has no such thread.
fn emitter() -> Option<&'static Emitter> {
    if EMITTER.get().is_none() {
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if EMITTER.get().is_none() {
            let _ = EMITTER.set(start()?);
        }
    }
    EMITTER.get().filter(|emitter| emitter.process.is_here())
}

fn start() -> Option<Emitter> {
    let (entries, received) = mpsc::channel::<Entry>();
    thread_builder("herder-events").spawn(move || received.into_iter().for_each(Entry::emit)).ok()?;
    Some(Emitter { process: ProcessMark::here(), entries })
}

impl Entry {
    fn emit(self) {
        match self {
            Self::Event { source, event } => source.emit(event),
            Self::Marker(reached) => caught(reached),
        }
    }
}

impl Source {
    fn emit(&self, event: Box<dyn FnOnce() + Send>) {
        caught(|| self.with_subscriber(event));
        self.pending.fetch_sub(1, Ordering::AcqRel);
        // Events are dropped while others wait, so one of those comes here after them.
        let dropped = self.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 {
            let name = &*self.name;
            let report = || tracing::warn!(pool = name, dropped, "log events were dropped: the subscriber is too slow");
            caught(|| self.with_subscriber(report));
        }
    }

    fn with_subscriber(&self, event: impl FnOnce()) {
        match self.subscriber.as_ref().and_then(WeakDispatch::upgrade) {
            Some(subscriber) => with_default(&subscriber, event),
            None => event(),
        }
    }
}

/// A subscriber that panics loses that event, and nothing else.
fn caught(event: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(event)) {
        mem::forget(panic); // its destructor is the application's code, too
    }
}

/// A text on one line of the log: control characters are escaped. Callers choose parts of an error's text, such as a command's name, and
/// could forge lines and move a terminal's cursor with them.
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
