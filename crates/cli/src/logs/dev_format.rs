//! The log as `herder dev` shows it: a line for each call, what workers print as they print it, and tracebacks.

use super::{fields::Fields, format::WORKER};
use crate::console::{Style, printable, traceback};
use serde_json::Value;
use std::{
    fmt::{self, Write},
    sync::{Mutex, PoisonError},
};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext,
        format::{FormatEvent, FormatFields, Writer},
    },
    registry::LookupSpan,
};

/// The filter if `HERDER_LOG` is not set. Starts and stops of workers are no news.
pub(super) const LOGGED: &str = "warn,herder::worker=info";
/// The filter of the calls, which are always shown.
pub(super) const CALLS: &str = "herder::call=debug";
/// The target of the events of calls.
const CALL: &str = "herder::call";

/// Writes events for a person at a terminal.
pub(super) struct DevFormat {
    style: Style,
    /// The last failed call. Its event comes before the one that has its times.
    failed: Mutex<Option<Fields>>,
}

impl DevFormat {
    pub(super) fn new(style: Style) -> Self {
        Self { style, failed: Mutex::default() }
    }

    fn show(&self, target: &str, level: Level, fields: Fields) -> String {
        match (target, fields.message.as_str()) {
            (CALL, "call failed" | "call refused") => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(fields);
                String::new()
            }
            (CALL, "call") => self.call(&fields),
            (CALL, message) if message.starts_with("handler ") => self.late(&fields),
            // A failed start is printed by whoever caused it: the start of the server, or a reload.
            (CALL, _) | (_, "worker failed to start" | "pool failed: too many deaths and failed starts of workers") => {
                String::new()
            }
            (WORKER, _) => self.worker(level, &fields),
            _ => self.other(level, &fields),
        }
    }

    /// Returns the line of an answered call, and the traceback of a failed one.
    fn call(&self, fields: &Fields) -> String {
        // The name in a refused call is the client's text, as may be parts of the errors, and a terminal would obey it.
        let command = printable(fields.text("command"));
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failed = failed.filter(|failed| failed.text("error_id") == fields.text("error_id"));
        let reason = printable(failed.as_ref().map_or("", |failed| failed.text("reason")));
        let outcome = match (fields.text("outcome"), &failed) {
            ("ok", _) => self.style.green("ok"),
            (slug, None) => self.style.red(slug),
            (slug, Some(_)) if reason.starts_with(slug) => self.style.red(&reason),
            (slug, Some(_)) => format!("{}: {reason}", self.style.red(slug)),
        };
        let session = match fields.text("session") {
            "" => String::new(),
            session => self.style.dim(&format!("  session {}", printable(session))),
        };
        let mut text = format!("{command}  {}  {outcome}{session}\n", self.style.dim(&time(fields)));
        if let Some(failed) = failed {
            let report = |name| Some(printable(failed.text(name))).filter(|text| !text.is_empty());
            text += &report("traceback").map(|trace| traceback::show(&trace, self.style)).unwrap_or_default();
            text += &report("stack").map(|stack| format!("{stack}\n")).unwrap_or_default();
        }
        text
    }

    /// Returns where the handler of a call was that had failed before, such as at its deadline.
    fn late(&self, fields: &Fields) -> String {
        let [command, reason, trace] = ["command", "reason", "traceback"].map(|name| printable(fields.text(name)));
        format!("{command}  {}: {reason}\n{}", fields.message, traceback::show(&trace, self.style))
    }

    /// Returns what a worker printed as it is, and its log records with their level and logger.
    fn worker(&self, level: Level, fields: &Fields) -> String {
        if fields.others.contains_key("stream") {
            return format!("{}\n", fields.message);
        }
        let (logger, own) = (fields.text("logger"), fields.text("fields"));
        let mut text = format!("{} {}", self.level(level), self.style.dim(logger));
        _ = writeln!(text, " {}{}", fields.message, if own.is_empty() { String::new() } else { format!(" {own}") });
        for name in ["traceback", "stack"] {
            text += &traceback::show(fields.text(name), self.style);
        }
        text
    }

    fn other(&self, level: Level, fields: &Fields) -> String {
        let mut text = format!("{} {}", self.level(level), fields.message);
        let shown = ["worker", "reason"].map(|name| fields.text(name)).into_iter().filter(|text| !text.is_empty());
        shown.for_each(|value| _ = write!(text, ": {}", printable(value)));
        text.push('\n');
        let output = fields.text("stderr").lines().map(|line| format!("  {line}\n"));
        output.for_each(|line| text += &line);
        text
    }

    fn level(&self, level: Level) -> String {
        match level {
            Level::ERROR => self.style.red("ERROR"),
            Level::WARN => self.style.yellow("WARN"),
            other => other.to_string(),
        }
    }
}

/// Returns the time that the handler ran; without that, nothing.
fn time(fields: &Fields) -> String {
    let run = fields.others.get("run_us").and_then(Value::as_u64);
    // Display only.
    run.map_or_else(|| "-".to_owned(), |run| format!("{:.1} ms", run as f64 / 1000.0))
}

impl<S, N> FormatEvent<S, N> for DevFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        writer.write_str(&self.show(metadata.target(), *metadata.level(), Fields::of(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_handler_is_shown_where_it_was() {
        let traceback =
            "Traceback (most recent call last):\n  File \"app.py\", line 3, in slow\n    wait()\nInterrupted\n";
        let others = [("command", "slow"), ("reason", "the call was interrupted"), ("traceback", traceback)];
        let fields = Fields::new("handler interrupted", others.map(|(name, text)| (name, text.into())));
        let shown = DevFormat::new(Style { has_colors: false }).show(CALL, Level::INFO, fields);
        assert_eq!(shown, format!("slow  handler interrupted: the call was interrupted\n{traceback}"));
    }
}
