//! Runs whose truth is known, since they are put together from it.

use herder_core::{Generation, Timestamp, WorkerId, WorkerRef};
use herder_efficiency::concurrency::{CpuTime, Interval, Losses, ObservedRun, ObservedWorker, Operation};
use proptest::prelude::*;
use std::time::Duration;

/// A run, and what an account has to say of it.
#[derive(Clone, Debug)]
pub(crate) struct KnownRun {
    pub(crate) observed: ObservedRun,
    pub(crate) losses: Losses,
    pub(crate) ideal: Duration,
}

/// Operations that follow each other, shuffled, at least two; and a place between two of them.
pub(crate) fn chain() -> impl Strategy<Value = (Vec<Interval>, usize)> {
    let links = prop::collection::vec((0u64..20, 1u64..50), 2..40);
    links.prop_flat_map(|links| {
        let mut at = 0;
        let mut interval = |(gap, length)| {
            let started = at + gap;
            at = started + length;
            Interval { started, ended: at }
        };
        let chain: Vec<Interval> = links.iter().copied().map(&mut interval).collect();
        let between = 0..chain.len() - 1;
        (Just(chain).prop_shuffle(), between)
    })
}

/// One lane's round: what is lost before an operation, and how long that is.
#[derive(Clone, Copy, Debug)]
struct Round {
    way: u64,
    work: u64,
    back: u64,
    encoding: u64,
    idle: u64,
}

fn round() -> impl Strategy<Value = Round> {
    (0u64..50, 1u64..500, 0u64..50, 0u64..50, 0u64..50).prop_map(|(way, work, back, encoding, idle)| Round {
        way,
        work,
        back,
        encoding,
        idle,
    })
}

/// All lanes do the same rounds at the same time, each starting up for a while, so that every cause is seen alone. The last lane
/// then runs one more operation, a straggler that the others wait for.
pub(crate) fn known() -> impl Strategy<Value = KnownRun> {
    let rounds = prop::collection::vec(round(), 1..12);
    (1u64..9, 0u64..1000, rounds, 1u64..400, 0u64..100).prop_map(|(call_slots, start_up, rounds, last, slow)| {
        let mut builder = RunBuilder::new(call_slots);
        builder.at = start_up;
        builder.losses.start_up = nanos(call_slots * start_up);
        for round in &rounds {
            builder.play(*round);
        }
        builder.straggle(last);
        builder.end(start_up, slow)
    })
}

struct RunBuilder {
    call_slots: u64,
    at: u64,
    operations: Vec<Operation>,
    encoding: Vec<Interval>,
    losses: Losses,
}

impl RunBuilder {
    fn new(call_slots: u64) -> Self {
        Self { call_slots, at: 0, operations: Vec::new(), encoding: Vec::new(), losses: Losses::default() }
    }

    fn play(&mut self, round: Round) {
        let Round { way, work, back, encoding, idle } = round;
        // Callers encode, then hesitate: only what they do can be seen.
        self.encoding.push(Interval { started: self.at, ended: self.at + encoding });
        let sent = self.at + encoding + idle;
        let started = sent + way;
        let operation = |call_slot| operation(call_slot, sent, started, started + work, started + work + back);
        self.operations.extend((1..=self.call_slots).map(operation));
        self.at = started + work + back;
        self.losses.serialization += nanos(self.call_slots * encoding);
        self.losses.idle += nanos(self.call_slots * idle);
        self.losses.dispatch += nanos(self.call_slots * (way + back));
    }

    /// One operation more on the last lane, sent and begun at once: the others have nothing left to do.
    fn straggle(&mut self, last: u64) {
        self.operations.push(operation(self.call_slots, self.at, self.at, self.at + last, self.at + last));
        self.at += last;
        self.losses.stragglers += nanos((self.call_slots - 1) * last);
    }

    /// Operations are so much longer than alone, in per mille of `slow`, and cores are to blame.
    fn end(mut self, start_up: u64, slow: u64) -> KnownRun {
        let length = |operation: &Operation| operation.interval().duration().as_nanos() as u64;
        let work: u64 = self.operations.iter().map(length).sum();
        let longest = self.operations.iter().map(length).max().unwrap();
        let waited = work * slow / 1000;
        let uncontended = work - waited;
        let ideal_of_lanes = uncontended.max(self.call_slots * (longest * uncontended / work));
        self.losses.cores = nanos(waited);
        forgive(&mut self.losses, nanos(ideal_of_lanes - uncontended));
        let worker = |call_slot| ObservedWorker {
            worker: WorkerId(call_slot as u32),
            concurrency: 1,
            starting: vec![Interval { started: 0, ended: start_up }],
            cpu_time: Some(CpuTime { used: nanos(0), waited: if call_slot == 1 { nanos(waited) } else { nanos(0) } }),
        };
        let observed = ObservedRun {
            window: Interval { started: 0, ended: self.at },
            workers: (1..=self.call_slots).map(worker).collect(),
            operations: self.operations,
            encoding: self.encoding,
            uncontended: None,
        };
        KnownRun { observed, losses: self.losses, ideal: nanos(ideal_of_lanes / self.call_slots) }
    }
}

/// The rule as the documentation has it: what no order could have avoided is forgiven, first of all to stragglers.
fn forgive(losses: &mut Losses, mut spare: Duration) {
    let Losses { start_up, queueing, dispatch, serialization, stragglers, idle, cores, gil, slowed } = losses;
    for part in [stragglers, idle, serialization, queueing, dispatch, start_up, slowed, gil, cores] {
        let forgiven = spare.min(*part);
        *part -= forgiven;
        spare -= forgiven;
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

/// Operations anywhere, of listed and unlisted workers, more at once than their concurrency.
pub(crate) fn any() -> impl Strategy<Value = ObservedRun> {
    let encoding = (0u64..600, 0u64..50).prop_map(|(at, length)| Interval { started: at, ended: at + length });
    let operations = prop::collection::vec(any_operation(), 1..30);
    let (workers, encoding) = (prop::collection::vec(any_worker(), 0..4), prop::collection::vec(encoding, 0..5));
    let uncontended = prop::option::of((0u64..100).prop_map(nanos));
    (operations, workers, encoding, uncontended).prop_map(|(operations, mut workers, encoding, uncontended)| {
        for (slot, worker) in (1..).zip(&mut workers) {
            worker.worker = WorkerId(slot);
        }
        ObservedRun { window: Interval { started: 0, ended: 1000 }, workers, operations, encoding, uncontended }
    })
}

fn any_operation() -> impl Strategy<Value = Operation> {
    (1u64..5, 0u64..500, 0u64..50, 0u64..50, 1u64..100, 0u64..50).prop_map(
        |(call_slot, queued, wait, way, work, back)| {
            let (sent, started) = (queued + wait, queued + wait + way);
            let operation = operation(call_slot, sent, started, started + work, started + work + back);
            Operation { queued: Timestamp(queued), ..operation }
        },
    )
}

fn any_worker() -> impl Strategy<Value = ObservedWorker> {
    let cpu_time =
        (0u64..2000, 0u64..300).prop_map(|(used, waited)| CpuTime { used: nanos(used), waited: nanos(waited) });
    (1usize..4, 0u64..300, prop::option::of(cpu_time)).prop_map(|(concurrency, ready, cpu_time)| ObservedWorker {
        worker: WorkerId(0),
        concurrency,
        starting: vec![Interval { started: 0, ended: ready }],
        cpu_time,
    })
}
