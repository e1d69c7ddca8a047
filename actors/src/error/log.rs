//! The error as one structured event of the log: every fact a field of its own. Calls the subscriber: not for use on a thread that runs pools.

use super::Error;
use herder_core::{PoolName, Severity};

/// Whom it concerns, beyond the error's own facts.
struct ErrorContext<'a> {
    pool: &'a PoolName,
    message: &'a str,
    all_workers: bool,
    /// Unsaid where the event is of a process and of no single call.
    may_have_run: Option<bool>,
}

impl Error {
    /// Logs a call's error: `message`, and as fields `pool`, `error` (the slug), `category`, `severity`, `strategy`, `reason`,
    /// `may_have_run`, `attempts` (how often it was sent), `attempt_errors`, and of the process `worker` (`w2.3`), `generation`,
    /// `exit_status`, `signal`, `traceback`, `stack`, `stderr`; those that say nothing are left out. A warning is logged as debug, minor as info, major as
    /// warn, critical as error. Calls the subscriber on this thread; the pool's own events are queued.
    pub fn log(&self, pool: &PoolName, message: &str) {
        let may_have_run = Some(self.may_have_run());
        self.log_with_context(&ErrorContext { pool, message, all_workers: false, may_have_run });
    }

    /// The same for the end of a process.
    pub(crate) fn log_end(&self, pool: &PoolName, message: &str, all_workers: bool) {
        self.log_with_context(&ErrorContext { pool, message, all_workers, may_have_run: None });
    }

    fn log_with_context(&self, context: &ErrorContext<'_>) {
        let ErrorContext { pool, message, all_workers, may_have_run } = *context;
        let decision = match may_have_run {
            Some(_) => self.decision(all_workers),
            None => self.decision_if_idempotent(all_workers), // of the process: there is no call to be repeated
        };
        let (worker_ref, report) = (self.worker(), self.report());
        let attempt_errors: Vec<String> = self.attempts().iter().map(ToString::to_string).collect();
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    %pool,
                    error = self.slug(),
                    category = %self.category(),
                    severity = %decision.severity,
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
        match decision.severity {
            Severity::Critical => event!(error),
            Severity::Major => event!(warn),
            Severity::Minor => event!(info),
            Severity::Warning => event!(debug),
        }
    }

    fn reason(&self) -> String {
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
