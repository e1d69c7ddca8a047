//! [`TimeAccount`]: accounts for the time of all call slots.

use super::{Evidence, Interval, Losses, ObservedRun, call_slots::CallSlots, overlap::measure, slowdown::Slowdown};
use serde::Serialize;
use std::time::Duration;

/// An account of the time of all call slots during a run.
///
/// The ideal duration is `max(longest, work / call_slots)`: no schedule of these operations in these slots could be faster.
/// `longest` and `work` are corrected for waits for a core or the GIL. Without that correction, eight workers that share two
/// cores would seem perfectly used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeAccount {
    /// The number of operations.
    pub operations: usize,
    /// The number of places where a call can run: workers times their concurrency.
    pub call_slots: usize,
    /// The duration of the run.
    pub measured: Duration,
    /// The duration of the run if no time had been lost.
    pub ideal: Duration,
    /// `ideal / measured`, from 0 to 1.
    pub efficiency: f64,
    /// How the operations overlapped.
    pub evidence: Evidence,
    /// The lost time by cause. The causes add up to `call_slots x (measured - ideal)`.
    pub losses: Losses,
}

/// The reason why there is no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No operation took any time.
    #[error("nothing to analyze: none of the {0} operations took any time")]
    NoOperations(usize),
    /// An operation ran outside the window.
    #[error("an operation from {} to {} ran outside the window from {} to {}", .operation.started, .operation.ended, .window.started, .window.ended)]
    OutsideWindow {
        /// The operation.
        operation: Interval,
        /// The window.
        window: Interval,
    },
}

impl TimeAccount {
    /// Accounts for the time of each call slot within the window, in O(n log n).
    ///
    /// # Errors
    /// If no operation took any time, or if one ran outside the window.
    ///
    /// ```
    /// # use herder_core::{Generation, Timestamp, WorkerId, WorkerRef};
    /// # use herder_efficiency::concurrency::{TimeAccount, Interval, ObservedRun, Operation, ObservedWorker};
    /// let worker = |id| ObservedWorker { id: WorkerId(id), concurrency: 1, starting: vec![], cpu_time: None };
    /// let operation = |id, from, to| Operation {
    ///     worker: WorkerRef { id: WorkerId(id), generation: Generation(1) },
    ///     queued: Timestamp(0), sent: Timestamp(0), started: Timestamp(from), ended: Timestamp(to), answered: Timestamp(to),
    /// };
    /// // A run of 100 ns with two workers: one is busy for 90 ns, the other for 60 ns. Each call is in transit for 10 ns.
    /// let account = TimeAccount::of(&ObservedRun {
    ///     window: Interval::new(0, 100).unwrap(),
    ///     workers: vec![worker(1), worker(2)],
    ///     operations: vec![operation(1, 10, 100), operation(2, 10, 70)],
    ///     encoding: vec![],
    ///     uncontended: None,
    /// }).unwrap();
    /// assert_eq!((account.measured.as_nanos(), account.ideal.as_nanos()), (100, 90)); // the longest call takes 90 ns
    /// assert_eq!(account.losses.dispatch.as_nanos(), 20);
    /// assert_eq!(account.losses.stragglers.as_nanos(), 0); // no order of the calls could use these 30 ns
    /// ```
    pub fn of(observed: &ObservedRun) -> Result<Self, AccountError> {
        let intervals = intervals(observed)?;
        let (call_slots, evidence) = (CallSlots::of(observed), measure(&intervals));
        let (count, measured) = (call_slots.len(), observed.window.duration());
        let slowdown = Slowdown::of(observed, evidence.work);
        let work = evidence.work - slowdown.total();
        // In nanoseconds summed over all call slots: a division by their number would round, and the losses would not add up.
        let longest = scaled(evidence.longest, work, evidence.work);
        let ideal_of_slots = (longest * to_u32(count)).max(work);
        let mut losses = call_slots.gaps(observed);
        // `gaps` counted waits for a core in transit as dispatch. They move to `cores`, where they belong.
        let outside = slowdown.outside_operations.min(losses.dispatch);
        losses.dispatch -= outside;
        (losses.cores, losses.gil, losses.slowed) = (slowdown.cores + outside, slowdown.gil, slowdown.slowed);
        losses.deduct_unavoidable(ideal_of_slots - work);
        let ideal = ideal_of_slots / to_u32(count);
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

    /// Returns the fraction of the time of all call slots that `lost` is, from 0 to 1.
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

/// Returns `total x part / of`, rounded down.
fn scaled(total: Duration, part: Duration, of: Duration) -> Duration {
    let nanos = total.as_nanos() * part.as_nanos() / of.as_nanos().max(1);
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

    fn operation(worker: u32, queued: u64, started: u64, ended: u64) -> Operation {
        let worker_ref = WorkerRef { id: WorkerId(worker), generation: Generation(1) };
        let (queued, started, ended) = (Timestamp(queued), Timestamp(started), Timestamp(ended));
        Operation { worker: worker_ref, queued, sent: started, started, ended, answered: ended }
    }

    fn worker(worker: u32, concurrency: usize, cpu_time: Option<CpuTime>) -> ObservedWorker {
        ObservedWorker { id: WorkerId(worker), concurrency, starting: vec![], cpu_time }
    }

    fn observed(workers: Vec<ObservedWorker>, operations: Vec<Operation>, uncontended: Option<u64>) -> ObservedRun {
        let window = Interval { started: 0, ended: 100 };
        ObservedRun { window, workers, operations, encoding: vec![], uncontended: uncontended.map(nanos) }
    }

    /// R45: a call that waits for its session's worker while another slot is free counts as queueing.
    #[test]
    fn r45_call_waiting_while_a_call_slot_is_free_is_queueing() {
        let operations = vec![operation(1, 0, 0, 50), operation(1, 0, 50, 100)]; // the second waits for its session's worker
        let account =
            TimeAccount::of(&observed(vec![worker(1, 1, None), worker(2, 1, None)], operations, None)).unwrap();
        assert_eq!((account.call_slots, account.ideal, account.measured), (2, nanos(50), nanos(100)));
        assert_eq!((account.losses.queueing, account.losses.stragglers), (nanos(50), nanos(50)));
        assert_eq!(account.losses.largest().map(|loss| loss.lost), Some(nanos(50)));
    }

    /// R45: four workers that share one core seem busy all the time. The waits for the core do not count as work.
    #[test]
    fn r45_wait_for_a_core_inside_a_call_is_not_work() {
        let cpu_time = Some(CpuTime { used: nanos(25), waited: nanos(75) });
        let workers = (1..=4).map(|id| worker(id, 1, cpu_time)).collect();
        let operations = (1..=4).map(|id| operation(id, 0, 0, 100)).collect();
        let account = TimeAccount::of(&observed(workers, operations, Some(25))).unwrap();
        assert_eq!((account.efficiency, account.losses.cores), (0.25, nanos(300)));
        assert_eq!(account.losses.total(), nanos(300));
    }

    /// R45: two calls that compute in one interpreter take twice as long without a lack of cores, which counts as GIL time.
    #[test]
    fn r45_calls_computing_in_one_interpreter_lose_gil_time() {
        let operations = || vec![operation(1, 0, 0, 100), operation(1, 0, 0, 100)];
        let losses = |used, uncontended| {
            let cpu_time = Some(CpuTime { used: nanos(used), waited: nanos(0) });
            TimeAccount::of(&observed(vec![worker(1, 2, cpu_time)], operations(), uncontended)).unwrap().losses
        };
        assert_eq!(losses(98, Some(50)).gil, nanos(100));
        assert_eq!(losses(98, None).gil, nanos(100));
        // The CPU time of this worker is too low for the GIL to be the cause.
        assert_eq!((losses(10, Some(50)).gil, losses(10, Some(50)).slowed), (nanos(0), nanos(100)));
        assert_eq!(losses(10, None), Losses::default());
    }

    /// R45: a wait for a core between dispatch and handler counts as a lack of cores, not as dispatch time.
    #[test]
    fn r45_wait_for_a_core_in_transit_is_not_dispatch() {
        let mut late = operation(1, 0, 40, 100);
        late.sent = Timestamp(0);
        let cpu_time = Some(CpuTime { used: nanos(60), waited: nanos(30) });
        let account = TimeAccount::of(&observed(vec![worker(1, 1, cpu_time)], vec![late], Some(60))).unwrap();
        assert_eq!((account.losses.cores, account.losses.dispatch), (nanos(30), nanos(10)));
    }

    #[test]
    fn r45_unaccountable_operations_are_refused() {
        let error_of = |operations| TimeAccount::of(&observed(vec![], operations, None)).unwrap_err();
        assert_eq!(error_of(vec![]), AccountError::NoOperations(0));
        assert_eq!(error_of(vec![operation(1, 0, 5, 5)]), AccountError::NoOperations(1));
        assert!(matches!(error_of(vec![operation(1, 0, 5, 101)]), AccountError::OutsideWindow { .. }));
    }
}
