//! The bindings of sessions, and the end of a binding and of the state behind it. A binding names one process and never
//! its successor ([I4](crate#invariants)).

use super::{
    AfterEpoch, Binding, Route, SessionEventKind, Unbound, expiry::SessionAge, sessions::Sessions, step::Step,
};
use crate::{Effect, Epoch, RowKey, SessionEndReason, SessionId, WorkerId, WorkerRef, failure::CallFailure};

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

/// The error of [`Core::bind_session`](crate::Core::bind_session).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The pool has no such slot.
    #[error("the pool has no worker {0}")]
    NoSuchWorker(WorkerId),
    /// The slot has no ready process.
    #[error("worker {0} is not ready")]
    NotReady(WorkerId),
    /// The pool has no session affinity.
    #[error(
        "this pool has no session affinity, so it keeps no bindings and no history of sessions; basic pools never do"
    )]
    NoAffinity,
    /// The pool already has the maximum number of sessions.
    #[error("the pool already has {0} sessions, the limit set by `sessions.max`")]
    Quota(usize),
}

/// The questions and requests of messages.
impl Sessions {
    /// Returns the process to which a session is bound. With two-phase expiry, this read marks a session whose timeout
    /// has passed.
    pub(crate) fn worker_of(&mut self, id: &[u8], step: &mut Step<'_>) -> Lookup {
        let Some(routes) = self.routes() else { return Lookup::NotBound };
        let Some((row, found)) = routes.table.get(id) else { return Lookup::NotBound };
        if routes.is_scanning() || found.is_due(step.now, self.timeout) {
            return self.worker_of_slow(row, step);
        }
        // By far the most frequent case.
        lookup(step, found.route.binding)
    }

    #[cold]
    fn worker_of_slow(&mut self, row: RowKey, step: &mut Step<'_>) -> Lookup {
        self.unbind_released(row, step);
        match self.expiry_on_read(row, step) {
            SessionAge::Gone(_) => Lookup::NotBound,
            SessionAge::Marked => Lookup::Expired,
            SessionAge::Alive => lookup(step, self.binding(row)),
        }
    }

    /// Binds a session to a process that is alive, and returns its row. If its state is on another worker, that state
    /// ends after the calls it has. Until then a later bind, unbind or end replaces this one. If the session's previous
    /// worker was lost, that loss is no longer reported.
    pub(crate) fn bind_to(
        &mut self,
        id: SessionId,
        worker: WorkerRef,
        step: &mut Step<'_>,
    ) -> Result<RowKey, BindError> {
        if !self.is_routed() {
            return Err(BindError::NoAffinity);
        }
        let row = match self.live_row(id.as_bytes(), step) {
            Some(row) => row,
            None => self.row_to_bind(id, step).map_err(|_| BindError::Quota(self.settings.max))?,
        };
        self.end_state_since_end(row, step);
        // Before the binding is read, so that a process that has died does not count as the session's worker (I4).
        self.drop_dead_binding(row, step);
        match self.binding(row) {
            Binding::Bound { worker: bound, epoch, .. } if bound == worker && epoch == self.epoch(row) => {}
            Binding::Unbound(_) if self.next_epoch(row, step) == self.epoch(row) => {
                self.bind_if_alive(row, worker, self.epoch(row), step);
            }
            _ => _ = self.end_epoch(row, AfterEpoch::Bind(worker), step),
        }
        Ok(row)
    }

    /// Returns a row for a session that does not exist or has expired: an explicit bind creates or renews it.
    fn row_to_bind(&mut self, id: SessionId, step: &mut Step<'_>) -> Result<RowKey, CallFailure> {
        if let Some(expired) = self.visit_row(id.as_bytes(), step) {
            self.renew_expired(expired, step);
            return Ok(expired);
        }
        self.new_routed_row(id, Unbound::New, step)
    }

    /// Unbinds a session. Its state ends after the calls it has. Returns false if it was not bound.
    pub(crate) fn unbind(&mut self, id: &[u8], step: &mut Step<'_>) -> bool {
        let Some(row) = self.live_row(id, step) else { return false };
        self.bound_process(row).is_some_and(|worker| step.is_alive(worker))
            && self.end_epoch(row, AfterEpoch::Stay, step)
    }
}

/// What a row says.
impl Sessions {
    #[inline]
    pub(crate) fn binding(&self, row: RowKey) -> Binding {
        self.route(row).map_or(Binding::Unbound(Unbound::New), |route| route.binding)
    }

    pub(crate) fn bound_process(&self, row: RowKey) -> Option<WorkerRef> {
        match self.binding(row) {
            Binding::Bound { worker, .. } => Some(worker),
            Binding::Unbound(_) => None,
        }
    }

    /// Returns the number of sessions that are bound to this process.
    pub(crate) fn bound_to(&self, worker: WorkerRef) -> u32 {
        self.routes().map_or(0, |routes| routes.bound_to(worker))
    }

    /// Reports the slots whose number of bound sessions has changed since the last call. A worker for a new session is
    /// chosen by these numbers, so they must be reported before each choice.
    pub(crate) fn take_changed_counts(&mut self, changed: impl FnMut(WorkerId)) {
        if let Some(routes) = self.routes_mut() {
            routes.take_changed(changed);
        }
    }

    /// Returns whether the number of sessions of a process has changed and was not reported. For checks.
    pub(crate) fn is_count_changed(&self, worker: WorkerRef) -> bool {
        self.routes().is_some_and(|routes| routes.is_changed(worker))
    }

    /// Returns the epoch of calls that are admitted now.
    pub(crate) fn epoch(&self, row: RowKey) -> Epoch {
        self.route(row).map_or(Epoch(0), |route| route.epoch)
    }

    /// Returns the epoch under which an unbound session will be bound: that of its current call, if there is one, since
    /// that call keeps the epoch in which it was admitted ([I3](crate#invariants)).
    pub(crate) fn next_epoch(&self, row: RowKey, step: &Step<'_>) -> Epoch {
        self.current_call(row).and_then(|call| step.epoch_of_call(call)).unwrap_or_else(|| self.epoch(row))
    }

    /// Returns whether the session was ended or bound elsewhere while calls of its earlier epoch still run or wait.
    pub(super) fn is_ending(&self, row: RowKey, step: &Step<'_>) -> bool {
        let epoch = self.epoch(row);
        matches!(self.binding(row), Binding::Bound { epoch: bound, .. } if bound < epoch)
            || self.next_epoch(row, step) < epoch
    }

    pub(crate) fn id(&self, row: RowKey) -> Option<SessionId> {
        self.row(row).map(|row| row.id.clone())
    }

    /// Returns the row of the session. Unbinds it first if it was released with all sessions of its worker.
    pub(super) fn visit_row(&mut self, id: &[u8], step: &mut Step<'_>) -> Option<RowKey> {
        let row = self.routes()?.table.find(id)?;
        self.unbind_released(row, step);
        Some(row)
    }
}

/// The begin and the end of a binding.
impl Sessions {
    /// Binds a session for a call that is about to be sent.
    pub(crate) fn bind(&mut self, row: RowKey, worker: WorkerRef, epoch: Epoch) {
        if let Some(routes) = self.routes_mut() {
            routes.bind(row, worker, epoch);
        }
    }

    fn bind_if_alive(&mut self, row: RowKey, worker: WorkerRef, epoch: Epoch, step: &mut Step<'_>) {
        if let Some(route) = self.route_mut(row) {
            route.set_after_epoch(AfterEpoch::Stay);
        }
        if step.is_alive(worker) {
            self.bind(row, worker, epoch);
            self.record(step.now, row, SessionEventKind::Bound, Some(worker));
        }
    }

    /// Ends the current epoch of a row: at once if none of its strict calls is queued or unfinished, otherwise after the
    /// last of them. Calls that are admitted from now on belong to the next epoch. Hint calls do not delay the end. One
    /// that still waits binds the session once more, under the next epoch.
    pub(super) fn end_epoch(&mut self, row: RowKey, after_epoch: AfterEpoch, step: &mut Step<'_>) -> bool {
        let epoch = self.fresh_epoch();
        let Some(route) = self.route_mut(row) else { return false };
        route.epoch = epoch;
        route.set_after_epoch(after_epoch);
        if route.current_call().is_none() {
            self.close_ended_epoch(row, None, step);
        }
        if after_epoch == AfterEpoch::Forget && self.row(row).is_some_and(|row| row.pending() == 0) {
            self.archive(row, SessionEndReason::Ended, step.now);
        }
        true
    }

    /// Ends the state of the bound epoch, if the next call, or without one the call that is admitted next, belongs to a
    /// later epoch. `next` is the epoch of that next call.
    pub(crate) fn close_ended_epoch(&mut self, row: RowKey, next: Option<Epoch>, step: &mut Step<'_>) {
        let Some((admitting, after_epoch)) = self.route(row).map(|route| (route.epoch, route.after_epoch())) else {
            return;
        };
        let next = next.unwrap_or(admitting);
        // Calls keep the epoch in which they were admitted: as long as the next one belongs to the bound epoch, its
        // state is needed.
        if let Binding::Bound { epoch, .. } = self.binding(row) {
            if next <= epoch {
                return;
            }
            let reason = if matches!(after_epoch, AfterEpoch::Bind(_)) {
                SessionEndReason::Moved
            } else {
                SessionEndReason::Ended
            };
            let ended = self.end_state(row, reason, Unbound::New, step);
            if ended && after_epoch != AfterEpoch::Forget {
                self.record(step.now, row, SessionEventKind::Unbound(reason), None);
            }
        }
        if next == admitting
            && let AfterEpoch::Bind(worker) = after_epoch
        {
            self.bind_if_alive(row, worker, admitting, step);
        }
    }

    /// Removes a session that was ended, once it has no calls. Ends the state of hint calls that were sent since the end.
    pub(crate) fn drop_if_forgotten(&mut self, row: RowKey, step: &mut Step<'_>) {
        let Some(found) = self.row(row) else { return };
        if found.pending() == 0 && found.route.after_epoch() == AfterEpoch::Forget {
            self.remove(row, SessionEndReason::Ended, step);
        }
    }

    /// Ends the state that earlier hint calls of an ended session have begun since the end, if there is one: a call or a
    /// binding that comes after the end has nothing to do with it (R22).
    pub(super) fn end_state_since_end(&mut self, row: RowKey, step: &mut Step<'_>) {
        let began_since = |route: &Route| {
            // With a current call the state is that of the epoch that ends after the call.
            route.after_epoch() == AfterEpoch::Forget
                && route.current_call().is_none()
                && matches!(route.binding, Binding::Bound { .. })
        };
        if self.route(row).is_some_and(began_since) {
            self.end_epoch(row, AfterEpoch::Forget, step);
        }
    }

    /// Ends the state of a session and removes its row.
    pub(super) fn remove(&mut self, row: RowKey, reason: SessionEndReason, step: &mut Step<'_>) {
        self.end_state(row, reason, Unbound::New, step);
        self.archive(row, reason, step.now);
    }

    /// Unbinds a session and notifies each process that holds its state once (R22). Returns false if the session was not
    /// bound.
    pub(super) fn end_state(
        &mut self,
        row: RowKey,
        reason: SessionEndReason,
        why: Unbound,
        step: &mut Step<'_>,
    ) -> bool {
        let Some((epoch, worker)) = self.routes_mut().and_then(|routes| routes.unbind(row, why)) else { return false };
        self.send_session_end(row, epoch, worker, reason, step);
        true
    }

    fn send_session_end(
        &mut self,
        row: RowKey,
        epoch: Epoch,
        worker: Option<WorkerRef>,
        reason: SessionEndReason,
        step: &mut Step<'_>,
    ) {
        let off_affinity_workers = self.route_mut(row).map(Route::take_off_affinity_workers).unwrap_or_default();
        let Some(session) = self.id(row) else { return };
        for worker in worker.into_iter().chain(off_affinity_workers) {
            if step.is_alive(worker) {
                step.effects.push(Effect::EndSession { worker, session: session.clone(), epoch, reason });
            }
        }
    }

    /// Removes a binding to a process that is gone, and returns that process, if there was such a binding. The session
    /// gets a new epoch.
    pub(crate) fn drop_dead_binding(&mut self, row: RowKey, step: &mut Step<'_>) -> Option<WorkerRef> {
        let Binding::Bound { worker, epoch, .. } = self.binding(row) else { return None };
        // With a current call the binding stays: the loss of the process must find it to answer the calls of the lost
        // epoch, and removes it.
        if step.is_alive(worker) || self.current_call(row).is_some() {
            return None;
        }
        self.invalidate_epoch(row, epoch, step);
        Some(worker)
    }

    /// Ends an epoch whose state is lost. Other workers that ran hint calls of the session are notified, so that they
    /// drop what they hold of it. If the state was about to end anyway, the calls of the next epoch have lost nothing.
    pub(crate) fn invalidate_epoch(&mut self, row: RowKey, lost: Epoch, step: &mut Step<'_>) {
        let fresh = self.fresh_epoch();
        let why = if self.is_ending(row, step) { Unbound::New } else { Unbound::WorkerLost };
        self.record(step.now, row, SessionEventKind::StateLost, self.bound_process(row));
        let Some(routes) = self.routes_mut() else { return };
        routes.unbind(row, why);
        // If the session was ended in the meantime, it already has a later epoch, to which its waiting calls belong.
        if let Some(route) = routes.route_mut(row).filter(|route| route.epoch == lost) {
            route.epoch = fresh;
        }
        self.send_session_end(row, lost, None, SessionEndReason::Moved, step);
    }

    /// Sets the number of sessions of a process to zero that has exited. Its bindings are void already, since it is not
    /// alive any more. Their rows are unbound when they are next visited.
    pub(crate) fn reset_session_count(&mut self, worker: WorkerRef) {
        if let Some(routes) = self.routes_mut() {
            routes.reset_session_count(worker);
        }
    }
}

fn lookup(step: &Step<'_>, binding: Binding) -> Lookup {
    match binding {
        Binding::Bound { worker, .. } if step.is_alive(worker) => Lookup::Bound(worker),
        _ => Lookup::NotBound,
    }
}
