//! The states of a worker and the transitions between them (R23, R24). Data only.

use serde::Serialize;
use std::fmt;

/// The states of a worker. A basic worker is never [`Degraded`](Self::Degraded).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// The process was started and is not ready.
    Initializing,
    /// The worker is ready and has a free call slot.
    Ready,
    /// The worker is ready and has no free call slot.
    Busy,
    /// The worker missed a ping. It keeps its calls and gets no new ones.
    Degraded,
    /// The worker was asked to stop, or its process has ended.
    Terminating,
    /// There is no process.
    Terminated,
}

/// The error for a transition that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid worker state transition from {from} to {to}")]
pub struct InvalidTransition {
    /// The current state, which does not change.
    pub from: WorkerState,
    /// The state that cannot follow.
    pub to: WorkerState,
}

impl WorkerState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Initializing, Self::Ready, Self::Busy, Self::Degraded, Self::Terminating, Self::Terminated];

    /// Returns the states that can follow this one.
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Initializing => &[Self::Ready, Self::Terminated],
            Self::Ready => &[Self::Busy, Self::Degraded, Self::Terminating],
            Self::Busy => &[Self::Ready, Self::Degraded, Self::Terminating],
            Self::Degraded => &[Self::Ready, Self::Terminating],
            Self::Terminating => &[Self::Terminated],
            Self::Terminated => &[],
        }
    }

    /// Returns `to`.
    ///
    /// # Errors
    /// Returns [`InvalidTransition`] if `to` cannot follow this state.
    ///
    /// ```
    /// # use herder_core::WorkerState::{Busy, Initializing, Ready};
    /// assert_eq!(Initializing.transition(Ready), Ok(Ready));
    /// assert!(Initializing.transition(Busy).is_err());
    /// ```
    pub fn transition(self, to: Self) -> Result<Self, InvalidTransition> {
        if self.next().contains(&to) { Ok(to) } else { Err(InvalidTransition { from: self, to }) }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initializing => "initializing",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Degraded => "degraded",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        })
    }
}

/// The health of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Health {
    /// The process is not ready yet, or has ended.
    Unknown,
    /// The process is ready and answered its last ping.
    Healthy,
    /// The process missed its last ping.
    Unhealthy,
}

#[cfg(test)]
mod tests {
    use super::WorkerState::{self, *};

    /// R23: exactly these transitions exist.
    #[test]
    fn only_the_required_transitions_exist() {
        let edges: Vec<(WorkerState, WorkerState)> = WorkerState::ALL
            .iter()
            .flat_map(|&from| WorkerState::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.transition(*to).is_ok())
            .collect();
        let expected = [
            (Initializing, Ready),
            (Initializing, Terminated),
            (Ready, Busy),
            (Ready, Degraded),
            (Ready, Terminating),
            (Busy, Ready),
            (Busy, Degraded),
            (Busy, Terminating),
            (Degraded, Ready),
            (Degraded, Terminating),
            (Terminating, Terminated),
        ];
        assert_eq!(edges, expected);
    }
}
