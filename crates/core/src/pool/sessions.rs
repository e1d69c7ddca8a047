//! What can be asked and told of sessions, and how their state ends. Answers at once; the effects tell the workers.

use super::{Core, Effect, Effects, SessionEnd, submit::Aged};
use crate::{
    CallId, Epoch, Expiry, Now, SessionId, WorkerId, WorkerRef,
    failure::Failure,
    session::{Binding, Route, Row, RowKey, Sessions, Then, Unbound},
    timers::Timer,
};
use serde::Serialize;
use std::time::Duration;

/// Rows a sweep looks at before it makes way for calls.
const SWEEP_STEP: usize = 256;

/// Where a session is bound (R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// To this process, and it lives.
    Worker(WorkerRef),
    /// Nowhere: it expired, and two-phase expiry still knows that.
    Expired,
    /// Nowhere.
    NoAffinity,
}

/// Whether a session is there (R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It is, and its timeout runs.
    Active,
    /// Its timeout has passed.
    Expired,
}

/// What is known of one session (R22).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Active or expired.
    pub state: SessionState,
    /// The slot it is bound to; `None` in a pool that routes none, or when it is bound nowhere.
    pub worker: Option<WorkerId>,
    /// Which of the slot's processes.
    pub generation: Option<crate::Generation>,
    /// Which life of the session.
    pub epoch: Option<Epoch>,
    /// Calls finished.
    pub operations: u64,
    /// Calls queued or unfinished.
    pub pending: u32,
    /// Milliseconds since its first call.
    pub age_ms: u64,
    /// Milliseconds since its last activity.
    pub idle_ms: u64,
}

impl Core {
    /// Notes a session without calling anything; creates it if it is not there.
    ///
    /// # Errors
    /// [`Failure::SessionQuota`]; [`Failure::SessionExpired`] while two-phase expiry still knows it.
    pub fn track_session(&mut self, now: Now, id: SessionId, fx: &mut Effects) -> Result<SessionInfo, Failure> {
        let row = match self.live_row(now, id.as_str(), fx) {
            Some(row) => row,
            None => self.new_row(now, id.clone(), fx)?,
        };
        self.touch_row(row, now);
        self.info_of(now, row).ok_or(Failure::SessionNotFound(id))
    }

    /// Renews a session's timeout. False if there is no such session.
    pub fn update_session_activity(&mut self, now: Now, id: &SessionId, fx: &mut Effects) -> bool {
        let found = self.live_row(now, id.as_str(), fx);
        if let Some(row) = found {
            self.touch_row(row, now);
        }
        found.is_some()
    }

    /// What is known of a session. Reading does not renew it.
    pub fn session_info(&self, now: Now, id: &str) -> Option<SessionInfo> {
        let row = match &self.sessions {
            Sessions::Tracked(table) => table.find(id)?,
            Sessions::Routed(routes) => routes.table.find(id)?,
        };
        self.info_of(now, row).filter(|info| info.state == SessionState::Active || self.is_two_phase())
    }

    /// Sessions in the order of their rows, `offset` skipped, at most `limit`. Costs their number up to there.
    /// Expired ones are among them where two-phase expiry still knows them.
    pub fn list_sessions(&self, now: Now, offset: usize, limit: usize) -> Vec<SessionInfo> {
        let infos = |rows: &mut dyn Iterator<Item = RowKey>| -> Vec<SessionInfo> {
            let known = |info: &SessionInfo| info.state == SessionState::Active || self.is_two_phase();
            rows.filter_map(|row| self.info_of(now, row)).filter(known).skip(offset).take(limit).collect()
        };
        match &self.sessions {
            Sessions::Tracked(table) => infos(&mut table.iter().map(|(key, _)| key)),
            Sessions::Routed(routes) => infos(&mut routes.table.iter().map(|(key, _)| key)),
        }
    }

    /// Ends a session after the calls it has. False if there is none.
    pub fn end_session(&mut self, now: Now, id: &str, fx: &mut Effects) -> bool {
        let Some(key) = self.live_row(now, id, fx) else { return false };
        let Sessions::Tracked(table) = &mut self.sessions else { return self.end_routed(key, Then::Forget, fx) };
        match table.row_mut(key) {
            Some(row) if row.pending > 0 => row.ended = true,
            _ => _ = table.remove(key),
        }
        true
    }

    /// Removes what is due, all of it: how many sessions went.
    pub fn cleanup_stale_sessions(&mut self, now: Now, fx: &mut Effects) -> usize {
        let mut removed = 0;
        loop {
            let (gone, more) = self.sweep(now, SWEEP_STEP, fx);
            removed += gone;
            if !more {
                return removed;
            }
        }
    }

    /// One bounded step of the sweep, looking at no more than `budget` rows: how many were removed, and whether more is due.
    /// Phase one marks (two-phase only), phase two removes what was marked a grace ago.
    pub fn sweep(&mut self, now: Now, budget: usize, fx: &mut Effects) -> (usize, bool) {
        let mut removed = 0;
        for _ in 0..budget {
            match self.sweep_one(now, fx) {
                Some(gone) => removed += usize::from(gone),
                None => {
                    self.count_cleanup(removed, true);
                    return (removed, false);
                }
            }
        }
        self.count_cleanup(removed, false);
        (removed, true)
    }

    /// Looks at the oldest due row: whether it was removed (or only marked); `None` if nothing is due.
    fn sweep_one(&mut self, now: Now, fx: &mut Effects) -> Option<bool> {
        if self.mark_one(now) {
            return Some(false);
        }
        let row = self.removable(now)?;
        self.forget(row, SessionEnd::Expired, fx);
        Some(true)
    }

    /// Phase one, of two-phase expiry only.
    fn mark_one(&mut self, now: Now) -> bool {
        let timeout = self.settings.sessions.timeout;
        let Sessions::Routed(routes) = &mut self.sessions else { return false };
        if routes.settings.expiry == Expiry::Immediate {
            return false;
        }
        let due = routes.table.oldest_fresh().filter(|(_, last)| now >= *last + timeout);
        if let Some((row, _)) = due {
            routes.table.mark(row, now);
        }
        due.is_some()
    }

    /// The oldest session that is expired and need not be known any more.
    fn removable(&self, now: Now) -> Option<RowKey> {
        let timeout = self.settings.sessions.timeout;
        let due = |oldest: Option<(RowKey, Now)>| oldest.filter(|(_, last)| now >= *last + timeout).map(|(row, _)| row);
        match &self.sessions {
            Sessions::Tracked(table) => due(table.oldest_fresh()),
            Sessions::Routed(routes) => match routes.settings.expiry {
                Expiry::Immediate => due(routes.table.oldest_fresh()),
                Expiry::TwoPhase { grace } => {
                    routes.table.oldest_marked().filter(|(_, at)| now > *at && now >= *at + grace).map(|(row, _)| row)
                }
            },
        }
    }

    /// Room for one more session: an expired one that nobody swept yet does not count.
    pub(super) fn make_room(&mut self, now: Now, fx: &mut Effects) -> Result<(), Failure> {
        let max = self.settings.sessions.max;
        if self.sessions.len() < max {
            return Ok(());
        }
        let row = self.removable(now).ok_or(Failure::SessionQuota { max })?;
        self.counters.sessions_expired += 1;
        self.forget(row, SessionEnd::Expired, fx);
        Ok(())
    }

    fn count_cleanup(&mut self, removed: usize, run_over: bool) {
        self.counters.sessions_expired += removed as u64;
        if let Sessions::Routed(routes) = &mut self.sessions {
            routes.counters.cleaned += removed as u64;
            routes.counters.cleanup_runs += u64::from(run_over);
        }
    }

    /// A pool that only tracks sessions sweeps them itself; a routed one's affinity actor calls [`sweep`](Self::sweep).
    pub(super) fn sweep_due(&mut self, now: Now, fx: &mut Effects) {
        if matches!(self.sessions, Sessions::Tracked(_)) {
            let (_, more) = self.sweep(now, SWEEP_STEP, fx);
            let wait = if more { Duration::from_millis(1) } else { self.settings.sessions.cleanup_interval };
            self.timers.set(now + wait, Timer::Sweep);
        }
    }

    /// Where a session is bound, by its id. Under two-phase expiry the read itself marks.
    pub fn worker_of(&mut self, now: Now, id: &str, fx: &mut Effects) -> Lookup {
        let Some(row) = self.find_routed(id) else { return Lookup::NoAffinity };
        match self.expiry_on_read(now, row, fx) {
            Aged::Gone(_) => Lookup::NoAffinity,
            Aged::Marked => Lookup::Expired,
            Aged::Alive => match self.binding(row) {
                Binding::To { at, .. } if self.is_alive(at) => Lookup::Worker(at),
                _ => Lookup::NoAffinity,
            },
        }
    }

    /// Binds a session to a slot's present process: its next calls run there. A state elsewhere ends, after the calls it has.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind_session(
        &mut self,
        now: Now,
        id: SessionId,
        worker: WorkerId,
        fx: &mut Effects,
    ) -> Result<WorkerRef, BindError> {
        let slot = (worker.0 as usize).checked_sub(1).and_then(|index| self.slots.get(index));
        let slot = slot.ok_or(BindError::NoSuchWorker(worker))?;
        let at = slot.at;
        if !slot.is_live() {
            return Err(BindError::NotReady(worker));
        }
        if self.routes().is_none() {
            return Err(BindError::NoAffinity);
        }
        let row = match self.live_row(now, id.as_str(), fx) {
            Some(row) => row,
            None => self.row_to_bind(now, id, fx).map_err(|_| BindError::Quota(self.settings.sessions.max))?,
        };
        self.drop_void_binding(row, fx);
        match self.binding(row) {
            Binding::To { at: bound, epoch } if bound == at && epoch == self.epoch_of(row) => {}
            Binding::None(_) if self.next_epoch_of(row) == self.epoch_of(row) => {
                self.bind_if_alive(row, at, self.epoch_of(row));
            }
            _ => _ = self.end_routed(row, Then::Bind(at), fx),
        }
        self.rehome(now, row, 0, fx);
        self.touch_row(row, now);
        Ok(at)
    }

    /// Forgets where a session is bound; its state there ends, after the calls it has. False if it was bound nowhere.
    pub fn unbind_session(&mut self, now: Now, id: &str, fx: &mut Effects) -> bool {
        let Some(row) = self.live_row(now, id, fx) else { return false };
        self.bound_process(row).is_some_and(|at| self.is_alive(at)) && self.end_routed(row, Then::Stay, fx)
    }

    /// Unbinds every session of a slot's present process: how many. Costs the number of all sessions. Bindings to a process
    /// that is gone are void already, and stay to tell who asks next (R20).
    pub fn remove_worker_sessions(&mut self, worker: WorkerId, fx: &mut Effects) -> usize {
        let Some(routes) = self.routes() else { return 0 };
        let here = |at: WorkerRef| at.worker == worker && self.is_alive(at);
        let bound = |row: &Row<Route>| matches!(row.route.binding, Binding::To { at, .. } if here(at));
        let rows: Vec<RowKey> = routes.table.iter().filter(|(_, row)| bound(row)).map(|(key, _)| key).collect();
        rows.into_iter().filter(|row| self.end_routed(*row, Then::Stay, fx)).count()
    }

    /// Ends the present epoch of a row: now if nothing of it is queued or unfinished, else after that.
    fn end_routed(&mut self, row: RowKey, then: Then, fx: &mut Effects) -> bool {
        let epoch = self.fresh_epoch();
        let Some(route) = self.route_mut(row) else { return false };
        route.epoch = epoch;
        route.then = then;
        if route.turn.is_none() {
            self.close_ended_epoch(row, None, fx);
        }
        let Sessions::Routed(routes) = &mut self.sessions else { return false };
        if then == Then::Forget && routes.table.row(row).is_some_and(|row| row.pending == 0) {
            routes.table.remove(row);
        }
        true
    }

    /// Removes a row; the workers that hold its state are told.
    pub(super) fn forget(&mut self, row: RowKey, reason: SessionEnd, fx: &mut Effects) {
        self.end_state(row, reason, Unbound::New, fx);
        match &mut self.sessions {
            Sessions::Tracked(table) => _ = table.remove(row),
            Sessions::Routed(routes) => _ = routes.table.remove(row),
        }
    }

    /// Unbinds a row and tells the processes that hold its state, each once (R22).
    pub(super) fn end_state(&mut self, row: RowKey, reason: SessionEnd, why: Unbound, fx: &mut Effects) {
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        let Some((at, epoch)) = routes.unbind(row, why) else { return };
        self.tell_end(row, epoch, Some(at), reason, fx);
    }

    fn tell_end(&mut self, row: RowKey, epoch: Epoch, at: Option<WorkerRef>, reason: SessionEnd, fx: &mut Effects) {
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        let line = routes.route_mut(row).and_then(|route| route.line.as_mut());
        let strays = line.map(|line| std::mem::take(&mut line.strays)).unwrap_or_default();
        let Some(session) = routes.table.row(row).map(|row| row.id.clone()) else { return };
        for at in at.into_iter().chain(strays).filter(|at| self.is_alive(*at)) {
            fx.push(Effect::EndSession { at, session: session.clone(), epoch, reason });
        }
    }

    /// Drops a binding to a process that is gone; that process, if there was such a binding. An epoch that goes on rises.
    pub(super) fn drop_void_binding(&mut self, row: RowKey, fx: &mut Effects) -> Option<WorkerRef> {
        let Binding::To { at, epoch } = self.binding(row) else { return None };
        if self.is_alive(at) || self.turn_of(row).is_some() {
            return None;
        }
        self.void(row, epoch, fx);
        Some(at)
    }

    /// The state of this epoch is lost. What other workers hold of it, who ran a hint call, is of no use any more.
    pub(super) fn void(&mut self, row: RowKey, lost: Epoch, fx: &mut Effects) {
        let fresh = self.fresh_epoch();
        let Sessions::Routed(routes) = &mut self.sessions else { return };
        routes.unbind(row, Unbound::WorkerLost);
        if let Some(route) = routes.route_mut(row).filter(|route| route.epoch == lost) {
            route.epoch = fresh;
        }
        self.tell_end(row, lost, None, SessionEnd::Moved, fx);
    }

    pub(super) fn live_row(&mut self, now: Now, id: &str, fx: &mut Effects) -> Option<RowKey> {
        let timeout = self.settings.sessions.timeout;
        if let Sessions::Tracked(table) = &self.sessions {
            return table.find(id).filter(|row| !table.is_due(*row, now, timeout));
        }
        let row = self.find_routed(id)?;
        match self.expiry_on_read(now, row, fx) {
            Aged::Alive => Some(row),
            Aged::Marked | Aged::Gone(_) => None,
        }
    }

    /// A new life for a session that is not there, or has expired: who binds it says that it is to live.
    fn row_to_bind(&mut self, now: Now, id: SessionId, fx: &mut Effects) -> Result<RowKey, Failure> {
        if let Some(expired) = self.find_routed(id.as_str()) {
            self.revive(now, expired, fx);
            return Ok(expired);
        }
        self.new_routed_row(now, id, Unbound::New, fx)
    }

    fn new_row(&mut self, now: Now, id: SessionId, fx: &mut Effects) -> Result<RowKey, Failure> {
        if let Sessions::Tracked(_) = &self.sessions {
            return self.new_tracked_row(now, id, fx);
        }
        if self.find_routed(id.as_str()).is_some() {
            return Err(Failure::SessionExpired(id));
        }
        self.new_routed_row(now, id, Unbound::New, fx)
    }

    fn touch_row(&mut self, row: RowKey, now: Now) {
        match &mut self.sessions {
            Sessions::Tracked(table) => table.touch(row, now),
            Sessions::Routed(routes) => routes.table.touch(row, now),
        }
    }

    fn info_of(&self, now: Now, key: RowKey) -> Option<SessionInfo> {
        match &self.sessions {
            Sessions::Tracked(table) => table
                .row(key)
                .map(|row| self.info(now, row, None, table.is_due(key, now, self.settings.sessions.timeout))),
            Sessions::Routed(routes) => {
                let due = routes.table.is_due(key, now, self.settings.sessions.timeout);
                routes.table.row(key).map(|row| self.info(now, row, Some(&row.route), due))
            }
        }
    }

    fn info<R>(&self, now: Now, row: &Row<R>, route: Option<&Route>, due: bool) -> SessionInfo {
        let bound = route.and_then(|route| match route.binding {
            Binding::To { at, .. } if self.is_alive(at) => Some(at),
            _ => None,
        });
        SessionInfo {
            id: row.id.clone(),
            state: if due { SessionState::Expired } else { SessionState::Active },
            worker: bound.map(|at| at.worker),
            generation: bound.map(|at| at.generation),
            epoch: route.map(|route| route.epoch),
            operations: row.operations,
            pending: row.pending,
            age_ms: millis(now - row.first_seen),
            idle_ms: if row.pending > 0 { 0 } else { millis(now - row.last) },
        }
    }

    fn is_two_phase(&self) -> bool {
        self.routes().is_some_and(|routes| matches!(routes.settings.expiry, Expiry::TwoPhase { .. }))
    }

    pub(super) fn find_routed(&self, id: &str) -> Option<RowKey> {
        self.routes().and_then(|routes| routes.table.find(id))
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
        self.route(row).map_or(Binding::None(Unbound::New), |route| route.binding)
    }

    pub(super) fn bound_process(&self, row: RowKey) -> Option<WorkerRef> {
        match self.binding(row) {
            Binding::To { at, .. } => Some(at),
            Binding::None(_) => None,
        }
    }

    pub(super) fn epoch_of(&self, row: RowKey) -> Epoch {
        self.route(row).map_or(Epoch(0), |route| route.epoch)
    }

    pub(super) fn turn_of(&self, row: RowKey) -> Option<CallId> {
        self.route(row).and_then(|route| route.turn)
    }

    pub(super) fn take_turn(&mut self, row: RowKey, id: CallId) {
        if let Some(route) = self.route_mut(row) {
            route.turn = Some(id);
        }
    }

    pub(super) fn line_of(&self, row: RowKey) -> Vec<CallId> {
        self.route(row)
            .and_then(|route| route.line.as_ref())
            .map_or_else(Vec::new, |line| line.waiting.iter().copied().collect())
    }
}

/// Why a session can't be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The pool has no such slot.
    #[error("there is no worker {0} in this pool")]
    NoSuchWorker(WorkerId),
    /// The slot has no ready process.
    #[error("worker {0} is not ready")]
    NotReady(WorkerId),
    /// The pool routes no sessions.
    #[error("this pool has no session affinity")]
    NoAffinity,
    /// The pool has as many sessions as it may.
    #[error("the pool has {0} sessions, its limit")]
    Quota(usize),
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
