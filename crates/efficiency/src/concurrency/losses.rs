//! [`Losses`]: the time in which call slots did no work, by cause.

use serde::Serialize;
use std::time::Duration;

/// The lost time of all call slots, by cause. A call slot is a place where one call can run: there are workers times
/// concurrency of them. Eight workers of concurrency 1 that do nothing for one second lose eight seconds.
///
/// The fields add up to `call_slots x (measured - ideal)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Losses {
    /// The worker was not ready yet, or its process was being replaced.
    pub start_up: Duration,
    /// A call waited in the pool although the slot was free: for its session's worker, or for its dispatch.
    pub queueing: Duration,
    /// A call or its result was in transit between host and worker, including the worker's decoding and encoding.
    pub dispatch: Duration,
    /// No call waited because callers were encoding arguments or decoding results.
    pub serialization: Duration,
    /// The last calls were all dispatched and ran in other slots. Time that no order of the calls could avoid is not counted.
    pub stragglers: Duration,
    /// No call waited because callers submitted too few calls.
    pub idle: Duration,
    /// A worker was ready to run and no core was free.
    pub cores: Duration,
    /// Calls in one interpreter computed at the same time, of which only one at a time can hold the GIL.
    pub gil: Duration,
    /// Operations took longer in parallel than alone, and neither cores nor the GIL explain it. Shared memory, a disk, a lock
    /// or a shared service may.
    pub slowed: Duration,
}

/// One cause of losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The name of the field in [`Losses`].
    pub cause: &'static str,
    /// The explanation, worded to follow "lost because".
    pub explanation: &'static str,
    /// The lost time, summed over all call slots.
    pub lost: Duration,
}

const CAUSES: [(&str, &str); 9] = [
    ("start_up", "workers were not ready yet"),
    ("queueing", "a call waited in the pool although a call slot was free"),
    ("dispatch", "calls and results were in transit between host and workers"),
    ("serialization", "callers were encoding arguments or decoding results"),
    ("stragglers", "only the last calls were still running, in other call slots"),
    ("idle", "callers submitted too few calls"),
    ("cores", "workers waited for a free core"),
    ("gil", "calls in the same worker waited for the GIL"),
    ("slowed", "calls took longer in parallel than alone although cores were free"),
];

impl Losses {
    /// Returns all causes, in the order in which a call meets them.
    pub fn iter(&self) -> impl Iterator<Item = Loss> + use<> {
        let Self { start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed } = *self;
        let lost = [start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed];
        CAUSES.into_iter().zip(lost).map(|((cause, explanation), lost)| Loss { cause, explanation, lost })
    }

    /// Returns the sum of all causes.
    pub fn total(&self) -> Duration {
        self.iter().map(|loss| loss.lost).sum()
    }

    /// Returns the cause with the most lost time, or `None` if no time was lost.
    pub fn largest(&self) -> Option<Loss> {
        self.iter().filter(|loss| !loss.lost.is_zero()).max_by_key(|loss| loss.lost)
    }

    /// Deducts `spare`, the time that no schedule could have used. It is deducted first from causes that mean a lack of work
    /// (stragglers, idle) and last from those that slow down running operations.
    pub(super) fn deduct_unavoidable(&mut self, mut spare: Duration) {
        let Self { start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed } = self;
        for part in [stragglers, idle, serialization, queueing, dispatch, start_up, slowed, gil, cores] {
            let deducted = spare.min(*part);
            (*part, spare) = (*part - deducted, spare - deducted);
        }
    }
}
