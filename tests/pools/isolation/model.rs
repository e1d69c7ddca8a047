//! The reference model of one session of one pool: it computes what each operation must answer and has no information about any
//! other session or pool. Only two facts are taken from the answers: the worker that an unbound session got, and the number of
//! a new epoch.

use crate::rng::Rng;
use herder::{
    messages::SessionStatus,
    session::{Epoch, Routing, SessionInfo},
    status::{WorkerId, WorkerRef},
};
use std::collections::BTreeMap;

/// An operation on a session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// A call that counts in the session's state. It fails in a pool whose sessions have no state.
    Count,
    /// A call that returns the pid of its process.
    Pid,
    /// The same call with `IfAbsent::Reject`.
    PidIfPresent,
    End,
    Bind(WorkerId),
    Unbind,
    Track,
    Touch,
    Worker,
    State,
    Info,
    List,
    Sweep,
    Status,
}

/// The operations with their weights. The rest up to 100 is `Status`.
const WEIGHTS: [(Operation, usize); 14] = [
    (Operation::Count, 42),
    (Operation::Pid, 10),
    (Operation::PidIfPresent, 5),
    (Operation::End, 5),
    (Operation::Bind(WorkerId(1)), 3),
    (Operation::Bind(WorkerId(2)), 3),
    (Operation::Unbind, 4),
    (Operation::Track, 4),
    (Operation::Touch, 4),
    (Operation::Worker, 6),
    (Operation::State, 5),
    (Operation::Info, 5),
    (Operation::List, 3),
    (Operation::Sweep, 1),
];

impl Operation {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut drawn = rng.below(100);
        for (operation, weight) in WEIGHTS {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return operation,
            }
        }
        Self::Status
    }
}

/// The answer of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Ran {
        worker: WorkerRef,
        routing: Routing,
        value: u64,
    },
    /// The slug of an error.
    Refused(&'static str),
    Answered(bool),
    BoundTo(WorkerRef),
    Is(SessionStatus),
    Known(Option<Facts>),
    Swept(usize),
    /// Whether the status of the pool has affinity numbers.
    Numbers(bool),
    /// The pool has no affinity actor.
    NoAffinityActor,
}

/// The information that a pool has about a session, without times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) worker: Option<WorkerRef>,
    pub(super) epoch: Option<Epoch>,
    pub(super) operations: u64,
    pub(super) pending: u32,
}

impl From<&SessionInfo> for Facts {
    fn from(info: &SessionInfo) -> Self {
        let worker_ref = info.worker.zip(info.generation);
        Self {
            worker: worker_ref.map(|(worker, generation)| WorkerRef { id: worker, generation }),
            epoch: info.epoch,
            operations: info.operations,
            pending: info.pending,
        }
    }
}

/// The counters of a pool that the operations of the test change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) refused: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

/// The expected state of one session. `apply` performs an operation and returns the answer that the pool must give.
#[derive(Debug)]
pub(super) struct ReferenceModel<'a> {
    /// The processes of the pool.
    pids: &'a BTreeMap<WorkerRef, u32>,
    /// Whether sessions are bound to workers.
    routed: bool,
    pub(super) known: bool,
    pub(super) bound: Option<WorkerRef>,
    operations: u64,
    count: u64,
    epoch: Option<Epoch>,
    /// The highest epoch that has ended.
    pub(super) ended_epoch: Epoch,
    pub(super) tally: Tally,
}

impl<'a> ReferenceModel<'a> {
    pub(super) fn new(pids: &'a BTreeMap<WorkerRef, u32>, routed: bool) -> Self {
        Self {
            pids,
            routed,
            known: false,
            bound: None,
            operations: 0,
            count: 0,
            epoch: None,
            ended_epoch: Epoch(0),
            tally: Tally::default(),
        }
    }

    /// Performs the operation and returns the expected answer. `seen` is the real answer, for the two facts that the model
    /// cannot compute.
    pub(super) fn apply(&mut self, operation: Operation, seen: &Seen) -> Seen {
        match operation {
            Operation::Bind(_) | Operation::Unbind | Operation::Worker | Operation::State if !self.routed => {
                Seen::NoAffinityActor
            }
            Operation::Count if !self.routed => self.fail(),
            Operation::Count => self.count_call(seen),
            Operation::PidIfPresent if !self.known => self.refuse(),
            Operation::Pid | Operation::PidIfPresent => self.run(seen),
            Operation::End => Seen::Answered(self.end()),
            Operation::Bind(worker) => self.bind(worker),
            Operation::Unbind => Seen::Answered(self.unbind()),
            Operation::Track => {
                self.known = true;
                Seen::Known(self.facts(seen))
            }
            Operation::Touch => Seen::Answered(self.known),
            Operation::Worker => self.bound.map_or(Seen::Refused("session-not-found"), Seen::BoundTo),
            Operation::State => Seen::Is(if self.known { SessionStatus::Active } else { SessionStatus::NotFound }),
            Operation::Info | Operation::List => Seen::Known(self.facts(seen)),
            Operation::Sweep => Seen::Swept(0),
            Operation::Status => Seen::Numbers(self.routed),
        }
    }

    fn count_call(&mut self, seen: &Seen) -> Seen {
        let (worker, routing) = self.route(seen);
        self.tally.ok += 1;
        self.count += 1;
        Seen::Ran { worker, routing, value: self.count }
    }

    fn run(&mut self, seen: &Seen) -> Seen {
        let (worker, routing) = self.route(seen);
        self.tally.ok += 1;
        Seen::Ran { worker, routing, value: self.pids[&worker].into() }
    }

    /// A counting call in a pool whose sessions have no state.
    fn fail(&mut self) -> Seen {
        self.known = true;
        self.operations += 1;
        self.tally.failed += 1;
        Seen::Refused("exception")
    }

    fn refuse(&mut self) -> Seen {
        self.tally.refused += 1;
        Seen::Refused("session-not-found")
    }

    /// Returns where a call must run: on the worker of the session, or on any worker of this pool.
    fn route(&mut self, seen: &Seen) -> (WorkerRef, Routing) {
        let fallback = *self.pids.keys().next().unwrap();
        let chosen = match seen {
            Seen::Ran { worker, .. } if self.pids.contains_key(worker) => *worker,
            _ => fallback,
        };
        self.known = true;
        self.operations += 1;
        match self.bound {
            _ if !self.routed => (chosen, Routing::Unrouted),
            Some(worker) => {
                self.tally.hits += 1;
                (worker, Routing::Hit)
            }
            None => {
                self.tally.misses += 1;
                self.bound = Some(chosen);
                (chosen, Routing::New)
            }
        }
    }

    fn end(&mut self) -> bool {
        self.unbind();
        self.lose_state();
        self.operations = 0;
        std::mem::take(&mut self.known)
    }

    fn bind(&mut self, worker: WorkerId) -> Seen {
        let worker_ref = *self.pids.keys().find(|worker_ref| worker_ref.id == worker).unwrap();
        if self.bound.is_some_and(|bound| bound != worker_ref) {
            self.lose_state();
        }
        self.known = true;
        self.bound = Some(worker_ref);
        Seen::BoundTo(worker_ref)
    }

    /// Unbinds the session. Returns whether it was bound.
    pub(super) fn unbind(&mut self) -> bool {
        let was_bound = self.bound.take().is_some();
        if was_bound {
            self.lose_state();
        }
        was_bound
    }

    fn lose_state(&mut self) {
        self.count = 0;
        self.ended_epoch = self.epoch.take().map_or(self.ended_epoch, |epoch| epoch.max(self.ended_epoch));
    }

    /// Returns the expected information about the session. The number of a new epoch is taken from the answer; it must be
    /// higher than that of every epoch before, and must not change as long as the state exists.
    pub(super) fn facts(&mut self, seen: &Seen) -> Option<Facts> {
        if let (true, None, Seen::Known(Some(facts))) = (self.routed, self.epoch, seen) {
            self.epoch = facts.epoch.filter(|epoch| *epoch > self.ended_epoch);
        }
        let facts = Facts { worker: self.bound, epoch: self.epoch, operations: self.operations, pending: 0 };
        self.known.then_some(facts)
    }
}
