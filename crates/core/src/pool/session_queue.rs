//! The queue of a session: one strict call at a time, in the order of admission, and what happens when that call is
//! finished ([I3](crate#invariants)).

use super::Core;
use crate::{
    Effects, Timestamp, WorkerRef,
    session::{Binding, RowKey},
    waiting::Queue,
};

impl Core {
    /// Starts the next call of a session, after the current one is finished or settled in the queue. Ends the state of
    /// the session first, if its end waited for the current call.
    pub(super) fn start_next_call(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        // Cleared first: `close_ended_epoch` and the dispatch below must not find the finished call as the current one.
        self.sessions.set_current_call(row, None);
        let next = self.waiting.next_of_session(row);
        // Before the next call is dispatched. Otherwise a call of the next epoch would be sent to the worker that holds
        // the state of the ended one (I3).
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.close_ended_epoch(row, next.and_then(|next| step.epoch_of_call(next)), &mut step);
        let Some(next) = next else { return self.sessions.drop_if_forgotten(now, row) };
        self.calls.unqueue(next, &mut self.waiting);
        // The call's wait for any worker begins now, if it waits for one.
        self.calls.restart_wait(next, now + self.settings.queue.timeout);
        self.calls.set_position(next, self.waiting.position_in_next_round());
        // The next call enters the fair order behind one call of each waiting session. If it were sent at once, a
        // session with a long queue would keep its worker from all other calls (R36).
        self.sessions.set_current_call(row, Some(next));
        match self.sessions.binding(row) {
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
        let has_followup = self.sessions.finish_call(now, row, was_current, ran);
        // By far the most frequent case is that neither the session nor another call of it waits for this end.
        if was_current && (has_followup || self.waiting.next_of_session(row).is_some()) {
            self.start_next_call(now, row, effects);
        } else if has_followup {
            self.sessions.drop_if_forgotten(now, row);
        }
    }
}
