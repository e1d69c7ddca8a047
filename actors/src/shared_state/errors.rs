//! Converts the core's failures and exits to public errors: adds texts, the last output and the last start error. Reads the
//! state and changes nothing.

use super::State;
use crate::{
    Attempt, Attempts, Error,
    error::{ExitCause, ExitRecord, whole_ms},
};
use herder_core::{CallFailure, KillReason, ProcessExit, Quarantined, Timestamp, WorkerLoss, WorkerRef};

impl State {
    /// Converts a failure of the core to the public error.
    pub(crate) fn error(&self, now: Timestamp, failure: CallFailure) -> Error {
        match failure {
            CallFailure::QueueFull { limit } => Error::QueueFull { limit },
            CallFailure::SessionQueueFull { limit } => Error::SessionQueueFull { limit },
            CallFailure::Overloaded { estimated_wait, max_wait } => Error::Overloaded { estimated_wait, max_wait },
            CallFailure::BreakerOpen { retry_at } => Error::BreakerOpen { retry_after: whole_ms(retry_at.since(now)) },
            CallFailure::Poison(Quarantined { fingerprint, deaths, until }) => {
                let (fingerprint, retry_after) = (fingerprint.to_string(), whole_ms(until.since(now)));
                Error::PoisonCall { fingerprint, deaths, retry_after, attempts: Attempts::default() }
            }
            CallFailure::QueueTimeout => {
                let waited = self.core().settings().queue.timeout;
                let last_start_error = self.last_start_error_if_degraded();
                let starting = self.core().starting_for(now);
                Error::QueueTimeout { waited, starting, last_start_error, attempts: Attempts::default() }
            }
            CallFailure::DeadlineExceeded { may_have_run } => {
                Error::DeadlineExceeded { may_have_run, command_timeout: None, attempts: Attempts::default() }
            }
            CallFailure::StreamIdle { idle } => Error::IdleTimeout { idle, attempts: Attempts::default() },
            CallFailure::StreamStalled { stall } => Error::StreamStalled { stall, attempts: Attempts::default() },
            CallFailure::WorkerLost(loss) => {
                let ExitCause { reason, report, .. } = self.cause(&loss);
                let WorkerRef { id: worker, generation } = loss.worker;
                let (may_have_run, attempts) = (loss.may_have_run, Attempts::default());
                Error::WorkerLost { worker, generation, reason, may_have_run, report, attempts }
            }
            CallFailure::SessionWorkerLost { session, loss } => {
                let ExitCause { reason, report, .. } = self.cause(&loss);
                let WorkerRef { id: worker, generation } = loss.worker;
                let (may_have_run, attempts) = (loss.may_have_run, Attempts::default());
                Error::SessionWorkerLost { session, worker, generation, reason, may_have_run, report, attempts }
            }
            CallFailure::SessionExpired(session) => Error::SessionExpired { session },
            CallFailure::SessionNotFound(session) => Error::SessionNotFound { session },
            CallFailure::SessionQuota { max } => Error::SessionQuota { max },
            CallFailure::WorkerBusy(worker_ref) => Error::WorkerBusy { worker: worker_ref.id },
            CallFailure::PoolFailed { retry_at } => {
                let reason = self.last_start_error().unwrap_or_else(|| "the workers died repeatedly".into());
                let retry_after = whole_ms(retry_at.since(now));
                Error::PoolFailed { reason, retry_after, attempts: Attempts::default() }
            }
            CallFailure::PoolClosed { may_have_run } => Error::closed(may_have_run),
            CallFailure::Abandoned => {
                Error::Cancelled { message: "the caller abandoned the call".into(), worker: None }
            }
        }
    }

    /// Returns the lost attempts of a call, with what is known of each.
    pub(crate) fn attempts(&self, losses: &[WorkerLoss]) -> Vec<Attempt> {
        let attempt = |loss: &WorkerLoss| {
            let ExitCause { reason, report, .. } = self.cause(loss);
            Attempt { worker: loss.worker.id, generation: loss.worker.generation, reason, report }
        };
        losses.iter().map(attempt).collect()
    }

    fn cause(&self, loss: &WorkerLoss) -> ExitCause {
        match (loss.exit, self.core().kill_reason_of(loss.worker)) {
            // The caller need not wait for its exit to learn why the state of the session is lost.
            (None, Some(KillReason::Reload)) => ExitCause::stopping(KillReason::Reload),
            (exit, _) => ExitCause::of(exit, self.exit_record(loss.worker)),
        }
    }
}

pub(crate) fn start_failed(worker: WorkerRef, exit: &ProcessExit, exit_record: Option<&ExitRecord>) -> Error {
    let ExitCause { reason, report, .. } = ExitCause::of(Some(*exit), exit_record);
    Error::StartFailed { worker: Some(worker), reason, report }
}

/// Returns the exit of a process as an error, for the log; it belongs to no single call.
pub(crate) fn exit_error(worker_ref: WorkerRef, exit: &ProcessExit, exit_record: Option<&ExitRecord>) -> Error {
    let WorkerRef { id: worker, generation } = worker_ref;
    let ExitCause { reason, report, .. } = ExitCause::of(Some(*exit), exit_record);
    Error::WorkerLost { worker, generation, reason, may_have_run: true, report, attempts: Attempts::default() }
}
