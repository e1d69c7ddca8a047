//! The public error: what went wrong with a call or a pool, told so that somebody woken at night knows what to do.
//!
//! Pure data. What is fixed for a kind is in `table`, what programs ask in `facts`; `text`, `problem`, `log` and `http` (feature `http`)
//! are its forms.

mod attempts;
mod from_core;
#[cfg(feature = "http")]
mod http;
mod log;
mod problem_details;
mod properties;
mod table;
mod text;

pub use attempts::{Attempt, Attempts};
pub use herder_core::{Category, Decision, Incident, Severity, Strategy, decide};
#[cfg(feature = "http")]
pub use http::set_error_detail;
pub use problem_details::{AttemptProblemDetails, ErrorDetail, InvalidErrorDetail, ProblemDetails};

pub(crate) use from_core::{ExitRecord, ended, loss_reason, start_failed, status_parts};

use crate::{ErrorId, InvalidConfig, OutOfMemory, Recording};
use herder_core::{BindError, Generation, InvalidSessionId, SessionId, WorkerId, WorkerRef};
use herder_wire::{WorkerError, WorkerErrorKind};
use std::{sync::Arc, time::Duration};
use text::{run_possibility_text, whole_ms, whole_seconds, with_last_start_error, with_separator};

/// What this crate's fallible functions give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error behind an error, shared by its clones. What `source` gives is of this type; what it holds is one dereference away.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong.
///
/// ```
/// use herder_actors::{Category, Error};
/// let error = Error::QueueFull { limit: 1000 };
/// assert_eq!((error.category(), error.is_retryable(), error.slug()), (Category::Resource, true, "queue-full"));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool's workers have no such command.
    #[error("unknown command `{command}`; {hint}")]
    UnknownCommand {
        /// What was called.
        command: String,
        /// Which there are.
        hint: String,
    },
    /// The arguments do not fit the handler's parameters.
    #[error("wrong arguments: {message}")]
    BadArguments {
        /// Which parameter, and what it wants.
        message: String,
    },
    /// The arguments are not valid in their encoding, or are no object.
    #[error("malformed arguments: {message}")]
    Malformed {
        /// What is wrong with them.
        message: String,
        /// What the encoder or parser said, where it was on this side.
        #[source]
        cause: Option<Cause>,
    },
    /// The session's id can't be one.
    #[error(transparent)]
    InvalidSession(#[from] InvalidSessionId),
    /// The handler said no on purpose (`herder.Rejected`).
    #[error("rejected: {message}")]
    Rejected {
        /// The handler's words.
        message: String,
        /// The handler's code, if it gave one.
        code: Option<String>,
        /// Where it ran.
        worker: WorkerRef,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The handler raised.
    #[error("{kind}{}", with_separator(message))]
    Exception {
        /// The exception's type.
        kind: String,
        /// Its message.
        message: String,
        /// The Python traceback.
        traceback: Option<Box<str>>,
        /// Where it ran.
        worker: WorkerRef,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The handler's result can't be encoded.
    #[error("the result cannot be encoded as JSON: {message}")]
    Unencodable {
        /// Why.
        message: String,
        /// Where it ran.
        worker: WorkerRef,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// Arguments or a result longer than a frame may be.
    #[error("too large: {message}")]
    TooLarge {
        /// What, and the limit.
        message: String,
        /// True of a result, false of arguments: those were not sent.
        may_have_run: bool,
        /// Where it ran, of a result.
        worker: Option<WorkerRef>,
    },
    /// The call was cancelled.
    #[error("cancelled: {message}")]
    Cancelled {
        /// By what.
        message: String,
        /// Where it ran, if a worker says so.
        worker: Option<WorkerRef>,
    },
    /// The pool's queue is full.
    #[error("the pool's queue is full ({limit} calls are waiting); retry later")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The session's share of the queue is full.
    #[error("the session's queue is full ({limit} calls are waiting); retry later")]
    SessionQueueFull {
        /// How many of one session may wait.
        limit: usize,
    },
    /// The call would wait longer than it can: answered at once instead of at its deadline.
    #[error(
        "the pool is overloaded: the estimated wait is {}, but the call may wait only {}; retry later",
        humantime::format_duration(whole_seconds(*expected_wait)),
        humantime::format_duration(whole_ms(*max_wait))
    )]
    Overloaded {
        /// How long a call that comes now is expected to wait.
        expected_wait: Duration,
        /// How long this one could have.
        max_wait: Duration,
    },
    /// No worker was free within the queue's timeout.
    #[error("no worker was free within {}{}", humantime::format_duration(*waited), with_last_start_error(last_start_error))]
    QueueTimeout {
        /// The queue's timeout.
        waited: Duration,
        /// Why the last start of a worker failed, if the pool is not whole.
        last_start_error: Option<Box<str>>,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The call's deadline passed.
    #[error("the deadline passed{}", run_possibility_text(*may_have_run))]
    DeadlineExceeded {
        /// False only if no worker can have seen the call.
        may_have_run: bool,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The process that had the call died.
    #[error("worker {worker} (generation {generation}) died: {reason}{}", run_possibility_text(*may_have_run))]
    WorkerLost {
        /// The slot.
        worker: WorkerId,
        /// Which of its processes.
        generation: Generation,
        /// How it ended.
        reason: Box<str>,
        /// False only if it can't have seen the call.
        may_have_run: bool,
        /// What is known of its end.
        report: Box<ExitReport>,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The process that held the session's state died. Told once; the next call begins with a new state.
    #[error("session `{session}` lost its state: worker {worker} (generation {generation}) died: {reason}{}", run_possibility_text(*may_have_run))]
    SessionWorkerLost {
        /// The session.
        session: SessionId,
        /// The slot that held its state.
        worker: WorkerId,
        /// Which of its processes.
        generation: Generation,
        /// How it ended.
        reason: Box<str>,
        /// False only if it can't have seen this call.
        may_have_run: bool,
        /// What is known of its end.
        report: Box<ExitReport>,
    },
    /// The session expired, and the pool rejects calls of expired sessions.
    #[error("session `{session}` has expired")]
    SessionExpired {
        /// The session.
        session: SessionId,
    },
    /// There is no such session, and the call asked to be rejected then.
    #[error("there is no session `{session}`")]
    SessionNotFound {
        /// The session.
        session: SessionId,
    },
    /// The pool has as many sessions as it may.
    #[error("the pool already has {max} sessions, the limit set by `sessions.max`")]
    SessionQuota {
        /// The limit.
        max: usize,
    },
    /// The session's worker is busy, and the call does not wait.
    #[error("worker {worker}, which holds the session's state, is busy; retry later")]
    WorkerBusy {
        /// Which.
        worker: WorkerId,
    },
    /// There is no such worker, or its process is another by now.
    #[error("{message}")]
    NoSuchWorker {
        /// Which.
        message: String,
    },
    /// A session can't be bound.
    #[error("the session cannot be bound: {0}")]
    Bind(#[from] BindError),
    /// The pool could not keep its workers running and rests before it tries again.
    #[error("the pool has failed: {reason}; the next restart attempt is in {}", humantime::format_duration(*retry_after))]
    PoolFailed {
        /// The last start error.
        reason: Box<str>,
        /// When it tries again.
        retry_after: Duration,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The pool's circuit breaker is open: calls like this failed too often, and are not tried for a while.
    #[error("the pool's circuit breaker is open; retry in {}", humantime::format_duration(whole_ms(*retry_after)))]
    BreakerOpen {
        /// When it lets a call through again.
        retry_after: Duration,
    },
    /// This command with these arguments ended several workers, and is refused for a while.
    #[error(
        "this command with these arguments killed {deaths} workers and is quarantined for {} (fingerprint {fingerprint})",
        humantime::format_duration(whole_ms(*retry_after))
    )]
    PoisonCall {
        /// Of command and arguments, as the list of what is quarantined has it.
        fingerprint: String,
        /// How many workers it ended.
        deaths: u32,
        /// How long it stays in quarantine.
        retry_after: Duration,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The pool is shutting down, or is gone.
    #[error("the pool is closed{}", run_possibility_text(*may_have_run))]
    PoolClosed {
        /// False only if no worker can have seen the call.
        may_have_run: bool,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// Another live pool of this process has the name.
    #[error("a pool named `{pool}` is already running in this process")]
    PoolNameTaken {
        /// The name.
        pool: String,
    },
    /// Another pool of this process has the name. It is ending, and did not end within the new pool's `start_timeout`.
    #[error("the pool `{pool}` in this process is still shutting down; start the new pool of this name later")]
    PoolEnding {
        /// The name.
        pool: String,
    },
    /// This process is a forked copy of the one that started the pool; the pool runs there.
    #[error("the pool runs in the process that this one was forked from; fork before the first pool is started{}", run_possibility_text(*may_have_run))]
    Forked {
        /// True for a call that was submitted before the fork, since it may run in the other process.
        may_have_run: bool,
    },
    /// There is no pool of this name.
    #[error("unknown pool `{pool}`; {hint}")]
    UnknownPool {
        /// The name.
        pool: String,
        /// Which there are.
        hint: String,
    },
    /// A worker could not be started.
    #[error("a worker could not be started: {reason}")]
    StartFailed {
        /// Which process, where it is one: not of a pool whose workers start and die.
        worker: Option<WorkerRef>,
        /// Why.
        reason: Box<str>,
        /// What is known of it.
        report: Box<ExitReport>,
    },
    /// A bug of Herder: an actor panicked. Calls in flight are answered with this; workers are started anew.
    #[error("internal error: {reason}")]
    Internal {
        /// The panic's message.
        reason: Box<str>,
    },
    /// A reply that is not of the type asked for.
    #[error("the result does not have the requested type: {message}")]
    Decode {
        /// Where and why.
        message: String,
        /// What the decoder said.
        #[source]
        cause: Option<Cause>,
    },
    /// A configuration that can't be.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

/// What is known of a worker's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitReport {
    /// The exit status, if it returned one.
    pub exit_status: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The last lines it printed.
    pub stderr_tail: Vec<String>,
    /// The traceback of a failed start.
    pub traceback: Option<Box<str>>,
    /// Where it hung, if it was ended for that: the stacks of its threads, at most 16 KiB, that of its main thread first.
    pub stack: Option<Box<str>>,
    /// What passed between it and the host last, without contents.
    pub recorder: Option<Arc<Recording>>,
    /// The most main memory it ever had, in bytes, if that is known.
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed for a lack of memory.
    pub out_of_memory: Option<OutOfMemory>,
    /// The id under which the log has the call, of a session that lost its worker.
    pub error_id: Option<ErrorId>,
}

impl Error {
    /// The pool is gone, or shutting down.
    pub(crate) fn closed(may_have_run: bool) -> Self {
        Self::PoolClosed { may_have_run, attempts: Attempts::default() }
    }

    /// An error that a worker sent.
    pub(crate) fn of_worker(command: &str, worker: WorkerRef, error: WorkerError) -> Self {
        let WorkerError { kind, message, type_name, code, traceback } = error;
        match kind {
            WorkerErrorKind::Rejected => Self::Rejected { message, code, worker, attempts: Attempts::default() },
            WorkerErrorKind::UnknownCommand => Self::UnknownCommand { command: command.into(), hint: message },
            WorkerErrorKind::BadArguments => Self::BadArguments { message },
            WorkerErrorKind::Malformed => Self::Malformed { message, cause: None },
            WorkerErrorKind::Unencodable => Self::Unencodable { message, worker, attempts: Attempts::default() },
            WorkerErrorKind::Cancelled => Self::Cancelled { message, worker: Some(worker) },
            WorkerErrorKind::TooLarge => Self::TooLarge { message, may_have_run: true, worker: Some(worker) },
            _ => {
                let kind = type_name.unwrap_or_else(|| "Exception".into());
                let traceback = traceback.map(Into::into);
                Self::Exception { kind, message, traceback, worker, attempts: Attempts::default() }
            }
        }
    }

    /// Arguments that some parser or encoder refused.
    pub fn malformed(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Malformed { message: cause.to_string(), cause: Some(Arc::new(cause)) }
    }

    /// A value that some decoder refused.
    pub fn decode(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Decode { message: cause.to_string(), cause: Some(Arc::new(cause)) }
    }
}

impl From<actix::MailboxError> for Error {
    fn from(_: actix::MailboxError) -> Self {
        Self::closed(true)
    }
}

#[cfg(test)]
mod tests;
