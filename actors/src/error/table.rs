//! All kinds of errors in one table (R32): name, category, severity, HTTP status, and whether the pool says when to come back.
//! Strategy, retry limit and whether to retry at all follow from category and severity, by the core's decision table. Pure data.

use super::Error;
use herder_core::{Category, Decision, Incident, Severity, Strategy, decide};

/// What is fixed for a kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) slug: &'static str,
    pub(super) category: Category,
    pub(super) severity: Severity,
    pub(super) status: u16,
    pub(super) wait: Wait,
}

/// What `Retry-After` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is not sent: waiting does not help, or nobody knows how long.
    Unsaid,
    /// A second: room may come at any moment.
    Second,
    /// What the error has.
    Told,
}

macro_rules! kinds {
    ($($variant:ident $slug:literal $category:ident $severity:ident $status:literal $wait:ident;)*) => {
        /// A row for each kind, in the order of the enum.
        #[cfg(test)]
        pub(super) const ROWS: &[Row] = &[$(row($slug, Category::$category, Severity::$severity, $status, Wait::$wait)),*];

        impl Error {
            /// The row of its kind. The compiler sees to it that there is one for each.
            pub(super) fn row(&self) -> Row {
                match self {
                    $(Self::$variant { .. } => row($slug, Category::$category, Severity::$severity, $status, Wait::$wait)),*
                }
            }
        }
    };
}

kinds! {
    // variant         slug                   category       severity status Retry-After
    UnknownCommand    "unknown-command"     Python         Minor    404 Unsaid;
    BadArguments      "bad-arguments"       Python         Minor    422 Unsaid;
    Malformed         "malformed"           Python         Minor    400 Unsaid;
    InvalidSession    "invalid-session"     Session        Minor    400 Unsaid;
    Rejected          "rejected"            Python         Warning  422 Unsaid;
    Exception         "exception"           Python         Minor    500 Unsaid;
    Unencodable       "unencodable"         Python         Minor    500 Unsaid;
    TooLarge          "too-large"           Python         Minor    413 Unsaid;
    Cancelled         "cancelled"           Timeout        Warning  500 Unsaid;
    QueueFull         "queue-full"          Resource       Minor    429 Second;
    SessionQueueFull  "session-queue-full"  Resource       Minor    429 Second;
    Overloaded        "overloaded"          Resource       Minor    429 Told;
    QueueTimeout      "queue-timeout"       Timeout        Minor    503 Second;
    DeadlineExceeded  "deadline-exceeded"   Timeout        Minor    504 Unsaid;
    WorkerLost        "worker-lost"         Connection     Major    502 Unsaid;
    SessionWorkerLost "session-worker-lost" Session        Major    410 Unsaid;
    SessionExpired    "session-expired"     Session        Warning  410 Unsaid;
    SessionNotFound   "session-not-found"   Session        Warning  404 Unsaid;
    SessionQuota      "session-quota"       Resource       Minor    429 Second;
    WorkerBusy        "worker-busy"         Resource       Minor    409 Unsaid;
    NoSuchWorker      "no-such-worker"      Connection     Warning  404 Unsaid;
    Bind              "bind"                Session        Minor    409 Unsaid;
    PoolFailed        "pool-failed"         Initialization Critical 503 Told;
    BreakerOpen       "breaker-open"        Connection     Critical 503 Told;
    PoisonCall        "poison-call"         Python         Major    422 Unsaid;
    PoolClosed        "pool-closed"         Connection     Minor    503 Unsaid;
    PoolNameTaken     "pool-name-taken"     Initialization Minor    409 Unsaid;
    PoolEnding        "pool-ending"         Resource       Minor    503 Second;
    Forked            "forked"              Connection     Minor    503 Unsaid;
    UnknownPool       "unknown-pool"        Initialization Minor    404 Unsaid;
    StartFailed       "start-failed"        Initialization Major    503 Unsaid;
    Internal          "internal"            System         Critical 500 Unsaid;
    Decode            "decode"              Python         Minor    500 Unsaid;
    Config            "config"              Initialization Minor    500 Unsaid;
}

const fn row(slug: &'static str, category: Category, severity: Severity, status: u16, wait: Wait) -> Row {
    Row { slug, category, severity, status, wait }
}

impl Row {
    pub(super) fn decide(self, attempt: u32, all_workers: bool, repeatable: bool) -> Decision {
        decide(Incident { category: self.category, severity: self.severity, attempt, all_workers, repeatable })
    }

    /// Whether the same pool may answer the same call another time.
    pub(super) fn retryable(self) -> bool {
        match self.decide(1, false, true).strategy {
            Strategy::ImmediateRetry | Strategy::BackoffRetry | Strategy::CircuitBreak => true,
            Strategy::Failover | Strategy::Abandon => false,
        }
    }
}

#[cfg(test)]
mod tests;
