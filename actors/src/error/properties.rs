//! The properties of an error for programs, from the table or from its fields; the earlier attempts and the id of its call.

use super::{Attempt, Error, ErrorId, ExitReport, kinds::whole_seconds, table::RetryAfter};
use herder_core::{Category, Decision, Severity, Strategy, WorkerRef};
use herder_wire::ArgumentError;
use std::{ops::Deref, time::Duration};

/// How a call without a result ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Failed,
    Lost,
    TimedOut,
    Refused,
    Abandoned,
}

impl Error {
    /// Returns the error's name for programs: the last part of `type` in its HTTP form.
    pub fn slug(&self) -> &'static str {
        self.row().slug
    }

    /// Returns how a call with this error ended, for the counts of its pool.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::WorkerLost { .. } | Self::SessionWorkerLost { .. } => FailureKind::Lost,
            Self::QueueTimeout { .. }
            | Self::DeadlineExceeded { .. }
            | Self::IdleTimeout { .. }
            | Self::StreamStalled { .. } => FailureKind::TimedOut,
            Self::Cancelled { worker: None, .. } => FailureKind::Abandoned,
            // The worker answers with it, although the handler has not run.
            Self::BadArguments { .. } => FailureKind::Failed,
            _ if self.may_have_run() => FailureKind::Failed,
            _ => FailureKind::Refused,
        }
    }

    /// Returns the category of the error.
    pub fn category(&self) -> Category {
        self.row().category
    }

    /// Returns the severity. The fourth loss of the same call is one step more severe than the first.
    pub fn severity(&self) -> Severity {
        self.decision(false).severity
    }

    /// Returns what to do about the error. A retry is recommended for a call that [may have run](Self::may_have_run) only if
    /// the error shows that the call is idempotent, because the pool retried it before. See
    /// [`strategy_if_idempotent`](Self::strategy_if_idempotent).
    pub fn strategy(&self) -> Strategy {
        self.decision(false).strategy
    }

    /// Returns what to do about the error, for a caller that knows that the call is idempotent.
    pub fn strategy_if_idempotent(&self) -> Strategy {
        self.decision_if_idempotent(false).strategy
    }

    /// Returns severity, strategy and maximum number of retries, for a caller that knows whether the error concerns all
    /// workers of the pool.
    pub fn decision(&self, all_workers: bool) -> Decision {
        let idempotent = !self.attempts().is_empty(); // the pool retries only idempotent calls
        self.decide(all_workers, idempotent || !self.may_have_run())
    }

    /// Like [`decision`](Self::decision), for a caller that knows that the call is idempotent.
    pub fn decision_if_idempotent(&self, all_workers: bool) -> Decision {
        self.decide(all_workers, true)
    }

    fn decide(&self, all_workers: bool, repeatable: bool) -> Decision {
        let attempt = u32::try_from(self.attempts().len()).unwrap_or(u32::MAX).saturating_add(1);
        self.row().decide(attempt, all_workers, repeatable)
    }

    /// Returns whether the same pool may answer the same call at another time. Does not consider side effects (see
    /// [`may_have_run`](Self::may_have_run)) nor earlier attempts of this call; [`strategy`](Self::strategy) considers both.
    pub fn is_retryable(&self) -> bool {
        self.row().retryable()
    }

    /// Returns the HTTP status of the error.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Rejected { status: Some(status), .. } => *status,
            _ => self.row().status,
        }
    }

    /// Returns how long to wait before the next attempt, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match (self.row().wait, self) {
            (RetryAfter::NotSent, _) => None,
            (_, Self::PoolFailed { retry_after, .. } | Self::BreakerOpen { retry_after }) => Some(*retry_after),
            (_, Self::Overloaded { estimated_wait, .. }) => Some(whole_seconds(*estimated_wait)),
            (RetryAfter::OneSecond | RetryAfter::FromError, _) => Some(Duration::from_secs(1)),
        }
    }

    /// Returns whether the handler may have run, completely or in part. False is guaranteed.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::DeadlineExceeded { may_have_run, .. }
            | Self::TooLarge { may_have_run, .. }
            | Self::WorkerLost { may_have_run, .. }
            | Self::SessionWorkerLost { may_have_run, .. }
            | Self::Forked { may_have_run }
            | Self::PoolClosed { may_have_run, .. } => *may_have_run,
            Self::QueueTimeout { attempts, .. }
            | Self::PoolFailed { attempts, .. }
            | Self::PoisonCall { attempts, .. } => !attempts.is_empty(),
            Self::Rejected { .. }
            | Self::Exception { .. }
            | Self::Unencodable { .. }
            | Self::Cancelled { .. }
            | Self::IdleTimeout { .. }
            | Self::StreamStalled { .. }
            | Self::Internal { .. }
            | Self::Decode { .. } => true,
            _ => false,
        }
    }

    /// Returns the process that the error concerns; of a call that ended without an answer, such as at its deadline, the process
    /// that it had been sent to.
    pub fn worker(&self) -> Option<WorkerRef> {
        match self {
            Self::Rejected { worker: worker_ref, .. }
            | Self::Exception { worker: worker_ref, .. }
            | Self::Unencodable { worker: worker_ref, .. } => Some(*worker_ref),
            Self::TooLarge { worker: worker_ref, .. }
            | Self::Cancelled { worker: worker_ref, .. }
            | Self::StartFailed { worker: worker_ref, .. } => *worker_ref,
            Self::WorkerLost { worker, generation, .. } | Self::SessionWorkerLost { worker, generation, .. } => {
                Some(WorkerRef { id: *worker, generation: *generation })
            }
            _ => self.ran_on(),
        }
    }

    /// Returns the details of the process's exit.
    pub fn report(&self) -> Option<&ExitReport> {
        match self {
            Self::WorkerLost { report, .. }
            | Self::SessionWorkerLost { report, .. }
            | Self::StartFailed { report, .. } => Some(report),
            _ => None,
        }
    }

    /// Returns the arguments that do not fit, if this is [`Error::BadArguments`] and the worker lists them.
    pub fn argument_errors(&self) -> &[ArgumentError] {
        match self {
            Self::BadArguments { errors, .. } => errors,
            _ => &[],
        }
    }

    /// Returns the Python traceback, of the exception or of the failed start.
    pub(crate) fn traceback(&self) -> Option<&str> {
        match self {
            Self::Exception { traceback, .. } => traceback.as_deref(),
            _ => self.report().and_then(|report| report.traceback.as_deref()),
        }
    }

    /// Returns how often the call was sent to a worker, as far as the error knows. A call that was lost and then failed by
    /// the pool's end may have been sent once more.
    pub fn send_count(&self) -> u32 {
        let earlier = u32::try_from(self.attempts().len()).unwrap_or(u32::MAX);
        let answered = match self {
            Self::StartFailed { .. } => false,
            Self::SessionWorkerLost { may_have_run, .. } => *may_have_run,
            Self::Rejected { .. } | Self::Exception { .. } | Self::Unencodable { .. } | Self::WorkerLost { .. } => true,
            _ => self.ran_on().is_some() || (earlier == 0 && self.may_have_run()),
        };
        earlier.saturating_add(u32::from(answered))
    }
}

/// Returns the `attempts` field of the kinds of errors that have one, borrowed as `$error` is.
macro_rules! attempts_of {
    ($error:expr) => {
        match $error {
            Error::Rejected { attempts, .. }
            | Error::Exception { attempts, .. }
            | Error::Unencodable { attempts, .. }
            | Error::QueueTimeout { attempts, .. }
            | Error::DeadlineExceeded { attempts, .. }
            | Error::IdleTimeout { attempts, .. }
            | Error::StreamStalled { attempts, .. }
            | Error::WorkerLost { attempts, .. }
            | Error::SessionWorkerLost { attempts, .. }
            | Error::PoisonCall { attempts, .. }
            | Error::PoolFailed { attempts, .. }
            | Error::PoolClosed { attempts, .. } => Some(attempts),
            _ => None,
        }
    };
}

impl Error {
    /// Returns the earlier attempts of the call, in order, each lost with its worker. The last attempt, which failed with
    /// this error, is not included.
    pub fn attempts(&self) -> &[Attempt] {
        attempts_of!(self).map_or(&[], Deref::deref)
    }

    /// Returns the id under which the log has the call that failed with this error. `Some` for the error of a call whose kind
    /// keeps [`attempts`](Self::attempts).
    /// [`Internal`](Self::Internal) and [`StartFailed`](Self::StartFailed) hide their text in brief responses and have no id.
    pub fn error_id(&self) -> Option<ErrorId> {
        attempts_of!(self).and_then(|attempts| attempts.error_id())
    }

    /// Adds the id of the call to the error.
    pub(crate) fn with_id(mut self, id: ErrorId) -> Self {
        if let Some(attempts) = attempts_of!(&mut self) {
            attempts.set_error_id(id);
        }
        self
    }

    /// Adds the earlier attempts of the call to the error. The kinds that a retried call never fails with do not keep them.
    pub(crate) fn with_attempts(mut self, earlier: Vec<Attempt>) -> Self {
        if let Some(attempts) = attempts_of!(&mut self) {
            *attempts = earlier.into();
        }
        self
    }

    /// Adds the process that ran the call when it ended without an answer. The kinds that need none do not keep it.
    pub(crate) fn with_ran_on(mut self, worker: Option<WorkerRef>) -> Self {
        if let (Some(attempts), Some(worker)) = (attempts_of!(&mut self), worker) {
            attempts.set_ran_on(worker);
        }
        self
    }

    fn ran_on(&self) -> Option<WorkerRef> {
        attempts_of!(self).and_then(|attempts| attempts.ran_on())
    }

    /// Adds the timeout of the command to the error, if that ended the call.
    pub(crate) fn with_command_timeout(mut self, timeout: Option<Duration>) -> Self {
        if let Self::DeadlineExceeded { command_timeout, .. } = &mut self {
            *command_timeout = timeout;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Attempts, *};
    use herder_core::{Generation, WorkerId};

    fn lost(worker: u32) -> Attempt {
        let (worker, generation) = (WorkerId(worker), Generation(1));
        Attempt { worker, generation, reason: "SIGKILL".into(), report: std::sync::Arc::default() }
    }

    #[test]
    fn r38_an_error_keeps_the_attempts_before_it() {
        let error = Error::closed(true).with_attempts(vec![lost(1), lost(2)]);
        assert_eq!(error.attempts(), [lost(1), lost(2)]);
        assert_eq!(error.clone().attempts(), error.attempts());
        assert_eq!(lost(2).to_string(), "worker w2 (generation 1) died: SIGKILL");
        assert!(Error::closed(true).attempts().is_empty());
        assert!(Error::QueueFull { limit: 1 }.with_attempts(vec![lost(1)]).attempts().is_empty(), "it was never sent");
    }

    /// The answer of a call is a `Result` with this error and is moved several times per call.
    #[test]
    fn error_size_is_bounded() {
        assert_eq!(size_of::<Attempts>(), 8);
        assert!(size_of::<Error>() <= 88, "{}", size_of::<Error>());
    }
}
