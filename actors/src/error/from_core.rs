//! Converts the core's failures to public errors: adds texts, the last output and the last start error.

use super::{Attempt, Attempts, Error, ExitReport, text::whole_ms};
use crate::{ChildHandle, ExitMemory, Recording, shared_state::State};
use herder_core::{CallFailure, ExitStatus, ProcessExit, Quarantined, Timestamp, WorkerLoss, WorkerRef};
use std::sync::Arc;

/// What the shell knows of a process's exit beyond the core's facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExitRecord {
    /// The protocol violation of the process, or why its start failed.
    pub(crate) detail: Option<Box<str>>,
    /// The traceback of a failed start.
    pub(crate) traceback: Option<Box<str>>,
    /// The last lines of its output.
    pub(crate) stderr_tail: Vec<String>,
    /// Its peak memory, and the evidence if it was killed because memory was short.
    pub(crate) memory: ExitMemory,
    /// The recording of its last frames.
    pub(crate) recording: Option<Arc<Recording>>,
    /// The stack that it printed because it hung.
    pub(crate) stack: Option<Box<str>>,
}

impl ExitRecord {
    /// Creates the record of a process that was reaped.
    pub(crate) fn of(child: &dyn ChildHandle) -> Self {
        let stack = child.stack().map(Into::into);
        Self { stderr_tail: child.output_tail(), memory: child.exit_memory(), stack, ..Self::default() }
    }
}

impl State {
    /// Converts a failure of the core to the public error.
    pub(crate) fn error(&self, now: Timestamp, failure: CallFailure) -> Error {
        match failure {
            CallFailure::QueueFull { limit } => Error::QueueFull { limit },
            CallFailure::SessionQueueFull { limit } => Error::SessionQueueFull { limit },
            CallFailure::Overloaded { expected_wait, max_wait } => Error::Overloaded { expected_wait, max_wait },
            CallFailure::BreakerOpen { retry_at } => Error::BreakerOpen { retry_after: whole_ms(retry_at.since(now)) },
            CallFailure::Poison(Quarantined { fingerprint, deaths, until }) => {
                let (fingerprint, retry_after) = (fingerprint.to_string(), whole_ms(until.since(now)));
                Error::PoisonCall { fingerprint, deaths, retry_after, attempts: Attempts::default() }
            }
            CallFailure::QueueTimeout => {
                let waited = self.core().settings().queue.timeout;
                let last_start_error = self.last_start_error_if_degraded();
                Error::QueueTimeout { waited, last_start_error, attempts: Attempts::default() }
            }
            CallFailure::DeadlineExceeded { may_have_run } => {
                Error::DeadlineExceeded { may_have_run, attempts: Attempts::default() }
            }
            CallFailure::WorkerLost(loss) => {
                let (reason, report) = self.loss(&loss);
                let WorkerRef { id: worker, generation } = loss.worker;
                let (may_have_run, attempts) = (loss.may_have_run, Attempts::default());
                Error::WorkerLost { worker, generation, reason, may_have_run, report, attempts }
            }
            CallFailure::SessionWorkerLost { session, loss } => {
                let (reason, report) = self.loss(&loss);
                let WorkerRef { id: worker, generation } = loss.worker;
                let may_have_run = loss.may_have_run;
                Error::SessionWorkerLost { session, worker, generation, reason, may_have_run, report }
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
            let (reason, report) = self.loss(loss);
            Attempt { worker: loss.worker.id, generation: loss.worker.generation, reason, report }
        };
        losses.iter().map(attempt).collect()
    }

    fn loss(&self, loss: &WorkerLoss) -> (Box<str>, Box<ExitReport>) {
        let exit_record = self.exit_record(loss.worker);
        let report = Box::new(report(loss.end, exit_record));
        match loss.end {
            Some(end) => (loss_reason(&end, exit_record), report),
            None => ("the process had already exited".into(), report),
        }
    }
}

/// Formats the reason of a process's exit.
pub(crate) fn loss_reason(end: &ProcessExit, exit_record: Option<&ExitRecord>) -> Box<str> {
    let out_of_memory = exit_record.and_then(|exit_record| exit_record.memory.out_of_memory);
    let end_text = match out_of_memory {
        Some(evidence) => format!("{end}, likely out of memory ({evidence})"),
        None => end.to_string(),
    };
    match exit_record.and_then(|exit_record| exit_record.detail.as_deref()) {
        Some(detail) if end.status == ExitStatus::Unknown => detail.into(),
        Some(detail) => format!("{end_text}: {detail}").into(),
        None => end_text.into(),
    }
}

pub(super) fn report(end: Option<ProcessExit>, exit_record: Option<&ExitRecord>) -> ExitReport {
    let (exit_status, signal) = end.map(|end| status_parts(end.status)).unwrap_or_default();
    let ExitRecord { stderr_tail, traceback, recording, memory, stack, .. } = exit_record.cloned().unwrap_or_default();
    let ExitMemory { peak_memory, out_of_memory } = memory;
    let (recorder, error_id) = (recording, None);
    ExitReport { exit_status, signal, stderr_tail, traceback, stack, recorder, peak_memory, out_of_memory, error_id }
}

/// Returns the exit code, or the signal that killed the process.
pub(crate) fn status_parts(status: ExitStatus) -> (Option<i32>, Option<i32>) {
    match status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
        ExitStatus::Unknown => (None, None),
    }
}

pub(crate) fn start_failed(worker: WorkerRef, end: &ProcessExit, exit_record: Option<&ExitRecord>) -> Error {
    let (reason, report) = (loss_reason(end, exit_record), Box::new(report(Some(*end), exit_record)));
    Error::StartFailed { worker: Some(worker), reason, report }
}

/// Returns the exit of a process as an error, for the log; it belongs to no single call.
pub(crate) fn exit_error(worker_ref: WorkerRef, end: &ProcessExit, exit_record: Option<&ExitRecord>) -> Error {
    let WorkerRef { id: worker, generation } = worker_ref;
    let (reason, report) = (loss_reason(end, exit_record), Box::new(report(Some(*end), exit_record)));
    Error::WorkerLost { worker, generation, reason, may_have_run: true, report, attempts: Attempts::default() }
}
