//! What an error tells programs: from the table of its kind, or from its own fields. Pure.

use super::{Error, ExitReport, table::RetryAfter, text::whole_seconds};
use herder_core::{Category, Decision, Severity, Strategy, WorkerRef};
use std::time::Duration;

impl Error {
    /// The error as a name for programs: the last part of `type` in its HTTP form.
    pub fn slug(&self) -> &'static str {
        self.row().slug
    }

    /// What kind of thing went wrong.
    pub fn category(&self) -> Category {
        self.row().category
    }

    /// How bad it is. A call that was lost more than twice before is one step worse off than one that fails the first time.
    pub fn severity(&self) -> Severity {
        self.decision(false).severity
    }

    /// What to do about it. It is never to repeat a call that [may have run](Self::may_have_run), unless the error shows that the call
    /// is idempotent: the pool sent it again before. See [`strategy_if_idempotent`](Self::strategy_if_idempotent).
    pub fn strategy(&self) -> Strategy {
        self.decision(false).strategy
    }

    /// What to do about it, for a caller who knows that the call is idempotent.
    pub fn strategy_if_idempotent(&self) -> Strategy {
        self.decision_if_idempotent(false).strategy
    }

    /// Severity, strategy and retry limit, for somebody who knows whether all workers of the pool are concerned.
    pub fn decision(&self, all_workers: bool) -> Decision {
        let idempotent = !self.attempts().is_empty(); // else the pool would not have sent it again
        self.decide(all_workers, idempotent || !self.may_have_run())
    }

    /// [`decision`](Self::decision) for a caller who knows that the call is idempotent.
    pub fn decision_if_idempotent(&self, all_workers: bool) -> Decision {
        self.decide(all_workers, true)
    }

    fn decide(&self, all_workers: bool, repeatable: bool) -> Decision {
        let attempt = u32::try_from(self.attempts().len()).unwrap_or(u32::MAX).saturating_add(1);
        self.row().decide(attempt, all_workers, repeatable)
    }

    /// Whether the same pool may answer the same call another time. Says nothing of side effects: see
    /// [`may_have_run`](Self::may_have_run); nor of this call's earlier attempts. [`strategy`](Self::strategy) minds both.
    pub fn is_retryable(&self) -> bool {
        self.row().retryable()
    }

    /// The HTTP status of this error.
    pub fn http_status(&self) -> u16 {
        self.row().status
    }

    /// How long to wait before the next try, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match (self.row().wait, self) {
            (RetryAfter::NotSent, _) => None,
            (_, Self::PoolFailed { retry_after, .. } | Self::BreakerOpen { retry_after }) => Some(*retry_after),
            (_, Self::Overloaded { expected_wait, .. }) => Some(whole_seconds(*expected_wait)),
            (RetryAfter::OneSecond | RetryAfter::FromError, _) => Some(Duration::from_secs(1)),
        }
    }

    /// Whether the handler may have run, wholly or in part. False is a promise.
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
            | Self::Internal { .. }
            | Self::Decode { .. } => true,
            _ => false,
        }
    }

    /// The process concerned, if one is.
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
            _ => None,
        }
    }

    /// What is known of the end of the process concerned.
    pub fn report(&self) -> Option<&ExitReport> {
        match self {
            Self::WorkerLost { report, .. }
            | Self::SessionWorkerLost { report, .. }
            | Self::StartFailed { report, .. } => Some(report),
            _ => None,
        }
    }

    /// The Python traceback: of the exception, or of the start that failed.
    pub(crate) fn traceback(&self) -> Option<&str> {
        match self {
            Self::Exception { traceback, .. } => traceback.as_deref(),
            _ => self.report().and_then(|report| report.traceback.as_deref()),
        }
    }

    /// How often the call was sent to a worker, as far as the error knows: a call whose deadline passes, or whose pool closes, after
    /// attempts that were lost may just have been sent once more.
    pub fn send_count(&self) -> u32 {
        let earlier = u32::try_from(self.attempts().len()).unwrap_or(u32::MAX);
        let answered = match self {
            Self::StartFailed { .. } => false,
            Self::Rejected { .. } | Self::Exception { .. } | Self::Unencodable { .. } | Self::WorkerLost { .. } => true,
            _ => earlier == 0 && self.may_have_run(),
        };
        earlier.saturating_add(u32::from(answered))
    }
}
