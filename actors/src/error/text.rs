//! The error in words: parts of its one line, and the long form for people. Pure.

use super::{Error, ExitReport};
use std::{error::Error as _, fmt, time::Duration};

/// Rounded up, and at least one.
pub(super) fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs((span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1))
}

/// Nanoseconds are noise in a message.
pub(super) fn whole_ms(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn run_possibility_text(may_have_run: bool) -> &'static str {
    if may_have_run { "; the call may have run" } else { "; the call did not run" }
}

/// What comes after an exception's type, as in Python's own tracebacks.
pub(super) fn with_separator(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

pub(super) fn with_last_start_error(last: &Option<Box<str>>) -> String {
    last.as_ref().map_or_else(String::new, |last| format!("; the last start of a worker failed: {last}"))
}

struct Verbose<'a>(&'a Error);

impl fmt::Display for Verbose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_in_full(f)
    }
}

impl Error {
    /// The error with all that is known, on several lines: what it is and what to do, its causes, the process and its end, the
    /// attempts before, the traceback and the last lines the worker printed.
    ///
    /// ```
    /// let error = herder_actors::Error::QueueFull { limit: 8 };
    /// let long = "the pool's queue is full (8 calls wait)\n  queue-full: resource, minor; backoff_retry; the call did not run";
    /// assert_eq!(error.verbose().to_string(), long);
    /// ```
    pub fn verbose(&self) -> impl fmt::Display + '_ {
        Verbose(self)
    }

    /// The error's text without what a worker printed or raised when it did not start, and without the text of a panic.
    pub(super) fn redacted(&self) -> String {
        match self {
            Self::QueueTimeout { waited, .. } => {
                format!("no worker was free within {}", humantime::format_duration(*waited))
            }
            Self::PoolFailed { retry_after, .. } => {
                format!(
                    "the pool has failed; the next restart attempt is in {}",
                    humantime::format_duration(*retry_after)
                )
            }
            Self::StartFailed { .. } => "a worker could not be started".into(),
            Self::Internal { .. } => "internal error".into(),
            _ => self.to_string(),
        }
    }

    fn write_in_full(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slug, category) = (self.slug(), self.category());
        let decision = self.decision(false);
        write!(
            f,
            "{self}\n  {slug}: {category}, {}; {}{}",
            decision.severity,
            decision.strategy,
            run_possibility_text(self.may_have_run())
        )?;
        self.write_causes(f)?;
        if let Some(worker) = self.worker() {
            write!(f, "\n  worker {worker}")?;
        }
        for (number, attempt) in (1..).zip(self.attempts()) {
            write!(f, "\n  attempt {number}: {attempt}")?;
            write_report(f, &attempt.report)?;
        }
        match self {
            Self::Exception { traceback: Some(traceback), .. } => write_lines(f, "traceback", traceback.lines()),
            _ => self.report().map_or(Ok(()), |report| write_report(f, report)),
        }
    }

    /// Those that the line above does not tell already.
    fn write_causes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.to_string();
        let mut cause = self.source();
        while let Some(next) = cause {
            let text = next.to_string();
            if !told.contains(&text) {
                write!(f, "\n  caused by: {text}")?;
            }
            told = text;
            cause = next.source();
        }
        Ok(())
    }
}

/// Exit status and signal stand in the reason already.
fn write_report(f: &mut fmt::Formatter<'_>, report: &ExitReport) -> fmt::Result {
    if let Some(traceback) = &report.traceback {
        write_lines(f, "traceback", traceback.lines())?;
    }
    if let Some(stack) = &report.stack {
        write_lines(f, "stack", stack.lines())?;
    }
    write_lines(f, "last output", report.stderr_tail.iter().map(String::as_str))
}

fn write_lines<'a>(f: &mut fmt::Formatter<'_>, what: &str, lines: impl Iterator<Item = &'a str>) -> fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        write!(f, "\n  {what}:")?;
    }
    lines.try_for_each(|line| write!(f, "\n  | {line}"))
}
