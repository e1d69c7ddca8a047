//! The states of a worker and the edges between them (R23, R24). Pure data.

use serde::Serialize;
use std::fmt;

/// The states of a worker. A basic one is never [`Degraded`](Self::Degraded).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Started, not yet ready.
    Initializing,
    /// Has a free slot.
    Ready,
    /// Has no free slot.
    Busy,
    /// Missed a ping: keeps what it has, gets nothing new.
    Degraded,
    /// Told to end, or found dead.
    Terminating,
    /// Its process is gone.
    Terminated,
}

/// An edge that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid worker state transition from {from} to {to}")]
pub struct InvalidTransition {
    /// Where it is, and stays.
    pub from: WorkerState,
    /// Where it can't go.
    pub to: WorkerState,
}

impl WorkerState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Initializing, Self::Ready, Self::Busy, Self::Degraded, Self::Terminating, Self::Terminated];

    /// The states that follow this one.
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

    /// Goes to `to`.
    ///
    /// # Errors
    /// When there is no such edge; the state is then as it was.
    ///
    /// ```
    /// use herder_core::WorkerState::{Busy, Initializing, Ready};
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

/// What is known of a worker's health (R24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It is not ready yet, or is gone.
    Unknown,
    /// It said ready, and answered its last ping.
    Healthy,
    /// It missed its last ping.
    Unhealthy,
}

#[cfg(test)]
mod tests {
    use super::WorkerState::{self, *};

    /// R23: exactly these edges.
    #[test]
    fn the_edges_are_those_of_the_requirement() {
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
