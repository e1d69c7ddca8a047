//! Admission: whether a call is taken, what its session demands, and its first place.

use super::{
    Core, Effect, Effects, Phase, SessionCall, Submission,
    call::{Call, Place, Role},
    dispatch::Sought,
};
use crate::{
    CallId, Expiry, IfAbsent, Now, OnExpired, SessionEnd, SessionId,
    failure::{Failure, Loss},
    session::{Binding, Route, RowKey, Sessions, Then, Unbound},
    timers::Timer,
};

impl Core {
    pub(super) fn submit(&mut self, now: Now, submission: Submission, fx: &mut Effects) {
        self.counters.submitted += 1;
        let call = submission.call;
        if let Err(failure) = self.admit(now, submission, fx) {
            self.counters.refused += 1;
            fx.push(Effect::Settle { call, failure });
        }
    }

    fn admit(&mut self, now: Now, submission: Submission, fx: &mut Effects) -> Result<(), Failure> {
        self.check_open(now)?;
        if submission.deadline <= now {
            return Err(Failure::DeadlineExceeded { may_have_run: false });
        }
        let role = match submission.session {
            None => Role::Anyone,
            Some(session) => self.role(now, session, fx)?,
        };
        let (id, deadline) = (submission.call, submission.deadline);
        let queue_until = now + self.settings.queue.timeout;
        let idempotent = submission.idempotent;
        let place = Place::Nowhere;
        self.calls.insert(id, Call { admitted: now, deadline, queue_until, idempotent, attempts: 0, role, place });
        self.begin_row(role);
        self.place_new(now, id, role, fx).inspect_err(|_| self.retract(now, id, role))?;
        let due = self.calls.get(&id).map_or(deadline, Call::due);
        self.timers.set(due, Timer::Call(id));
        self.shrink_timers();
        Ok(())
    }

    fn check_open(&self, now: Now) -> Result<(), Failure> {
        let served = || self.slots.iter().any(|slot| slot.is_live());
        match self.phase {
            Phase::Running => Ok(()),
            Phase::Failed { .. } | Phase::Probing if served() => Ok(()),
            Phase::Failed { retry_at } => Err(Failure::PoolFailed { retry_at }),
            Phase::Probing => Err(Failure::PoolFailed { retry_at: now }),
            Phase::Draining { .. } | Phase::Closing | Phase::Stopped => {
                Err(Failure::PoolClosed { may_have_run: false })
            }
        }
    }

    fn role(&mut self, now: Now, session: SessionCall, fx: &mut Effects) -> Result<Role, Failure> {
        match &self.sessions {
            Sessions::Tracked(_) => self.tracked_row(now, &session).map(Role::Tracked),
            Sessions::Routed(routes) => {
                let mode = session.affinity.unwrap_or(routes.settings.mode);
                let row = self.routed_row(now, &session, fx)?;
                let role = Role::routed(row, self.epoch_of(row), mode);
                self.tell_loss(now, row, role)?;
                Ok(Role::routed(row, self.epoch_of(row), mode))
            }
        }
    }

    fn tracked_row(&mut self, now: Now, session: &SessionCall) -> Result<RowKey, Failure> {
        let (timeout, max) = (self.settings.sessions.timeout, self.settings.sessions.max);
        let Sessions::Tracked(table) = &mut self.sessions else { return Err(Failure::Abandoned) };
        if let Some(row) = table.find(session.id.as_str()) {
            if !table.is_due(row, now, timeout) {
                return Ok(row);
            }
            table.remove(row);
        }
        if session.if_absent == IfAbsent::Reject {
            return Err(Failure::SessionNotFound(session.id.clone()));
        }
        if table.len() >= max {
            return Err(Failure::SessionQuota { max });
        }
        Ok(table.insert(now, session.id.clone(), ()))
    }

    /// The session's row: found, revived or new. Expiry on read happens here (R16).
    fn routed_row(&mut self, now: Now, session: &SessionCall, fx: &mut Effects) -> Result<RowKey, Failure> {
        let mut why = Unbound::New;
        if let Some(row) = self.find_routed(session.id.as_str()) {
            match self.expiry_on_read(now, row, fx) {
                Aged::Alive => return Ok(row),
                Aged::Gone(reason) => why = reason,
                Aged::Marked => match self.on_expired() {
                    OnExpired::Reject => return Err(Failure::SessionExpired(session.id.clone())),
                    OnExpired::Rebind => {
                        self.revive(now, row, fx);
                        return Ok(row);
                    }
                },
            }
        }
        if session.if_absent == IfAbsent::Reject {
            return Err(Failure::SessionNotFound(session.id.clone()));
        }
        self.new_routed_row(now, session.id.clone(), why)
    }

    pub(super) fn new_routed_row(&mut self, now: Now, id: SessionId, why: Unbound) -> Result<RowKey, Failure> {
        let (epoch, max) = (self.fresh_epoch(), self.settings.sessions.max);
        let Sessions::Routed(routes) = &mut self.sessions else { return Err(Failure::Abandoned) };
        if routes.table.len() >= max {
            return Err(Failure::SessionQuota { max });
        }
        Ok(routes.table.insert(now, id, Route::new(epoch, why)))
    }

    fn on_expired(&self) -> OnExpired {
        match &self.sessions {
            Sessions::Routed(routes) => routes.settings.on_expired,
            Sessions::Tracked(_) => OnExpired::Rebind,
        }
    }

    /// What reading a session finds: under two-phase expiry the read itself marks.
    pub(super) fn expiry_on_read(&mut self, now: Now, row: RowKey, fx: &mut Effects) -> Aged {
        let timeout = self.settings.sessions.timeout;
        let Sessions::Routed(routes) = &mut self.sessions else { return Aged::Alive };
        if !routes.table.is_due(row, now, timeout) {
            return Aged::Alive;
        }
        match routes.settings.expiry {
            Expiry::Immediate => {
                self.forget(row, SessionEnd::Expired, fx);
                Aged::Gone(Unbound::Expired)
            }
            Expiry::TwoPhase { grace } => {
                routes.table.mark(row, now);
                let marked = routes.table.row(row).and_then(|row| row.marked).unwrap_or(now);
                if now >= marked + grace && grace_passed(now, marked) {
                    self.forget(row, SessionEnd::Expired, fx);
                    return Aged::Gone(Unbound::New);
                }
                Aged::Marked
            }
        }
    }

    /// An expired session begins anew: its old state ends, its row lives.
    fn revive(&mut self, now: Now, row: RowKey, fx: &mut Effects) {
        self.end_state(row, SessionEnd::Expired, Unbound::Expired, fx);
        let epoch = self.fresh_epoch();
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.table.touch(row, now);
            if let Some(route) = routes.route_mut(row) {
                route.epoch = epoch;
            }
        }
    }

    /// A binding to a process that is gone: the first call that meets it is told, or, if it was only a hint, rebound (R20).
    fn tell_loss(&mut self, now: Now, row: RowKey, role: Role) -> Result<(), Failure> {
        let Some(at) = self.drop_void_binding(row) else { return Ok(()) };
        if !role.is_strict() {
            return Ok(());
        }
        let end = self.slot(at.worker).end_of(at);
        let Sessions::Routed(routes) = &mut self.sessions else { return Ok(()) };
        routes.table.touch(row, now);
        let Some(session) = routes.table.row(row).map(|row| row.id.clone()) else { return Ok(()) };
        Err(Failure::SessionWorkerLost { session, loss: Loss { at, end, may_have_run: false } })
    }

    fn place_new(&mut self, now: Now, id: CallId, role: Role, fx: &mut Effects) -> Result<(), Failure> {
        if let Role::Strict { row, fail_fast, .. } = role {
            if self.turn_of(row).is_some() {
                return self.stand_in_line(id, row, fail_fast);
            }
            self.take_turn(row, id);
        }
        match self.seek(now, id, fx) {
            Sought::Sent => Ok(()),
            Sought::Waits(Place::Bound(at)) if matches!(role, Role::Strict { fail_fast: true, .. }) => {
                Err(Failure::WorkerBusy(at))
            }
            Sought::Waits(place) => {
                self.check_room()?;
                self.wait(now, id, place, fx);
                Ok(())
            }
        }
    }

    fn stand_in_line(&mut self, id: CallId, row: RowKey, fail_fast: bool) -> Result<(), Failure> {
        if fail_fast && let Some(at) = self.bound_process(row) {
            return Err(Failure::WorkerBusy(at));
        }
        self.check_room()?;
        let limit = self.settings.queue.per_session;
        let Sessions::Routed(routes) = &mut self.sessions else { return Err(Failure::Abandoned) };
        let Some(route) = routes.route_mut(row) else { return Err(Failure::Abandoned) };
        if route.waiting() >= limit {
            return Err(Failure::SessionQueueFull { limit });
        }
        route.line_mut().waiting.push_back(id);
        self.queued += 1;
        self.set_place(id, Place::Line);
        Ok(())
    }

    fn check_room(&self) -> Result<(), Failure> {
        let limit = self.settings.queue.limit;
        if self.queued >= limit { Err(Failure::QueueFull { limit }) } else { Ok(()) }
    }

    fn begin_row(&mut self, role: Role) {
        let Some(row) = role.row() else { return };
        match &mut self.sessions {
            Sessions::Tracked(table) => table.begin_call(row),
            Sessions::Routed(routes) => {
                routes.table.begin_call(row);
                if let Some(route) = routes.route_mut(row).filter(|route| route.then == Then::Forget) {
                    route.then = Then::Stay;
                }
            }
        }
    }

    /// Takes a call back that found no place. A session it would have begun never was.
    fn retract(&mut self, now: Now, id: CallId, role: Role) {
        self.calls.remove(&id);
        let Some(row) = role.row() else { return };
        match &mut self.sessions {
            Sessions::Tracked(table) => {
                table.end_call(row, now, false);
                if table.row(row).is_some_and(|row| row.operations == 0 && row.pending == 0 && row.first_seen == now) {
                    table.remove(row);
                }
            }
            Sessions::Routed(routes) => {
                routes.table.end_call(row, now, false);
                if let Some(route) = routes.route_mut(row).filter(|route| route.turn == Some(id)) {
                    route.turn = None;
                }
                let unborn = |row: &crate::session::Row<Route>| {
                    row.operations == 0 && row.pending == 0 && row.route.binding == Binding::None(Unbound::New)
                };
                if routes.table.row(row).is_some_and(unborn) {
                    routes.table.remove(row);
                }
            }
        }
    }
}

/// How a session stands when it is read.
pub(super) enum Aged {
    Alive,
    /// Expired, marked, still known.
    Marked,
    /// Removed just now; what its next binding says.
    Gone(Unbound),
}

/// A read that itself marks a session must still say so, even with a grace of zero.
fn grace_passed(now: Now, marked: Now) -> bool {
    now > marked
}
