//! What messages ask of sessions: track, renew, read, list and end. Each is answered at once; the effects inform the
//! workers.

use super::{
    AfterEpoch, Binding, RenewOutcome, Route, Row, Unbound,
    answers::{PAGE_SCAN, SessionInfo, SessionPage, SessionState},
    expiry::{SessionAge, grace_passed},
    sessions::{Kind, Sessions},
    step::Step,
};
use crate::{
    AffinityStatus, Expiry, RowKey, SessionId, Timestamp, failure::CallFailure, time::millis, worker::Workers,
};

impl Sessions {
    /// Creates a session without a call, or renews the timeout of an existing one.
    pub(crate) fn track(&mut self, id: SessionId, step: &mut Step<'_>) -> Result<SessionInfo, CallFailure> {
        let row = match self.live_row(id.as_bytes(), step) {
            Some(row) => row,
            None => self.new_row(id.clone(), step)?,
        };
        self.touch(row, step.now);
        self.info_of(step.now, row, step.workers).ok_or(CallFailure::SessionNotFound(id))
    }

    /// Restarts the timeout of a session. Returns false if it does not exist.
    pub(crate) fn renew(&mut self, id: &[u8], step: &mut Step<'_>) -> bool {
        let timeout = self.timeout;
        let renewed = match &mut self.kind {
            Kind::Tracked(table) => table.renew(id, step.now, timeout),
            Kind::Routed(routes) if routes.is_scanning() => return self.renew_slow(id, step),
            Kind::Routed(routes) => routes.table.renew(id, step.now, timeout),
        };
        match renewed {
            RenewOutcome::Renewed => true,
            RenewOutcome::Absent => false,
            RenewOutcome::Due => self.renew_slow(id, step),
        }
    }

    #[cold]
    fn renew_slow(&mut self, id: &[u8], step: &mut Step<'_>) -> bool {
        let found = self.live_row(id, step);
        if let Some(row) = found {
            self.touch(row, step.now);
        }
        found.is_some()
    }

    /// Ends a session after the calls it has. Returns false if it does not exist. Its state ends after its strict calls.
    pub(crate) fn end(&mut self, id: &[u8], step: &mut Step<'_>) -> bool {
        let Some(key) = self.live_row(id, step) else { return false };
        let Kind::Tracked(table) = &mut self.kind else {
            return self.end_epoch(key, AfterEpoch::Forget, step);
        };
        match table.row_mut(key) {
            Some(row) if row.pending() > 0 => row.route.ended = true,
            _ => _ = table.remove(key),
        }
        true
    }

    /// Returns the row of a session that exists and has not expired.
    pub(super) fn live_row(&mut self, id: &[u8], step: &mut Step<'_>) -> Option<RowKey> {
        let (now, timeout) = (step.now, self.timeout);
        let routes = match &self.kind {
            Kind::Tracked(table) => {
                return table.get(id).filter(|(_, row)| !row.is_due(now, timeout)).map(|(key, _)| key);
            }
            Kind::Routed(routes) => routes,
        };
        let (key, found) = routes.table.get(id)?;
        if routes.is_scanning() || found.is_due(now, timeout) {
            return self.live_row_slow(key, step);
        }
        // By far the most frequent case.
        Some(key)
    }

    #[cold]
    fn live_row_slow(&mut self, row: RowKey, step: &mut Step<'_>) -> Option<RowKey> {
        self.unbind_released(row, step);
        match self.expiry_on_read(row, step) {
            SessionAge::Alive => Some(row),
            SessionAge::Marked | SessionAge::Gone(_) => None,
        }
    }

    fn new_row(&mut self, id: SessionId, step: &mut Step<'_>) -> Result<RowKey, CallFailure> {
        let Some(routes) = self.routes() else { return self.new_tracked_row(id, step) };
        if routes.table.find(id.as_bytes()).is_some() {
            return Err(CallFailure::SessionExpired(id));
        }
        self.new_routed_row(id, Unbound::New, step)
    }
}

/// Reads.
impl Sessions {
    /// Returns the state of a session. Does not renew it.
    pub(crate) fn info(&self, now: Timestamp, id: &[u8], workers: &Workers) -> Option<SessionInfo> {
        let row = match &self.kind {
            Kind::Tracked(table) => table.find(id)?,
            Kind::Routed(routes) => routes.table.find(id)?,
        };
        self.info_of(now, row, workers)
    }

    /// Returns at most `limit` sessions from `cursor` on whose id contains `search`, in no defined order. Visits at most
    /// [`PAGE_SCAN`] rows.
    pub(crate) fn list(
        &self,
        now: Timestamp,
        cursor: usize,
        limit: usize,
        search: &str,
        workers: &Workers,
    ) -> SessionPage {
        let places = self.row_capacity();
        let end = places.min(cursor.saturating_add(PAGE_SCAN));
        let mut page = SessionPage { sessions: Vec::new(), next: None, active_sessions: self.active(now) };
        for index in cursor..end {
            if page.sessions.len() == limit {
                page.next = Some(index);
                return page;
            }
            let session = self.row_at(index).and_then(|row| self.info_of(now, row, workers));
            page.sessions.extend(session.filter(|session| session.id.as_str().contains(search)));
        }
        page.next = (end < places).then_some(end);
        page
    }

    /// Returns the number of sessions that have not expired.
    pub(crate) fn active(&self, now: Timestamp) -> usize {
        self.len() - self.count_expired(now)
    }

    /// Returns the numbers of the affinity table, or `None` in a pool without affinity.
    pub(crate) fn affinity_status(&self, now: Timestamp) -> Option<AffinityStatus> {
        let routes = self.routes()?;
        let expired = self.count_expired(now);
        Some(AffinityStatus {
            total_sessions: routes.table.len() - expired,
            expired_sessions: expired,
            workers_with_sessions: routes.workers_with_sessions(),
            hits: routes.counters.hits,
            misses: routes.counters.misses,
            rebinds: routes.counters.rebinds,
            cleanup_runs: routes.counters.cleanup_runs,
            sessions_cleaned: routes.counters.cleaned,
        })
    }

    /// Returns the state of a row, as a call of the session would find it now; `None` if the session is no longer
    /// remembered.
    fn info_of(&self, now: Timestamp, key: RowKey, workers: &Workers) -> Option<SessionInfo> {
        match &self.kind {
            Kind::Tracked(table) => table.row(key).and_then(|row| self.describe(now, row, None, workers)),
            Kind::Routed(routes) => {
                routes.table.row(key).and_then(|row| self.describe(now, row, Some(&row.route), workers))
            }
        }
    }

    fn describe<R>(
        &self,
        now: Timestamp,
        row: &Row<R>,
        route: Option<&Route>,
        workers: &Workers,
    ) -> Option<SessionInfo> {
        let bound = route.and_then(|route| match route.binding {
            Binding::Bound { worker, .. } if workers.is_alive(worker) && !self.is_route_released(route) => Some(worker),
            _ => None,
        });
        Some(SessionInfo {
            id: row.id.clone(),
            state: self.state_of(now, row)?,
            worker: bound.map(|worker| worker.id),
            generation: bound.map(|worker| worker.generation),
            epoch: route.map(|route| route.epoch),
            operations: *row.operations,
            pending: row.pending(),
            age_ms: millis(now - *row.first_seen),
            idle_ms: if row.pending() > 0 { 0 } else { millis(now - row.last) },
        })
    }

    /// Returns `None` for a session that has ended, even if its row still exists.
    fn state_of<R>(&self, now: Timestamp, row: &Row<R>) -> Option<SessionState> {
        if !row.is_due(now, self.timeout) {
            return Some(SessionState::Active);
        }
        match self.routes()?.settings.expiry {
            Expiry::TwoPhase { grace } if !row.marked().is_some_and(|at| grace_passed(now, at, grace)) => {
                Some(SessionState::Expired)
            }
            _ => None,
        }
    }

    fn is_route_released(&self, route: &Route) -> bool {
        self.routes().is_some_and(|routes| routes.is_released(route))
    }

    fn row_at(&self, place: usize) -> Option<RowKey> {
        match &self.kind {
            Kind::Tracked(table) => table.row_at(place).map(|(key, _)| key),
            Kind::Routed(routes) => routes.table.row_at(place).map(|(key, _)| key),
        }
    }
}
