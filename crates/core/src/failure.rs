//! Why a call was not answered by a worker, and why a worker process ended. Data only: the shell that builds the public
//! error adds the message, the cause and the tail of stderr.

use crate::{Fingerprint, SessionId, Timestamp, WorkerRef};
use serde::Serialize;
use std::{fmt, ops::Deref, time::Duration};

/// Why a call failed without an answer from a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallFailure {
    /// The pool's queue is full.
    QueueFull {
        /// The number of calls that may wait.
        limit: usize,
    },
    /// The session's share of the queue is full.
    SessionQueueFull {
        /// The number of calls of one session that may wait.
        limit: usize,
    },
    /// The estimated wait, judged by recent calls, is more than twice the time that the call can wait.
    Overloaded {
        /// The estimated wait.
        estimated_wait: Duration,
        /// The time that the call can wait.
        max_wait: Duration,
    },
    /// No worker became free within `queue.timeout`. A call that was sent before and lost may have run: its earlier
    /// attempts ([`Effect::Settle`](crate::Effect::Settle)) tell.
    QueueTimeout,
    /// The call's deadline passed. The deadline covers the queue, the run and all retries.
    DeadlineExceeded {
        /// False only if no worker can have received the call.
        may_have_run: bool,
    },
    /// The worker sent no chunk of a stream for this long, although it could.
    StreamIdle {
        /// The limit.
        idle: Duration,
    },
    /// The consumer of a stream took nothing for this long, while the worker could send nothing.
    StreamStalled {
        /// The limit.
        stall: Duration,
    },
    /// The process to which the call was sent was lost.
    WorkerLost(WorkerLoss),
    /// The process that held the session's state was lost (R20).
    SessionWorkerLost {
        /// The session.
        session: SessionId,
        /// The lost process and how it ended.
        loss: WorkerLoss,
    },
    /// The session expired, and the pool rejects calls of expired sessions.
    SessionExpired(SessionId),
    /// The session does not exist, and the call asked to be rejected in that case.
    SessionNotFound(SessionId),
    /// The pool already has the maximum number of sessions.
    SessionQuota {
        /// The quota.
        max: usize,
    },
    /// The session's worker is busy and the call does not wait.
    WorkerBusy(WorkerRef),
    /// The pool's circuit breaker is open.
    BreakerOpen {
        /// The time at which the breaker admits a trial call.
        retry_at: Timestamp,
    },
    /// The command with these arguments is in quarantine, because too many workers ended while they ran it. A call that
    /// was sent before may have run, as for [`QueueTimeout`](Self::QueueTimeout).
    Poison(Quarantined),
    /// The pool failed: its workers ended too often. The next probe starts at `retry_at`. A call that was sent before may
    /// have run, as for [`QueueTimeout`](Self::QueueTimeout).
    PoolFailed {
        /// The time at which the next probe starts.
        retry_at: Timestamp,
    },
    /// The pool is shutting down.
    PoolClosed {
        /// False only if no worker can have received the call.
        may_have_run: bool,
    },
    /// The caller abandoned the call. No caller receives this failure; it is only counted.
    Abandoned,
}

/// Why a call was refused: its command with these arguments is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quarantined {
    /// The fingerprint of the command and its arguments.
    pub fingerprint: Fingerprint,
    /// The number of consecutive worker deaths.
    pub deaths: u32,
    /// The time at which the quarantine ends.
    pub until: Timestamp,
}

/// The loss of a worker process, as it concerns one call that was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerLoss {
    /// The process.
    pub worker: WorkerRef,
    /// How the process ended. `None` if that is not known yet (the process was asked to stop), or no longer (a later
    /// process of its slot has ended too).
    pub exit: Option<ProcessExit>,
    /// False only if the worker cannot have received the call.
    pub may_have_run: bool,
}

/// The lost attempts of a call, in order. Takes one pointer and no allocation as long as there are none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct LostAttempts(Option<Box<LossList>>);

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct LossList {
    losses: Vec<WorkerLoss>,
    /// The wait after the last loss.
    wait: Duration,
}

impl LostAttempts {
    pub(crate) fn push(&mut self, loss: WorkerLoss) {
        self.0.get_or_insert_default().losses.push(loss);
    }

    pub(crate) fn pop(&mut self) -> Option<WorkerLoss> {
        self.0.as_mut()?.losses.pop()
    }

    /// Returns the wait after the last loss.
    pub(crate) fn last_wait(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |list| list.wait)
    }

    /// Sets the wait after the last loss.
    pub(crate) fn set_last_wait(&mut self, wait: Duration) {
        self.0.get_or_insert_default().wait = wait;
    }
}

impl Deref for LostAttempts {
    type Target = [WorkerLoss];

    fn deref(&self) -> &[WorkerLoss] {
        self.0.as_ref().map_or(&[], |list| &list.losses)
    }
}

impl fmt::Debug for LostAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The exit of a process, and the reason if Herder ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessExit {
    /// The exit status that the operating system reported.
    pub status: ExitStatus,
    /// Why Herder ended the process, if it did.
    pub kill_reason: Option<KillReason>,
}

/// The end of a process, as reported by the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// The process exited with this code.
    Code(i32),
    /// The process was terminated by this signal.
    Signal(i32),
    /// The status is not known, because other code in the host process collected it.
    Unknown,
}

/// Why Herder ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// A message asked for it (`KillWorker`).
    Requested,
    /// The process missed its pings and did not compute for a call.
    Unresponsive,
    /// The process missed its pings because it was suspended.
    Stopped,
    /// A call that was settled or abandoned did not stop in time.
    CancelTimeout,
    /// The process violated the protocol, or closed its descriptor.
    ProtocolViolation,
    /// The process was not ready within the start timeout.
    StartTimeout,
    /// The health function of the app failed in the process.
    Unhealthy,
    /// The process was an overflow worker without work.
    Idle,
    /// The pool shuts down.
    Shutdown,
    /// Another process replaced the process in a reload, or the process was not ready when a reload began.
    Reload,
    /// The actor of the worker panicked.
    ActorPanicked,
    /// The process was not started: the host had no file descriptors left. The worker is not at fault.
    NoDescriptors,
}

impl ProcessExit {
    /// Returns whether the pool ended the process because it was no longer needed.
    pub(crate) fn is_expected(self) -> bool {
        matches!(self.kill_reason, Some(KillReason::Idle | KillReason::Shutdown | KillReason::Reload))
    }
}

impl KillReason {
    /// Returns whether the process is ended because it hangs, so that its stack at that moment is worth recording.
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
            Self::Unhealthy => "stopped: its health function failed",
            Self::Idle => "stopped: idle overflow worker",
            Self::Shutdown => "stopped: pool shutdown",
            Self::Reload => "stopped: replaced by a reload",
            Self::ActorPanicked => "killed: its actor panicked",
            Self::NoDescriptors => "not started: the host had no file descriptors left",
        })
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// Returns the name of a signal that has the same number on Linux and macOS and occurs in practice.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        _ => return None,
    })
}
