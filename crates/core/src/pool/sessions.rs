//! What messages ask of the sessions. The decisions are those of [`Sessions`]. What follows from the end of a call of a
//! session, and which call of it is next, is in `dispatch/waiting.rs`.

use super::Core;
use crate::{
    AffinityStatus, BindError, Effects, Lookup, RowKey, SessionEventLog, SessionId, SessionInfo, SessionPage,
    Timestamp, WorkerId, WorkerRef,
    failure::CallFailure,
    session::{Sessions, Step},
};

impl Core {
    /// Returns the sessions, and what a change of them needs from the rest of the pool.
    pub(super) fn sessions_step<'a>(
        &'a mut self,
        now: Timestamp,
        effects: &'a mut Effects,
    ) -> (&'a mut Sessions, Step<'a>) {
        let Self { sessions, workers, calls, .. } = self;
        (sessions, Step { now, workers, calls, effects })
    }

    /// Returns the process to which a session is bound. With two-phase expiry, this read marks a session whose timeout
    /// has passed.
    pub fn worker_of(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> Lookup {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.worker_of(id.as_ref(), &mut step)
    }

    /// Binds a session to the current process of a slot: its next calls run there. If its state is on another worker,
    /// that state ends after the calls it has. Until then a later bind, unbind or end replaces this one. If the
    /// session's previous worker was lost, that loss is no longer reported.
    ///
    /// # Errors
    /// Returns [`BindError`] if the session cannot be bound.
    pub fn bind_session(
        &mut self,
        now: Timestamp,
        id: SessionId,
        worker: WorkerId,
        effects: &mut Effects,
    ) -> Result<WorkerRef, BindError> {
        let slot = self.workers.get(worker).ok_or(BindError::NoSuchWorker(worker))?;
        let worker_ref = slot.worker;
        if !slot.is_live() {
            return Err(BindError::NotReady(worker));
        }
        let (sessions, mut step) = self.sessions_step(now, effects);
        let row = sessions.bind_to(id, worker_ref, &mut step)?;
        self.requeue_bound_calls(now, row, effects);
        self.sessions.touch(row, now);
        Ok(worker_ref)
    }

    /// Unbinds a session. Its state ends after the calls it has. Returns false if it was not bound.
    pub fn unbind_session(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> bool {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.unbind(id.as_ref(), &mut step)
    }

    /// Creates a session without a call, or renews the timeout of an existing one.
    ///
    /// # Errors
    /// Returns [`CallFailure::SessionQuota`] if the pool has the maximum number of sessions, and
    /// [`CallFailure::SessionExpired`] while two-phase expiry remembers the session as expired.
    pub fn track_session(
        &mut self,
        now: Timestamp,
        id: SessionId,
        effects: &mut Effects,
    ) -> Result<SessionInfo, CallFailure> {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.track(id, &mut step)
    }

    /// Restarts the timeout of a session. Returns false if it does not exist.
    pub fn update_session_activity(&mut self, now: Timestamp, id: &SessionId, effects: &mut Effects) -> bool {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.renew(id.as_bytes(), &mut step)
    }

    /// Returns the state of a session. Does not renew it.
    pub fn session_info(&self, now: Timestamp, id: impl AsRef<[u8]>) -> Option<SessionInfo> {
        self.sessions.info(now, id.as_ref(), &self.workers)
    }

    /// Returns at most `limit` sessions from `cursor` on, in no defined order. The first cursor is 0. Includes expired
    /// sessions that two-phase expiry remembers. Visits at most [`PAGE_SCAN`](crate::PAGE_SCAN) rows, so a page may be
    /// short or empty without being the last one.
    pub fn list_sessions(&self, now: Timestamp, cursor: usize, limit: usize) -> SessionPage {
        self.search_sessions(now, cursor, limit, "")
    }

    /// Like [`list_sessions`](Self::list_sessions), but only the sessions whose id contains `search`.
    pub fn search_sessions(&self, now: Timestamp, cursor: usize, limit: usize, search: &str) -> SessionPage {
        self.sessions.list(now, cursor, limit, search, &self.workers)
    }

    /// Ends a session after the calls it has. Returns false if it does not exist. Its state ends after its strict calls;
    /// a hint call that waits longer begins a state of its own, which ends with the last of these calls.
    pub fn end_session(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> bool {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.end(id.as_ref(), &mut step)
    }

    /// Performs one step of the sweep, which visits at most `budget` rows. Returns the number of removed sessions and
    /// whether more are due. With two-phase expiry, sessions are first marked, and removed after `grace`.
    pub fn sweep(&mut self, now: Timestamp, budget: usize, effects: &mut Effects) -> (usize, bool) {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.sweep(budget, &mut step)
    }

    /// Returns the numbers of the affinity table, or `None` in a pool without affinity.
    pub fn affinity_status(&self, now: Timestamp) -> Option<AffinityStatus> {
        self.sessions.affinity_status(now)
    }

    /// Returns the history of a session, as far back as the pool's bounded events reach, or `None` in a pool without
    /// session affinity. An id that is unknown has an empty history. Costs the number of remembered removed sessions
    /// and of the session's events. Neither renews nor marks the session.
    pub fn session_events(&self, now: Timestamp, id: impl AsRef<[u8]>) -> Option<SessionEventLog> {
        self.sessions.event_log(now, id.as_ref(), &self.workers)
    }

    /// Unbinds all sessions of a slot's current process and returns their number. From now on no lookup returns them.
    /// Sessions with calls keep their state until these calls are finished; calls that are admitted from now on do not
    /// use it. Costs at most the largest number of calls that the pool had at one time; the worker is notified of the
    /// other sessions step by step.
    /// Bindings to a process that is gone are void already. They stay, so that the next call reports the loss (R20).
    pub fn remove_worker_sessions(&mut self, now: Timestamp, worker: WorkerId, effects: &mut Effects) -> usize {
        let Some(worker_ref) = self.process_of(worker).filter(|worker_ref| self.workers.is_alive(*worker_ref)) else {
            return 0;
        };
        if !self.sessions.is_routed() {
            return 0;
        }
        let busy = self.rows_with_calls();
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.release_all(worker_ref, busy, &mut step)
    }

    /// Returns the sessions that have queued or unfinished calls, in no order and some of them repeatedly.
    fn rows_with_calls(&self) -> Vec<RowKey> {
        let calls = self.calls.iter().filter_map(|call| call.role.row());
        let attempts =
            self.workers.iter().flat_map(|slot| slot.attempts().iter()).filter_map(|attempt| attempt.session);
        calls.chain(attempts.map(|session| session.row)).collect()
    }

    /// Removes a binding of a session to a process that is gone.
    pub(super) fn drop_dead_binding(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) {
        let (sessions, mut step) = self.sessions_step(now, effects);
        sessions.drop_dead_binding(row, &mut step);
    }
}
