//! The public error: what went wrong with a call or a pool, told so that somebody woken at night knows what to do.
//!
//! Pure data. `category`, `is_retryable` and the rest are methods; the HTTP form is in `http` (feature `http`).

mod attempts;
mod category;
mod from_core;
#[cfg(feature = "http")]
mod http;
mod problem;

pub use attempts::{Attempt, Attempts};
pub use category::{Category, Severity};
pub use problem::Problem;

pub(crate) use from_core::{Obituary, loss_reason, start_failed, status_parts};

use crate::{InvalidConfig, OutOfMemory, Recording};
use herder_core::{BindError, Generation, SessionId, WorkerId, WorkerRef};
use herder_wire::{WorkerError, WorkerErrorKind};
use std::{sync::Arc, time::Duration};

/// What this crate's fallible functions give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
    #[error("unknown command `{command}`: {hint}")]
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
    },
    /// The session's id can't be one.
    #[error("{message}")]
    InvalidSession {
        /// Why.
        message: String,
    },
    /// The handler said no on purpose (`herder.Rejected`).
    #[error("rejected: {message}")]
    Rejected {
        /// The handler's words.
        message: String,
        /// The handler's code, if it gave one.
        code: Option<String>,
        /// Where it ran.
        at: WorkerRef,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The handler raised.
    #[error("{kind}{}", and_text(message))]
    Exception {
        /// The exception's type.
        kind: String,
        /// Its message.
        message: String,
        /// The Python traceback.
        traceback: Option<Box<str>>,
        /// Where it ran.
        at: WorkerRef,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The handler's result can't be encoded.
    #[error("the result can't be encoded: {message}")]
    Unencodable {
        /// Why.
        message: String,
        /// Where it ran.
        at: WorkerRef,
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
    },
    /// The call was cancelled.
    #[error("cancelled: {message}")]
    Cancelled {
        /// By what.
        message: String,
    },
    /// The pool's queue is full.
    #[error("the pool's queue is full ({limit} calls wait)")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The session's share of the queue is full.
    #[error("the session's queue is full ({limit} of its calls wait)")]
    SessionQueueFull {
        /// How many of one session may wait.
        limit: usize,
    },
    /// The call would wait longer than it can: answered at once instead of at its deadline.
    #[error(
        "the pool is overloaded: about {} to wait, and the call has {}",
        humantime::format_duration(whole_seconds(*expected_wait)),
        humantime::format_duration(whole_ms(*patience))
    )]
    Overloaded {
        /// How long a call that comes now is expected to wait.
        expected_wait: Duration,
        /// How long this one could have.
        patience: Duration,
    },
    /// No worker was free within the queue's timeout.
    #[error("no worker was free within {}{}", humantime::format_duration(*waited), and_start(last_start_error))]
    QueueTimeout {
        /// The queue's timeout.
        waited: Duration,
        /// Why the last start of a worker failed, if the pool is not whole.
        last_start_error: Option<Box<str>>,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The call's deadline passed.
    #[error("the deadline passed{}", ran(*may_have_run))]
    DeadlineExceeded {
        /// False only if no worker can have seen the call.
        may_have_run: bool,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The process that had the call died.
    #[error("worker {worker} of generation {generation} is gone: {reason}{}", ran(*may_have_run))]
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
        report: Box<Report>,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The process that held the session's state died. Told once; the next call begins with a new state.
    #[error("session `{session}` lost its state: worker {worker} of generation {generation} is gone: {reason}{}", ran(*may_have_run))]
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
        report: Box<Report>,
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
    #[error("the pool has {max} sessions, its limit (`sessions.max`)")]
    SessionQuota {
        /// The limit.
        max: usize,
    },
    /// The session's worker is busy, and the call does not wait.
    #[error("worker {worker} of the session is busy")]
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
    #[error("the session can't be bound: {0}")]
    Bind(#[from] BindError),
    /// The pool could not keep its workers running and rests before it tries again.
    #[error("the pool has failed: {reason}; the next try is in {}", humantime::format_duration(*retry_after))]
    PoolFailed {
        /// The last start error.
        reason: Box<str>,
        /// When it tries again.
        retry_after: Duration,
        /// The attempts before, each lost with its worker.
        attempts: Attempts,
    },
    /// The pool's circuit breaker is open: calls like this failed too often, and are not tried for a while.
    #[error("the pool's circuit breaker is open; the next try is in {}", humantime::format_duration(whole_ms(*retry_after)))]
    BreakerOpen {
        /// When it lets a call through again.
        retry_after: Duration,
    },
    /// This command with these arguments ended several workers, and is refused for a while.
    #[error(
        "this command with these arguments ended {deaths} workers and is quarantined for {} (fingerprint {fingerprint})",
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
    #[error("the pool is closed{}", ran(*may_have_run))]
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
    /// There is no pool of this name.
    #[error("unknown pool `{pool}`: {hint}")]
    UnknownPool {
        /// The name.
        pool: String,
        /// Which there are.
        hint: String,
    },
    /// A worker could not be started.
    #[error("a worker could not be started: {reason}")]
    StartFailed {
        /// Why.
        reason: Box<str>,
        /// What is known of it.
        report: Box<Report>,
    },
    /// A bug of Herder: an actor panicked. Calls in flight are answered with this; workers are started anew.
    #[error("internal error: {reason}")]
    Internal {
        /// The panic's message.
        reason: Box<str>,
    },
    /// A reply that is not of the type asked for.
    #[error("the reply is not what was asked for: {message}")]
    Decode {
        /// Where and why.
        message: String,
    },
    /// A configuration that can't be.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

/// What is known of a worker's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The exit status, if it returned one.
    pub exit_status: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The last lines it printed.
    pub stderr_tail: Vec<String>,
    /// The traceback of a failed start.
    pub traceback: Option<Box<str>>,
    /// What passed between it and the host last, without contents.
    pub recorder: Option<Arc<Recording>>,
    /// The most main memory it ever had, in bytes, if that is known.
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed for a lack of memory.
    pub out_of_memory: Option<OutOfMemory>,
}

impl Error {
    /// The pool is gone, or shutting down.
    pub(crate) fn closed(may_have_run: bool) -> Self {
        Self::PoolClosed { may_have_run, attempts: Attempts::default() }
    }

    /// An error that a worker sent.
    pub(crate) fn of_worker(command: &str, at: WorkerRef, error: WorkerError) -> Self {
        let WorkerError { kind, message, type_name, code, traceback } = error;
        match kind {
            WorkerErrorKind::Rejected => Self::Rejected { message, code, at, attempts: Attempts::default() },
            WorkerErrorKind::UnknownCommand => Self::UnknownCommand { command: command.into(), hint: message },
            WorkerErrorKind::BadArguments => Self::BadArguments { message },
            WorkerErrorKind::Malformed => Self::Malformed { message },
            WorkerErrorKind::Unencodable => Self::Unencodable { message, at, attempts: Attempts::default() },
            WorkerErrorKind::Cancelled => Self::Cancelled { message },
            WorkerErrorKind::TooLarge => Self::TooLarge { message, may_have_run: true },
            _ => {
                let kind = type_name.unwrap_or_else(|| "Exception".into());
                let traceback = traceback.map(Into::into);
                Self::Exception { kind, message, traceback, at, attempts: Attempts::default() }
            }
        }
    }

    /// The error as a name for programs: the last part of `type` in its HTTP form.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::UnknownCommand { .. } => "unknown-command",
            Self::BadArguments { .. } => "bad-arguments",
            Self::Malformed { .. } => "malformed",
            Self::InvalidSession { .. } => "invalid-session",
            Self::Rejected { .. } => "rejected",
            Self::Exception { .. } => "exception",
            Self::Unencodable { .. } => "unencodable",
            Self::TooLarge { .. } => "too-large",
            Self::Cancelled { .. } => "cancelled",
            Self::QueueFull { .. } => "queue-full",
            Self::SessionQueueFull { .. } => "session-queue-full",
            Self::Overloaded { .. } => "overloaded",
            Self::QueueTimeout { .. } => "queue-timeout",
            Self::DeadlineExceeded { .. } => "deadline-exceeded",
            Self::WorkerLost { .. } => "worker-lost",
            Self::SessionWorkerLost { .. } => "session-worker-lost",
            Self::SessionExpired { .. } => "session-expired",
            Self::SessionNotFound { .. } => "session-not-found",
            Self::SessionQuota { .. } => "session-quota",
            Self::WorkerBusy { .. } => "worker-busy",
            Self::NoSuchWorker { .. } => "no-such-worker",
            Self::Bind(_) => "bind",
            Self::PoolFailed { .. } => "pool-failed",
            Self::BreakerOpen { .. } => "breaker-open",
            Self::PoisonCall { .. } => "poison-call",
            Self::PoolClosed { .. } => "pool-closed",
            Self::PoolNameTaken { .. } => "pool-name-taken",
            Self::UnknownPool { .. } => "unknown-pool",
            Self::StartFailed { .. } => "start-failed",
            Self::Internal { .. } => "internal",
            Self::Decode { .. } => "decode",
            Self::Config(_) => "config",
        }
    }

    /// Whether the same call may succeed later or elsewhere. Says nothing of side effects: see [`may_have_run`](Self::may_have_run).
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::QueueFull { .. }
                | Self::SessionQueueFull { .. }
                | Self::Overloaded { .. }
                | Self::BreakerOpen { .. }
                | Self::QueueTimeout { .. }
                | Self::SessionQuota { .. }
                | Self::WorkerBusy { .. }
                | Self::WorkerLost { .. }
                | Self::SessionWorkerLost { .. }
                | Self::PoolFailed { .. }
                | Self::DeadlineExceeded { .. }
                | Self::Internal { .. }
        )
    }

    /// Whether the handler may have run, wholly or in part. False is a promise.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::DeadlineExceeded { may_have_run, .. }
            | Self::TooLarge { may_have_run, .. }
            | Self::WorkerLost { may_have_run, .. }
            | Self::SessionWorkerLost { may_have_run, .. }
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
            Self::Rejected { at, .. } | Self::Exception { at, .. } | Self::Unencodable { at, .. } => Some(*at),
            Self::WorkerLost { worker, generation, .. } | Self::SessionWorkerLost { worker, generation, .. } => {
                Some(WorkerRef { worker: *worker, generation: *generation })
            }
            _ => None,
        }
    }

    /// What is known of the end of the process concerned.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::WorkerLost { report, .. }
            | Self::SessionWorkerLost { report, .. }
            | Self::StartFailed { report, .. } => Some(report),
            _ => None,
        }
    }

    /// How long to wait before the next try, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::PoolFailed { retry_after, .. } | Self::BreakerOpen { retry_after } => Some(*retry_after),
            Self::Overloaded { expected_wait, .. } => Some(whole_seconds(*expected_wait)),
            Self::QueueFull { .. }
            | Self::SessionQueueFull { .. }
            | Self::SessionQuota { .. }
            | Self::QueueTimeout { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl From<actix::MailboxError> for Error {
    fn from(_: actix::MailboxError) -> Self {
        Self::closed(true)
    }
}

/// Rounded up, and at least one.
fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs((span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1))
}

/// Nanoseconds are noise in a message.
fn whole_ms(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn ran(may_have_run: bool) -> &'static str {
    if may_have_run { "; the call may have run" } else { "; the call did not run" }
}

/// What comes after an exception's type, as in Python's own tracebacks.
fn and_text(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn and_start(last: &Option<Box<str>>) -> String {
    last.as_ref().map_or_else(String::new, |last| format!("; the last start of a worker failed: {last}"))
}
