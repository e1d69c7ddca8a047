//! [`Losses`]: where lanes' time went that did no work.

use serde::Serialize;
use std::time::Duration;

/// The lost time of all lanes, by cause. A lane is one place where a call can run: workers times their concurrency. Eight workers that
/// do nothing for a second lose eight lane-seconds.
///
/// The parts add up to `call_slots x (measured - ideal)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Losses {
    /// The worker was not ready yet, or its process was being replaced.
    pub start_up: Duration,
    /// The lane was free and a call waited in the pool: for its session's worker, or for the pool to hand it out.
    pub queueing: Duration,
    /// A call was on its way to the lane or its answer on the way back; the worker's decoding and encoding are in it.
    pub dispatch: Duration,
    /// No call waited, for callers were encoding arguments or decoding results.
    pub serialization: Duration,
    /// The last calls had all been handed out and ran elsewhere. What no order of calls could avoid is not counted.
    pub stragglers: Duration,
    /// No call waited: callers submitted too few calls.
    pub idle: Duration,
    /// A worker could have run and no core was free.
    pub cores: Duration,
    /// Calls of one interpreter computed side by side, and only one at a time can.
    pub gil: Duration,
    /// Operations took longer than alone, and neither cores nor the GIL explain it: memory, disk, a lock, a service they share.
    pub slowed: Duration,
}

/// One cause of losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The field of [`Losses`].
    pub cause: &'static str,
    /// What it means, as the rest of "lost because ...".
    pub explanation: &'static str,
    /// Lane-seconds.
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
    /// All of them, in the order of a call's life.
    pub fn iter(&self) -> impl Iterator<Item = Loss> + use<> {
        let Self { start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed } = *self;
        let lost = [start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed];
        CAUSES.into_iter().zip(lost).map(|((cause, because), lost)| Loss { cause, explanation: because, lost })
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.iter().map(|loss| loss.lost).sum()
    }

    /// The largest, if anything was lost.
    pub fn largest(&self) -> Option<Loss> {
        self.iter().filter(|loss| !loss.lost.is_zero()).max_by_key(|loss| loss.lost)
    }

    /// Forgives `spare`, which no schedule could have avoided: first what is idle for want of work, last what workers did.
    pub(super) fn deduct_unavoidable(&mut self, mut spare: Duration) {
        let Self { start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed } = self;
        for part in [stragglers, idle, serialization, queueing, dispatch, start_up, slowed, gil, cores] {
            let forgiven = spare.min(*part);
            (*part, spare) = (*part - forgiven, spare - forgiven);
        }
    }
}
