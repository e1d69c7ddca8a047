//! Admission: what a call's session demands, and its first place. Whether the pool takes it at all is told by `admission`.

use super::{
    Core, Effect, Effects, SessionCall, Submission,
    call::{Call, CallState, Role},
    dispatch::DispatchOutcome,
    expiry::SessionAge,
};
use crate::{
    Affinity, CallId, IfAbsent, OnExpired, Outcome, SessionId, Timestamp, WorkerRef,
    breaker::Permit,
    failure::{CallFailure, WorkerLoss},
    session::{AfterEpoch, Route, RowKey, SessionEventKind, Sessions, Tracked, Unbound},
    timers::Timer,
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
        let permit = self.take_permit(now)?;
        let refused = |core: &mut Self| core.return_permit(now, permit, Outcome::Ignored);
        self.admit_with(now, submission, permit, effects).inspect_err(|_| refused(self))
    }

    fn admit_with(
        &mut self,
        now: Timestamp,
        submission: Submission,
        permit: Permit,
        effects: &mut Effects,
    ) -> Result<(), CallFailure> {
        let (role, born) = match submission.session {
            None => (Role::AnyWorker, false),
            Some(session) => self.role(now, &session, effects)?,
        };
        let (id, deadline) = (submission.call, submission.deadline);
        let queue_until = now + self.settings.queue.timeout;
        let call = Call {
            admitted: now,
            deadline,
            queue_until,
            idempotent: submission.idempotent,
            attempts: 0,
            role,
            state: CallState::New,
            virtual_time: self.fairness.now(),
            has_waited: false,
            permit,
            fingerprint: submission.fingerprint,
            retry: None,
        };
        self.calls.insert(id, call);
        self.begin_row(role);
        self.place_new(now, id, role, effects).inspect_err(|_| self.rollback_admission(now, id, role, born))?;
        self.keep_row(role);
        let due = self.calls.get(&id).map_or(deadline, Call::due);
        self.timers.set(due, Timer::Call(id));
        self.shrink_timers();
        Ok(())
    }

    /// What the call's session demands, and whether that session begins with it.
    fn role(
        &mut self,
        now: Timestamp,
        session: &SessionCall,
        effects: &mut Effects,
    ) -> Result<(Role, bool), CallFailure> {
        let Sessions::Routed(routes) = &self.sessions else {
            let (row, born) = self.tracked_row(now, session, effects)?;
            return Ok((Role::Tracked(row), born));
        };
        let mode = session.affinity.unwrap_or(routes.settings.mode);
        let (row, born) = self.routed_row(now, session, effects)?;
        self.report_loss(now, row, mode, effects)?;
        // The state that ends is still in use: a hint call would find it. So the call waits for its end, as a strict one does.
        let mode = if mode == Affinity::Hint && self.is_ending(row) { Affinity::StrictQueue } else { mode };
        Ok((Role::routed(row, self.epoch_of(row), mode), born))
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

    /// A new row; one of the same id that is due goes first.
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
        let Sessions::Tracked(table) = &mut self.sessions else { return Err(CallFailure::Abandoned) };
        Ok(table.insert(now, id, Tracked::default()))
    }

    /// The session's row (found, revived or new) and whether it is new. Expiry on read happens here (R16).
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
                    self.revive(now, row, effects);
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
        let Sessions::Routed(routes) = &mut self.sessions else { return Err(CallFailure::Abandoned) };
        Ok(routes.table.insert(now, id, Route::new(epoch, why)))
    }

    fn on_expired(&self) -> OnExpired {
        match &self.sessions {
            Sessions::Routed(routes) => routes.settings.on_expired,
            Sessions::Tracked(_) => OnExpired::Rebind,
        }
    }

    /// A binding to a process that is gone: the first call that meets it is told, or, if it was only a hint, rebound (R20).
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

    fn place_new(&mut self, now: Timestamp, id: CallId, role: Role, effects: &mut Effects) -> Result<(), CallFailure> {
        if let Role::Strict { row, fail_fast, .. } = role {
            if self.current_call_of(row).is_some() {
                return self.join_session_queue(now, id, row, fail_fast);
            }
            self.take_current_call(row, id);
        }
        match self.try_dispatch(now, id, effects) {
            DispatchOutcome::Sent => Ok(()),
            DispatchOutcome::WouldWait(CallState::WorkerQueue(worker))
                if matches!(role, Role::Strict { fail_fast: true, .. }) =>
            {
                Err(self.refuse_busy(now, role, worker))
            }
            DispatchOutcome::WouldWait(state) => {
                self.check_room()?;
                self.check_expected_wait(now, id, state, self.ahead_of(state))?;
                self.wait(now, id, state, effects);
                Ok(())
            }
        }
    }

    fn refuse_busy(&mut self, now: Timestamp, role: Role, worker: WorkerRef) -> CallFailure {
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
        self.check_room()?;
        let limit = self.settings.queue.per_session;
        let Some(route) = self.route_mut(row) else { return Err(CallFailure::Abandoned) };
        if route.waiting().len() >= limit {
            self.record_event(now, row, SessionEventKind::RefusedFull, None);
            return Err(CallFailure::SessionQueueFull { limit });
        }
        let ahead = route.waiting().len();
        self.check_expected_wait(now, id, CallState::SessionQueue, ahead)?;
        if let Some(route) = self.route_mut(row) {
            route.queue_mut().waiting.push_back(id);
        }
        self.queued += 1;
        self.set_call_state(id, CallState::SessionQueue);
        Ok(())
    }

    fn begin_row(&mut self, role: Role) {
        let Some(row) = role.row() else { return };
        match &mut self.sessions {
            Sessions::Tracked(table) => table.begin_call(row),
            Sessions::Routed(routes) => routes.table.begin_call(row),
        }
    }

    /// A session that was to be forgotten after its calls has a new one. Done only once that call was admitted: a refused one begins no new life.
    fn keep_row(&mut self, role: Role) {
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

    /// Takes a call back that found no place. A session that was born with it never was.
    fn rollback_admission(&mut self, now: Timestamp, id: CallId, role: Role, born: bool) {
        self.calls.remove(&id);
        let Some(row) = role.row() else { return };
        match &mut self.sessions {
            Sessions::Tracked(table) => {
                table.end_call(row, now, false);
                if born {
                    table.remove(row);
                }
            }
            Sessions::Routed(routes) => {
                routes.table.end_call(row, now, false);
                if let Some(route) = routes.route_mut(row).filter(|route| route.current_call() == Some(id)) {
                    route.set_current_call(None);
                }
                if born {
                    routes.table.remove(row);
                }
            }
        }
    }
}
