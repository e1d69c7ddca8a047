//! Where each session's state is: the rows of a pool with affinity, and what is counted over them (R5, R14). Whether a
//! worker is alive is the pool's to know: a binding names a process for ever and is void once that process is gone (I4).
//!
//! What is told of all sessions of a process at once touches none of their rows: its death makes their bindings void by its
//! generation, and a release by its lease. The rows follow one by one, when they are met.

use super::{EventId, EventRing, RowCursor, RowKey, Table};
use crate::{AffinitySettings, CallId, Epoch, Generation, WorkerRef};
use std::{collections::VecDeque, num::NonZero};

/// The affinity table of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Routes {
    pub(crate) settings: AffinitySettings,
    pub(crate) table: Table<Route>,
    bindings: Vec<SlotBindings>,
    /// Processes whose sessions were released, those of leases before this one, and whose rows may not all have been met since.
    released: Vec<(WorkerRef, ReleaseCount)>,
    pub(crate) counters: AffinityCounters,
    pub(crate) events: EventRing,
    /// Looks for released rows that nobody met.
    cursor: RowCursor,
}

/// What a slot's process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SlotBindings {
    /// The process that the rest is of.
    generation: Generation,
    /// Sessions bound to it under the present lease.
    sessions: u32,
    release_count: ReleaseCount,
}

/// Counts how often a slot's sessions were released, all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReleaseCount(u32);

/// Decisions counted since the pool started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AffinityCounters {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) rebinds: u64,
    pub(crate) cleanup_runs: u64,
    pub(crate) cleaned: u64,
}

/// What routing adds to a session's row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) binding: Binding,
    /// The epoch of calls admitted now. Higher than the binding's while an end waits for earlier calls.
    pub(crate) epoch: Epoch,
    current_call: OptionalCallId,
    /// What few sessions have.
    queue: Option<Box<SessionQueue>>,
    /// Its last event on the trail.
    pub(crate) last_event: EventId,
}

/// A call, or none, in eight bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct OptionalCallId(Option<NonZero<u64>>);

/// What few sessions have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SessionQueue {
    /// Calls behind the turn.
    pub(crate) waiting: VecDeque<CallId>,
    /// Processes other than the bound one that ran a hint call in this epoch. Those that died since are dropped when one comes (I6).
    pub(crate) off_affinity_workers: Vec<WorkerRef>,
    /// What becomes of the row when the calls of the binding's epoch are over.
    after_epoch: AfterEpoch,
}

/// Where a session's state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Binding {
    /// Nowhere; the next dispatch chooses, and says why.
    Unbound(Unbound),
    /// In this process, under this epoch. It `was_sent` the session if it was sent a call of it: only then is it told of the end (I6).
    Bound { worker: WorkerRef, epoch: Epoch, release_count: ReleaseCount, was_sent: bool },
}

/// Why a session is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unbound {
    New,
    WorkerLost,
    Expired,
}

/// What an ended epoch leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum AfterEpoch {
    /// The row, unbound.
    #[default]
    Stay,
    /// Nothing, unless calls came meanwhile.
    Forget,
    /// The row, bound to this process if it lives.
    Bind(WorkerRef),
}

impl Routes {
    pub(crate) fn new(settings: AffinitySettings, seed: u64, slots: usize) -> Self {
        let held = vec![
            SlotBindings { generation: Generation(0), sessions: 0, release_count: ReleaseCount::default() };
            slots
        ];
        Self {
            settings,
            table: Table::new(seed),
            bindings: held,
            released: Vec::new(),
            counters: AffinityCounters::default(),
            events: EventRing::default(),
            cursor: RowCursor::default(),
        }
    }

    pub(crate) fn route(&self, key: RowKey) -> Option<&Route> {
        self.table.row(key).map(|row| &row.route)
    }

    pub(crate) fn route_mut(&mut self, key: RowKey) -> Option<&mut Route> {
        self.table.row_mut(key).map(|row| &mut row.route)
    }

    pub(crate) fn bind(&mut self, key: RowKey, worker: WorkerRef, epoch: Epoch) {
        self.unbind(key, Unbound::New);
        let release_count = self.bindings[slot(worker)].release_count;
        if let Some(route) = self.route_mut(key) {
            route.binding = Binding::Bound { worker, epoch, release_count, was_sent: false };
            let held = &mut self.bindings[slot(worker)];
            held.sessions = if held.generation == worker.generation { held.sessions + 1 } else { 1 };
            held.generation = worker.generation;
        }
    }

    /// The session goes on in its process under the present lease.
    pub(crate) fn renew_binding(&mut self, key: RowKey) {
        let Some(Binding::Bound { worker, epoch, was_sent: before, .. }) = self.route(key).map(|route| route.binding)
        else {
            return;
        };
        self.bind(key, worker, epoch);
        if let Some(Route { binding: Binding::Bound { was_sent: knows, .. }, .. }) = self.route_mut(key) {
            *knows = before;
        }
    }

    /// A call of the session is sent to this process.
    pub(crate) fn sent(&mut self, key: RowKey, to: WorkerRef) {
        if let Some(Route { binding: Binding::Bound { worker, was_sent: knows, .. }, .. }) = self.route_mut(key)
            && *worker == to
        {
            *knows = true;
        }
    }

    /// Makes a session unbound; the epoch it was bound under, if it was, and the process if that has to be told.
    pub(crate) fn unbind(&mut self, key: RowKey, why: Unbound) -> Option<(Epoch, Option<WorkerRef>)> {
        let route = self.route_mut(key)?;
        let before = std::mem::replace(&mut route.binding, Binding::Unbound(why));
        let Binding::Bound { worker, epoch, release_count, was_sent: knows } = before else { return None };
        let held = &mut self.bindings[slot(worker)];
        if held.generation == worker.generation && held.release_count == release_count {
            held.sessions = held.sessions.saturating_sub(1);
        }
        Some((epoch, knows.then_some(worker)))
    }

    /// How many sessions are bound to this process.
    pub(crate) fn bound_to(&self, worker: WorkerRef) -> u32 {
        let held = &self.bindings[slot(worker)];
        if held.generation == worker.generation { held.sessions } else { 0 }
    }

    /// The process is gone: its count is void, its rows go when they are next met.
    pub(crate) fn worker_gone(&mut self, worker: WorkerRef) {
        let held = &mut self.bindings[slot(worker)];
        if held.generation == worker.generation {
            held.sessions = 0;
        }
    }

    /// Releases every session that is bound to this process: how many. Their rows go when they are next met.
    pub(crate) fn release_all(&mut self, worker: WorkerRef) -> usize {
        let released = std::mem::take(&mut self.bindings[slot(worker)].sessions);
        let release_count = &mut self.bindings[slot(worker)].release_count;
        release_count.0 += 1;
        self.released.retain(|(who, _)| *who != worker);
        self.released.push((worker, *release_count));
        self.cursor.begin(self.table.places());
        released as usize
    }

    /// Whether a session is still bound under a lease that is over.
    #[inline]
    pub(crate) fn is_released(&self, route: &Route) -> bool {
        let Binding::Bound { worker, release_count, .. } = route.binding else { return false };
        self.released.iter().any(|(who, now)| *who == worker && release_count < *now)
    }

    /// Whether there may be released rows that nobody met.
    #[inline]
    pub(crate) fn is_scanning(&self) -> bool {
        !self.released.is_empty()
    }

    /// The next row to be looked at, while there may be released ones that nobody met: a place, which may be vacant.
    pub(crate) fn next_released_row(&mut self) -> Option<usize> {
        let place = self.cursor.step();
        if place.is_none() {
            self.released.clear();
        }
        place
    }

    pub(crate) fn workers_with_sessions(&self) -> usize {
        self.bindings.iter().filter(|held| held.sessions > 0).count()
    }
}

impl Route {
    pub(crate) fn new(epoch: Epoch, why: Unbound) -> Self {
        Self {
            binding: Binding::Unbound(why),
            epoch,
            current_call: OptionalCallId::default(),
            queue: None,
            last_event: EventId::default(),
        }
    }

    /// The strict call whose turn it is, queued or unfinished (I3).
    pub(crate) fn current_call(&self) -> Option<CallId> {
        self.current_call.0.map(|number| CallId(number.get() - 1))
    }

    pub(crate) fn set_current_call(&mut self, call: Option<CallId>) {
        self.current_call = OptionalCallId(call.and_then(|call| NonZero::new(call.0.saturating_add(1))));
    }

    pub(crate) fn queue_mut(&mut self) -> &mut SessionQueue {
        self.queue.get_or_insert_default()
    }

    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = CallId> {
        self.queue.as_ref().map_or(const { &VecDeque::new() }, |line| &line.waiting).iter().copied()
    }

    pub(crate) fn take_off_affinity_workers(&mut self) -> Vec<WorkerRef> {
        self.queue.as_mut().map(|line| std::mem::take(&mut line.off_affinity_workers)).unwrap_or_default()
    }

    pub(crate) fn after_epoch(&self) -> AfterEpoch {
        self.queue.as_ref().map_or(AfterEpoch::Stay, |line| line.after_epoch)
    }

    pub(crate) fn set_after_epoch(&mut self, then: AfterEpoch) {
        if then != self.after_epoch() {
            self.queue_mut().after_epoch = then;
        }
    }
}

fn slot(worker: WorkerRef) -> usize {
    worker.id.0 as usize - 1
}
