//! Logs: to standard error, what of them is chosen by `HERDER_LOG`. What workers print is among them.
//!
//! Nothing here blocks or panics a thread that logs, whatever becomes of standard error: a thread of its own writes
//! ([`Output`]). What the process itself has to say on standard error once logging has started, panics included, goes the same
//! way, since a write of one's own would block on a reader that stopped.

mod filter;
mod output;

pub(crate) use output::Output;

use crate::error::{CommandError, Outcome};
use filter::{ALLOWED, filter};
use output::Source;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    panic::PanicHookInfo,
    sync::OnceLock,
    thread,
    time::Duration,
};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// What workers print is logged under this target.
const WORKER: &str = "herder::worker";
/// How long the process waits at its end for a log that nobody reads.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static LOG: OnceLock<Output> = OnceLock::new();

/// Starts logging; `default` is what is logged unless `HERDER_LOG` says otherwise.
pub(crate) fn start(default: &str) -> Outcome {
    let chosen = std::env::var("HERDER_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter(chosen.as_deref().unwrap_or(default))
        .map_err(|error| CommandError::usage(format_args!("HERDER_LOG: {error}; allowed: {ALLOWED}")))?;
    let output = Output::start("herder-stderr", io::stderr().as_fd()).map_err(CommandError::failed)?;
    // `log_internal_errors` would report what cannot be formatted by `eprintln!`, which blocks and panics.
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(output.clone()).log_internal_errors(false);
    logs.with_ansi(io::stderr().is_terminal()).try_init().map_err(CommandError::failed)?;
    std::panic::set_hook(Box::new(log_panic));
    _ = LOG.set(output); // `try_init` succeeds once a process
    Ok(())
}

/// Writes a line to standard error: behind what was logged before, if logging has started. Never panics.
pub(crate) fn write_line(text: &str) {
    match LOG.get() {
        Some(output) => output.line(text),
        None => _ = writeln!(io::stderr(), "{text}"),
    }
}

/// Returns how many lines were dropped since the process began.
pub(crate) fn dropped() -> u64 {
    LOG.get().map_or(0, Output::dropped)
}

/// Waits until all that was logged is written, at most a second: maybe nobody reads it any more.
pub(crate) fn finish() {
    if let Some(output) = LOG.get() {
        output.finish(FLUSH_TIMEOUT);
    }
}

/// What the default hook says. Not an event of the log: a panic may come from the middle of one.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let thread = thread::current();
    let text = format!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>"));
    match backtrace.status() {
        BacktraceStatus::Captured => write_line(&format!("{text}\nstack backtrace:\n{backtrace}")),
        _ => write_line(&text),
    }
}

/// One event on its way to the output.
pub(crate) struct EventWriter<'a> {
    output: &'a Output,
    source: Source,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter { output: self, source: Source::Host }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        let source = if event.target() == WORKER { Source::Worker } else { Source::Host };
        EventWriter { output: self, source }
    }
}

impl Write for EventWriter<'_> {
    /// The subscriber writes each event as a whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.output.push(self.source, event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
