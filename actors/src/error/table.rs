//! One table of all kinds of errors (R32): name, category, severity, HTTP status, and `Retry-After`. The strategy, the
//! maximum number of retries and whether to retry at all follow from category and severity by the core's decision table.
//! Plain data.

use super::Error;
use herder_core::{Category, Decision, Incident, Severity, Strategy, decide};

/// The fixed properties of a kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) slug: &'static str,
    pub(super) category: Category,
    pub(super) severity: Severity,
    pub(super) status: u16,
    pub(super) wait: RetryAfter,
}

/// The value of `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryAfter {
    /// Not sent: waiting does not help, or the time is unknown.
    NotSent,
    /// One second: there may be room at any time.
    OneSecond,
    /// The time that the error contains.
    FromError,
}

macro_rules! kinds {
    ($($variant:ident $slug:literal $category:ident $severity:ident $status:literal $wait:ident;)*) => {
        /// One row per kind, in the order of the enum.
        #[cfg(test)]
        pub(super) const ROWS: &[Row] = &[$(row($slug, Category::$category, Severity::$severity, $status, RetryAfter::$wait)),*];

        impl Error {
            /// Returns the name of the variant.
            pub(super) fn variant(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($variant)),*
                }
            }

            /// Returns the row of the error's kind. The compiler checks that each kind has one.
            pub(super) fn row(&self) -> Row {
                match self {
                    $(Self::$variant { .. } => row($slug, Category::$category, Severity::$severity, $status, RetryAfter::$wait)),*
                }
            }
        }
    };
}

kinds! {
    // variant         slug                   category       severity status Retry-After
    UnknownCommand    "unknown-command"     Python         Minor    404 NotSent;
    BadArguments      "bad-arguments"       Python         Minor    422 NotSent;
    Malformed         "malformed"           Python         Minor    400 NotSent;
    InvalidSession    "invalid-session"     Session        Minor    400 NotSent;
    Rejected          "rejected"            Python         Warning  422 NotSent;
    Exception         "exception"           Python         Minor    500 NotSent;
    Unencodable       "unencodable"         Python         Minor    500 NotSent;
    TooLarge          "too-large"           Python         Minor    413 NotSent;
    Cancelled         "cancelled"           Timeout        Warning  500 NotSent;
    QueueFull         "queue-full"          Resource       Minor    429 OneSecond;
    SessionQueueFull  "session-queue-full"  Resource       Minor    429 OneSecond;
    Overloaded        "overloaded"          Resource       Minor    429 FromError;
    QueueTimeout      "queue-timeout"       Timeout        Minor    503 OneSecond;
    DeadlineExceeded  "deadline-exceeded"   Timeout        Minor    504 NotSent;
    IdleTimeout       "idle-timeout"        Timeout        Minor    504 NotSent;
    StreamStalled     "stream-stalled"      Timeout        Warning  408 NotSent;
    WorkerLost        "worker-lost"         Connection     Major    502 NotSent;
    SessionWorkerLost "session-worker-lost" Session        Major    410 NotSent;
    SessionExpired    "session-expired"     Session        Warning  410 NotSent;
    SessionNotFound   "session-not-found"   Session        Warning  404 NotSent;
    SessionQuota      "session-quota"       Resource       Minor    429 OneSecond;
    WorkerBusy        "worker-busy"         Resource       Minor    409 NotSent;
    NoSuchWorker      "no-such-worker"      Connection     Warning  404 NotSent;
    Bind              "bind"                Session        Minor    409 NotSent;
    PoolFailed        "pool-failed"         Initialization Critical 503 FromError;
    BreakerOpen       "breaker-open"        Connection     Critical 503 FromError;
    PoisonCall        "poison-call"         Python         Major    422 NotSent;
    PoolClosed        "pool-closed"         Connection     Minor    503 NotSent;
    PoolNameTaken     "pool-name-taken"     Initialization Minor    409 NotSent;
    PoolEnding        "pool-ending"         Resource       Minor    503 OneSecond;
    Forked            "forked"              Connection     Minor    503 NotSent;
    UnknownPool       "unknown-pool"        Initialization Minor    404 NotSent;
    StartFailed       "start-failed"        Initialization Major    503 NotSent;
    Internal          "internal"            System         Critical 500 NotSent;
    Decode            "decode"              Python         Minor    500 NotSent;
    Config            "config"              Initialization Minor    500 NotSent;
}

const fn row(slug: &'static str, category: Category, severity: Severity, status: u16, wait: RetryAfter) -> Row {
    Row { slug, category, severity, status, wait }
}

impl Row {
    pub(super) fn decide(self, attempt: u32, all_workers: bool, repeatable: bool) -> Decision {
        decide(Incident { category: self.category, severity: self.severity, attempt, all_workers, repeatable })
    }

    /// Returns whether the same pool may answer the same call at another time.
    pub(super) fn retryable(self) -> bool {
        match self.decide(1, false, true).strategy {
            Strategy::ImmediateRetry | Strategy::BackoffRetry | Strategy::CircuitBreak => true,
            Strategy::Failover | Strategy::Abandon => false,
        }
    }
}

#[cfg(test)]
mod tests;
