//! Messages about sessions: track, renew, read, list and end. They are answered at once; the effects inform the
//! workers.

use super::{
    Core, Effects,
    expiry::{SessionAge, grace_passed},
};
use crate::{
    Epoch, Expiry, SessionId, Timestamp, WorkerId,
    failure::CallFailure,
    session::{AfterEpoch, Binding, RenewOutcome, Route, Row, RowKey, Sessions, Unbound},
};
use serde::Serialize;
use std::time::Duration;

/// Whether a session has expired (R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// The session has calls, or its timeout runs.
    Active,
    /// The timeout of the session has passed.
    Expired,
}

/// The state of one session (R22).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionInfo {
    /// The id of the session.
    pub id: SessionId,
    /// Active or expired.
    pub state: SessionState,
    /// The slot to which it is bound; `None` if it is not bound, and in a pool without affinity.
    pub worker: Option<WorkerId>,
    /// The generation of the process to which it is bound.
    pub generation: Option<crate::Generation>,
    /// The epoch of calls that are admitted now.
    pub epoch: Option<Epoch>,
    /// The number of finished calls.
    pub operations: u64,
    /// The number of queued or unfinished calls.
    pub pending: u32,
    /// Milliseconds since its first call.
    pub age_ms: u64,
    /// Milliseconds since its last activity.
    pub idle_ms: u64,
}

/// The maximum number of rows that one page visits.
pub const PAGE_SCAN: usize = 4096;

/// A page of a pool's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionPage {
    /// The sessions of this page.
    pub sessions: Vec<SessionInfo>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<usize>,
}

impl Core {
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
        let row = match self.live_row(now, id.as_bytes(), effects) {
            Some(row) => row,
            None => self.new_row(now, id.clone(), effects)?,
        };
        self.touch_row(row, now);
        self.info_of(now, row).ok_or(CallFailure::SessionNotFound(id))
    }

    /// Restarts the timeout of a session. Returns false if it does not exist.
    pub fn update_session_activity(&mut self, now: Timestamp, id: &SessionId, effects: &mut Effects) -> bool {
        let timeout = self.settings.sessions.timeout;
        let renewed = match &mut self.sessions {
            Sessions::Tracked(table) => table.renew(id.as_bytes(), now, timeout),
            Sessions::Routed(routes) if routes.is_scanning() => return self.update_activity_slow(now, id, effects),
            Sessions::Routed(routes) => routes.table.renew(id.as_bytes(), now, timeout),
        };
        match renewed {
            RenewOutcome::Renewed => true,
            RenewOutcome::Absent => false,
            RenewOutcome::Due => self.update_activity_slow(now, id, effects),
        }
    }

    #[cold]
    fn update_activity_slow(&mut self, now: Timestamp, id: &SessionId, effects: &mut Effects) -> bool {
        let found = self.live_row(now, id.as_bytes(), effects);
        if let Some(row) = found {
            self.touch_row(row, now);
        }
        found.is_some()
    }

    /// Returns the state of a session. Does not renew it.
    pub fn session_info(&self, now: Timestamp, id: impl AsRef<[u8]>) -> Option<SessionInfo> {
        let row = match &self.sessions {
            Sessions::Tracked(table) => table.find(id.as_ref())?,
            Sessions::Routed(routes) => routes.table.find(id.as_ref())?,
        };
        self.info_of(now, row)
    }

    /// Returns at most `limit` sessions from `cursor` on, in no defined order. The first cursor is 0. Includes expired
    /// sessions that two-phase expiry remembers. Visits at most [`PAGE_SCAN`] rows, so a page may be short or empty
    /// without being the last one.
    pub fn list_sessions(&self, now: Timestamp, cursor: usize, limit: usize) -> SessionPage {
        let places = self.sessions.row_capacity();
        let end = places.min(cursor.saturating_add(PAGE_SCAN));
        let mut page = SessionPage { sessions: Vec::new(), next: None };
        for index in cursor..end {
            if page.sessions.len() == limit {
                page.next = Some(index);
                return page;
            }
            page.sessions.extend(self.info_at(now, index));
        }
        page.next = (end < places).then_some(end);
        page
    }

    fn info_at(&self, now: Timestamp, index: usize) -> Option<SessionInfo> {
        let row = self.sessions.row_at(index)?;
        self.info_of(now, row)
    }

    /// Ends a session after the calls it has. Returns false if it does not exist.
    pub fn end_session(&mut self, now: Timestamp, id: impl AsRef<[u8]>, effects: &mut Effects) -> bool {
        let Some(key) = self.live_row(now, id.as_ref(), effects) else { return false };
        let Sessions::Tracked(table) = &mut self.sessions else {
            return self.end_routed(now, key, AfterEpoch::Forget, effects);
        };
        match table.row_mut(key) {
            Some(row) if row.pending() > 0 => row.route.ended = true,
            _ => _ = table.remove(key),
        }
        true
    }

    pub(super) fn live_row(&mut self, now: Timestamp, id: &[u8], effects: &mut Effects) -> Option<RowKey> {
        let timeout = self.settings.sessions.timeout;
        let routes = match &self.sessions {
            Sessions::Tracked(table) => {
                return table.get(id).filter(|(_, row)| !row.is_due(now, timeout)).map(|(key, _)| key);
            }
            Sessions::Routed(routes) => routes,
        };
        let (key, found) = routes.table.get(id)?;
        if routes.is_scanning() || found.is_due(now, timeout) {
            return self.live_row_slow(now, key, effects);
        }
        // By far the most frequent case.
        Some(key)
    }

    #[cold]
    fn live_row_slow(&mut self, now: Timestamp, row: RowKey, effects: &mut Effects) -> Option<RowKey> {
        self.unbind_released(now, row, effects);
        match self.expiry_on_read(now, row, effects) {
            SessionAge::Alive => Some(row),
            SessionAge::Marked | SessionAge::Gone(_) => None,
        }
    }

    fn new_row(&mut self, now: Timestamp, id: SessionId, effects: &mut Effects) -> Result<RowKey, CallFailure> {
        if let Sessions::Tracked(_) = &self.sessions {
            return self.new_tracked_row(now, id, effects);
        }
        if self.routes().is_some_and(|routes| routes.table.find(id.as_bytes()).is_some()) {
            return Err(CallFailure::SessionExpired(id));
        }
        self.new_routed_row(now, id, Unbound::New, effects)
    }

    pub(super) fn touch_row(&mut self, row: RowKey, now: Timestamp) {
        match &mut self.sessions {
            Sessions::Tracked(table) => table.touch(row, now),
            Sessions::Routed(routes) => routes.table.touch(row, now),
        }
    }

    /// Returns the state of a row, as a call of the session would find it now; `None` if the session is no longer
    /// remembered.
    fn info_of(&self, now: Timestamp, key: RowKey) -> Option<SessionInfo> {
        match &self.sessions {
            Sessions::Tracked(table) => table.row(key).and_then(|row| self.info(now, row, None)),
            Sessions::Routed(routes) => routes.table.row(key).and_then(|row| self.info(now, row, Some(&row.route))),
        }
    }

    fn info<R>(&self, now: Timestamp, row: &Row<R>, route: Option<&Route>) -> Option<SessionInfo> {
        let bound = route.and_then(|route| match route.binding {
            Binding::Bound { worker, .. } if self.is_alive(worker) && !self.is_row_released(route) => Some(worker),
            _ => None,
        });
        Some(SessionInfo {
            id: row.id.clone(),
            state: self.state_of(now, row)?,
            worker: bound.map(|worker| worker.id),
            generation: bound.map(|worker| worker.generation),
            epoch: route.map(|route| route.epoch),
            operations: row.operations,
            pending: row.pending(),
            age_ms: millis(now - row.first_seen),
            idle_ms: if row.pending() > 0 { 0 } else { millis(now - row.last) },
        })
    }

    /// Returns `None` for a session that has ended, even if its row still exists.
    fn state_of<R>(&self, now: Timestamp, row: &Row<R>) -> Option<SessionState> {
        if !row.is_due(now, self.settings.sessions.timeout) {
            return Some(SessionState::Active);
        }
        match self.routes()?.settings.expiry {
            Expiry::TwoPhase { grace } if !row.marked().is_some_and(|at| grace_passed(now, at, grace)) => {
                Some(SessionState::Expired)
            }
            _ => None,
        }
    }

    fn is_row_released(&self, route: &Route) -> bool {
        self.routes().is_some_and(|routes| routes.is_released(route))
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
