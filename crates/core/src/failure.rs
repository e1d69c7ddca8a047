//! Why a call was not answered by a worker, and why a worker ended. Pure data: texts, causes and the tail of
//! stderr are added by whoever turns these into the public error.

use crate::{ExitStatus, Quarantined, SessionId, Timestamp, WorkerRef};
use std::{fmt, time::Duration};

/// Why a call ends without a worker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallFailure {
    /// The pool's queue is full.
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The session's share of the queue is full.
    SessionQueueFull {
        /// How many of one session may wait.
        limit: usize,
    },
    /// By all that was seen, its turn can't come in time.
    Overloaded {
        /// How long it would wait.
        expected_wait: Duration,
        /// How long it can.
        max_wait: Duration,
    },
    /// No worker became free within the queue's timeout.
    QueueTimeout,
    /// The call's whole deadline passed.
    DeadlineExceeded {
        /// False only if no worker can have seen the call.
        may_have_run: bool,
    },
    /// The process that had the call died.
    WorkerLost(WorkerLoss),
    /// The process that held the session's state died (R20).
    SessionWorkerLost {
        /// The session.
        session: SessionId,
        /// Which process, and how.
        loss: WorkerLoss,
    },
    /// The session expired and the pool rejects calls of expired sessions.
    SessionExpired(SessionId),
    /// There is no such session and the call asked to be rejected then.
    SessionNotFound(SessionId),
    /// The pool has as many sessions as it may.
    SessionQuota {
        /// The quota.
        max: usize,
    },
    /// The session's worker is busy and the call does not wait.
    WorkerBusy(WorkerRef),
    /// The pool's circuit breaker is open.
    BreakerOpen {
        /// When it lets a trial through.
        retry_at: Timestamp,
    },
    /// Its command with these arguments ended too many workers.
    Poison(Quarantined),
    /// The pool failed to keep its workers; the next probe starts at `retry_at`.
    PoolFailed {
        /// When the next probe starts.
        retry_at: Timestamp,
    },
    /// The pool is shutting down.
    PoolClosed {
        /// False only if no worker can have seen the call.
        may_have_run: bool,
    },
    /// Its caller went away. Nobody hears of it; it is counted.
    Abandoned,
}

/// The end of a process, as seen by one call it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerLoss {
    /// The process.
    pub worker: WorkerRef,
    /// How it ended; `None` where that is not known yet (it was told to end) or no more (a later process of its slot ended too).
    pub end: Option<ProcessExit>,
    /// False only if the worker can't have seen the call.
    pub may_have_run: bool,
}

/// How and why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessExit {
    /// What the operating system said.
    pub status: ExitStatus,
    /// Why Herder ended it, if Herder did.
    pub kill_reason: Option<KillReason>,
}

/// Why Herder ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// Somebody asked (`KillWorker`).
    Requested,
    /// It missed its pings, doing nothing.
    Unresponsive,
    /// It missed its pings because it was stopped.
    Stopped,
    /// A call whose caller had its answer, or had left, did not end in time.
    CancelTimeout,
    /// It broke the protocol, or closed its descriptor.
    ProtocolViolation,
    /// It was not ready within the start timeout.
    StartTimeout,
    /// It was an overflow worker with nothing to do.
    Idle,
    /// The pool shuts down.
    Shutdown,
    /// The actor in charge of it panicked.
    ActorPanicked,
    /// It could not even be started: the host had no descriptors left. Nothing is wrong with the worker.
    NoDescriptors,
}

impl KillReason {
    /// Whether it is ended because it hangs: what it was doing then is worth knowing.
    pub const fn is_hang(self) -> bool {
        matches!(self, Self::Unresponsive | Self::CancelTimeout | Self::StartTimeout)
    }
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kill_reason {
            None => write!(f, "{}", self.status),
            Some(kill_reason) => write!(f, "{} ({kill_reason})", self.status),
        }
    }
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "killed on request",
            Self::Unresponsive => "killed: no answer to pings",
            Self::Stopped => "killed: process suspended by SIGSTOP or a debugger",
            Self::CancelTimeout => "killed: a cancelled or expired call did not stop",
            Self::ProtocolViolation => "killed: protocol violation",
            Self::StartTimeout => "killed: not ready within `start_timeout`",
            Self::Idle => "stopped: idle overflow worker",
            Self::Shutdown => "stopped: pool shutdown",
            Self::ActorPanicked => "killed: its actor panicked",
            Self::NoDescriptors => "not started: the host had no file descriptors left",
        })
    }
}
