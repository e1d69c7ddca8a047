//! Generators of runs: runs whose account is known because they are composed of it, and arbitrary runs.

use herder_core::{Generation, Timestamp, WorkerId, WorkerRef};
use herder_efficiency::concurrency::{CpuTime, Interval, Losses, ObservedRun, ObservedWorker, Operation};
use proptest::prelude::*;
use std::time::Duration;

/// A run and its expected account.
#[derive(Clone, Debug)]
pub(crate) struct KnownRun {
    pub(crate) observed: ObservedRun,
    pub(crate) losses: Losses,
    pub(crate) ideal: Duration,
}

/// Generates at least two consecutive operations in random order, and the index of one that has a successor in time.
pub(crate) fn chain() -> impl Strategy<Value = (Vec<Interval>, usize)> {
    let links = prop::collection::vec((0u64..20, 1u64..50), 2..40);
    links.prop_flat_map(|links| {
        let mut end = 0;
        let mut interval = |(gap, length)| {
            let started = end + gap;
            end = started + length;
            Interval { started, ended: end }
        };
        let chain: Vec<Interval> = links.iter().copied().map(&mut interval).collect();
        let with_successor = 0..chain.len() - 1;
        (Just(chain).prop_shuffle(), with_successor)
    })
}

/// One round of a call slot: an operation with the durations of what is lost around it.
#[derive(Clone, Copy, Debug)]
struct Round {
    outgoing: u64,
    work: u64,
    returning: u64,
    encoding: u64,
    idle: u64,
}

fn round() -> impl Strategy<Value = Round> {
    (0u64..50, 1u64..500, 0u64..50, 0u64..50, 0u64..50).prop_map(|(outgoing, work, returning, encoding, idle)| Round {
        outgoing,
        work,
        returning,
        encoding,
        idle,
    })
}

/// Generates runs in which all slots do the same rounds at the same time after the same start-up, so that each cause occurs
/// alone. The last slot then runs one more operation, a straggler that the other slots wait for.
pub(crate) fn known() -> impl Strategy<Value = KnownRun> {
    let rounds = prop::collection::vec(round(), 1..12);
    (1u64..9, 0u64..1000, rounds, 1u64..400, 0u64..100).prop_map(|(call_slots, start_up, rounds, last, slow)| {
        let mut builder = RunBuilder::new(call_slots);
        builder.time = start_up;
        builder.losses.start_up = nanos(call_slots * start_up);
        for round in &rounds {
            builder.add_round(*round);
        }
        builder.add_straggler(last);
        builder.finish(start_up, slow)
    })
}

/// Composes a run of known losses, and sums them up.
struct RunBuilder {
    call_slots: u64,
    time: u64,
    operations: Vec<Operation>,
    encoding: Vec<Interval>,
    losses: Losses,
}

impl RunBuilder {
    fn new(call_slots: u64) -> Self {
        Self { call_slots, time: 0, operations: Vec::new(), encoding: Vec::new(), losses: Losses::default() }
    }

    fn add_round(&mut self, round: Round) {
        let Round { outgoing, work, returning, encoding, idle } = round;
        // Callers first encode, then wait. Only the encoding is observed, so the rest of the gap counts as idle.
        self.encoding.push(Interval { started: self.time, ended: self.time + encoding });
        let sent = self.time + encoding + idle;
        let started = sent + outgoing;
        let operation = |call_slot| operation(call_slot, sent, started, started + work, started + work + returning);
        self.operations.extend((1..=self.call_slots).map(operation));
        self.time = started + work + returning;
        self.losses.serialization += nanos(self.call_slots * encoding);
        self.losses.idle += nanos(self.call_slots * idle);
        self.losses.dispatch += nanos(self.call_slots * (outgoing + returning));
    }

    /// Adds one more operation in the last slot, without transit. The other slots have nothing left to do.
    fn add_straggler(&mut self, last: u64) {
        self.operations.push(operation(self.call_slots, self.time, self.time, self.time + last, self.time + last));
        self.time += last;
        self.losses.stragglers += nanos((self.call_slots - 1) * last);
    }

    /// Finishes the run. Operations took longer than alone by `slow` per mille because of a lack of cores.
    fn finish(mut self, start_up: u64, slow: u64) -> KnownRun {
        let length = |operation: &Operation| operation.interval().duration().as_nanos() as u64;
        let work: u64 = self.operations.iter().map(length).sum();
        let longest = self.operations.iter().map(length).max().unwrap();
        let waited = work * slow / 1000;
        let uncontended = work - waited;
        let ideal_of_slots = uncontended.max(self.call_slots * (longest * uncontended / work));
        self.losses.cores = nanos(waited);
        deduct_unavoidable(&mut self.losses, nanos(ideal_of_slots - uncontended));
        let worker = |call_slot| ObservedWorker {
            id: WorkerId(call_slot as u32),
            concurrency: 1,
            starting: vec![Interval { started: 0, ended: start_up }],
            cpu_time: Some(CpuTime { used: nanos(0), waited: if call_slot == 1 { nanos(waited) } else { nanos(0) } }),
        };
        let observed = ObservedRun {
            window: Interval { started: 0, ended: self.time },
            workers: (1..=self.call_slots).map(worker).collect(),
            operations: self.operations,
            encoding: self.encoding,
            uncontended: None,
        };
        KnownRun { observed, losses: self.losses, ideal: nanos(ideal_of_slots / self.call_slots) }
    }
}

/// Applies the documented rule: time that no schedule could have used is deducted, first from stragglers.
fn deduct_unavoidable(losses: &mut Losses, mut spare: Duration) {
    let Losses { start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed } = losses;
    for part in [stragglers, idle, serialization, queueing, dispatch, start_up, slowed, gil, cores] {
        let deducted = spare.min(*part);
        *part -= deducted;
        spare -= deducted;
    }
}

fn operation(call_slot: u64, sent: u64, started: u64, ended: u64, answered: u64) -> Operation {
    let worker = WorkerRef { id: WorkerId(call_slot as u32), generation: Generation(1) };
    Operation {
        worker,
        queued: Timestamp(sent),
        sent: Timestamp(sent),
        started: Timestamp(started),
        ended: Timestamp(ended),
        answered: Timestamp(answered),
    }
}

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// Generates operations at any time, of listed and unlisted workers, with more at once than their concurrency allows.
pub(crate) fn any() -> impl Strategy<Value = ObservedRun> {
    let encoding = (0u64..600, 0u64..50).prop_map(|(started, length)| Interval { started, ended: started + length });
    let operations = prop::collection::vec(any_operation(), 1..30);
    let (workers, encoding) = (prop::collection::vec(any_worker(), 0..4), prop::collection::vec(encoding, 0..5));
    let uncontended = prop::option::of((0u64..100).prop_map(nanos));
    (operations, workers, encoding, uncontended).prop_map(|(operations, mut workers, encoding, uncontended)| {
        for (slot, worker) in (1..).zip(&mut workers) {
            worker.id = WorkerId(slot);
        }
        ObservedRun { window: Interval { started: 0, ended: 1000 }, workers, operations, encoding, uncontended }
    })
}

fn any_operation() -> impl Strategy<Value = Operation> {
    (1u64..5, 0u64..500, 0u64..50, 0u64..50, 1u64..100, 0u64..50).prop_map(
        |(call_slot, queued, wait, outgoing, work, returning)| {
            let (sent, started) = (queued + wait, queued + wait + outgoing);
            let operation = operation(call_slot, sent, started, started + work, started + work + returning);
            Operation { queued: Timestamp(queued), ..operation }
        },
    )
}

fn any_worker() -> impl Strategy<Value = ObservedWorker> {
    let cpu_time =
        (0u64..2000, 0u64..300).prop_map(|(used, waited)| CpuTime { used: nanos(used), waited: nanos(waited) });
    (1usize..4, 0u64..300, prop::option::of(cpu_time)).prop_map(|(concurrency, ready, cpu_time)| ObservedWorker {
        id: WorkerId(0),
        concurrency,
        starting: vec![Interval { started: 0, ended: ready }],
        cpu_time,
    })
}
