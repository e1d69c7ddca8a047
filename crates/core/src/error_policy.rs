//! What an error calls for (R32): a category and a severity lead to a strategy, as data. Pure; holds no state and knows no error.

use serde::Serialize;
use std::fmt;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A worker or pool could not start.
    Initialization,
    /// A worker or pool is gone, or not to be reached.
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

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The cause is over, or was one worker's: send the same call again at once.
    ImmediateRetry,
    /// The cause takes time to pass: send the same call again after a wait that grows with each attempt.
    BackoffRetry,
    /// The pool itself is in trouble: send it nothing until it says so (`Retry-After`, the next probe), then few calls first.
    CircuitBreak,
    /// This pool will not take it again: go to another pool or host, if there is one.
    Failover,
    /// No repetition helps, or none is safe since the call may have run: somebody has to change the call, the application or the configuration.
    Abandon,
}

impl Category {
    /// All nine, in the order of the decision table.
    pub const ALL: [Self; 9] = [
        Self::Initialization,
        Self::Connection,
        Self::Communication,
        Self::Timeout,
        Self::Resource,
        Self::HealthCheck,
        Self::Session,
        Self::Python,
        Self::System,
    ];
}

impl Severity {
    /// All four, from the least.
    pub const ALL: [Self; 4] = [Self::Warning, Self::Minor, Self::Major, Self::Critical];

    /// One step worse. Nothing is worse than critical.
    pub fn raised(self) -> Self {
        match self {
            Self::Warning => Self::Minor,
            Self::Minor => Self::Major,
            Self::Major | Self::Critical => Self::Critical,
        }
    }
}

impl Strategy {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::ImmediateRetry, Self::BackoffRetry, Self::CircuitBreak, Self::Failover, Self::Abandon];

    /// How often to repeat a call at most. Behind an open circuit it is the circuit's probe that tries, not the call.
    pub fn retries(self) -> u32 {
        match self {
            Self::ImmediateRetry => 3,
            Self::BackoffRetry => 5,
            Self::Failover => 1,
            Self::CircuitBreak | Self::Abandon => 0,
        }
    }
}

/// What is known of an error when somebody decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its kind.
    pub category: Category,
    /// How bad this error is by itself.
    pub severity: Severity,
    /// Which attempt of the call ended with it, from 1.
    pub attempt: u32,
    /// Whether all workers of the pool are concerned.
    pub all_workers: bool,
    /// Whether the call may be sent again at all: no handler began, or it is idempotent.
    pub repeatable: bool,
}

/// What follows from an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// How bad it is, all told.
    pub severity: Severity,
    /// What to do.
    pub strategy: Strategy,
    /// How often a call may be repeated for it in all; not how often is left.
    pub retries: u32,
}

/// The decision table: a row for each category in the order of [`Category::ALL`], a column for each severity from the least.
const TABLE: [[Strategy; 4]; 9] = {
    use Strategy::{Abandon as Ab, BackoffRetry as Ba, CircuitBreak as Ci, Failover as Fa, ImmediateRetry as Im};
    [
        [Ab, Ab, Ab, Ci], // initialization: the pool starts workers by itself; until it can, nobody else needs to try
        [Ab, Fa, Im, Ci], // connection: what is gone on purpose, a closed pool, a dead worker, a pool out of reach
        [Im, Im, Im, Ci], // communication: the worker that broke the protocol is replaced
        [Ab, Ba, Ba, Ci], // timeout: a call that was cancelled is wanted by nobody
        [Ba, Ba, Ba, Ci], // resource: room comes with time
        [Ba, Ba, Im, Ci], // health check: asked again; a worker that fails it for good is replaced
        [Ab, Ab, Im, Ba], // session: a lost one begins anew at once, unless all were lost with all workers
        [Ab, Ab, Ab, Ab], // python: the same code says the same to the same call
        [Ba, Ba, Ba, Ba], // system: the state is built anew, which takes a moment
    ]
};

/// What an incident calls for. Later than the third attempt it is one step worse; if it concerns all workers it is critical; what is
/// still critical at the third attempt is given up; and so is what a call may be sent again for, if this call may not.
///
/// ```
/// use herder_core::{Category, Incident, Severity, Strategy, decide};
/// let (category, severity) = (Category::Connection, Severity::Major);
/// let lost = Incident { category, severity, attempt: 1, all_workers: false, repeatable: true };
/// assert_eq!(decide(lost).strategy, Strategy::ImmediateRetry);
/// assert_eq!(decide(Incident { repeatable: false, ..lost }).strategy, Strategy::Abandon);
/// assert_eq!(decide(Incident { attempt: 4, ..lost }).strategy, Strategy::Abandon);
/// ```
pub fn decide(incident: Incident) -> Decision {
    let Incident { category, severity, attempt, all_workers, repeatable } = incident;
    let severity = match (all_workers, attempt > 3) {
        (true, _) => Severity::Critical,
        (false, true) => severity.raised(),
        (false, false) => severity,
    };
    let given_up = severity == Severity::Critical && attempt > 2;
    let advised = TABLE[category as usize][severity as usize];
    let unsafe_to_repeat = !repeatable && advised.retries() > 0;
    let strategy = if given_up || unsafe_to_repeat { Strategy::Abandon } else { advised };
    Decision { severity, strategy, retries: strategy.retries() }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests;
