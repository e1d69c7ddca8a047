//! Captures what the library logs, for the whole test process: one subscriber, since a worker's lines come from a thread that
//! belongs to no test. Holds the lines.

use super::wait_until;
use crate::events::wait_until_emitted;
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

/// One event of the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogLine {
    /// How grave it is.
    pub level: Level,
    /// Where it comes from: `herder...`.
    pub target: String,
    /// `POOL/wN.G`, of a line that a worker printed.
    pub worker: Option<String>,
    /// `stdout` or `stderr`, of a line that a worker printed.
    pub stream: Option<String>,
    /// What it says.
    pub message: String,
    /// Its level and all its fields, the message included, as text.
    pub all: String,
}

impl LogLine {
    /// Whether the worker `POOL/wN.G` printed it on this stream.
    pub fn is_of(&self, worker: &str, stream: &str) -> bool {
        self.worker.as_deref() == Some(worker) && self.stream.as_deref() == Some(stream)
    }
}

/// Begins to capture; once is enough, and every pool of the kit does. False if the process has another subscriber: there are no
/// lines then.
pub fn capture() -> bool {
    static BEGUN: OnceLock<bool> = OnceLock::new();
    *BEGUN.get_or_init(|| tracing::subscriber::set_global_default(Capture).is_ok())
}

/// What was logged so far that names `pool`, in its order. Waits for what pools have queued for the log, at most a second.
///
/// ```
/// use herder_actors::testing::{capture, log_lines_of};
/// capture();
/// tracing::warn!(target: "herder", pool = "carts", "worker lost");
/// assert_eq!(log_lines_of("carts")[0].message, "worker lost");
/// ```
pub fn log_lines_of(pool: &str) -> Vec<LogLine> {
    wait_until_emitted();
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.all.contains(pool)).cloned().collect()
}

/// Waits for a line that has all these words.
///
/// # Panics
/// When it does not come; when another subscriber has the log.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use herder_actors::testing::{capture, wait_for_log};
/// capture();
/// tracing::warn!(target: "herder", pool = "orders", "worker lost");
/// wait_for_log(&["WARN", "orders", "worker lost"]).await;
/// # });
/// ```
pub async fn wait_for_log(words: &[&str]) {
    assert!(capture(), "cannot capture log lines: this process has already installed a tracing subscriber");
    wait_until(&format!("a line of the log with {words:?}"), async || {
        let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| words.iter().all(|word| line.all.contains(word)))
    })
    .await;
}

/// Takes events of this library alone; of spans nothing.
struct Capture;

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("herder")
    }

    fn event(&self, event: &Event<'_>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target().into());
        let (all, message) = (format!("{level} "), String::new());
        let mut line = LogLine { level, target, worker: None, stream: None, message, all };
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
            "message" => self.message = text,
            _ => {}
        }
    }
}
