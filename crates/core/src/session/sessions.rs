//! The sessions of a pool: their rows, and for a pool with affinity which worker holds the state of each. Other parts
//! name a session by its [`RowKey`]. Does not send, queue or answer calls.

use super::{AfterEpoch, Route, Routes, Row, SessionEventKind, Table, Tracked, step::Step};
use crate::{
    CallId, Epoch, Routing, RowKey, SessionSettings, Settings, Timestamp, WorkerRef, WorkerTypeSettings,
    derived::Derived, due::Due, time::Nanos,
};
use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

/// The sessions of a pool.
///
/// A basic pool only tracks them; a pool with affinity also routes their calls. No caller needs to know which: for
/// tracked sessions, all that concerns routing does nothing ([I5](crate#invariants)).
///
/// # Invariants
/// - **S1**: a binding names a slot and a generation, so that it is void once that process is gone
///   ([I4](crate#invariants)).
/// - **S2**: a session has at most one current strict call, and the others wait in its queue; epochs are never reused
///   and rise along the queue ([I3](crate#invariants)).
/// - **S3**: the pending calls of a row are its queued and unfinished calls, so that it does not expire while it has
///   any.
/// - **S4**: there are at most `sessions.max` rows ([I6](crate#invariants)).
/// - **S5**: a pool has tracked or routed rows, never both, and tracked rows have no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sessions {
    pub(super) settings: SessionSettings,
    /// The timeout of the settings.
    pub(super) timeout: Nanos,
    pub(super) kind: Kind,
    pub(super) next_epoch: u64,
    pub(super) next_sweep: Timestamp,
    /// Whether a sweep was interrupted to let calls run and continues at `next_sweep`.
    pub(super) is_sweeping: bool,
    /// The time of the next step of the scan for released sessions, or [`Timestamp::NEVER`] if none is in progress.
    pub(super) next_scan: Derived<Timestamp>,
    /// The number of sessions that expired since the pool started.
    pub(super) expired: u64,
}

/// The rows: either tracked or routed, never both (R9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is one in a pool, and a box would cost each call an indirection")]
pub(super) enum Kind {
    /// Sessions are counted, never routed.
    Tracked(Table<Tracked>),
    /// Sessions are bound to workers.
    Routed(Routes),
}

/// What a session says when a call of it begins.
#[derive(Clone, Copy, Default)]
pub(super) struct Begun {
    /// Whether the call is the current strict call of the session.
    pub(super) is_current: bool,
    /// Whether the session is to be removed after its last call.
    pub(super) is_ended: bool,
}

impl Sessions {
    /// Returns a pool without sessions. `seed` determines the hashes of the session table.
    pub(crate) fn new(settings: &Settings, seed: u64) -> Self {
        let kind = match &settings.worker_type {
            WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), .. } => {
                let slots = settings.pool_size + settings.overflow;
                Kind::Routed(Routes::new(affinity.clone(), seed, slots as usize))
            }
            WorkerTypeSettings::Basic | WorkerTypeSettings::Enhanced { session_affinity: None, .. } => {
                Kind::Tracked(Table::new(seed))
            }
        };
        Self {
            settings: settings.sessions.clone(),
            timeout: settings.sessions.timeout.into(),
            kind,
            next_epoch: 0,
            next_sweep: Timestamp::NEVER,
            is_sweeping: false,
            next_scan: Derived(Timestamp::NEVER),
            expired: 0,
        }
    }

    /// Adds one more slot.
    pub(crate) fn add_slot(&mut self) {
        if let Some(routes) = self.routes_mut() {
            routes.add_slot();
        }
    }

    /// Returns what is due next, and when: a sweep or a step of the scan; or [`Timestamp::NEVER`].
    #[inline]
    pub(crate) fn next_due(&self) -> (Timestamp, Due) {
        (self.next_sweep, Due::Sweep).min((self.next_scan.0, Due::ReleaseScan))
    }

    /// Returns when anything is due next, or [`Timestamp::NEVER`].
    #[inline]
    pub(crate) fn next_due_at(&self) -> Timestamp {
        self.next_sweep.min(self.next_scan.0)
    }

    /// Returns whether calls of a session are routed to its worker.
    pub(crate) fn is_routed(&self) -> bool {
        matches!(self.kind, Kind::Routed(_))
    }

    pub(crate) fn expired(&self) -> u64 {
        self.expired
    }

    pub(super) fn fresh_epoch(&mut self) -> Epoch {
        self.next_epoch += 1;
        Epoch(self.next_epoch)
    }

    #[inline]
    pub(super) fn routes(&self) -> Option<&Routes> {
        match &self.kind {
            Kind::Routed(routes) => Some(routes),
            Kind::Tracked(_) => None,
        }
    }

    #[inline]
    pub(super) fn routes_mut(&mut self) -> Option<&mut Routes> {
        match &mut self.kind {
            Kind::Routed(routes) => Some(routes),
            Kind::Tracked(_) => None,
        }
    }

    pub(super) fn row(&self, row: RowKey) -> Option<&Row<Route>> {
        self.routes().and_then(|routes| routes.table.row(row))
    }

    pub(super) fn route(&self, row: RowKey) -> Option<&Route> {
        self.routes().and_then(|routes| routes.route(row))
    }

    pub(super) fn route_mut(&mut self, row: RowKey) -> Option<&mut Route> {
        self.routes_mut().and_then(|routes| routes.route_mut(row))
    }

    /// Returns the number of row numbers in use or vacant; every row number is below it.
    pub(super) fn row_capacity(&self) -> usize {
        match &self.kind {
            Kind::Tracked(table) => table.row_capacity(),
            Kind::Routed(routes) => routes.table.row_capacity(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.kind {
            Kind::Tracked(table) => table.len(),
            Kind::Routed(routes) => routes.table.len(),
        }
    }

    /// Restarts the timeout of a session and removes its mark.
    pub(crate) fn touch(&mut self, row: RowKey, now: Timestamp) {
        match &mut self.kind {
            Kind::Tracked(table) => table.touch(row, now),
            Kind::Routed(routes) => routes.table.touch(row, now),
        }
    }
}

/// The calls of a session.
impl Sessions {
    /// Counts an admitted call of the session, which cannot expire until the call is finished. A strict call becomes
    /// the current one, if there is none.
    #[inline]
    pub(super) fn begin_call(&mut self, call: CallId, row: RowKey, is_strict: bool) -> Begun {
        let begun = match &mut self.kind {
            Kind::Tracked(table) => {
                table.begin_call(row, |tracked| Begun { is_current: false, is_ended: tracked.ended })
            }
            Kind::Routed(routes) => routes.table.begin_call(row, |route| {
                let is_current = is_strict && route.current_call().is_none();
                if is_current {
                    route.set_current_call(Some(call));
                }
                Begun { is_current, is_ended: route.after_epoch() == AfterEpoch::Forget }
            }),
        };
        begun.unwrap_or_default()
    }

    /// Counts a finished call of the session. `ran` is true if a worker finished it. If it was the current call, there
    /// is none any more. A tracked session that was ended is removed after its last call. Returns whether something
    /// follows when no other call of the session waits: the end of its state, a new binding, or its removal.
    #[inline(always)]
    pub(crate) fn finish_call(&mut self, now: Timestamp, row: RowKey, was_current: bool, ran: bool) -> bool {
        match &mut self.kind {
            Kind::Tracked(table) => {
                let row_left = table.end_call(row, now, ran);
                if row_left.is_some_and(|row| row.route.ended && row.pending() == 0) {
                    table.remove(row);
                }
                false
            }
            Kind::Routed(routes) => {
                let Some(row) = routes.table.end_call(row, now, ran) else { return false };
                if was_current {
                    row.route.set_current_call(None);
                }
                row.route.has_followup()
            }
        }
    }

    /// Cancels the removal of a session that was to be removed after its last call. Done only once the new call is
    /// admitted: a refused call must not keep the session.
    pub(crate) fn keep(&mut self, row: RowKey) {
        match &mut self.kind {
            Kind::Tracked(table) => {
                if let Some(row) = table.row_mut(row) {
                    row.route.ended = false;
                }
            }
            Kind::Routed(routes) => {
                if let Some(route) = routes.route_mut(row).filter(|route| route.after_epoch() == AfterEpoch::Forget) {
                    route.set_after_epoch(AfterEpoch::Stay);
                }
            }
        }
    }

    /// Undoes the admission of a call that could not be placed, and removes its session if the call created it.
    pub(crate) fn rollback_call(&mut self, now: Timestamp, row: RowKey, call: CallId, is_new: bool) {
        match &mut self.kind {
            Kind::Tracked(table) => {
                table.end_call(row, now, false);
                if is_new {
                    table.remove(row);
                }
            }
            Kind::Routed(routes) => {
                routes.table.end_call(row, now, false);
                // Otherwise every later strict call of the session would wait for a call that does not exist.
                if let Some(route) = routes.route_mut(row).filter(|route| route.current_call() == Some(call)) {
                    route.set_current_call(None);
                }
                if is_new {
                    routes.table.remove(row);
                }
            }
        }
    }

    /// Returns the current strict call of the session ([I3](crate#invariants)).
    pub(crate) fn current_call(&self, row: RowKey) -> Option<CallId> {
        self.route(row).and_then(Route::current_call)
    }

    pub(crate) fn set_current_call(&mut self, row: RowKey, call: Option<CallId>) {
        if let Some(route) = self.route_mut(row) {
            route.set_current_call(call);
        }
    }
}

/// What is counted and recorded of a session, if its calls are routed.
impl Sessions {
    /// Records that a call of the session is sent to this process.
    #[inline]
    pub(crate) fn record_sent(
        &mut self,
        now: Timestamp,
        row: RowKey,
        worker: WorkerRef,
        routing: Routing,
        waited: Duration,
    ) {
        let Some(routes) = self.routes_mut() else { return };
        match routing {
            Routing::Unrouted => {}
            Routing::Hit => routes.counters.hits += 1,
            Routing::New => routes.counters.misses += 1,
            Routing::Rebound(_) => routes.counters.rebinds += 1,
        }
        let Some(row) = routes.table.row_mut(row) else { return };
        row.route.mark_sent(worker);
        let sent = SessionEventKind::Sent(routing);
        routes.events.record_event(&mut row.route.last_event, now, sent, Some(worker), waited);
    }

    /// Remembers a process other than the bound one that runs a `hint` call, to notify it when the session ends.
    pub(crate) fn add_off_affinity_worker(&mut self, row: RowKey, worker: WorkerRef, step: &Step<'_>) {
        let Some(route) = self.route_mut(row) else { return };
        let off_affinity_workers = &mut route.epoch_end_mut().off_affinity_workers;
        if !off_affinity_workers.contains(&worker) {
            // Processes that have died are not notified (I6).
            off_affinity_workers.retain(|worker| step.is_alive(*worker));
            off_affinity_workers.push(worker);
        }
    }
}

#[cfg(test)]
impl Sessions {
    /// Returns the processes other than the bound one that ran `hint` calls of a session.
    pub(crate) fn off_affinity_workers(&mut self, id: &[u8]) -> Vec<WorkerRef> {
        let row = self.routes().and_then(|routes| routes.table.find(id));
        row.and_then(|row| self.route_mut(row)).map(Route::take_off_affinity_workers).unwrap_or_default()
    }
}

/// Hashes what decides: not the number of expired sessions.
impl Hash for Sessions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.settings.hash(state);
        self.kind.hash(state);
        (self.next_epoch, self.next_sweep, self.is_sweeping).hash(state);
    }
}
