//! [`Operation`]: the life of one call as five moments.

use super::Interval;
use herder_core::{Timestamp, WorkerRef};
use serde::Serialize;

/// When a call was admitted, sent, run and answered, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Operation {
    /// The process that ran it.
    pub worker: WorkerRef,
    /// Its pool admitted it.
    pub queued: Timestamp,
    /// It was given to its worker, for the last time if it was sent again.
    pub sent: Timestamp,
    /// Its handler began, by the worker's own stamp.
    pub started: Timestamp,
    /// Its handler ended, by the worker's own stamp.
    pub ended: Timestamp,
    /// Its answer was there.
    pub answered: Timestamp,
}

/// Why five moments are no life of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOperation {
    /// An error of a handler that never began, or a worker that keeps no stamps.
    #[error("worker {0} sent no timestamps: the call did not run there, or the worker does not record them")]
    NotRun(WorkerRef),
    /// A worker's stamps are its own word. If they lie outside of the call they are of another clock.
    #[error(
        "worker {worker} reports a handler from {started} to {ended}, outside the call from {sent} to {answered}: its timestamps must use CLOCK_MONOTONIC"
    )]
    OtherClock {
        /// The process that gave the stamps.
        worker: WorkerRef,
        /// When the call was sent, in nanoseconds.
        sent: u64,
        /// When its handler began, as the worker has it.
        started: u64,
        /// When its handler ended, as the worker has it.
        ended: u64,
        /// When its answer was there.
        answered: u64,
    },
}

impl Operation {
    /// Checks the order of its moments.
    ///
    /// # Errors
    /// When there are no stamps, or they don't lie between the sending and the answer.
    pub fn checked(self) -> Result<Self, InvalidOperation> {
        let Self { worker, queued, sent, started, ended, answered } = self;
        if (started, ended) == (Timestamp(0), Timestamp(0)) {
            return Err(InvalidOperation::NotRun(worker));
        }
        if [queued, sent, started, ended, answered].is_sorted() {
            return Ok(self);
        }
        let (sent, started, ended, answered) = (sent.0, started.0, ended.0, answered.0);
        Err(InvalidOperation::OtherClock { worker, sent, started, ended, answered })
    }

    /// When its handler ran.
    pub fn interval(&self) -> Interval {
        Interval::between(self.started, self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herder_core::{Generation, WorkerId};

    fn operation(moments: [u64; 5]) -> Operation {
        let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
        let [queued, sent, started, ended, answered] = moments.map(Timestamp);
        Operation { worker, queued, sent, started, ended, answered }
    }

    /// R46: stamps are a worker's word, and only those of our clock are believed.
    #[test]
    fn r46_stamps_of_another_clock_are_refused() {
        assert!(operation([1, 1, 2, 2, 9]).checked().is_ok());
        assert!(matches!(operation([1, 2, 0, 0, 5]).checked(), Err(InvalidOperation::NotRun(_))));
        for moments in [[1, 2, 1, 4, 5], [1, 2, 4, 3, 5], [1, 2, 3, 6, 5], [3, 2, 4, 4, 5]] {
            assert!(matches!(operation(moments).checked(), Err(InvalidOperation::OtherClock { .. })), "{moments:?}");
        }
    }
}
