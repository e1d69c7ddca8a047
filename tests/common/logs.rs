//! Captures what the library logs, for the whole test process: one subscriber, since a worker's lines come from a thread that
//! belongs to no test.

use std::{
    fmt::{self, Write},
    sync::{Mutex, Once, PoisonError},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, Registry, layer::Context, prelude::*};

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// One event of the log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) target: String,
    /// `POOL/wN.G`, of a line that a worker printed.
    pub(crate) worker: Option<String>,
    /// `stdout` or `stderr`, of a line that a worker printed.
    pub(crate) stream: Option<String>,
    pub(crate) message: String,
    /// All fields, the message included, as text.
    pub(crate) all: String,
}

impl Line {
    /// Whether the worker `POOL/wN.G` printed it on this stream.
    pub(crate) fn is_of(&self, worker: &str, stream: &str) -> bool {
        self.worker.as_deref() == Some(worker) && self.stream.as_deref() == Some(stream)
    }
}

/// Begins to capture; once is enough.
pub(super) fn capture() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| drop(tracing::subscriber::set_global_default(Registry::default().with(Capture))));
}

/// What was logged so far that names `pool`.
pub(crate) fn lines_of(pool: &str) -> Vec<Line> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.all.contains(pool)).cloned().collect()
}

struct Capture;

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        if !target.starts_with("herder") {
            return;
        }
        let mut line = Line {
            level: *event.metadata().level(),
            target: target.into(),
            worker: None,
            stream: None,
            message: String::new(),
            all: String::new(),
        };
        event.record(&mut line);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Visit for Line {
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
