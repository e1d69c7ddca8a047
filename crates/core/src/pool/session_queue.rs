//! The queue of a session: one strict call at a time, in the order of admission, and what happens when that call is
//! finished ([I3](crate#invariants)).

use super::{Core, Effects};
use crate::{
    CallId, SessionEndReason, Timestamp, WorkerRef,
    calls::Role,
    session::{AfterEpoch, Binding, Route, RowKey, SessionEventKind, Sessions, Unbound},
    waiting::Queue,
};

impl Core {
    /// Starts the next call of a session, after the current one is finished or settled in the queue. Ends the state of
    /// the session first, if its end waited for the current call.
    pub(super) fn start_next_call(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        let Some(route) = self.route_mut(row) else { return };
        // Cleared first: `close_ended_epoch` and the dispatch below must not find the finished call as the current one.
        route.set_current_call(None);
        let next = self.waiting.next_of_session(row);
        // Before the next call is dispatched. Otherwise a call of the next epoch would be sent to the worker that holds
        // the state of the ended one (I3).
        self.close_ended_epoch(now, row, next, effects);
        let Some(next) = next else { return self.drop_if_forgotten(now, row) };
        self.calls.unqueue(next, &mut self.waiting);
        // The call's wait for any worker begins now, if it waits for one.
        self.calls.restart_wait(next, now + self.settings.queue.timeout);
        self.calls.set_position(next, self.waiting.position_in_next_round());
        // The next call enters the fair order behind one call of each waiting session. If it were sent at once, a
        // session with a long queue would keep its worker from all other calls (R36).
        self.take_current_call(row, next);
        match self.binding(row) {
            Binding::Bound { worker, .. } if self.has_waiting_calls(worker) => {
                self.enqueue(now, next, Queue::Worker(worker), effects);
                self.fill(now, worker.id, effects);
            }
            _ => self.dispatch_or_enqueue(now, next, effects),
        }
    }

    /// Returns whether other calls wait that this process may run. The next call of a session does not overtake them
    /// (R36).
    fn has_waiting_calls(&self, worker: WorkerRef) -> bool {
        self.is_alive(worker) && self.next_call_for(worker.id).is_some()
    }

    /// Ends the state of the bound epoch, if the next call, or without one the call that is admitted next, belongs to a
    /// later epoch.
    pub(super) fn close_ended_epoch(
        &mut self,
        now: Timestamp,
        row: RowKey,
        next: Option<CallId>,
        effects: &mut Effects,
    ) {
        let Some((admitting, after_epoch)) = self.route(row).map(|route| (route.epoch, route.after_epoch())) else {
            return;
        };
        let next_epoch = next.and_then(|id| self.calls.get(id)).map_or(admitting, |call| match call.role {
            Role::Strict { epoch, .. } => epoch,
            _ => admitting,
        });
        // Calls keep the epoch in which they were admitted: as long as the next one belongs to the bound epoch, its
        // state is needed.
        if let Binding::Bound { epoch, .. } = self.binding(row) {
            if next_epoch <= epoch {
                return;
            }
            let reason = if matches!(after_epoch, AfterEpoch::Bind(_)) {
                SessionEndReason::Moved
            } else {
                SessionEndReason::Ended
            };
            let ended = self.end_state(row, reason, Unbound::New, effects);
            if ended && after_epoch != AfterEpoch::Forget {
                self.record_event(now, row, SessionEventKind::Unbound(reason), None);
            }
        }
        if next_epoch == admitting
            && let AfterEpoch::Bind(worker) = after_epoch
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

    /// Finishes a call of a session: counts it, and starts the next call if it was the current one. `ran` is true if a
    /// worker finished it.
    pub(super) fn end_session_call(
        &mut self,
        now: Timestamp,
        row: RowKey,
        was_current: bool,
        ran: bool,
        effects: &mut Effects,
    ) {
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
}
