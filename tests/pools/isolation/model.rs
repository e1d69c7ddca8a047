//! What one session of one pool must answer, by a model that knows of nothing else: no other session, no other pool. It only
//! learns which worker a session without a binding got, and the number of an epoch that is new to it.

use crate::rng::Rng;
use herder::{Epoch, Routing, SessionInfo, SessionStatus, WorkerId, WorkerRef};
use std::collections::BTreeMap;

/// What is done with a session, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// A call that counts in the session's state; an error where sessions have none.
    Count,
    /// A call that says which process it ran in.
    Pid,
    /// The same, if the session is there.
    Insist,
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

/// How often each is drawn, of a hundred.
const OFTEN: [(Operation, usize); 14] = [
    (Operation::Count, 42),
    (Operation::Pid, 10),
    (Operation::Insist, 5),
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
        for (operation, often) in OFTEN {
            match drawn.checked_sub(often) {
                Some(rest) => drawn = rest,
                None => return operation,
            }
        }
        Self::Status
    }
}

/// What an operation answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Ran {
        worker: WorkerRef,
        routing: Routing,
        value: u64,
    },
    /// The slug of an error.
    Refused(&'static str),
    Said(bool),
    At(WorkerRef),
    Is(SessionStatus),
    Known(Option<Facts>),
    Swept(usize),
    /// Whether the pool's status has numbers of an affinity.
    Numbers(bool),
    /// There is no affinity actor to ask.
    Nobody,
}

/// What a pool knows of a session, but for times.
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

/// How a pool counts what was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) refused: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

/// One session.
#[derive(Debug)]
pub(super) struct ReferenceModel<'a> {
    /// The pool's processes.
    pids: &'a BTreeMap<WorkerRef, u32>,
    /// Whether its sessions are bound.
    routed: bool,
    pub(super) known: bool,
    pub(super) bound: Option<WorkerRef>,
    operations: u64,
    count: u64,
    epoch: Option<Epoch>,
    /// The highest epoch that is over.
    pub(super) over: Epoch,
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
            over: Epoch(0),
            tally: Tally::default(),
        }
    }

    /// Does it too; gives what must be seen.
    pub(super) fn does(&mut self, operation: Operation, seen: &Seen) -> Seen {
        match operation {
            Operation::Bind(_) | Operation::Unbind | Operation::Worker | Operation::State if !self.routed => {
                Seen::Nobody
            }
            Operation::Count if !self.routed => self.fails(),
            Operation::Count => self.counts(seen),
            Operation::Insist if !self.known => self.is_refused(),
            Operation::Pid | Operation::Insist => self.runs(seen),
            Operation::End => Seen::Said(self.ends()),
            Operation::Bind(worker) => self.is_bound(worker),
            Operation::Unbind => Seen::Said(self.is_unbound()),
            Operation::Track => {
                self.known = true;
                Seen::Known(self.facts(seen))
            }
            Operation::Touch => Seen::Said(self.known),
            Operation::Worker => self.bound.map_or(Seen::Refused("session-not-found"), Seen::At),
            Operation::State => Seen::Is(if self.known { SessionStatus::Active } else { SessionStatus::NotFound }),
            Operation::Info | Operation::List => Seen::Known(self.facts(seen)),
            Operation::Sweep => Seen::Swept(0),
            Operation::Status => Seen::Numbers(self.routed),
        }
    }

    fn counts(&mut self, seen: &Seen) -> Seen {
        let (worker, routing) = self.is_called(seen);
        self.tally.ok += 1;
        self.count += 1;
        Seen::Ran { worker, routing, value: self.count }
    }

    fn runs(&mut self, seen: &Seen) -> Seen {
        let (worker, routing) = self.is_called(seen);
        self.tally.ok += 1;
        Seen::Ran { worker, routing, value: self.pids[&worker].into() }
    }

    /// Only in a pool whose sessions have no state.
    fn fails(&mut self) -> Seen {
        self.known = true;
        self.operations += 1;
        self.tally.failed += 1;
        Seen::Refused("exception")
    }

    fn is_refused(&mut self) -> Seen {
        self.tally.refused += 1;
        Seen::Refused("session-not-found")
    }

    /// Where a call must run: where the session is bound, or on any worker of this pool.
    fn is_called(&mut self, seen: &Seen) -> (WorkerRef, Routing) {
        let own = *self.pids.keys().next().unwrap();
        let chosen = match seen {
            Seen::Ran { worker, .. } if self.pids.contains_key(worker) => *worker,
            _ => own,
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

    fn ends(&mut self) -> bool {
        self.is_unbound();
        self.loses_state();
        self.operations = 0;
        std::mem::take(&mut self.known)
    }

    fn is_bound(&mut self, worker: WorkerId) -> Seen {
        let worker_ref = *self.pids.keys().find(|worker_ref| worker_ref.id == worker).unwrap();
        if self.bound.is_some_and(|bound| bound != worker_ref) {
            self.loses_state();
        }
        self.known = true;
        self.bound = Some(worker_ref);
        Seen::At(worker_ref)
    }

    /// Whether it was bound.
    pub(super) fn is_unbound(&mut self) -> bool {
        let was = self.bound.take().is_some();
        if was {
            self.loses_state();
        }
        was
    }

    fn loses_state(&mut self) {
        self.count = 0;
        self.over = self.epoch.take().map_or(self.over, |epoch| epoch.max(self.over));
    }

    /// What is known of it. The epoch is learned from what was seen: it stays as long as the state does, and no other is like
    /// it.
    pub(super) fn facts(&mut self, seen: &Seen) -> Option<Facts> {
        if let (true, None, Seen::Known(Some(facts))) = (self.routed, self.epoch, seen) {
            self.epoch = facts.epoch.filter(|epoch| *epoch > self.over);
        }
        let facts = Facts { worker: self.bound, epoch: self.epoch, operations: self.operations, pending: 0 };
        self.known.then_some(facts)
    }
}
