//! Captures the log events of the library for the whole test process. There is one subscriber, since the output of workers is
//! logged by a thread that belongs to no test. Holds the events.

use super::wait::wait_until;
use crate::events::block_until_emitted;
use std::{
    fmt::{self, Write},
    sync::{Mutex, OnceLock, PoisonError},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

static LINES: Mutex<Vec<LogLine>> = Mutex::new(Vec::new());

/// One captured log event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogLine {
    /// The level.
    pub level: Level,
    /// The target: `herder...`.
    pub target: String,
    /// The worker as `wN.G`, if the event is a line of its output.
    pub worker: Option<String>,
    /// `stdout` or `stderr`, if the event is a line of output.
    pub stream: Option<String>,
    /// The message.
    pub message: String,
    /// The level and all fields, including the message, as text.
    pub all: String,
    /// The field `pool`.
    pool: Option<String>,
}

impl LogLine {
    /// Returns whether the event is a line that the worker `wN.G` printed on this stream.
    pub fn is_of(&self, worker: &str, stream: &str) -> bool {
        self.worker.as_deref() == Some(worker) && self.stream.as_deref() == Some(stream)
    }

    /// Returns whether the event is about this pool. Only the text of events without a field `pool` is searched: tests poll, and
    /// a worker that prints megabytes in one test would slow down all others.
    fn is_about(&self, pool: &str) -> bool {
        self.pool.as_ref().map_or_else(|| self.all.contains(pool), |name| name == pool)
    }
}

/// Starts to capture. Further calls do nothing; every pool of these tools calls it. Returns false if the process has another
/// subscriber: then no events are captured.
pub fn capture() -> bool {
    static CAPTURING: OnceLock<bool> = OnceLock::new();
    *CAPTURING.get_or_init(|| tracing::subscriber::set_global_default(Capture).is_ok())
}

/// Returns the captured events of `pool`, in their order: those whose field `pool` is this name, and those that have no such
/// field and contain the name. Waits until the events queued by pools were emitted, at
/// most one second.
///
/// ```
/// # use herder_actors::testing::{capture, log_lines_of};
/// capture();
/// tracing::warn!(target: "herder", pool = "carts", "worker lost");
/// assert_eq!(log_lines_of("carts")[0].message, "worker lost");
/// ```
pub fn log_lines_of(pool: &str) -> Vec<LogLine> {
    block_until_emitted();
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.is_about(pool)).cloned().collect()
}

/// Waits for an event that contains all these strings.
///
/// # Panics
/// If no such event is captured in time, or another subscriber is installed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use herder_actors::testing::{capture, wait_for_log};
/// capture();
/// tracing::warn!(target: "herder", pool = "orders", "worker lost");
/// wait_for_log(&["WARN", "orders", "worker lost"]).await;
/// # });
/// ```
pub async fn wait_for_log(words: &[&str]) {
    assert!(capture(), "cannot capture log lines: this process has already installed a tracing subscriber");
    let mut searched = 0; // events before this one contain not all strings
    wait_until(&format!("a line of the log with {words:?}"), async || {
        let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lines[searched..].iter().any(|line| words.iter().all(|word| line.all.contains(word)));
        searched = lines.len();
        found
    })
    .await;
}

/// Records events of this library; ignores spans.
struct Capture;

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("herder")
    }

    fn event(&self, event: &Event<'_>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target().into());
        let (all, message) = (format!("{level} "), String::new());
        let mut line = LogLine { level, target, worker: None, stream: None, message, all, pool: None };
        event.record(&mut line);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let _ = write!(self.all, "{}={text} ", field.name());
        match field.name() {
            "worker" => self.worker = Some(text),
            "stream" => self.stream = Some(text),
            "pool" => self.pool = Some(text),
            "message" => self.message = text,
            _ => {}
        }
    }
}
