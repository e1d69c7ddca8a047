//! What the library logs, captured for the whole test process; a pool's name tells whose line it is.

use std::{
    fmt::{self, Write},
    sync::{Mutex, Once, PoisonError},
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, Registry, layer::Context, prelude::*};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to capture; once is enough.
pub(crate) fn capture() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| drop(tracing::subscriber::set_global_default(Registry::default().with(Capture))));
}

/// Waits for a line that has all these words.
pub(crate) async fn logged(words: &[&str]) {
    super::until(&format!("a line of the log with {words:?}"), async || {
        let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
    })
    .await;
}

struct Capture;

struct Line(String);

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
