//! The tracks of a timeline, one for each call slot, with the calls that ran there; and the number of waiting calls
//! over time.

use herder::{efficiency::concurrency::Operation, status::WorkerId};
use std::collections::BTreeMap;

/// A call slot of a worker.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pub(super) worker: WorkerId,
    /// The number of the call slot in its worker, counted from 1; `None` if the worker has only one.
    pub(super) call_slot: Option<usize>,
    pub(super) calls: Vec<&'a Operation>,
}

/// Returns a track for every call slot, including those where no call ran. Each call is on the first slot of its worker
/// that was free.
pub(super) fn tracks(workers: usize, concurrency: usize, operations: &[Operation]) -> Vec<Track<'_>> {
    let mut call_slots: BTreeMap<WorkerId, Vec<Vec<&Operation>>> = BTreeMap::new();
    for worker in (1..=workers).filter_map(|worker| u32::try_from(worker).ok()) {
        call_slots.insert(WorkerId(worker), vec![Vec::new(); concurrency.max(1)]);
    }
    let mut calls: Vec<&Operation> = operations.iter().collect();
    calls.sort_by_key(|call| (call.started, call.ended));
    for call in calls {
        let of_worker = call_slots.entry(call.worker.id).or_default();
        match of_worker.iter_mut().find(|call_slot| call_slot.last().is_none_or(|last| last.ended <= call.started)) {
            Some(free) => free.push(call),
            None => of_worker.push(vec![call]),
        }
    }
    call_slots.into_iter().flat_map(|(worker, of_worker)| numbered(worker, of_worker)).collect()
}

fn numbered<'a>(worker: WorkerId, call_slots: Vec<Vec<&'a Operation>>) -> impl Iterator<Item = Track<'a>> {
    let several = call_slots.len() > 1;
    (1..).zip(call_slots).map(move |(place, calls)| Track { worker, call_slot: several.then_some(place), calls })
}

/// Returns the number of calls that waited in the pool, as steps: the time of each change, with the number from then
/// on.
pub(super) fn waiting(operations: &[Operation]) -> Vec<(u64, usize)> {
    let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
    for call in operations {
        *changes.entry(call.queued.0).or_default() += 1;
        *changes.entry(call.sent.0).or_default() -= 1;
    }
    let mut count = 0;
    let steps = changes.into_iter().map(|(at, change)| {
        count += change;
        (at, usize::try_from(count).unwrap_or(0))
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::call;
    use super::*;

    #[test]
    fn overlapping_calls_get_separate_call_slots() {
        let calls =
            [call(1, 0.0, 1.0, 10.0), call(1, 0.0, 5.0, 12.0), call(1, 0.0, 10.0, 20.0), call(2, 0.0, 1.0, 3.0)];
        let shown: Vec<_> = tracks(3, 2, &calls)
            .iter()
            .map(|track| format!("{} {:?} {}", track.worker, track.call_slot, track.calls.len()))
            .collect();
        let expected = ["w1 Some(1) 2", "w1 Some(2) 1", "w2 Some(1) 1", "w2 Some(2) 0", "w3 Some(1) 0", "w3 Some(2) 0"];
        assert_eq!(shown, expected);
        assert_eq!(tracks(1, 1, &calls[..1])[0].call_slot, None, "a single call slot has no number");
    }

    #[test]
    fn the_number_of_waiting_calls_changes_with_each_event() {
        let calls = [call(1, 0.0, 4.1, 9.0), call(1, 2.0, 9.1, 11.0), call(1, 3.0, 3.1, 5.0)];
        let steps: Vec<_> = waiting(&calls).into_iter().map(|(nanos, count)| (nanos / 1_000_000, count)).collect();
        assert_eq!(steps, [(0, 1), (2, 2), (3, 2), (4, 1), (9, 0)]);
    }
}
