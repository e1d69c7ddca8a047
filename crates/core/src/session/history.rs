//! The history of sessions: recorded while calls are processed, and read to explain where a session's calls ran. Decides
//! nothing.

use super::{
    RemovedSession, SessionEvent, SessionEventKind, SessionInfo,
    sessions::{Kind, Sessions},
};
use crate::{RowKey, SessionEndReason, Timestamp, WorkerRef, worker::Workers};
use std::time::Duration;

/// The known history of one session id, which may have had several epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEventLog {
    /// The current state of the session, or `None` if there is no such session. An expired session is included while two-phase
    /// expiry keeps it.
    pub present: Option<SessionInfo>,
    /// The process that held its state and is gone, if no call has reported the loss yet.
    pub lost: Option<WorkerRef>,
    /// Earlier lives that are still remembered, the oldest first.
    pub past: Vec<PastSession>,
    /// The events, the oldest first.
    pub events: Vec<SessionEvent>,
    /// Whether no event before the first one was overwritten.
    pub complete: bool,
}

/// An earlier life of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastSession {
    /// When it began.
    pub began: Timestamp,
    /// When the session was removed.
    pub ended: Timestamp,
    /// Why it ended.
    pub why: SessionEndReason,
    /// The number of finished calls.
    pub operations: u64,
}

impl Sessions {
    /// Returns the history of a session, as far back as the bounded events reach, or `None` in a pool without session
    /// affinity. An id that is unknown has an empty history. Costs the number of remembered removed sessions and of the
    /// session's events. Neither renews nor marks the session.
    pub(crate) fn event_log(&self, now: Timestamp, id: &[u8], workers: &Workers) -> Option<SessionEventLog> {
        let routes = self.routes()?;
        let row = routes.table.find(id);
        let mut chains: Vec<_> =
            row.and_then(|row| routes.route(row)).map(|route| route.last_event).into_iter().collect();
        chains.extend(routes.events.removed_sessions(id).map(|gone| gone.last_event));
        let mut complete = true;
        let mut events: Vec<SessionEvent> = Vec::new();
        for chain in chains {
            let (more, all) = routes.events.events(chain);
            events.extend(more);
            complete &= all;
        }
        events.reverse();
        let mut past: Vec<PastSession> = routes.events.removed_sessions(id).map(to_past_session).collect();
        past.reverse();
        let present = self.info(now, id, workers);
        let gone = |worker: &WorkerRef| !workers.is_alive(*worker) && row.is_some_and(|row| !self.is_released(row));
        let lost = row.and_then(|row| self.bound_process(row)).filter(gone);
        Some(SessionEventLog { present, lost, past, events, complete })
    }

    /// Records an event of a session, if the pool has affinity.
    pub(crate) fn record(&mut self, now: Timestamp, row: RowKey, what: SessionEventKind, worker: Option<WorkerRef>) {
        self.record_wait(now, row, what, worker, Duration::ZERO);
    }

    /// Records an event of a call of the session that waited in the queue.
    pub(crate) fn record_wait(
        &mut self,
        now: Timestamp,
        row: RowKey,
        what: SessionEventKind,
        worker: Option<WorkerRef>,
        waited: Duration,
    ) {
        if let Some(routes) = self.routes_mut()
            && let Some(row) = routes.table.row_mut(row)
        {
            routes.events.record_event(&mut row.route.last_event, now, what, worker, waited);
        }
    }

    /// Removes the row of a session. A pool with affinity remembers the removed session for some time.
    pub(super) fn archive(&mut self, row: RowKey, why: SessionEndReason, now: Timestamp) {
        match &mut self.kind {
            Kind::Tracked(table) => _ = table.remove(row),
            Kind::Routed(routes) => {
                let Some(row) = routes.table.remove(row) else { return };
                let (first_seen, operations, event_id) = (*row.first_seen, *row.operations, row.route.last_event);
                routes.events.archive_session(RemovedSession {
                    id: row.id,
                    first_seen,
                    at: now,
                    why,
                    operations,
                    last_event: event_id,
                });
            }
        }
    }
}

fn to_past_session(gone: &RemovedSession) -> PastSession {
    PastSession { began: gone.first_seen, ended: gone.at, why: gone.why, operations: gone.operations }
}
