//! Admission: what the session of a call requires, and the first queue of the call. `admission` decides whether the
//! pool accepts the call at all.

use super::{Core, Effect, Effects, SessionCall, Submission, dispatch::DispatchOutcome, expiry::SessionAge};
use crate::{
    Affinity, CallId, IfAbsent, OnExpired, Outcome, SessionId, Timestamp, WorkerRef,
    breaker::Permit,
    calls::{Call, CallState, Role},
    failure::{CallFailure, WorkerLoss},
    session::{AfterEpoch, Route, RowKey, SessionEventKind, Sessions, Tracked, Unbound},
    timers::Timer,
    waiting::Queue,
};

impl Core {
    pub(super) fn submit(&mut self, now: Timestamp, submission: Submission, effects: &mut Effects) {
        self.counters.submitted += 1;
        let call = submission.call;
        if let Err(failure) = self.admit(now, submission, effects) {
            self.counters.refused += 1;
            effects.push(Effect::Settle { call, failure, earlier: Vec::new() });
        }
    }

    fn admit(&mut self, now: Timestamp, submission: Submission, effects: &mut Effects) -> Result<(), CallFailure> {
        self.check_open(now)?;
        if submission.deadline <= now {
            return Err(CallFailure::DeadlineExceeded { may_have_run: false });
        }
        self.check_poison(now, submission.fingerprint)?;
        // The permit is taken after the checks that need none, and returned if the call is refused later on: a permit
        // that is not returned would keep the breaker half-open.
        let permit = self.take_permit(now)?;
        let return_permit = |core: &mut Self| core.return_permit(now, permit, Outcome::Ignored);
        self.admit_with(now, submission, permit, effects).inspect_err(|_| return_permit(self))
    }

    fn admit_with(
        &mut self,
        now: Timestamp,
        submission: Submission,
        permit: Permit,
        effects: &mut Effects,
    ) -> Result<(), CallFailure> {
        let (role, is_new) = match submission.session {
            None => (Role::AnyWorker, false),
            Some(session) => self.role_of(now, &session, effects)?,
        };
        let (id, deadline) = (submission.call, submission.deadline);
        let queue_until = now + self.settings.queue.timeout;
        let call = Call {
            id,
            admitted: now,
            deadline,
            queue_until,
            idempotent: submission.idempotent,
            attempts: 0,
            role,
            state: CallState::New,
            position: self.waiting.new_position(),
            permit,
            fingerprint: submission.fingerprint,
            retry: None,
        };
        self.calls.admit(call);
        // Counted before the call is placed, so that the session counts as busy when it is bound. `rollback_admission`
        // takes the count back.
        self.begin_session_call(role);
        self.place_call(now, id, role, effects).inspect_err(|_| self.rollback_admission(now, id, role, is_new))?;
        self.keep_session(role);
        let due = self.calls.get(id).map_or(deadline, Call::due);
        self.timers.set(due, Timer::Call(id));
        self.shrink_timers();
        Ok(())
    }

    /// Returns what the session of the call requires, and whether the call creates the session.
    fn role_of(
        &mut self,
        now: Timestamp,
        session: &SessionCall,
        effects: &mut Effects,
    ) -> Result<(Role, bool), CallFailure> {
        let Sessions::Routed(routes) = &self.sessions else {
            let (row, is_new) = self.tracked_row(now, session, effects)?;
            return Ok((Role::Tracked(row), is_new));
        };
        let mode = session.affinity.unwrap_or(routes.settings.mode);
        let (row, is_new) = self.routed_row(now, session, effects)?;
        self.report_loss(now, row, mode, effects)?;
        // While the session's state is about to end, it is still bound and in use, so a hint call would run with it.
        // The call waits for the end instead, like a strict call.
        let mode = if mode == Affinity::Hint && self.is_ending(row) { Affinity::StrictQueue } else { mode };
        Ok((Role::routed(row, self.epoch_of(row), mode), is_new))
    }

    fn tracked_row(
        &mut self,
        now: Timestamp,
        session: &SessionCall,
        effects: &mut Effects,
    ) -> Result<(RowKey, bool), CallFailure> {
        if let Some(row) = self.live_row(now, session.id.as_bytes(), effects) {
            return Ok((row, false));
        }
        if session.if_absent == IfAbsent::Reject {
            return Err(CallFailure::SessionNotFound(session.id.clone()));
        }
        Ok((self.new_tracked_row(now, session.id.clone(), effects)?, true))
    }

    /// Adds a row. Removes a row of the same id first, which is due.
    pub(super) fn new_tracked_row(
        &mut self,
        now: Timestamp,
        id: SessionId,
        effects: &mut Effects,
    ) -> Result<RowKey, CallFailure> {
        if let Sessions::Tracked(table) = &mut self.sessions
            && let Some(stale) = table.find(id.as_bytes())
        {
            table.remove(stale);
            self.counters.sessions_expired += 1;
        }
        self.make_room(now, effects)?;
        // Unreachable: the callers have checked that sessions are only tracked.
        let Sessions::Tracked(table) = &mut self.sessions else { return Err(CallFailure::Abandoned) };
        Ok(table.insert(now, id, Tracked::default()))
    }

    /// Returns the row of the session (found, renewed or new) and whether it is new. Sessions expire on read here
    /// (R16).
    fn routed_row(
        &mut self,
        now: Timestamp,
        session: &SessionCall,
        effects: &mut Effects,
    ) -> Result<(RowKey, bool), CallFailure> {
        let mut why = Unbound::New;
        if let Some(row) = self.visit_row(now, session.id.as_bytes(), effects) {
            match self.expiry_on_read(now, row, effects) {
                SessionAge::Alive => return Ok((row, false)),
                SessionAge::Gone(reason) => why = reason,
                SessionAge::Marked
                    if self.on_expired() == OnExpired::Reject || session.if_absent == IfAbsent::Reject =>
                {
                    self.record_event(now, row, SessionEventKind::RefusedExpired, None);
                    return Err(CallFailure::SessionExpired(session.id.clone()));
                }
                SessionAge::Marked => {
                    self.renew_expired(now, row, effects);
                    return Ok((row, false));
                }
            }
        }
        if session.if_absent == IfAbsent::Reject {
            return Err(CallFailure::SessionNotFound(session.id.clone()));
        }
        Ok((self.new_routed_row(now, session.id.clone(), why, effects)?, true))
    }

    pub(super) fn new_routed_row(
        &mut self,
        now: Timestamp,
        id: SessionId,
        why: Unbound,
        effects: &mut Effects,
    ) -> Result<RowKey, CallFailure> {
        self.make_room(now, effects)?;
        let epoch = self.fresh_epoch();
        // Unreachable: the callers have checked that sessions are routed.
        let Sessions::Routed(routes) = &mut self.sessions else { return Err(CallFailure::Abandoned) };
        Ok(routes.table.insert(now, id, Route::new(epoch, why)))
    }

    fn on_expired(&self) -> OnExpired {
        match &self.sessions {
            Sessions::Routed(routes) => routes.settings.on_expired,
            Sessions::Tracked(_) => OnExpired::Rebind,
        }
    }

    /// Handles a binding to a process that is gone. The first strict call of the session that finds it is answered with
    /// the loss; a hint call is rebound (R20).
    fn report_loss(
        &mut self,
        now: Timestamp,
        row: RowKey,
        mode: Affinity,
        effects: &mut Effects,
    ) -> Result<(), CallFailure> {
        let Some(worker) = self.drop_dead_binding(now, row, effects) else { return Ok(()) };
        if mode == Affinity::Hint {
            return Ok(());
        }
        let end = self.slot(worker.id).exit_of(worker);
        self.record_event(now, row, SessionEventKind::LossReported, Some(worker));
        let Sessions::Routed(routes) = &mut self.sessions else { return Ok(()) };
        routes.table.touch(row, now);
        let Some(session) = routes.table.row(row).map(|row| row.id.clone()) else { return Ok(()) };
        Err(CallFailure::SessionWorkerLost { session, loss: WorkerLoss { worker, end, may_have_run: false } })
    }

    fn place_call(&mut self, now: Timestamp, id: CallId, role: Role, effects: &mut Effects) -> Result<(), CallFailure> {
        if let Role::Strict { row, fail_fast, .. } = role {
            if self.current_call_of(row).is_some() {
                return self.join_session_queue(now, id, row, fail_fast);
            }
            self.take_current_call(row, id);
        }
        match self.try_dispatch(now, id, effects) {
            DispatchOutcome::Sent => Ok(()),
            DispatchOutcome::WouldWait(Queue::Worker(worker))
                if matches!(role, Role::Strict { fail_fast: true, .. }) =>
            {
                Err(self.record_busy(now, role, worker))
            }
            DispatchOutcome::WouldWait(queue) => {
                // Checked only now: a full queue does not refuse a call that need not wait.
                self.waiting.check_room()?;
                self.check_expected_wait(now, id, queue)?;
                self.enqueue(now, id, queue, effects);
                Ok(())
            }
        }
    }

    fn record_busy(&mut self, now: Timestamp, role: Role, worker: WorkerRef) -> CallFailure {
        if let Some(row) = role.row() {
            self.record_event(now, row, SessionEventKind::RefusedBusy, Some(worker));
        }
        CallFailure::WorkerBusy(worker)
    }

    fn join_session_queue(
        &mut self,
        now: Timestamp,
        id: CallId,
        row: RowKey,
        fail_fast: bool,
    ) -> Result<(), CallFailure> {
        if fail_fast && let Some(worker) = self.bound_process(row) {
            self.record_event(now, row, SessionEventKind::RefusedBusy, Some(worker));
            return Err(CallFailure::WorkerBusy(worker));
        }
        self.waiting.check_room()?;
        if let Err(failure) = self.waiting.check_room_of_session(row) {
            self.record_event(now, row, SessionEventKind::RefusedFull, None);
            return Err(failure);
        }
        self.check_expected_wait(now, id, Queue::Session)?;
        self.calls.enqueue(id, Queue::Session, &mut self.waiting);
        Ok(())
    }

    fn begin_session_call(&mut self, role: Role) {
        let Some(row) = role.row() else { return };
        match &mut self.sessions {
            Sessions::Tracked(table) => table.begin_call(row),
            Sessions::Routed(routes) => routes.table.begin_call(row),
        }
    }

    /// Cancels the removal of a session that was to be removed after its last call. Done only once the new call is
    /// admitted: a refused call must not keep the session.
    fn keep_session(&mut self, role: Role) {
        let Some(row) = role.row() else { return };
        match &mut self.sessions {
            Sessions::Tracked(table) => {
                if let Some(row) = table.row_mut(row) {
                    row.route.ended = false;
                }
            }
            Sessions::Routed(routes) => {
                if let Some(route) = routes.route_mut(row).filter(|route| route.after_epoch() == AfterEpoch::Forget) {
                    route.set_after_epoch(AfterEpoch::Stay);
                }
            }
        }
    }

    /// Undoes the admission of a call that could not be placed: removes the call, and its session if the call created
    /// it.
    fn rollback_admission(&mut self, now: Timestamp, id: CallId, role: Role, is_new: bool) {
        self.calls.settle(id);
        let Some(row) = role.row() else { return };
        match &mut self.sessions {
            Sessions::Tracked(table) => {
                table.end_call(row, now, false);
                if is_new {
                    table.remove(row);
                }
            }
            Sessions::Routed(routes) => {
                routes.table.end_call(row, now, false);
                // Otherwise every later strict call of the session would wait for a call that does not exist.
                if let Some(route) = routes.route_mut(row).filter(|route| route.current_call() == Some(id)) {
                    route.set_current_call(None);
                }
                if is_new {
                    routes.table.remove(row);
                }
            }
        }
    }
}
