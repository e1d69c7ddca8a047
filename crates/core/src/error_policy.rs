//! The reaction to an error (R32): a category and a severity lead to a strategy, by a table. Pure functions; the
//! concrete errors are mapped elsewhere.

use serde::Serialize;
use std::fmt;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Category {
    /// A worker or a pool could not start.
    Initialization,
    /// A worker or a pool is gone or cannot be reached.
    Connection,
    /// A worker violated the protocol.
    Communication,
    /// A timeout or a deadline passed.
    Timeout,
    /// A limit was reached.
    Resource,
    /// A health check failed.
    HealthCheck,
    /// A session is not in the state that the call expects.
    Session,
    /// The error is in the application's code or in how it was called.
    Python,
    /// The error is in Herder or the machine.
    System,
}

/// The seriousness of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Expected in normal operation.
    Warning,
    /// Affects one call.
    Minor,
    /// Affects a worker or its sessions.
    Major,
    /// Affects the pool.
    Critical,
}

/// The reaction to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Send the same call again at once: the cause is over, or concerned one worker only.
    ImmediateRetry,
    /// Send the same call again after a wait that grows with each attempt: the cause needs time to pass.
    BackoffRetry,
    /// Send the pool no calls until it may work again (`Retry-After`, the next probe), then few calls first: the pool
    /// itself has a problem.
    CircuitBreak,
    /// Use another pool or host, if there is one: this pool will not accept the call.
    Failover,
    /// Do not repeat the call. A repetition does not help, or it is unsafe because the call may have run: someone has
    /// to change the call, the application or the configuration.
    Abandon,
}

impl Category {
    /// All nine categories, in the order of the decision table.
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
    /// All four severities, from the lowest.
    pub const ALL: [Self; 4] = [Self::Warning, Self::Minor, Self::Major, Self::Critical];

    /// Returns the next higher severity; `Critical` stays `Critical`.
    pub fn raised(self) -> Self {
        match self {
            Self::Warning => Self::Minor,
            Self::Minor => Self::Major,
            Self::Major | Self::Critical => Self::Critical,
        }
    }
}

impl Strategy {
    /// All five strategies.
    pub const ALL: [Self; 5] =
        [Self::ImmediateRetry, Self::BackoffRetry, Self::CircuitBreak, Self::Failover, Self::Abandon];

    /// Returns the maximum number of repetitions of a call. It is 0 for `CircuitBreak`: the breaker's own probe tries
    /// again, not the call.
    pub fn retries(self) -> u32 {
        match self {
            Self::ImmediateRetry => 3,
            Self::BackoffRetry => 5,
            Self::Failover => 1,
            Self::CircuitBreak | Self::Abandon => 0,
        }
    }
}

/// The facts about an error on which [`decide`] bases its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The kind of the error.
    pub category: Category,
    /// The severity of the error by itself.
    pub severity: Severity,
    /// The number of the attempt that ended with the error, from 1.
    pub attempt: u32,
    /// Whether all workers of the pool are affected.
    pub all_workers: bool,
    /// Whether the call may be sent again: no handler began to run it, or it is idempotent.
    pub repeatable: bool,
}

/// The result of [`decide`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// The severity, adjusted for the attempt and the affected workers.
    pub severity: Severity,
    /// The reaction.
    pub strategy: Strategy,
    /// The maximum number of repetitions in total, not the number that remains.
    pub retries: u32,
}

/// The decision table: a row for each category, in the order of [`Category::ALL`]; a column for each severity, from the
/// lowest.
const TABLE: [[Strategy; 4]; 9] = {
    use Strategy::{Abandon as Ab, BackoffRetry as Ba, CircuitBreak as Ci, Failover as Fa, ImmediateRetry as Im};
    [
        // Initialization: the pool retries the start by itself; before that succeeds, callers need not try.
        [Ab, Ab, Ab, Ci],
        // Connection: stopped on request, closed pool, dead worker, unreachable pool.
        [Ab, Fa, Im, Ci],
        // Communication: the worker that violated the protocol is replaced.
        [Im, Im, Im, Ci],
        // Timeout: no caller waits for a call that was cancelled, so it is not repeated.
        [Ab, Ba, Ba, Ci],
        // Resource: capacity becomes available with time.
        [Ba, Ba, Ba, Ci],
        // Health check: it is repeated; a worker that keeps failing is replaced.
        [Ba, Ba, Im, Ci],
        // Session: a lost one can start again at once, unless all were lost with all workers.
        [Ab, Ab, Im, Ba],
        // Python: the same code gives the same error for the same call.
        [Ab, Ab, Ab, Ab],
        // System: the state is rebuilt, which takes a moment.
        [Ba, Ba, Ba, Ba],
    ]
};

/// Returns what to do about an incident. After the third attempt the severity is one step higher. An incident that
/// affects all workers is critical. A critical incident at the third attempt or later is abandoned. A strategy that
/// repeats the call becomes `Abandon` if this call may not be repeated.
///
/// ```
/// # use herder_core::{Category, Incident, Severity, Strategy, decide};
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
