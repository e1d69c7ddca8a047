//! The location of each session's state: the rows of a pool with affinity, and the numbers counted over them
//! (R5, R14). A binding names one process (slot and generation) and becomes void when that process is gone
//! ([I4](crate#invariants)). Whether a process is alive is decided by the pool, not here.
//!
//! Operations on all sessions of a process touch none of their rows, since there may be a million. The death of a
//! process makes its bindings void by the generation, and a release of its sessions makes them void by the release
//! count. Each row is updated when it is next visited.

use super::{EventId, EventRing, Row, RowCursor, Table};
use crate::{
    AffinitySettings, CallId, Epoch, Generation, RowKey, Timestamp, WorkerId, WorkerRef,
    derived::{Derived, Statistic},
    time::Nanos,
};
use std::num::NonZero;

/// The session affinity of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Routes {
    pub(crate) settings: AffinitySettings,
    pub(crate) table: Table<Route>,
    bindings: Vec<SlotBindings>,
    /// The slots whose number of sessions changed since the last [`take_changed`](Self::take_changed), each once.
    changed: Derived<Vec<WorkerId>>,
    /// Processes whose sessions were released, with the release count since then, while a scan for their rows is in
    /// progress. Bindings with a lower release count are void.
    released: Vec<(WorkerRef, ReleaseCount)>,
    pub(crate) counters: Statistic<AffinityCounters>,
    pub(crate) events: EventRing,
    /// The position of the scan for released rows that no call has visited.
    cursor: RowCursor,
}

/// The bindings of a slot's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SlotBindings {
    /// The generation of the process to which the other fields belong.
    generation: Generation,
    /// The number of sessions that were bound to it since the last release.
    sessions: u32,
    release_count: ReleaseCount,
    /// Whether the slot is in [`Routes::changed`].
    is_changed: Derived<bool>,
}

/// The number of times that all sessions of a slot were released at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReleaseCount(u32);

/// The routing decisions and sweeps, counted since the pool started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AffinityCounters {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) rebinds: u64,
    pub(crate) cleanup_runs: u64,
    pub(crate) cleaned: u64,
}

/// The part of a session's row that only a pool with affinity has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) binding: Binding,
    /// The epoch of calls that are admitted now. Higher than the epoch of the binding while the end of that epoch waits
    /// for earlier calls.
    pub(crate) epoch: Epoch,
    current_call: OptionalCallId,
    /// Allocated only when needed: few sessions have any of it.
    epoch_end: Option<Box<EpochEnd>>,
    /// The session's last event in the event ring.
    pub(crate) last_event: EventId,
}

/// A call id or none, in eight bytes: the id plus one, so that a row stays small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct OptionalCallId(Option<NonZero<u64>>);

/// What the end of the session's epoch needs, if it is more than the end of the binding. Few sessions have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct EpochEnd {
    /// Processes other than the bound one that ran a `hint` call in this epoch. Processes that died since are removed
    /// when one is added ([I6](crate#invariants)).
    pub(crate) off_affinity_workers: Vec<WorkerRef>,
    /// The action on the row after the last call of the binding's epoch.
    after_epoch: AfterEpoch,
}

/// The process that holds the state of a session, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Binding {
    /// No process. The next dispatch chooses one and reports the reason.
    Unbound(Unbound),
    /// This process, under this epoch. `was_sent` is true once a call of the session was sent there: only then is the
    /// process sent the end of the session ([I6](crate#invariants)).
    Bound { worker: WorkerRef, epoch: Epoch, release_count: ReleaseCount, was_sent: bool },
}

/// Why a session is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unbound {
    New,
    WorkerLost,
    Expired,
}

/// The action on a row when an epoch ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum AfterEpoch {
    /// The row stays, unbound.
    #[default]
    Stay,
    /// The row is removed, unless calls were admitted in the meantime.
    Forget,
    /// The row stays and is bound to this process, if it is alive.
    Bind(WorkerRef),
}

impl SlotBindings {
    /// The bindings of a slot that has had no process.
    const NONE: Self =
        Self { generation: Generation(0), sessions: 0, release_count: ReleaseCount(0), is_changed: Derived(false) };
}

impl Routes {
    pub(crate) fn new(settings: AffinitySettings, seed: u64, slots: usize) -> Self {
        Self {
            settings,
            table: Table::new(seed),
            bindings: vec![SlotBindings::NONE; slots],
            changed: Derived(Vec::with_capacity(slots)),
            released: Vec::new(),
            counters: Statistic::default(),
            events: EventRing::default(),
            cursor: RowCursor::default(),
        }
    }

    /// Adds one more slot.
    pub(crate) fn add_slot(&mut self) {
        self.bindings.push(SlotBindings::NONE);
    }

    #[inline]
    pub(crate) fn route(&self, key: RowKey) -> Option<&Route> {
        self.table.row(key).map(|row| &row.route)
    }

    pub(crate) fn route_mut(&mut self, key: RowKey) -> Option<&mut Route> {
        self.table.row_mut(key).map(|row| &mut row.route)
    }

    pub(crate) fn bind(&mut self, key: RowKey, worker: WorkerRef, epoch: Epoch) {
        // First, so that the count of the previous process is reduced.
        self.unbind(key, Unbound::New);
        let release_count = self.bindings[slot_index(worker)].release_count;
        if let Some(route) = self.route_mut(key) {
            route.binding = Binding::Bound { worker, epoch, release_count, was_sent: false };
            let slot_bindings = self.change(worker);
            // The first binding to a new generation restarts the count: the sessions of the previous process are void.
            slot_bindings.sessions =
                if slot_bindings.generation == worker.generation { slot_bindings.sessions + 1 } else { 1 };
            slot_bindings.generation = worker.generation;
        }
    }

    /// Moves the session's binding to the current release count of its process, so that the release of all sessions
    /// does not apply to it. Keeps `was_sent`.
    pub(crate) fn renew_binding(&mut self, key: RowKey) {
        let Some(Binding::Bound { worker, epoch, was_sent: before, .. }) = self.route(key).map(|route| route.binding)
        else {
            return;
        };
        self.bind(key, worker, epoch);
        if let Some(Route { binding: Binding::Bound { was_sent, .. }, .. }) = self.route_mut(key) {
            *was_sent = before;
        }
    }

    /// Unbinds a session. Returns the epoch under which it was bound, if it was, and its process if a call of the
    /// session was sent there.
    pub(crate) fn unbind(&mut self, key: RowKey, why: Unbound) -> Option<(Epoch, Option<WorkerRef>)> {
        let route = self.route_mut(key)?;
        let before = std::mem::replace(&mut route.binding, Binding::Unbound(why));
        let Binding::Bound { worker, epoch, release_count, was_sent } = before else { return None };
        let slot_bindings = self.change(worker);
        // A binding of another generation or release count was removed from the count when its process died or its
        // sessions were released. Subtracting it again would make `bound_to` too low.
        if slot_bindings.generation == worker.generation && slot_bindings.release_count == release_count {
            slot_bindings.sessions = slot_bindings.sessions.saturating_sub(1);
        }
        Some((epoch, was_sent.then_some(worker)))
    }

    /// The only way in which the numbers of a slot change. Remembers the slot for the choice of workers.
    fn change(&mut self, worker: WorkerRef) -> &mut SlotBindings {
        let slot_bindings = &mut self.bindings[slot_index(worker)];
        if !std::mem::replace(&mut *slot_bindings.is_changed, true) {
            self.changed.push(worker.id);
        }
        slot_bindings
    }

    /// Reports each slot whose number of sessions changed since the last call.
    pub(crate) fn take_changed(&mut self, mut report: impl FnMut(WorkerId)) {
        while let Some(worker) = self.changed.pop() {
            *self.bindings[worker.0 as usize - 1].is_changed = false;
            report(worker);
        }
    }

    /// Returns whether the number of sessions of this slot changed since the last [`take_changed`](Self::take_changed).
    pub(crate) fn is_changed(&self, worker: WorkerRef) -> bool {
        *self.bindings[slot_index(worker)].is_changed
    }

    /// Returns the number of sessions that are bound to this process.
    pub(crate) fn bound_to(&self, worker: WorkerRef) -> u32 {
        let slot_bindings = &self.bindings[slot_index(worker)];
        if slot_bindings.generation == worker.generation { slot_bindings.sessions } else { 0 }
    }

    /// Sets the session count of a process that is gone to zero. Its rows are unbound when they are next visited.
    pub(crate) fn reset_session_count(&mut self, worker: WorkerRef) {
        let slot_bindings = self.change(worker);
        if slot_bindings.generation == worker.generation {
            slot_bindings.sessions = 0;
        }
    }

    /// Releases all sessions that are bound to this process and returns their number. Their rows are unbound when they
    /// are next visited.
    pub(crate) fn release_all(&mut self, worker: WorkerRef) -> usize {
        let slot_bindings = self.change(worker);
        let released = std::mem::take(&mut slot_bindings.sessions);
        slot_bindings.release_count.0 += 1;
        let release_count = slot_bindings.release_count;
        self.released.retain(|(process, _)| *process != worker);
        self.released.push((worker, release_count));
        // The scan visits every row that exists now once more, also those that a scan in progress has passed.
        self.cursor.begin(self.table.row_capacity());
        released as usize
    }

    /// Returns whether the session's binding is void because all sessions of its process were released.
    #[inline]
    pub(crate) fn is_released(&self, route: &Route) -> bool {
        let Binding::Bound { worker, release_count, .. } = route.binding else { return false };
        self.released.iter().any(|(process, current)| *process == worker && release_count < *current)
    }

    /// Returns whether the scan for released rows is in progress.
    #[inline]
    pub(crate) fn is_scanning(&self) -> bool {
        !self.released.is_empty()
    }

    /// Returns the number of the next row of the scan, which may be vacant, or `None` at its end.
    pub(crate) fn next_released_row(&mut self) -> Option<usize> {
        let place = self.cursor.step();
        if place.is_none() {
            // Every row has been visited, so no binding with a lower release count is left.
            self.released.clear();
        }
        place
    }

    /// Reports processes whose number of bound sessions differs from the rows. `live` are the processes that are ready.
    pub(crate) fn verify(&self, live: impl Iterator<Item = WorkerRef>, broken: &mut Vec<String>) {
        for process in live {
            let current = self.bindings[slot_index(process)].release_count;
            let is_bound = |route: &Route| {
                matches!(route.binding, Binding::Bound { worker, release_count, .. }
                    if worker == process && release_count == current)
            };
            let rows = self.table.iter().filter(|(_, row)| is_bound(&row.route)).count();
            let counted = self.bound_to(process);
            if rows != counted as usize {
                broken.push(format!("{process:?} has {counted} sessions, but {rows} rows are bound to it"));
            }
        }
    }

    /// Returns whether the pool has this slot.
    pub(crate) fn has_slot(&self, worker: WorkerId) -> bool {
        (1..=self.bindings.len()).contains(&(worker.0 as usize))
    }

    pub(crate) fn workers_with_sessions(&self) -> usize {
        self.bindings.iter().filter(|slot_bindings| slot_bindings.sessions > 0).count()
    }
}

impl Row<Route> {
    /// Returns the process to which the session is bound, and the epoch of its state, if that is also the epoch of calls
    /// that are admitted now, and the session has not expired.
    #[inline(always)]
    pub(super) fn settled_binding(&self, now: Timestamp, timeout: Nanos) -> Option<(WorkerRef, Epoch)> {
        match self.route.binding {
            Binding::Bound { worker, epoch, .. } if epoch == self.route.epoch && !self.is_due(now, timeout) => {
                Some((worker, epoch))
            }
            _ => None,
        }
    }
}

impl Route {
    pub(crate) fn new(epoch: Epoch, why: Unbound) -> Self {
        Self {
            binding: Binding::Unbound(why),
            epoch,
            current_call: OptionalCallId::default(),
            epoch_end: None,
            last_event: EventId::default(),
        }
    }

    /// Returns the current strict call of the session: the only one that may be queued outside of the session's own
    /// queue, or unfinished ([I3](crate#invariants)).
    #[inline]
    pub(crate) fn current_call(&self) -> Option<CallId> {
        self.current_call.0.map(|number| CallId(number.get() - 1))
    }

    #[inline]
    pub(crate) fn set_current_call(&mut self, call: Option<CallId>) {
        self.current_call = OptionalCallId(call.and_then(|call| NonZero::new(call.0.saturating_add(1))));
    }

    /// Records that a call of the session is sent to this process.
    #[inline]
    pub(crate) fn mark_sent(&mut self, to: WorkerRef) {
        if let Binding::Bound { worker, was_sent, .. } = &mut self.binding
            && *worker == to
        {
            *was_sent = true;
        }
    }

    /// Returns whether something follows when the session has no current call: the end of a state, a new binding, or
    /// the removal of the session.
    #[inline]
    pub(crate) fn has_followup(&self) -> bool {
        let is_ended = matches!(self.binding, Binding::Bound { epoch, .. } if epoch < self.epoch);
        is_ended || self.after_epoch() != AfterEpoch::Stay
    }

    pub(crate) fn epoch_end_mut(&mut self) -> &mut EpochEnd {
        self.epoch_end.get_or_insert_default()
    }

    pub(crate) fn take_off_affinity_workers(&mut self) -> Vec<WorkerRef> {
        self.epoch_end.as_mut().map(|end| std::mem::take(&mut end.off_affinity_workers)).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn after_epoch(&self) -> AfterEpoch {
        self.epoch_end.as_ref().map_or(AfterEpoch::Stay, |end| end.after_epoch)
    }

    pub(crate) fn set_after_epoch(&mut self, after_epoch: AfterEpoch) {
        if after_epoch != self.after_epoch() {
            self.epoch_end_mut().after_epoch = after_epoch;
        }
    }
}

fn slot_index(worker: WorkerRef) -> usize {
    worker.id.0 as usize - 1
}
