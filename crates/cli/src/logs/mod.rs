//! Logging to standard error, filtered by `HERDER_LOG`. It includes the output of workers.
//!
//! A thread that logs is never blocked and never panics, whatever happens to standard error: a separate thread writes
//! ([`Output`]). Everything else that the process prints on standard error after the start of logging, panics included,
//! uses the same thread, because a direct write would block if the reader has stopped reading.
//!
//! The log is text, or one JSON object on each line (`serve --log-format`).

#[cfg(test)]
mod captured;
mod dev_format;
mod fields;
mod format;
mod json;
mod levels;
mod redact;
mod text;
mod timestamp;
mod writer;

pub(crate) use format::{Format, LogFormat};
pub(crate) use levels::PoolLevels;
pub(crate) use redact::hide_token;
pub(crate) use writer::Output;

use crate::{
    console::Style,
    error::{CommandError, Outcome},
};
use format::WORKER;
use json::JsonLayer;
use levels::PoolFilter;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    panic::PanicHookInfo,
    sync::OnceLock,
    thread,
    time::Duration,
};
use text::TextFields;
use timestamp::Timestamp;
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::LevelFilter,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
use writer::Source;

/// How long the process waits at its end for a log that is not read.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The target of the events of the program itself. Without it, the target of an event would be its module, such as that of the
/// access log.
pub(crate) const PROGRAM: &str = "herder";

/// The filter of the access log: it is shown whatever `HERDER_LOG` says.
pub(crate) const ACCESS: &str = "herder::access=info";

/// Examples of a filter.
const ALLOWED: &str = "such as `debug` or `info,herder_actors=trace`";

/// The prefixes of the crates in this binary that write to the log. A word that is neither one of these nor a level
/// would match nothing.
const PARTS: [&str; 5] = ["herder", "actix", "tokio", "mio", "ureq"];

static LOG: OnceLock<Output> = OnceLock::new();
static POOL_LEVELS: PoolLevels = PoolLevels::new();

/// Starts logging as text. `default` is the filter if `HERDER_LOG` is not set.
pub(crate) fn start(default: &str) -> Outcome {
    start_as(Format::Text, default, &[])
}

/// Starts logging in this form. `default` is the filter if `HERDER_LOG` is not set; `more` is always added to it.
pub(crate) fn start_as(format: Format, default: &str, more: &[&str]) -> Outcome {
    let filter = chosen_filter(default, more)?;
    let output = Output::start("herder-stderr", io::stderr().as_fd(), format).map_err(CommandError::failed)?;
    match format {
        Format::Text => {
            // `log_internal_errors` would report errors with `eprintln!`, which can block and panic.
            let lines = layer().with_writer(output.clone()).with_timer(Timestamp).log_internal_errors(false);
            install(lines.with_ansi(io::stderr().is_terminal()).fmt_fields(TextFields), filter, output)
        }
        Format::Json => {
            let to = output.clone();
            let lines = JsonLayer::new(move |event, line| to.push(source_of(event), line));
            install(lines, filter, output)
        }
    }
}

/// Starts the console of `herder dev`: the calls, the output of workers and the warnings, without time and target.
pub(crate) fn start_console(style: Style) -> Outcome {
    let filter = chosen_filter(dev_format::LOGGED, &[dev_format::CALLS])?;
    let output = Output::start("herder-stderr", io::stderr().as_fd(), Format::Text).map_err(CommandError::failed)?;
    let lines = layer().with_writer(output.clone()).log_internal_errors(false);
    install(lines.event_format(dev_format::DevFormat::new(style)), filter, output)
}

/// Returns the filter of `HERDER_LOG`, or else the default one, with these directives.
fn chosen_filter(default: &str, more: &[&str]) -> Outcome<EnvFilter> {
    let chosen = std::env::var("HERDER_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter(chosen.as_deref().unwrap_or(default))
        .map_err(|error| CommandError::usage(format_args!("HERDER_LOG: {error}; allowed: {ALLOWED}")))?;
    more.iter().try_fold(filter, |filter, directive| {
        Ok(filter.add_directive(directive.parse().map_err(CommandError::failed)?))
    })
}

/// Makes this the log of the process.
fn install(lines: impl Layer<Registry> + Send + Sync, filter: EnvFilter, output: Output) -> Outcome {
    let filter = PoolFilter::new(filter, &POOL_LEVELS);
    tracing_subscriber::registry().with(lines).with(filter).try_init().map_err(CommandError::failed)?;
    std::panic::set_hook(Box::new(log_panic));
    // Cannot be set already: `try_init` succeeds only once in a process.
    _ = LOG.set(output);
    Ok(())
}

/// Checks `HERDER_LOG`, without starting the log. Returns its text; `None` if it is not set.
///
/// # Errors
/// Fails with the text, why it is not a filter, and what is allowed.
pub(crate) fn check_variable() -> Result<Option<String>, String> {
    let chosen = std::env::var("HERDER_LOG").ok().filter(|text| !text.is_empty());
    match chosen.as_deref().map(filter) {
        Some(Err(error)) => Err(format!("{error}; allowed: {ALLOWED}")),
        _ => Ok(chosen),
    }
}

/// Returns the levels of single pools.
pub(crate) fn pool_levels() -> &'static PoolLevels {
    &POOL_LEVELS
}

/// Writes a line to standard error. If logging has started, the line follows everything that was logged before. Never
/// panics.
pub(crate) fn write_line(text: &str) {
    match LOG.get() {
        Some(output) => output.line(text),
        None => _ = writeln!(io::stderr(), "{text}"),
    }
}

/// Returns whether the log has started and is JSON.
pub(crate) fn is_json() -> bool {
    LOG.get().is_some_and(|output| output.format() == Format::Json)
}

/// Returns the number of lines that were dropped since the process started.
pub(crate) fn dropped() -> u64 {
    LOG.get().map_or(0, Output::dropped)
}

/// Waits until everything that was logged is written, for at most a second: the log may not be read any more.
pub(crate) fn finish() {
    if let Some(output) = LOG.get() {
        output.finish(FLUSH_TIMEOUT);
    }
}

/// Prints the message of the default panic hook. This is not a log event, because the panic can happen while one is
/// being written.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let thread = thread::current();
    let text = format!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>"));
    match backtrace.status() {
        BacktraceStatus::Captured => write_line(&format!("{text}\nstack backtrace:\n{backtrace}")),
        _ => write_line(&text),
    }
}

/// Returns who has caused an event.
fn source_of(event: &Metadata<'_>) -> Source {
    if event.target() == WORKER { Source::Worker } else { Source::Host }
}

/// Writes one event to the output, as text.
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
        EventWriter { output: self, source: source_of(event) }
    }
}

impl Write for EventWriter<'_> {
    /// Queues an event without its secrets. The subscriber writes each event in one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.output.push(self.source, &redact::redact(event, false));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parses a filter. Refuses a word that would be read as a target that matches nothing.
fn filter(text: &str) -> Result<EnvFilter, String> {
    if let Some(word) = single_words(text).find(|word| !is_level(word) && !is_part(word)) {
        return Err(if word.eq_ignore_ascii_case("json") {
            format!("`{word}` is not a filter; for JSON logs, use `herder serve --log-format json`")
        } else {
            format!("`{word}` is neither a log level nor a target of Herder; for another target, write `{word}=trace`")
        });
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// Returns the directives that are a single word: a level, or a target at every level. Returns none for a text with
/// spans, because their fields may contain commas.
fn single_words(text: &str) -> impl Iterator<Item = &str> {
    let directives = text.split(',').filter(|_| !text.contains(['[', '{']));
    directives.map(str::trim).filter(|directive| !directive.is_empty() && !directive.contains('='))
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

fn is_part(word: &str) -> bool {
    PARTS.iter().any(|part| word.starts_with(part))
}
