//! A session's turn: one strict call at a time, in the order of admission, and what follows when it is over (I3).

use super::{
    Core, Effects,
    call::{Place, Role},
};
use crate::{
    CallId, SessionEndReason, Timestamp, WorkerRef,
    session::{Binding, Route, RowKey, SessionEventKind, Sessions, Then, Unbound},
};

impl Core {
    /// Takes a waiting call out of its queue.
    pub(super) fn unqueue(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let (place, role, turn) = (call.place, call.role, call.turn);
        let found = match place {
            Place::Anyone => self.anyone.remove(turn, id),
            Place::Homeless => self.homeless.remove(turn, id),
            Place::Bound(at) => self.slot_mut(at.worker).queue.remove(turn, id),
            Place::Line => self.leave_line(id, role),
            Place::Backoff { .. } => true,
            Place::Nowhere | Place::Sent { .. } => false,
        };
        self.queued -= usize::from(found);
        if matches!(place, Place::Anyone | Place::Homeless | Place::Bound(_)) {
            self.fairness.leave(role.row());
        }
        self.set_place(id, Place::Nowhere);
    }

    fn leave_line(&mut self, id: CallId, role: Role) -> bool {
        let Some(route) = role.row().and_then(|row| self.route_mut(row)) else { return false };
        let waiting = &mut route.line_mut().waiting;
        let before = waiting.len();
        waiting.retain(|&other| other != id);
        waiting.len() < before
    }

    /// The turn of a session is over: an epoch that ended is closed, and the next call goes.
    pub(super) fn pass_turn(&mut self, now: Timestamp, row: RowKey, fx: &mut Effects) {
        let Some(route) = self.route_mut(row) else { return };
        route.set_turn(None);
        let next = route.waiting().next();
        self.close_ended_epoch(now, row, next, fx);
        let Some(next) = next else { return self.drop_if_forgotten(now, row) };
        self.unqueue(next);
        let behind = self.fairness.next_round();
        if let Some(call) = self.calls.get_mut(&next) {
            call.queue_until = now + self.settings.queue.timeout; // its wait for any worker begins now, if it has one
            call.turn = behind;
        }
        self.take_turn(row, next);
        match self.binding(row) {
            Binding::To { at, .. } if self.is_wanted(at) => {
                self.wait(now, next, Place::Bound(at), fx);
                self.fill(now, at.worker, fx);
            }
            _ => self.seek_or_wait(now, next, fx),
        }
    }

    /// Whether others wait that this process may take: a session's next call does not pass them (R36).
    fn is_wanted(&self, at: WorkerRef) -> bool {
        self.is_alive(at) && self.next_for(at.worker).is_some()
    }

    /// Ends the state of the bound epoch if the next call, or nobody, belongs to it.
    pub(super) fn close_ended_epoch(&mut self, now: Timestamp, row: RowKey, next: Option<CallId>, fx: &mut Effects) {
        let Some((admitting, then)) = self.route(row).map(|route| (route.epoch, route.then())) else { return };
        let wanted = next.and_then(|id| self.calls.get(&id)).map_or(admitting, |call| match call.role {
            Role::Strict { epoch, .. } => epoch,
            _ => admitting,
        });
        if let Binding::To { epoch, .. } = self.binding(row) {
            if wanted <= epoch {
                return;
            }
            let reason = if matches!(then, Then::Bind(_)) { SessionEndReason::Moved } else { SessionEndReason::Ended };
            let ended = self.end_state(row, reason, Unbound::New, fx);
            if ended && then != Then::Forget {
                self.note(now, row, SessionEventKind::Unbound(reason), None);
            }
        }
        if wanted == admitting
            && let Then::Bind(at) = then
        {
            self.bind_if_alive(now, row, at, admitting);
        }
    }

    fn drop_if_forgotten(&mut self, now: Timestamp, row: RowKey) {
        let Some(found) = self.routes().and_then(|routes| routes.table.row(row)) else { return };
        let unbound = matches!(found.route.binding, Binding::None(_));
        if found.pending() == 0 && found.route.then() == Then::Forget && unbound {
            self.bury(now, row, SessionEndReason::Ended);
        }
    }

    /// A call of this session is over: its place in the session goes to the next.
    pub(super) fn release(&mut self, now: Timestamp, row: RowKey, turn: bool, ran: bool, fx: &mut Effects) {
        match &mut self.sessions {
            Sessions::Tracked(table) => {
                table.end_call(row, now, ran);
                if table.row(row).is_some_and(|row| row.route.ended && row.pending() == 0) {
                    table.remove(row);
                }
            }
            Sessions::Routed(routes) => {
                routes.table.end_call(row, now, ran);
                if turn {
                    self.pass_turn(now, row, fx);
                } else {
                    self.drop_if_forgotten(now, row);
                }
            }
        }
    }

    pub(super) fn turn_of(&self, row: RowKey) -> Option<CallId> {
        self.route(row).and_then(Route::turn)
    }

    pub(super) fn take_turn(&mut self, row: RowKey, id: CallId) {
        if let Some(route) = self.route_mut(row) {
            route.set_turn(Some(id));
        }
    }

    pub(super) fn line_of(&self, row: RowKey) -> Vec<CallId> {
        self.route(row).map_or_else(Vec::new, |route| route.waiting().collect())
    }
}
