//! The bindings of sessions, and the end of a binding and of the state behind it. A binding names one process and never
//! its successor ([I4](crate#invariants)).

use super::{Core, Effect, Effects, SessionEndReason, expiry::SessionAge};
use crate::{
    Epoch, SessionId, Timestamp, WorkerId, WorkerRef,
    calls::Role,
    failure::CallFailure,
    session::{AfterEpoch, Binding, Route, RowKey, SessionEventKind, Sessions, Unbound},
};

/// The process to which a session is bound (R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The session is bound to this process, which is alive.
    Bound(WorkerRef),
    /// The session is not bound: it expired, and two-phase expiry still remembers it.
    Expired,
    /// The session is not bound.
    NotBound,
}

/// The error of [`Core::bind_session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The pool has no such slot.
    #[error("the pool has no worker {0}")]
    NoSuchWorker(WorkerId),
    /// The slot has no ready process.
    #[error("worker {0} is not ready")]
    NotReady(WorkerId),
    /// The pool has no session affinity.
    #[error("this pool has no session affinity")]
    NoAffinity,
    /// The pool already has the maximum number of sessions.
    #[error("the pool already has {0} sessions, the limit set by `sessions.max`")]
    Quota(usize),
}

impl Core {
    /// Returns the process to which a session is bound. With two-phase expiry, this read marks a session whose timeout
    /// has passed.
    pub fn worker_of(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> Lookup {
        let Sessions::Routed(routes) = &self.sessions else { return Lookup::NotBound };
        let Some((row, found)) = routes.table.get(id.as_ref()) else { return Lookup::NotBound };
        if routes.is_scanning() || found.is_due(now, self.settings.sessions.timeout) {
            return self.worker_of_slow(now, row, effects);
        }
        // By far the most frequent case.
        self.resolve_lookup(found.route.binding)
    }

    #[cold]
    fn worker_of_slow(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) -> Lookup {
        self.unbind_released(now, row, effects);
        match self.expiry_on_read(now, row, effects) {
            SessionAge::Gone(_) => Lookup::NotBound,
            SessionAge::Marked => Lookup::Expired,
            SessionAge::Alive => self.resolve_lookup(self.binding(row)),
        }
    }

    fn resolve_lookup(&self, binding: Binding) -> Lookup {
        match binding {
            Binding::Bound { worker, .. } if self.is_alive(worker) => Lookup::Bound(worker),
            _ => Lookup::NotBound,
        }
    }

    /// Binds a session to the current process of a slot: its next calls run there. If its state is on another worker,
    /// that state ends after the calls it has. Until then a later bind, unbind or end replaces this one. If the
    /// session's previous worker was lost, that loss is no longer reported.
    ///
    /// # Errors
    /// Returns [`BindError`] if the session cannot be bound.
    pub fn bind_session(
        &mut self,
        now: Timestamp,
        id: SessionId,
        worker: WorkerId,
        effects: &mut Effects,
    ) -> Result<WorkerRef, BindError> {
        let slot = self.workers.get(worker).ok_or(BindError::NoSuchWorker(worker))?;
        let worker_ref = slot.worker;
        if !slot.is_live() {
            return Err(BindError::NotReady(worker));
        }
        if self.routes().is_none() {
            return Err(BindError::NoAffinity);
        }
        let row = match self.live_row(now, id.as_bytes(), effects) {
            Some(row) => row,
            None => self.row_to_bind(now, id, effects).map_err(|_| BindError::Quota(self.settings.sessions.max))?,
        };
        // Before the binding is read, so that a process that has died does not count as the session's worker (I4).
        self.drop_dead_binding(now, row, effects);
        match self.binding(row) {
            Binding::Bound { worker: bound, epoch, .. } if bound == worker_ref && epoch == self.epoch_of(row) => {}
            Binding::Unbound(_) if self.next_epoch_of(row) == self.epoch_of(row) => {
                self.bind_if_alive(now, row, worker_ref, self.epoch_of(row));
            }
            _ => _ = self.end_routed(now, row, AfterEpoch::Bind(worker_ref), effects),
        }
        self.requeue_bound_calls(now, row, effects);
        self.touch_row(row, now);
        Ok(worker_ref)
    }

    /// Returns a row for a session that does not exist or has expired: an explicit bind creates or renews it.
    fn row_to_bind(&mut self, now: Timestamp, id: SessionId, effects: &mut Effects) -> Result<RowKey, CallFailure> {
        if let Some(expired) = self.visit_row(now, id.as_bytes(), effects) {
            self.renew_expired(now, expired, effects);
            return Ok(expired);
        }
        self.new_routed_row(now, id, Unbound::New, effects)
    }

    /// Unbinds a session. Its state ends after the calls it has. Returns false if it was not bound.
    pub fn unbind_session(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> bool {
        let Some(row) = self.live_row(now, id.as_ref(), effects) else { return false };
        self.bound_process(row).is_some_and(|worker| self.is_alive(worker))
            && self.end_routed(now, row, AfterEpoch::Stay, effects)
    }

    /// Ends the current epoch of a row: at once if none of its calls is queued or unfinished, otherwise after the last
    /// of them. Calls that are admitted from now on belong to the next epoch.
    pub(super) fn end_routed(
        &mut self,
        now: Timestamp,
        row: RowKey,
        after_epoch: AfterEpoch,
        effects: &mut Effects,
    ) -> bool {
        let epoch = self.fresh_epoch();
        let Some(route) = self.route_mut(row) else { return false };
        route.epoch = epoch;
        route.set_after_epoch(after_epoch);
        if route.current_call().is_none() {
            self.close_ended_epoch(now, row, None, effects);
        }
        let idle = self.routes().and_then(|routes| routes.table.row(row)).is_some_and(|row| row.pending() == 0);
        if after_epoch == AfterEpoch::Forget && idle {
            self.archive_session(now, row, SessionEndReason::Ended);
        }
        true
    }

    /// Returns the epoch under which an unbound session will be bound: that of its current call, if there is one, since
    /// that call keeps the epoch in which it was admitted ([I3](crate#invariants)).
    pub(super) fn next_epoch_of(&self, row: RowKey) -> Epoch {
        match self.current_call_of(row).and_then(|id| self.calls.get(id)).map(|call| call.role) {
            Some(Role::Strict { epoch, .. }) => epoch,
            _ => self.epoch_of(row),
        }
    }

    pub(super) fn bind_if_alive(&mut self, now: Timestamp, row: RowKey, worker: WorkerRef, epoch: Epoch) {
        let alive = self.is_alive(worker);
        if let Sessions::Routed(routes) = &mut self.sessions {
            if let Some(route) = routes.route_mut(row) {
                route.set_after_epoch(AfterEpoch::Stay);
            }
            if alive {
                routes.bind(row, worker, epoch);
                self.record_event(now, row, SessionEventKind::Bound, Some(worker));
            }
        }
    }

    /// Dispatches the other waiting calls of a session that was just bound, so that they wait for its worker only.
    pub(super) fn requeue_bound_calls(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        // Collected first: to dispatch a call changes the queue.
        for id in self.waiting.unbound_calls_of(row) {
            self.calls.unqueue(id, &mut self.waiting);
            self.dispatch_or_enqueue(now, id, effects);
        }
    }

    /// Ends the state of a session and removes its row.
    pub(super) fn remove_session(
        &mut self,
        now: Timestamp,
        row: RowKey,
        reason: SessionEndReason,
        effects: &mut Effects,
    ) {
        self.end_state(row, reason, Unbound::New, effects);
        self.archive_session(now, row, reason);
    }

    /// Unbinds a session and notifies each process that holds its state once (R22). Returns false if the session was not
    /// bound.
    pub(super) fn end_state(
        &mut self,
        row: RowKey,
        reason: SessionEndReason,
        why: Unbound,
        effects: &mut Effects,
    ) -> bool {
        let Sessions::Routed(routes) = &mut self.sessions else { return false };
        let Some((epoch, worker)) = routes.unbind(row, why) else { return false };
        self.send_session_end(row, epoch, worker, reason, effects);
        true
    }

    fn send_session_end(
        &mut self,
        row: RowKey,
        epoch: Epoch,
        worker: Option<WorkerRef>,
        reason: SessionEndReason,
        effects: &mut Effects,
    ) {
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        let off_affinity_workers = routes.route_mut(row).map(Route::take_off_affinity_workers).unwrap_or_default();
        let Some(session) = routes.table.row(row).map(|row| row.id.clone()) else { return };
        for worker in worker.into_iter().chain(off_affinity_workers).filter(|worker| self.is_alive(*worker)) {
            effects.push(Effect::EndSession { worker, session: session.clone(), epoch, reason });
        }
    }

    /// Removes a binding to a process that is gone, and returns that process, if there was such a binding. The session
    /// gets a new epoch.
    pub(super) fn drop_dead_binding(
        &mut self,
        now: Timestamp,
        row: RowKey,
        effects: &mut Effects,
    ) -> Option<WorkerRef> {
        let Binding::Bound { worker, epoch, .. } = self.binding(row) else { return None };
        // With a current call the binding stays: `lose_session` must find it to answer the calls of the lost epoch, and
        // removes it.
        if self.is_alive(worker) || self.current_call_of(row).is_some() {
            return None;
        }
        self.invalidate_epoch(now, row, epoch, effects);
        Some(worker)
    }

    /// Returns whether the session was ended or bound elsewhere while calls of its earlier epoch still run or wait.
    pub(super) fn is_ending(&self, row: RowKey) -> bool {
        let epoch = self.epoch_of(row);
        matches!(self.binding(row), Binding::Bound { epoch: bound, .. } if bound < epoch)
            || self.next_epoch_of(row) < epoch
    }

    /// Ends an epoch whose state is lost. Other workers that ran hint calls of the session are notified, so that they
    /// drop what they hold of it. If the state was about to end anyway, the calls of the next epoch have lost nothing.
    pub(super) fn invalidate_epoch(&mut self, now: Timestamp, row: RowKey, lost: Epoch, effects: &mut Effects) {
        let fresh = self.fresh_epoch();
        let why = if self.is_ending(row) { Unbound::New } else { Unbound::WorkerLost };
        self.record_event(now, row, SessionEventKind::StateLost, self.bound_process(row));
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        routes.unbind(row, why);
        // If the session was ended in the meantime, it already has a later epoch, to which its waiting calls belong.
        if let Some(route) = routes.route_mut(row).filter(|route| route.epoch == lost) {
            route.epoch = fresh;
        }
        self.send_session_end(row, lost, None, SessionEndReason::Moved, effects);
    }

    /// Returns the row of the session. Unbinds it first if it was released with all sessions of its worker.
    pub(super) fn visit_row(&mut self, now: Timestamp, id: &[u8], effects: &mut Effects) -> Option<RowKey> {
        let row = self.routes()?.table.find(id)?;
        self.unbind_released(now, row, effects);
        Some(row)
    }

    pub(super) fn route(&self, row: RowKey) -> Option<&Route> {
        self.routes().and_then(|routes| routes.route(row))
    }

    pub(super) fn route_mut(&mut self, row: RowKey) -> Option<&mut Route> {
        match &mut self.sessions {
            Sessions::Routed(routes) => routes.route_mut(row),
            Sessions::Tracked(_) => None,
        }
    }

    pub(super) fn binding(&self, row: RowKey) -> Binding {
        self.route(row).map_or(Binding::Unbound(Unbound::New), |route| route.binding)
    }

    pub(super) fn bound_process(&self, row: RowKey) -> Option<WorkerRef> {
        match self.binding(row) {
            Binding::Bound { worker, .. } => Some(worker),
            Binding::Unbound(_) => None,
        }
    }

    pub(super) fn epoch_of(&self, row: RowKey) -> Epoch {
        self.route(row).map_or(Epoch(0), |route| route.epoch)
    }
}
