//! Which of the nine categories and four severities an error has (R32). The resilience work makes this a table with strategies.

use super::Error;
use serde::Serialize;
use std::fmt;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A worker or pool could not start.
    Initialization,
    /// A worker is gone.
    Connection,
    /// A worker said something it may not.
    Communication,
    /// A time ran out.
    Timeout,
    /// A limit was reached.
    Resource,
    /// A health check failed.
    HealthCheck,
    /// A session is not what the call took it for.
    Session,
    /// The application's code, or the caller's use of it.
    Python,
    /// Herder or the machine.
    System,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be expected in normal work.
    Warning,
    /// One call is concerned.
    Minor,
    /// A worker, or its sessions.
    Major,
    /// The pool.
    Critical,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn category(&self) -> Category {
        match self {
            Self::UnknownCommand { .. }
            | Self::BadArguments { .. }
            | Self::Malformed { .. }
            | Self::Rejected { .. }
            | Self::Exception { .. }
            | Self::Unencodable { .. }
            | Self::TooLarge { .. }
            | Self::PoisonCall { .. }
            | Self::Decode { .. } => Category::Python,
            Self::QueueFull { .. }
            | Self::SessionQueueFull { .. }
            | Self::Overloaded { .. }
            | Self::SessionQuota { .. }
            | Self::WorkerBusy { .. } => Category::Resource,
            Self::QueueTimeout { .. } | Self::DeadlineExceeded { .. } | Self::Cancelled { .. } => Category::Timeout,
            Self::WorkerLost { .. }
            | Self::BreakerOpen { .. }
            | Self::PoolClosed { .. }
            | Self::NoSuchWorker { .. } => Category::Connection,
            Self::SessionWorkerLost { .. }
            | Self::SessionExpired { .. }
            | Self::SessionNotFound { .. }
            | Self::InvalidSession { .. }
            | Self::Bind(_) => Category::Session,
            Self::PoolFailed { .. }
            | Self::PoolNameTaken { .. }
            | Self::UnknownPool { .. }
            | Self::StartFailed { .. }
            | Self::Config(_) => Category::Initialization,
            Self::Internal { .. } => Category::System,
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::PoolFailed { .. } | Self::Internal { .. } => Severity::Critical,
            Self::WorkerLost { .. }
            | Self::SessionWorkerLost { .. }
            | Self::BreakerOpen { .. }
            | Self::PoisonCall { .. }
            | Self::StartFailed { .. } => Severity::Major,
            Self::Rejected { .. }
            | Self::SessionExpired { .. }
            | Self::SessionNotFound { .. }
            | Self::Cancelled { .. } => Severity::Warning,
            _ => Severity::Minor,
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
