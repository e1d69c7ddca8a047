//! The error as one structured log event with a field for each fact. Calls the subscriber, so it must not be used on a thread
//! that runs pools.

use super::Error;
use herder_core::{PoolName, Severity};

/// The context of a log event.
struct ErrorContext<'a> {
    pool: &'a PoolName,
    message: &'a str,
    all_workers: bool,
    /// Whether the event is the exit of a process that somebody asked for.
    is_requested: bool,
    /// `None` if the event concerns a process and no single call.
    may_have_run: Option<bool>,
}

impl Error {
    /// Logs the error of a call with `message` and these fields: `pool`, `error` (the slug), `category`, `severity`,
    /// `strategy`, `reason`, `may_have_run`, `attempts` (the number of times it was sent), `attempt_errors`; and, of the
    /// process, `worker` (`w2.3`), `generation`, `exit_status`, `signal`, `traceback`, `stack`, `stderr`. Empty fields are
    /// left out. The level depends on the severity: warning is debug, minor is info, major is warn, critical is error. Calls
    /// the subscriber on this thread; the pool's own events are queued.
    pub fn log(&self, pool: &PoolName, message: &str) {
        let may_have_run = Some(self.may_have_run());
        self.log_with_context(&ErrorContext { pool, message, all_workers: false, is_requested: false, may_have_run });
    }

    /// Logs the exit of a process. One that somebody asked for (`is_requested`) is minor, even if no other worker is ready.
    pub(crate) fn log_exit(&self, pool: &PoolName, message: &str, all_workers: bool, is_requested: bool) {
        self.log_with_context(&ErrorContext { pool, message, all_workers, is_requested, may_have_run: None });
    }

    /// Logs the failure of a start for the reason of the previous one, which the log already has in full.
    pub(crate) fn log_repeated_start(&self, pool: &PoolName, times: u32, all_workers: bool) {
        let (worker, reason) = (self.worker().map(tracing::field::display), self.reason());
        let message = "worker failed to start again, for the same reason";
        match self.decision_if_idempotent(all_workers).severity {
            Severity::Critical => tracing::error!(%pool, worker, times, reason, "{message}"),
            _ => tracing::warn!(%pool, worker, times, reason, "{message}"),
        }
    }

    fn log_with_context(&self, context: &ErrorContext<'_>) {
        let ErrorContext { pool, message, all_workers, is_requested, may_have_run } = *context;
        let decision = match may_have_run {
            Some(_) => self.decision(all_workers),
            // There is no call that could run twice.
            None => self.decision_if_idempotent(all_workers && !is_requested),
        };
        let severity = if is_requested { Severity::Minor } else { decision.severity };
        let (worker_ref, report) = (self.worker(), self.report());
        let attempt_errors: Vec<String> = self.attempts().iter().map(ToString::to_string).collect();
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    %pool,
                    error = self.slug(),
                    category = %self.category(),
                    severity = %severity,
                    strategy = %decision.strategy,
                    worker = worker_ref.map(tracing::field::display),
                    generation = worker_ref.map(|worker_ref| worker_ref.generation.0),
                    exit_status = report.and_then(|report| report.exit_status),
                    signal = report.and_then(|report| report.signal),
                    reason = self.reason(),
                    may_have_run,
                    attempts = may_have_run.map(|_| self.send_count()),
                    attempt_errors = joined(&attempt_errors, "; "),
                    traceback = report.and_then(|report| report.traceback.as_deref()),
                    stack = report.and_then(|report| report.stack.as_deref()),
                    stderr = report.and_then(|report| joined(&report.stderr_tail, "\n")),
                    "{message}"
                )
            };
        }
        match severity {
            Severity::Critical => event!(error),
            Severity::Major => event!(warn),
            Severity::Minor => event!(info),
            Severity::Warning => event!(debug),
        }
    }

    pub(crate) fn reason(&self) -> String {
        match self {
            Self::WorkerLost { reason, .. }
            | Self::SessionWorkerLost { reason, .. }
            | Self::StartFailed { reason, .. } => reason.to_string(),
            _ => self.to_string(),
        }
    }
}

fn joined(lines: &[String], separator: &str) -> Option<String> {
    (!lines.is_empty()).then(|| lines.join(separator))
}
