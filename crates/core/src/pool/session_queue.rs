//! A session's turn: one strict call at a time, in the order of admission, and what follows when it is over (I3).

use super::{
    Core, Effects,
    call::{CallState, Role},
};
use crate::{
    CallId, SessionEndReason, Timestamp, WorkerRef,
    session::{AfterEpoch, Binding, Route, RowKey, SessionEventKind, Sessions, Unbound},
};

impl Core {
    /// Takes a waiting call out of its queue.
    pub(super) fn unqueue(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let (state, role, virtual_time) = (call.state, call.role, call.virtual_time);
        let found = match state {
            CallState::AnyWorkerQueue => self.any_worker_queue.remove(virtual_time, id),
            CallState::UnboundQueue => self.unbound_queue.remove(virtual_time, id),
            CallState::WorkerQueue(worker) => self.slot_mut(worker.id).queue.remove(virtual_time, id),
            CallState::SessionQueue => self.leave_session_queue(id, role),
            CallState::Backoff { .. } => true,
            CallState::New | CallState::Sent { .. } => false,
        };
        self.queued -= usize::from(found);
        if matches!(state, CallState::AnyWorkerQueue | CallState::UnboundQueue | CallState::WorkerQueue(_)) {
            self.fairness.leave(role.row());
        }
        self.set_call_state(id, CallState::New);
    }

    fn leave_session_queue(&mut self, id: CallId, role: Role) -> bool {
        let Some(route) = role.row().and_then(|row| self.route_mut(row)) else { return false };
        let waiting = &mut route.queue_mut().waiting;
        let before = waiting.len();
        waiting.retain(|&other| other != id);
        waiting.len() < before
    }

    /// The turn of a session is over: an epoch that ended is closed, and the next call goes.
    pub(super) fn start_next_call(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        let Some(route) = self.route_mut(row) else { return };
        route.set_current_call(None);
        let next = route.waiting().next();
        self.close_ended_epoch(now, row, next, effects);
        let Some(next) = next else { return self.drop_if_forgotten(now, row) };
        self.unqueue(next);
        let behind = self.fairness.next_round();
        if let Some(call) = self.calls.get_mut(&next) {
            call.queue_until = now + self.settings.queue.timeout; // its wait for any worker begins now, if it has one
            call.virtual_time = behind;
        }
        self.take_current_call(row, next);
        match self.binding(row) {
            Binding::Bound { worker, .. } if self.is_wanted(worker) => {
                self.wait(now, next, CallState::WorkerQueue(worker), effects);
                self.fill(now, worker.id, effects);
            }
            _ => self.dispatch_or_enqueue(now, next, effects),
        }
    }

    /// Whether others wait that this process may take: a session's next call does not pass them (R36).
    fn is_wanted(&self, worker: WorkerRef) -> bool {
        self.is_alive(worker) && self.next_for(worker.id).is_some()
    }

    /// Ends the state of the bound epoch if the next call, or nobody, belongs to it.
    pub(super) fn close_ended_epoch(
        &mut self,
        now: Timestamp,
        row: RowKey,
        next: Option<CallId>,
        effects: &mut Effects,
    ) {
        let Some((admitting, then)) = self.route(row).map(|route| (route.epoch, route.after_epoch())) else { return };
        let wanted = next.and_then(|id| self.calls.get(&id)).map_or(admitting, |call| match call.role {
            Role::Strict { epoch, .. } => epoch,
            _ => admitting,
        });
        if let Binding::Bound { epoch, .. } = self.binding(row) {
            if wanted <= epoch {
                return;
            }
            let reason =
                if matches!(then, AfterEpoch::Bind(_)) { SessionEndReason::Moved } else { SessionEndReason::Ended };
            let ended = self.end_state(row, reason, Unbound::New, effects);
            if ended && then != AfterEpoch::Forget {
                self.record_event(now, row, SessionEventKind::Unbound(reason), None);
            }
        }
        if wanted == admitting
            && let AfterEpoch::Bind(worker) = then
        {
            self.bind_if_alive(now, row, worker, admitting);
        }
    }

    fn drop_if_forgotten(&mut self, now: Timestamp, row: RowKey) {
        let Some(found) = self.routes().and_then(|routes| routes.table.row(row)) else { return };
        let unbound = matches!(found.route.binding, Binding::Unbound(_));
        if found.pending() == 0 && found.route.after_epoch() == AfterEpoch::Forget && unbound {
            self.archive_session(now, row, SessionEndReason::Ended);
        }
    }

    /// A call of this session is over: its place in the session goes to the next.
    pub(super) fn release(&mut self, now: Timestamp, row: RowKey, was_current: bool, ran: bool, effects: &mut Effects) {
        match &mut self.sessions {
            Sessions::Tracked(table) => {
                table.end_call(row, now, ran);
                if table.row(row).is_some_and(|row| row.route.ended && row.pending() == 0) {
                    table.remove(row);
                }
            }
            Sessions::Routed(routes) => {
                routes.table.end_call(row, now, ran);
                if was_current {
                    self.start_next_call(now, row, effects);
                } else {
                    self.drop_if_forgotten(now, row);
                }
            }
        }
    }

    pub(super) fn current_call_of(&self, row: RowKey) -> Option<CallId> {
        self.route(row).and_then(Route::current_call)
    }

    pub(super) fn take_current_call(&mut self, row: RowKey, id: CallId) {
        if let Some(route) = self.route_mut(row) {
            route.set_current_call(Some(id));
        }
    }

    pub(super) fn session_queue_of(&self, row: RowKey) -> Vec<CallId> {
        self.route(row).map_or_else(Vec::new, |route| route.waiting().collect())
    }
}
