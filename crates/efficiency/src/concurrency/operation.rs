//! [`Operation`]: one call as five timestamps.

use super::Interval;
use herder_core::{Timestamp, WorkerRef};
use serde::Serialize;

/// The worker of a call, and the times at which it was enqueued, sent, run and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Operation {
    /// The worker process that ran the call.
    pub worker: WorkerRef,
    /// The time at which the pool admitted the call.
    pub queued: Timestamp,
    /// The time at which the call was sent to its worker; for a retried call, the time of the last attempt.
    pub sent: Timestamp,
    /// The time at which the handler started, as measured by the worker.
    pub started: Timestamp,
    /// The time at which the handler ended, as measured by the worker.
    pub ended: Timestamp,
    /// The time at which the host received the answer.
    pub answered: Timestamp,
}

/// The reason why five timestamps do not describe a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOperation {
    /// The handler did not run, or the worker does not measure times.
    #[error("worker {0} sent no timestamps: the call did not run there, or the worker does not record them")]
    NotRun(WorkerRef),
    /// The worker's timestamps lie outside the call, so they are of another clock. A worker may report any numbers; they are
    /// checked before they are used.
    #[error(
        "worker {worker} reports a handler from {started} to {ended}, outside the call from {sent} to {answered}: its timestamps must use CLOCK_MONOTONIC"
    )]
    OtherClock {
        /// The worker process that reported the timestamps.
        worker: WorkerRef,
        /// The time at which the call was sent, in nanoseconds.
        sent: u64,
        /// The time at which the handler started according to the worker.
        started: u64,
        /// The time at which the handler ended according to the worker.
        ended: u64,
        /// The time at which the host received the answer.
        answered: u64,
    },
}

impl Operation {
    /// Returns the operation if its timestamps are in order.
    ///
    /// # Errors
    /// If the worker measured no times, or measured times that are not between the dispatch and the answer.
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

    /// Returns the interval in which the handler ran.
    pub fn interval(&self) -> Interval {
        Interval::between(self.started, self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herder_core::{Generation, WorkerId};

    fn operation(times: [u64; 5]) -> Operation {
        let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
        let [queued, sent, started, ended, answered] = times.map(Timestamp);
        Operation { worker, queued, sent, started, ended, answered }
    }

    /// R46: timestamps of a worker are accepted only if they fit into the host's measurement of the call.
    #[test]
    fn r46_timestamps_of_another_clock_are_refused() {
        assert!(operation([1, 1, 2, 2, 9]).checked().is_ok());
        assert!(matches!(operation([1, 2, 0, 0, 5]).checked(), Err(InvalidOperation::NotRun(_))));
        for times in [[1, 2, 1, 4, 5], [1, 2, 4, 3, 5], [1, 2, 3, 6, 5], [3, 2, 4, 4, 5]] {
            assert!(matches!(operation(times).checked(), Err(InvalidOperation::OtherClock { .. })), "{times:?}");
        }
    }
}
