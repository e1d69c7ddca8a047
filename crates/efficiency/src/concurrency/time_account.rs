//! [`TimeAccount`]: what became of the time of all lanes.

use super::{Evidence, Interval, Losses, ObservedRun, call_slots::CallSlots, overlap::measure, slowdown::Slowdown};
use serde::Serialize;
use std::time::Duration;

/// What became of the time that was paid for (R45).
///
/// The ideal is `max(longest, work / call_slots)`: no schedule of these operations on these lanes could have been quicker. Both are taken
/// as they would be without a shortage of cores or of the interpreter, so that eight workers that share two cores do not look perfect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeAccount {
    /// How many operations ran.
    pub operations: usize,
    /// The places where a call can run: workers times their concurrency.
    pub call_slots: usize,
    /// How long the run took.
    pub measured: Duration,
    /// How long it would have taken with nothing lost.
    pub ideal: Duration,
    /// `ideal / measured`: from 0 to 1.
    pub efficiency: f64,
    /// How the operations overlapped, whatever that proves.
    pub evidence: Evidence,
    /// Where the rest went; they add up to `call_slots x (measured - ideal)`.
    pub losses: Losses,
}

/// Why there is no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No operation took any time.
    #[error("nothing to analyze: none of the {0} operations took any time")]
    NoOperations(usize),
    /// An operation lies outside of the window.
    #[error("an operation from {} to {} ran outside the window from {} to {}", .operation.started, .operation.ended, .window.started, .window.ended)]
    OutsideWindow {
        /// The operation.
        operation: Interval,
        /// The window.
        window: Interval,
    },
}

impl TimeAccount {
    /// Accounts for each lane's time within the window: O(n log n).
    ///
    /// # Errors
    /// When no operation took any time, or one ran outside of the window.
    ///
    /// ```
    /// use herder_core::{Generation, Timestamp, WorkerId, WorkerRef};
    /// use herder_efficiency::concurrency::{TimeAccount, Interval, ObservedRun, Operation, ObservedWorker};
    /// let worker = |id| ObservedWorker { worker: WorkerId(id), concurrency: 1, starting: vec![], cpu_time: None };
    /// let ran = |id, from, to| Operation {
    ///     worker: WorkerRef { id: WorkerId(id), generation: Generation(1) },
    ///     queued: Timestamp(0), sent: Timestamp(0), started: Timestamp(from), ended: Timestamp(to), answered: Timestamp(to),
    /// };
    /// // Two workers, 100 ns: one is 90 ns busy, the other 60; each call takes 10 ns to get there.
    /// let account = TimeAccount::of(&ObservedRun {
    ///     window: Interval::new(0, 100).unwrap(),
    ///     workers: vec![worker(1), worker(2)],
    ///     operations: vec![ran(1, 10, 100), ran(2, 10, 70)],
    ///     encoding: vec![],
    ///     uncontended: None,
    /// }).unwrap();
    /// assert_eq!((account.measured.as_nanos(), account.ideal.as_nanos()), (100, 90)); // the longest takes 90
    /// assert_eq!(account.losses.dispatch.as_nanos(), 20);
    /// assert_eq!(account.losses.stragglers.as_nanos(), 0); // 30 ns that no order could have avoided
    /// ```
    pub fn of(observed: &ObservedRun) -> Result<Self, AccountError> {
        let intervals = intervals(observed)?;
        let (call_slots, evidence) = (CallSlots::of(observed), measure(&intervals));
        let (count, measured) = (call_slots.len(), observed.window.duration());
        let slowdown = Slowdown::of(observed, evidence.work);
        let work = evidence.work - slowdown.total();
        // In whole nanoseconds of all lanes, so that the parts add up.
        let longest = scaled(evidence.longest, work, evidence.work);
        let ideal_of_lanes = (longest * to_u32(count)).max(work);
        let mut losses = call_slots.gaps(observed);
        let outside = slowdown.outside_operations.min(losses.dispatch);
        losses.dispatch -= outside;
        (losses.cores, losses.gil, losses.slowed) = (slowdown.cores + outside, slowdown.gil, slowdown.slowed);
        losses.deduct_unavoidable(ideal_of_lanes - work);
        let ideal = ideal_of_lanes / to_u32(count);
        let efficiency = (ideal.as_secs_f64() / measured.as_secs_f64()).min(1.0);
        Ok(Self {
            operations: observed.operations.len(),
            call_slots: count,
            measured,
            ideal,
            efficiency,
            evidence,
            losses,
        })
    }

    /// The share of all lanes' time that a loss is, from 0 to 1.
    pub fn share(&self, lost: Duration) -> f64 {
        lost.as_secs_f64() / (self.measured.as_secs_f64() * self.call_slots as f64)
    }
}

fn intervals(observed: &ObservedRun) -> Result<Vec<Interval>, AccountError> {
    let window = observed.window;
    let all = || observed.operations.iter().map(|operation| operation.interval());
    if let Some(operation) = all().find(|operation| operation.within(window) != *operation) {
        return Err(AccountError::OutsideWindow { operation, window });
    }
    let long: Vec<Interval> = all().filter(|interval| interval.length() > 0).collect();
    if long.is_empty() { Err(AccountError::NoOperations(observed.operations.len())) } else { Ok(long) }
}

/// `whole x part / of`, rounded down, so that it is never longer than the whole.
fn scaled(whole: Duration, part: Duration, of: Duration) -> Duration {
    let nanos = whole.as_nanos() * part.as_nanos() / of.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::concurrency::{CpuTime, ObservedWorker, Operation};
    use herder_core::{Generation, Timestamp, WorkerId, WorkerRef};

    const fn nanos(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    fn ran(worker: u32, queued: u64, started: u64, ended: u64) -> Operation {
        let worker_ref = WorkerRef { id: WorkerId(worker), generation: Generation(1) };
        let (queued, started, ended) = (Timestamp(queued), Timestamp(started), Timestamp(ended));
        Operation { worker: worker_ref, queued, sent: started, started, ended, answered: ended }
    }

    fn worker(worker: u32, concurrency: usize, cpu_time: Option<CpuTime>) -> ObservedWorker {
        ObservedWorker { worker: WorkerId(worker), concurrency, starting: vec![], cpu_time }
    }

    fn observed(workers: Vec<ObservedWorker>, operations: Vec<Operation>, uncontended: Option<u64>) -> ObservedRun {
        let window = Interval { started: 0, ended: 100 };
        ObservedRun { window, workers, operations, encoding: vec![], uncontended: uncontended.map(nanos) }
    }

    /// R45: a lane is free, and a call that is there waits all the same.
    #[test]
    fn r45_call_waiting_beside_a_free_call_slot_is_queueing() {
        let operations = vec![ran(1, 0, 0, 50), ran(1, 0, 50, 100)]; // the second waits for its session's worker
        let account =
            TimeAccount::of(&observed(vec![worker(1, 1, None), worker(2, 1, None)], operations, None)).unwrap();
        assert_eq!((account.call_slots, account.ideal, account.measured), (2, nanos(50), nanos(100)));
        assert_eq!((account.losses.queueing, account.losses.stragglers), (nanos(50), nanos(50)));
        assert_eq!(account.losses.largest().map(|loss| loss.lost), Some(nanos(50)));
    }

    /// R45: eight callers of two cores look busy all the time, and the ideal is not taken in by it.
    #[test]
    fn r45_work_that_waits_for_a_core_is_not_work() {
        let waits = Some(CpuTime { used: nanos(25), waited: nanos(75) });
        let workers = (1..=4).map(|id| worker(id, 1, waits)).collect();
        let operations = (1..=4).map(|id| ran(id, 0, 0, 100)).collect();
        let account = TimeAccount::of(&observed(workers, operations, Some(25))).unwrap();
        assert_eq!((account.efficiency, account.losses.cores), (0.25, nanos(300)));
        assert_eq!(account.losses.total(), nanos(300));
    }

    /// R45: two calls that compute in one interpreter take twice as long, and no core was missing.
    #[test]
    fn r45_calls_that_compute_in_one_interpreter_wait_for_each_other() {
        let operations = || vec![ran(1, 0, 0, 100), ran(1, 0, 0, 100)];
        let losses = |used, uncontended| {
            let cpu_time = Some(CpuTime { used: nanos(used), waited: nanos(0) });
            TimeAccount::of(&observed(vec![worker(1, 2, cpu_time)], operations(), uncontended)).unwrap().losses
        };
        assert_eq!(losses(98, Some(50)).gil, nanos(100));
        assert_eq!(losses(98, None).gil, nanos(100));
        // A worker that hardly computes was slowed down by something else.
        assert_eq!((losses(10, Some(50)).gil, losses(10, Some(50)).slowed), (nanos(0), nanos(100)));
        assert_eq!(losses(10, None), Losses::default());
    }

    /// R45: what waits for a core between two calls is not the pool's way of handing them out.
    #[test]
    fn r45_a_wait_for_a_core_on_the_way_is_no_dispatch() {
        let mut late = ran(1, 0, 40, 100);
        late.sent = Timestamp(0);
        let cpu_time = Some(CpuTime { used: nanos(60), waited: nanos(30) });
        let account = TimeAccount::of(&observed(vec![worker(1, 1, cpu_time)], vec![late], Some(60))).unwrap();
        assert_eq!((account.losses.cores, account.losses.dispatch), (nanos(30), nanos(10)));
    }

    #[test]
    fn r45_unaccountable_operations_are_refused() {
        let refused = |operations| TimeAccount::of(&observed(vec![], operations, None)).unwrap_err();
        assert_eq!(refused(vec![]), AccountError::NoOperations(0));
        assert_eq!(refused(vec![ran(1, 0, 5, 5)]), AccountError::NoOperations(1));
        assert!(matches!(refused(vec![ran(1, 0, 5, 101)]), AccountError::OutsideWindow { .. }));
    }
}
