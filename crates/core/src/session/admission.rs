//! What the session of a submitted call requires: its row (found, renewed or new), and the loss of its state, which the
//! call may have to report. Does not place the call.

use super::{
    AfterEpoch, Route, Routes, SessionEventKind, Tracked, Unbound,
    expiry::SessionAge,
    sessions::{Kind, Sessions},
    step::Step,
};
use crate::{
    Affinity, CallId, IfAbsent, OnExpired, Routing, RowKey, SessionCall, SessionId, Timestamp, WorkerRef,
    calls::Role,
    failure::{CallFailure, WorkerLoss},
    worker::Workers,
};
use std::time::Duration;

/// A call that its session has admitted. It is not placed yet.
#[derive(Clone, Copy)]
pub(crate) struct Admitted {
    pub(crate) role: Role,
    /// Whether the call created the session.
    pub(crate) is_new: bool,
    /// Whether the call is the current strict call of its session. Another strict call waits in the session's queue.
    pub(crate) is_current: bool,
    /// Whether the session is to be removed after its last call, so that [`Sessions::keep`] is needed.
    pub(crate) is_ended: bool,
}

impl Admitted {
    /// Returns the admission of a call without a session.
    pub(crate) fn without_session() -> Self {
        Self { role: Role::AnyWorker, is_new: false, is_current: false, is_ended: false }
    }
}

impl Sessions {
    /// Admits a call to its session, which counts it from here on. [`rollback_call`](Self::rollback_call) undoes it.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        call: CallId,
        session: &SessionCall,
        step: &mut Step<'_>,
    ) -> Result<Admitted, CallFailure> {
        let (role, is_new) = match self.warm_role(session, step) {
            Some(role) => (role, false),
            None => self.role_of(session, step)?,
        };
        let Some(row) = role.row() else { return Ok(Admitted::without_session()) };
        let begun = self.begin_call(call, row, role.is_strict());
        Ok(Admitted { role, is_new, is_current: begun.is_current, is_ended: begun.is_ended })
    }

    /// Returns what [`role_of`](Self::role_of) returns, with one search and no change, in by far the most frequent case:
    /// the session has neither expired nor been ended, and is bound to a process that is alive under the epoch of calls
    /// that are admitted now. `None` in all other cases.
    #[inline]
    fn warm_role(&self, session: &SessionCall, step: &Step<'_>) -> Option<Role> {
        let routes = self.routes().filter(|routes| !routes.is_scanning())?;
        let (key, row) = routes.table.get_by_id(&session.id)?;
        let (worker, epoch) = row.settled_binding(step.now, self.timeout)?;
        let mode = session.affinity.unwrap_or(routes.settings.mode);
        // The current call may have been admitted in an earlier epoch, for whose end a hint call waits.
        let is_ended = row.route.after_epoch() == AfterEpoch::Forget;
        let waits_for_end = mode == Affinity::Hint && row.route.current_call().is_some();
        let is_warm = !is_ended && !waits_for_end && step.is_alive(worker);
        is_warm.then(|| Role::routed(key, epoch, mode))
    }

    /// Does what [`admit`](Self::admit) and [`record_sent`](Self::record_sent) do, with one search, in by far the most
    /// frequent case: nothing else of the session changes, its strict call waits for no other one, and its process can
    /// take the call now. Returns the role and that process. Changes nothing and returns `None` in all other cases.
    #[inline(always)]
    pub(crate) fn admit_hit(
        &mut self,
        now: Timestamp,
        call: CallId,
        session: &SessionCall,
        workers: &Workers,
    ) -> Option<(Role, WorkerRef)> {
        let timeout = self.timeout;
        let routes = self.routes_mut().filter(|routes| !routes.is_scanning())?;
        let mode = session.affinity.unwrap_or(routes.settings.mode);
        if mode == Affinity::Hint {
            return None;
        }
        let Routes { table, events, counters, .. } = routes;
        table.begin_call_by_id(&session.id, |key, row| {
            let (worker, epoch) = row.settled_binding(now, timeout)?;
            let route = &mut row.route;
            if route.current_call().is_some() || route.has_followup() || !workers.can_take(worker) {
                return None;
            }
            counters.hits += 1;
            route.set_current_call(Some(call));
            route.mark_sent(worker);
            let sent = SessionEventKind::Sent(Routing::Hit);
            events.record_event(&mut route.last_event, now, sent, Some(worker), Duration::ZERO);
            Some((Role::routed(key, epoch, mode), worker))
        })
    }

    /// Returns what the session of a call requires, and whether the call creates the session.
    fn role_of(&mut self, session: &SessionCall, step: &mut Step<'_>) -> Result<(Role, bool), CallFailure> {
        let Kind::Routed(routes) = &self.kind else {
            let (row, is_new) = self.tracked_row(session, step)?;
            return Ok((Role::Tracked(row), is_new));
        };
        let mode = session.affinity.unwrap_or(routes.settings.mode);
        let (row, is_new) = self.routed_row(session, step)?;
        // Before a loss is looked for: what was lost after the end of the session is not missed by this call.
        self.end_state_since_end(row, step);
        self.report_loss(row, mode, step)?;
        // While the session's state is about to end, it is still bound and in use, so a hint call would run with it.
        // The call waits for the end instead, like a strict call.
        let mode = if mode == Affinity::Hint && self.is_ending(row, step) { Affinity::StrictQueue } else { mode };
        Ok((Role::routed(row, self.epoch(row), mode), is_new))
    }

    fn tracked_row(&mut self, session: &SessionCall, step: &mut Step<'_>) -> Result<(RowKey, bool), CallFailure> {
        if let Some(row) = self.live_row(session.id.as_bytes(), step) {
            return Ok((row, false));
        }
        if session.if_absent == IfAbsent::Reject {
            return Err(CallFailure::SessionNotFound(session.id.clone()));
        }
        Ok((self.new_tracked_row(session.id.clone(), step)?, true))
    }

    /// Adds a row. Removes a row of the same id first, which is due.
    pub(super) fn new_tracked_row(&mut self, id: SessionId, step: &mut Step<'_>) -> Result<RowKey, CallFailure> {
        if let Kind::Tracked(table) = &mut self.kind
            && let Some(stale) = table.find(id.as_bytes())
        {
            table.remove(stale);
            self.expired += 1;
        }
        self.make_room(step)?;
        // Unreachable: the callers have checked that sessions are only tracked.
        let Kind::Tracked(table) = &mut self.kind else { return Err(CallFailure::Abandoned) };
        Ok(table.insert(step.now, id, Tracked::default()))
    }

    /// Returns the row of the session (found, renewed or new) and whether it is new. Sessions expire on read here
    /// (R16).
    fn routed_row(&mut self, session: &SessionCall, step: &mut Step<'_>) -> Result<(RowKey, bool), CallFailure> {
        let mut why = Unbound::New;
        if let Some(row) = self.visit_row(session.id.as_bytes(), step) {
            match self.expiry_on_read(row, step) {
                SessionAge::Alive => return Ok((row, false)),
                SessionAge::Gone(reason) => why = reason,
                SessionAge::Marked
                    if self.on_expired() == OnExpired::Reject || session.if_absent == IfAbsent::Reject =>
                {
                    self.record(step.now, row, SessionEventKind::RefusedExpired, None);
                    return Err(CallFailure::SessionExpired(session.id.clone()));
                }
                SessionAge::Marked => {
                    self.renew_expired(row, step);
                    return Ok((row, false));
                }
            }
        }
        if session.if_absent == IfAbsent::Reject {
            return Err(CallFailure::SessionNotFound(session.id.clone()));
        }
        Ok((self.new_routed_row(session.id.clone(), why, step)?, true))
    }

    pub(super) fn new_routed_row(
        &mut self,
        id: SessionId,
        why: Unbound,
        step: &mut Step<'_>,
    ) -> Result<RowKey, CallFailure> {
        self.make_room(step)?;
        let epoch = self.fresh_epoch();
        // Unreachable: the callers have checked that sessions are routed.
        let Kind::Routed(routes) = &mut self.kind else { return Err(CallFailure::Abandoned) };
        Ok(routes.table.insert(step.now, id, Route::new(epoch, why)))
    }

    fn on_expired(&self) -> OnExpired {
        self.routes().map_or(OnExpired::Rebind, |routes| routes.settings.on_expired)
    }

    /// Handles a binding to a process that is gone. The first strict call of the session that finds it is answered with
    /// the loss; a hint call is rebound (R20).
    fn report_loss(&mut self, row: RowKey, mode: Affinity, step: &mut Step<'_>) -> Result<(), CallFailure> {
        let Some(worker) = self.drop_dead_binding(row, step) else { return Ok(()) };
        if mode == Affinity::Hint {
            return Ok(());
        }
        let exit = step.exit_of(worker);
        self.record(step.now, row, SessionEventKind::LossReported, Some(worker));
        self.touch(row, step.now);
        let Some(session) = self.id(row) else { return Ok(()) };
        Err(CallFailure::SessionWorkerLost { session, loss: WorkerLoss { worker, exit, may_have_run: false } })
    }
}
