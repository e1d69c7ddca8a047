//! Where sessions are bound, and how a binding and the state behind it end. A binding names one process for ever (I4).

use super::{Core, Effect, Effects, SessionEndReason, call::Role, expiry::SessionAge};
use crate::{
    CallId, Epoch, SessionId, Timestamp, WorkerId, WorkerRef,
    failure::CallFailure,
    session::{AfterEpoch, Binding, Route, RowKey, SessionEventKind, Sessions, Unbound},
};

/// Where a session is bound (R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// To this process, and it lives.
    Bound(WorkerRef),
    /// Nowhere: it expired, and two-phase expiry still knows that.
    Expired,
    /// Nowhere.
    NotBound,
}

/// Why a session can't be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The pool has no such slot.
    #[error("the pool has no worker {0}")]
    NoSuchWorker(WorkerId),
    /// The slot has no ready process.
    #[error("worker {0} is not ready")]
    NotReady(WorkerId),
    /// The pool routes no sessions.
    #[error("this pool has no session affinity")]
    NoAffinity,
    /// The pool has as many sessions as it may.
    #[error("the pool already has {0} sessions, the limit set by `sessions.max`")]
    Quota(usize),
}

impl Core {
    /// Where a session is bound, by its id. Under two-phase expiry the read itself marks.
    pub fn worker_of(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> Lookup {
        let Sessions::Routed(routes) = &self.sessions else { return Lookup::NotBound };
        let Some((row, found)) = routes.table.get(id.as_ref()) else { return Lookup::NotBound };
        if routes.is_scanning() || found.is_due(now, self.settings.sessions.timeout) {
            return self.worker_of_late(now, row, effects);
        }
        self.resolve_lookup(found.route.binding) // nothing to see to: by far the most
    }

    #[cold]
    fn worker_of_late(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) -> Lookup {
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

    /// Binds a session to a slot's present process: its next calls run there. A state elsewhere ends, after the calls it has.
    /// While those last, a later bind, unbind or end takes the place of an earlier one. Who binds a session whose worker died
    /// knows of that: nobody is told of the loss any more.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind_session(
        &mut self,
        now: Timestamp,
        id: SessionId,
        worker: WorkerId,
        effects: &mut Effects,
    ) -> Result<WorkerRef, BindError> {
        let slot = (worker.0 as usize).checked_sub(1).and_then(|index| self.slots.get(index));
        let slot = slot.ok_or(BindError::NoSuchWorker(worker))?;
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
        self.drop_dead_binding(now, row, effects);
        match self.binding(row) {
            Binding::Bound { worker: bound, epoch, .. } if bound == worker_ref && epoch == self.epoch_of(row) => {}
            Binding::Unbound(_) if self.next_epoch_of(row) == self.epoch_of(row) => {
                self.bind_if_alive(now, row, worker_ref, self.epoch_of(row));
            }
            _ => _ = self.end_routed(now, row, AfterEpoch::Bind(worker_ref), effects),
        }
        self.requeue_bound_calls(now, row, 0, effects);
        self.touch_row(row, now);
        Ok(worker_ref)
    }

    /// A new life for a session that is not there, or has expired: who binds it says that it is to live.
    fn row_to_bind(&mut self, now: Timestamp, id: SessionId, effects: &mut Effects) -> Result<RowKey, CallFailure> {
        if let Some(expired) = self.visit_row(now, id.as_bytes(), effects) {
            self.revive(now, expired, effects);
            return Ok(expired);
        }
        self.new_routed_row(now, id, Unbound::New, effects)
    }

    /// Forgets where a session is bound; its state there ends, after the calls it has. False if it was bound nowhere.
    pub fn unbind_session(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> bool {
        let Some(row) = self.live_row(now, id.as_ref(), effects) else { return false };
        self.bound_process(row).is_some_and(|worker| self.is_alive(worker))
            && self.end_routed(now, row, AfterEpoch::Stay, effects)
    }

    /// Ends the present epoch of a row: now if nothing of it is queued or unfinished, else after that.
    pub(super) fn end_routed(&mut self, now: Timestamp, row: RowKey, then: AfterEpoch, effects: &mut Effects) -> bool {
        let epoch = self.fresh_epoch();
        let Some(route) = self.route_mut(row) else { return false };
        route.epoch = epoch;
        route.set_after_epoch(then);
        if route.current_call().is_none() {
            self.close_ended_epoch(now, row, None, effects);
        }
        let idle = self.routes().and_then(|routes| routes.table.row(row)).is_some_and(|row| row.pending() == 0);
        if then == AfterEpoch::Forget && idle {
            self.archive_session(now, row, SessionEndReason::Ended);
        }
        true
    }

    /// The epoch a session that is bound nowhere is bound under: that of the call whose turn it is, if there is one.
    pub(super) fn next_epoch_of(&self, row: RowKey) -> Epoch {
        match self.current_call_of(row).and_then(|id| self.calls.get(&id)).map(|call| call.role) {
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

    /// A session was bound: its other calls, if more than `known` are pending, no longer wait for just any home.
    pub(super) fn requeue_bound_calls(&mut self, now: Timestamp, row: RowKey, known: u32, effects: &mut Effects) {
        let pending = self.routes().and_then(|routes| routes.table.row(row)).map_or(0, |row| row.pending());
        if pending <= known {
            return;
        }
        let of_row = |id: &CallId| self.calls.get(id).is_some_and(|call| call.role.row() == Some(row));
        for id in self.unbound_queue.iter().filter(of_row).collect::<Vec<CallId>>() {
            self.unqueue(id);
            self.dispatch_or_enqueue(now, id, effects);
        }
    }

    /// Removes a row; the workers that hold its state are told.
    pub(super) fn forget(&mut self, now: Timestamp, row: RowKey, reason: SessionEndReason, effects: &mut Effects) {
        self.end_state(row, reason, Unbound::New, effects);
        self.archive_session(now, row, reason);
    }

    /// Unbinds a row and tells the processes that hold its state, each once (R22). False if it was bound nowhere.
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

    /// Drops a binding to a process that is gone; that process, if there was such a binding. An epoch that goes on rises.
    pub(super) fn drop_dead_binding(
        &mut self,
        now: Timestamp,
        row: RowKey,
        effects: &mut Effects,
    ) -> Option<WorkerRef> {
        let Binding::Bound { worker, epoch, .. } = self.binding(row) else { return None };
        if self.is_alive(worker) || self.current_call_of(row).is_some() {
            return None;
        }
        self.invalidate_epoch(now, row, epoch, effects);
        Some(worker)
    }

    /// Whether the session was ended or bound elsewhere, and calls of its earlier life still run or wait.
    pub(super) fn is_ending(&self, row: RowKey) -> bool {
        let epoch = self.epoch_of(row);
        matches!(self.binding(row), Binding::Bound { epoch: bound, .. } if bound < epoch)
            || self.next_epoch_of(row) < epoch
    }

    /// The state of this epoch is lost. What other workers hold of it, who ran a hint call, is of no use any more. A state that was to end
    /// anyway is no loss for the calls that come after it: they begin a new life.
    pub(super) fn invalidate_epoch(&mut self, now: Timestamp, row: RowKey, lost: Epoch, effects: &mut Effects) {
        let fresh = self.fresh_epoch();
        let why = if self.is_ending(row) { Unbound::New } else { Unbound::WorkerLost };
        self.record_event(now, row, SessionEventKind::StateLost, self.bound_process(row));
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        routes.unbind(row, why);
        if let Some(route) = routes.route_mut(row).filter(|route| route.epoch == lost) {
            route.epoch = fresh;
        }
        self.send_session_end(row, lost, None, SessionEndReason::Moved, effects);
    }

    /// The session's row. One that was released with others is unbound before anybody looks at it.
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
