//! The error as text: the multi-line form, and the form without details of workers. Pure functions.

use super::{
    Error, ExitReport,
    kinds::{queue_text, run_possibility_text},
};
use herder_wire::ArgumentError;
use std::{error::Error as _, fmt};

struct Verbose<'a>(&'a Error);

impl fmt::Display for Verbose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_in_full(f)
    }
}

/// `{:?}` is the name of the variant with the text and its causes, since `main` prints an error that it returns in this form.
/// `{:#?}` has all details, like [`verbose`](Error::verbose).
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.variant())?;
        if f.alternate() {
            return self.write_in_full(f);
        }
        write!(f, "{self}")?;
        self.write_causes(f)
    }
}

impl Error {
    /// Formats the error with all details on several lines: the text, the properties, the sources, the process and its exit,
    /// the earlier attempts, the traceback and the last output of the worker.
    ///
    /// ```
    /// # use herder_actors::Error;
    /// let error = Error::QueueFull { limit: 8 };
    /// let long = "the pool's queue is full (limit: 8); retry later\n  queue-full: resource, minor; backoff_retry; the call did not run";
    /// assert_eq!(error.verbose().to_string(), long);
    /// ```
    pub fn verbose(&self) -> impl fmt::Display + '_ {
        Verbose(self)
    }

    /// Returns the error's text without the output or exception of a worker that failed to start, and without the text of a
    /// panic.
    pub(super) fn redacted(&self) -> String {
        match self {
            Self::QueueTimeout { waited, starting, .. } => queue_text(*waited, *starting),
            Self::PoolFailed { retry_after, .. } => {
                format!(
                    "the pool has failed; the next restart attempt is in {}",
                    humantime::format_duration(*retry_after)
                )
            }
            Self::StartFailed { .. } => "a worker failed to start".into(),
            Self::Internal { .. } => "internal error".into(),
            _ => self.detail(),
        }
    }

    /// Returns the text without what stands in other members of a problem: that a handler rejected the call.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Rejected { message, .. } => message.clone(),
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
            Self::BadArguments { errors, .. } => {
                write_lines(f, "arguments", errors.iter().map(ArgumentError::to_string))
            }
            _ => self.report().map_or(Ok(()), |report| write_report(f, report)),
        }
    }

    /// Writes the sources whose text the previous line does not contain already.
    fn write_causes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous = self.to_string();
        let mut cause = self.source();
        while let Some(next) = cause {
            let text = next.to_string();
            if !previous.contains(&text) {
                write!(f, "\n  caused by: {text}")?;
            }
            previous = text;
            cause = next.source();
        }
        Ok(())
    }
}

/// Writes the details of an exit, except exit status and signal, which are in the reason.
fn write_report(f: &mut fmt::Formatter<'_>, report: &ExitReport) -> fmt::Result {
    if let Some(traceback) = &report.traceback {
        write_lines(f, "traceback", traceback.lines())?;
    }
    if let Some(stack) = &report.stack {
        write_lines(f, "stack", stack.lines())?;
    }
    write_lines(f, "last output", report.stderr_tail.iter().map(String::as_str))
}

fn write_lines(f: &mut fmt::Formatter<'_>, what: &str, lines: impl Iterator<Item: fmt::Display>) -> fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        write!(f, "\n  {what}:")?;
    }
    lines.try_for_each(|line| write!(f, "\n  | {line}"))
}
