//! The error as `application/problem+json` (RFC 9457): one form for HTTP, logs and tools.

use super::{Attempt, Error, ErrorId};
use crate::recorder::RecordedFrame;
use herder_core::{Category, Generation, Severity, Strategy, WorkerId};
use herder_wire::{ArgumentError, RejectionData};
use serde::{Serialize, Serializer};
use std::str::FromStr;

/// The maximum number of recorded frames in a problem.
const FRAMES: usize = 16;

/// How many details of an error a response to an HTTP client contains.
///
/// ```
/// # use herder_actors::ErrorDetail;
/// assert_eq!("brief".parse(), Ok(ErrorDetail::Brief));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorDetail {
    /// All details: tracebacks, stacks, last output, recordings, and why workers failed to start.
    Full,
    /// No tracebacks, stacks, output, recordings, nor the reason why workers failed to start. The log has these, under the
    /// problem's `error_id`.
    #[default]
    Brief,
}

/// The text is not a value of [`ErrorDetail`]; allowed: `full`, `brief`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid error detail; allowed: full, brief")]
pub struct InvalidErrorDetail;

impl FromStr for ErrorDetail {
    type Err = InvalidErrorDetail;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => Ok(Self::Full),
            "brief" => Ok(Self::Brief),
            _ => Err(InvalidErrorDetail),
        }
    }
}

/// An error in the form for programs. Empty fields are left out.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProblemDetails {
    /// `https://herder.invalid/errors/` and the error's slug: an identifier, not the address of a page.
    pub r#type: String,
    /// The slug with spaces.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The error's text; the handler's message alone if the handler rejected the call.
    pub detail: String,
    /// The category of the error.
    pub category: Category,
    /// The severity.
    pub severity: Severity,
    /// What to do about the error. A retry is recommended for a call that may have run only if the pool itself retried it
    /// before.
    pub strategy: Strategy,
    /// What to do if the call is idempotent, where that differs from `strategy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy_if_idempotent: Option<Strategy>,
    /// Whether the same pool may answer the same call at another time.
    pub retryable: bool,
    /// Whether the handler may have run.
    pub may_have_run: bool,
    /// How often the call was sent to a worker: [`Error::send_count`].
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// The earlier attempts, each lost with its worker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempt_errors: Vec<AttemptProblemDetails>,
    /// The id under which the log has the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_id: Option<ErrorId>,
    /// The code that the handler gave (`Rejected`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What else the handler tells its callers (`Rejected`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<RejectionData>,
    /// The arguments that do not fit (`BadArguments`), in the form of FastAPI.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ArgumentError>,
    /// The slot of the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// The generation of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The process's exit status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that killed the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of its output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stderr_tail: Vec<String>,
    /// The Python traceback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// The stacks of its threads, if the process was killed because it hung.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The peak of its resident memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed because memory was short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_out_of_memory: Option<String>,
    /// The last frames between the process and the host, at most 16; the complete recording is at
    /// `.../workers/{id}/recorder`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recorder: Vec<RecordedFrame>,
}

/// An earlier attempt in the form for programs.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AttemptProblemDetails {
    /// The error of the attempt.
    pub detail: String,
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of the process.
    pub generation: Generation,
    /// The process's exit status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that killed the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of its output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stderr_tail: Vec<String>,
}

impl Serialize for Attempt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AttemptProblemDetails::from(self).serialize(serializer)
    }
}

impl From<&Attempt> for AttemptProblemDetails {
    fn from(attempt: &Attempt) -> Self {
        Self {
            detail: attempt.to_string(),
            worker: attempt.worker,
            generation: attempt.generation,
            exit_status: attempt.report.exit_status,
            signal: attempt.report.signal,
            stderr_tail: attempt.report.stderr_tail.clone(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Error {
    /// Returns the error in the form for programs, with this detail.
    pub fn problem_in(&self, detail: ErrorDetail) -> ProblemDetails {
        let mut problem = self.problem();
        if detail == ErrorDetail::Brief {
            problem.detail = self.redacted();
            problem.stderr_tail.clear();
            problem.recorder.clear();
            (problem.traceback, problem.stack) = (None, None);
            problem.attempt_errors.iter_mut().for_each(|attempt| attempt.stderr_tail.clear());
        }
        problem
    }

    /// Returns the error in the form for programs, with all details.
    pub fn problem(&self) -> ProblemDetails {
        let (report, worker) = (self.report().cloned().unwrap_or_default(), self.worker());
        let traceback = self.traceback().map(String::from);
        let (code, data) = match self {
            Self::Rejected { code, data, .. } => (code.clone(), data.clone()),
            _ => (None, None),
        };
        let (strategy, if_idempotent) = (self.strategy(), self.strategy_if_idempotent());
        ProblemDetails {
            r#type: format!("https://herder.invalid/errors/{}", self.slug()),
            title: self.slug().replace('-', " "),
            status: self.http_status(),
            detail: self.detail(),
            category: self.category(),
            severity: self.severity(),
            strategy,
            strategy_if_idempotent: Some(if_idempotent).filter(|other| *other != strategy),
            retryable: self.is_retryable(),
            may_have_run: self.may_have_run(),
            attempts: self.send_count(),
            attempt_errors: self.attempts().iter().map(AttemptProblemDetails::from).collect(),
            error_id: self.error_id(),
            code,
            data,
            errors: self.argument_errors().to_vec(),
            worker: worker.map(|worker| worker.id),
            generation: worker.map(|worker| worker.generation),
            exit_status: report.exit_status,
            signal: report.signal,
            peak_memory: report.peak_memory,
            likely_out_of_memory: report.out_of_memory.map(|evidence| evidence.to_string()),
            recorder: report.recorder.as_ref().map_or_else(Vec::new, |recorder| recorder.last_frames(FRAMES).to_vec()),
            stderr_tail: report.stderr_tail,
            traceback,
            stack: report.stack.map(String::from),
        }
    }
}
