//! Why a session's calls ran where they ran: notes made on the way, and the story told from them. Decides nothing.

use super::{Core, SessionEndReason, SessionInfo};
use crate::{
    Timestamp, WorkerRef,
    failure::ProcessExit,
    session::{RemovedSession, RowKey, SessionEvent, SessionEventKind, Sessions},
};
use std::time::Duration;

/// What is known of the life, or the lives, of one session id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEventLog {
    /// The session as it is, if it is there. One that is expired is there as long as two-phase expiry knows it.
    pub present: Option<SessionInfo>,
    /// The process that had its state and is gone, if nobody was told of that yet.
    pub lost: Option<WorkerRef>,
    /// Its lives that are over and not yet forgotten, the oldest first.
    pub past: Vec<PastSession>,
    /// What happened, the oldest first.
    pub events: Vec<SessionEvent>,
    /// Whether nothing before the first event was forgotten.
    pub complete: bool,
}

/// A life of a session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastSession {
    /// When it began.
    pub began: Timestamp,
    /// When it was gone.
    pub ended: Timestamp,
    /// Why it ended.
    pub why: SessionEndReason,
    /// Calls finished.
    pub operations: u64,
}

impl Core {
    /// Why this session's calls ran where they ran, as far back as the pool's bounded trail reaches; `None` in a pool without
    /// session affinity. An id never seen has neither a present nor a past. Costs the sessions that are gone and still known,
    /// and the session's events. Reading renews and marks nothing.
    pub fn session_events(&self, now: Timestamp, id: impl AsRef<[u8]>) -> Option<SessionEventLog> {
        let (id, routes) = (id.as_ref(), self.routes()?);
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
        let mut past: Vec<PastSession> = routes.events.removed_sessions(id).map(past).collect();
        past.reverse();
        let present = self.session_info(now, id);
        let gone = |worker: &WorkerRef| !self.is_alive(*worker) && row.is_some_and(|row| !self.is_released(row));
        let lost = row.and_then(|row| self.bound_process(row)).filter(gone);
        Some(SessionEventLog { present, lost, past, events, complete })
    }

    /// How this process ended, if it is the last of its slot that did.
    pub fn exit_of(&self, worker: WorkerRef) -> Option<ProcessExit> {
        self.slots.get((worker.id.0 as usize).checked_sub(1)?)?.exit_of(worker)
    }

    /// Puts something on the trail of a session; nothing where sessions are only tracked.
    pub(super) fn record_event(
        &mut self,
        now: Timestamp,
        row: RowKey,
        what: SessionEventKind,
        worker: Option<WorkerRef>,
    ) {
        self.record_wait(now, row, what, worker, Duration::ZERO);
    }

    pub(super) fn record_wait(
        &mut self,
        now: Timestamp,
        row: RowKey,
        what: SessionEventKind,
        worker: Option<WorkerRef>,
        waited: Duration,
    ) {
        if let Sessions::Routed(routes) = &mut self.sessions
            && let Some(row) = routes.table.row_mut(row)
        {
            routes.events.record_event(&mut row.route.last_event, now, what, worker, waited);
        }
    }

    /// Removes the row of a session that is over. A pool with affinity still knows for a while that it was there.
    pub(super) fn archive_session(&mut self, now: Timestamp, row: RowKey, why: SessionEndReason) {
        match &mut self.sessions {
            Sessions::Tracked(table) => _ = table.remove(row),
            Sessions::Routed(routes) => {
                let Some(row) = routes.table.remove(row) else { return };
                let (first_seen, operations, event_id) = (row.first_seen, row.operations, row.route.last_event);
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

fn past(gone: &RemovedSession) -> PastSession {
    PastSession { began: gone.first_seen, ended: gone.at, why: gone.why, operations: gone.operations }
}
