//! The kinds of errors: one variant each, with its fields and its one-line text. Plain data.

use super::{
    attempts::Attempts,
    exit::{ExitReport, end_text},
};
use crate::config::InvalidConfig;
use herder_core::{BindError, Generation, InvalidSessionId, SessionId, WorkerId, WorkerRef};
use herder_wire::{ArgumentError, RejectionData, WorkerError, WorkerErrorKind};
use std::{sync::Arc, time::Duration};

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The source of an error, shared by the error's clones. `source` returns a value of this type, which must be dereferenced
/// once to get the original error.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// An error of a call, a pool or a configuration.
///
/// ```
/// # use herder_actors::{Category, Error};
/// let error = Error::QueueFull { limit: 1000 };
/// assert_eq!((error.category(), error.is_retryable(), error.slug()), (Category::Resource, true, "queue-full"));
/// ```
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool's workers have no such command.
    #[error("unknown command `{command}`; {hint}")]
    UnknownCommand {
        /// The command that was called.
        command: String,
        /// The available commands.
        hint: String,
    },
    /// The arguments do not match the handler's parameters.
    #[error("wrong arguments: {message}")]
    BadArguments {
        /// Which parameter, and what is wrong with its argument; the first one if there are several.
        message: String,
        /// All values that do not fit, at most 50, if the worker lists them.
        errors: Vec<ArgumentError>,
    },
    /// The arguments are not valid JSON, or not a JSON object.
    #[error("malformed arguments: {message}")]
    Malformed {
        /// What is wrong with them.
        message: String,
        /// The error of the encoder or parser, if it ran in this process.
        #[source]
        cause: Option<Cause>,
    },
    /// The session id is invalid.
    #[error(transparent)]
    InvalidSession(#[from] InvalidSessionId),
    /// The handler rejected the call (`herder.Rejected`).
    #[error("rejected: {message}")]
    Rejected {
        /// The handler's message.
        message: String,
        /// The handler's code, if it gave one.
        code: Option<String>,
        /// What else the handler tells its callers, if anything.
        data: Option<RejectionData>,
        /// The status over HTTP that the handler chose, from 400 to 499; `None` for 422.
        status: Option<u16>,
        /// The process that ran the call.
        worker: WorkerRef,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The handler raised an exception.
    #[error("{kind}{}", with_separator(message))]
    Exception {
        /// The exception's type.
        kind: String,
        /// Its message.
        message: String,
        /// The Python traceback.
        traceback: Option<Box<str>>,
        /// The process that ran the call.
        worker: WorkerRef,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The handler's result cannot be encoded as JSON.
    #[error("the result cannot be encoded as JSON: {message}")]
    Unencodable {
        /// Why it cannot be encoded.
        message: String,
        /// The process that ran the call.
        worker: WorkerRef,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The arguments or the result are longer than a frame may be.
    #[error("too large: {message}")]
    TooLarge {
        /// What is too large, and the limit.
        message: String,
        /// True if the result is too large, false if the arguments are: those were not sent.
        may_have_run: bool,
        /// The process that ran the call, if the result is too large.
        worker: Option<WorkerRef>,
    },
    /// The call was cancelled.
    #[error("cancelled: {message}")]
    Cancelled {
        /// Why the call was cancelled.
        message: String,
        /// The process that ran the call, if a worker cancelled it.
        worker: Option<WorkerRef>,
    },
    /// The pool's queue is full.
    #[error("the pool's queue is full (limit: {limit}); retry later")]
    QueueFull {
        /// The maximum number of waiting calls.
        limit: usize,
    },
    /// The session's queue is full.
    #[error("the session's queue is full (limit: {limit}); retry later")]
    SessionQueueFull {
        /// The maximum number of waiting calls of one session.
        limit: usize,
    },
    /// The estimated wait of the call is more than twice the time that it may wait: it fails at once instead of at its
    /// deadline.
    #[error(
        "the pool is overloaded: the estimated wait is {}, but the call may wait only {}; retry later",
        humantime::format_duration(whole_seconds(*estimated_wait)),
        humantime::format_duration(whole_ms(*max_wait))
    )]
    Overloaded {
        /// The estimated wait of a call that is submitted now.
        estimated_wait: Duration,
        /// How long this call may wait.
        max_wait: Duration,
    },
    /// No worker was free within the queue's timeout.
    #[error("{}{}", queue_text(*waited, *starting), with_last_start_error(last_start_error))]
    QueueTimeout {
        /// The queue timeout.
        waited: Duration,
        /// How long the first of the workers has been starting, if none is ready.
        starting: Option<Duration>,
        /// Why the last start of a worker failed, if fewer base workers than configured are ready.
        last_start_error: Option<Box<str>>,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The call's deadline passed.
    #[error("{}{}", deadline_text(*command_timeout), run_possibility_text(*may_have_run))]
    DeadlineExceeded {
        /// False only if no worker can have received the call.
        may_have_run: bool,
        /// The timeout that the command declares, if it was shorter than the call's own.
        command_timeout: Option<Duration>,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The worker sent no item of a stream for the time that the caller set, although it could.
    #[error("the worker sent no item for {}{}", humantime::format_duration(*idle), run_possibility_text(true))]
    IdleTimeout {
        /// The longest time between two items.
        idle: Duration,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The consumer of a stream took no item for the pool's `stream.stall`, while the worker waited for it.
    #[error("the consumer of the stream took no item for {}{}", humantime::format_duration(*stall), run_possibility_text(true))]
    StreamStalled {
        /// The value of `stream.stall`.
        stall: Duration,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The worker that ran the call died, or was stopped before the call had ended.
    #[error("worker {worker} (generation {generation}) {}{}", end_text(reason), run_possibility_text(*may_have_run))]
    WorkerLost {
        /// The slot.
        worker: WorkerId,
        /// The generation of the process.
        generation: Generation,
        /// Why it exited.
        reason: Arc<str>,
        /// False only if the process cannot have received the call.
        may_have_run: bool,
        /// Details of its exit.
        report: Arc<ExitReport>,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The worker that held the session's state died or was stopped. Reported once; the next call starts with a new state.
    #[error("session `{session}` lost its state: worker {worker} (generation {generation}) {}{}", end_text(reason), run_possibility_text(*may_have_run))]
    SessionWorkerLost {
        /// The session.
        session: SessionId,
        /// The slot that held its state.
        worker: WorkerId,
        /// The generation of the process.
        generation: Generation,
        /// Why it exited.
        reason: Arc<str>,
        /// False only if the process cannot have received this call.
        may_have_run: bool,
        /// Details of its exit.
        report: Arc<ExitReport>,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The session expired, and the pool rejects calls of expired sessions.
    #[error("session `{session}` has expired")]
    SessionExpired {
        /// The session.
        session: SessionId,
    },
    /// There is no such session, and the call required one.
    #[error("there is no session `{session}`")]
    SessionNotFound {
        /// The session.
        session: SessionId,
    },
    /// The pool has the maximum number of sessions.
    #[error("the pool already has {}, the limit set by `sessions.max`", counted(*max as u64, "session"))]
    SessionQuota {
        /// The limit.
        max: usize,
    },
    /// The session's worker is busy, and the call does not wait for it.
    #[error("worker {worker}, which holds the session's state, is busy; retry later")]
    WorkerBusy {
        /// The worker.
        worker: WorkerId,
    },
    /// There is no such worker, or its process was replaced.
    #[error("{message}")]
    NoSuchWorker {
        /// A message that names the worker.
        message: String,
    },
    /// The session cannot be bound.
    #[error("the session cannot be bound: {0}")]
    Bind(#[from] BindError),
    /// The pool could not keep its workers running and waits before it tries again.
    #[error("the pool has failed: {reason}; the next restart attempt is in {}", humantime::format_duration(*retry_after))]
    PoolFailed {
        /// The last start error.
        reason: Box<str>,
        /// The time until the next attempt.
        retry_after: Duration,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The pool's circuit breaker is open: recent calls failed too often, and calls are refused for a time.
    #[error("the pool's circuit breaker is open; retry in {}", humantime::format_duration(whole_ms(*retry_after)))]
    BreakerOpen {
        /// The time until calls are admitted again as trials.
        retry_after: Duration,
    },
    /// This command with these arguments killed several workers and is refused for a time.
    #[error(
        "this command with these arguments killed {} and is quarantined for {} (fingerprint {fingerprint})",
        counted((*deaths).into(), "worker"),
        humantime::format_duration(whole_ms(*retry_after))
    )]
    PoisonCall {
        /// The fingerprint of command and arguments, as the list of quarantined calls shows it.
        fingerprint: String,
        /// The number of workers that it killed.
        deaths: u32,
        /// The time until the quarantine ends.
        retry_after: Duration,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// The pool is shutting down or has stopped.
    #[error("the pool is closed{}", run_possibility_text(*may_have_run))]
    PoolClosed {
        /// False only if no worker can have received the call.
        may_have_run: bool,
        /// The earlier attempts, each lost with its worker.
        attempts: Attempts,
    },
    /// Another running pool of this process has the name.
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
    /// This process is a forked copy of the one that started the pool, and the pool runs there.
    #[error("the pool runs in the process that this one was forked from; fork before the first pool is started{}", run_possibility_text(*may_have_run))]
    Forked {
        /// True if the call was submitted before the fork: it may run in the other process.
        may_have_run: bool,
    },
    /// There is no pool of this name.
    #[error("unknown pool `{pool}`; {hint}")]
    UnknownPool {
        /// The name.
        pool: String,
        /// The available pools.
        hint: String,
    },
    /// A worker failed to start.
    #[error("a worker failed to start: {reason}")]
    StartFailed {
        /// The process; `None` if the pool's workers start and then die repeatedly.
        worker: Option<WorkerRef>,
        /// Why the start failed.
        reason: Arc<str>,
        /// Details of its exit.
        report: Arc<ExitReport>,
    },
    /// A bug in Herder: an actor panicked. Pending calls fail with this error, and workers are restarted.
    #[error("internal error: {reason}")]
    Internal {
        /// The text of the panic.
        reason: Box<str>,
    },
    /// The result does not have the requested type.
    #[error("the result does not have the requested type: {message}")]
    Decode {
        /// What does not match, and where.
        message: String,
        /// The error of the decoder.
        #[source]
        cause: Option<Cause>,
    },
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

impl Error {
    /// Creates the error of a pool that is shutting down or has stopped.
    pub(crate) fn closed(may_have_run: bool) -> Self {
        Self::PoolClosed { may_have_run, attempts: Attempts::default() }
    }

    /// Converts an error that a worker sent.
    pub(crate) fn of_worker(command: &str, worker: WorkerRef, error: WorkerError) -> Self {
        let WorkerError { kind, message, type_name, code, data, status, traceback, errors } = error;
        match kind {
            WorkerErrorKind::Rejected => {
                Self::Rejected { message, code, data, status, worker, attempts: Attempts::default() }
            }
            WorkerErrorKind::UnknownCommand => Self::UnknownCommand { command: command.into(), hint: message },
            WorkerErrorKind::BadArguments => Self::BadArguments { message, errors: errors.into_vec() },
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

    /// Creates the error of arguments that a parser or encoder refused.
    pub fn malformed(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Malformed { message: cause.to_string(), cause: Some(Arc::new(cause)) }
    }

    /// Creates the error of a result that a decoder refused.
    pub fn decode(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Decode { message: cause.to_string(), cause: Some(Arc::new(cause)) }
    }
}

impl From<actix::MailboxError> for Error {
    fn from(_: actix::MailboxError) -> Self {
        Self::closed(true)
    }
}

/// Rounds up to seconds; at least one second.
pub(crate) fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs((span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1))
}

/// Formats a number of things: `1 call`, `2 calls`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Truncates to milliseconds.
pub(crate) fn whole_ms(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn deadline_text(command_timeout: Option<Duration>) -> String {
    command_timeout.map_or_else(
        || "the deadline passed".into(),
        |timeout| format!("the call exceeded the timeout of its command, {timeout:?}"),
    )
}

pub(super) fn run_possibility_text(may_have_run: bool) -> &'static str {
    if may_have_run { "; the call may have run" } else { "; the call did not run" }
}

/// Formats how long a call waited for a worker.
pub(super) fn queue_text(waited: Duration, starting: Option<Duration>) -> String {
    let waited = humantime::format_duration(waited);
    match starting.map(|time| humantime::format_duration(whole_seconds(time))) {
        None => format!("no worker was free within {waited}"),
        Some(time) => format!(
            "no worker was ready within {waited}: the workers are still starting (for {time} so far); retry later, or raise \
             `queue.timeout`"
        ),
    }
}

/// Formats a message behind an exception's type, as Python's tracebacks do.
fn with_separator(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn with_last_start_error(last: &Option<Box<str>>) -> String {
    last.as_ref().map_or_else(String::new, |last| format!("; the last start of a worker failed: {last}"))
}
