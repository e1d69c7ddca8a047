//! Creates the history of a session from the core's events: adds system times, texts and the reasons of exits, only on
//! request. Reads the state and changes nothing.

mod text;

use super::State;
use crate::{
    HistoryEntry, HistoryState, PastSessionEntry, SessionHistory,
    clock::WallClock,
    error::{ExitRecord, loss_reason},
};
use herder_core::{
    PastSession, SessionEndReason, SessionEvent, SessionEventKind, SessionEventLog, SessionId, Timestamp, WorkerRef,
};

impl State {
    /// Returns the history of a session; `None` in a pool without session affinity.
    pub(crate) fn session_history(&self, now: Timestamp, session: SessionId) -> Option<SessionHistory> {
        let log = self.core().session_events(now, session.as_str())?;
        let wall_clock = WallClock::now(self.clock());
        let (state, summary) = (state(&log), text::summary(self, now, &log));
        let events = log.events.iter().map(|event| self.entry(&wall_clock, event)).collect();
        let past = log.past.iter().map(|life| past(&wall_clock, life)).collect();
        let (present, complete) = (log.present, log.complete);
        let pool = self.config().name().clone();
        Some(SessionHistory { pool, session, state, summary, present, past, events, complete })
    }

    fn entry(&self, wall_clock: &WallClock, event: &SessionEvent) -> HistoryEntry {
        let (kind, why) = kind_and_reason(event.kind);
        HistoryEntry {
            at: wall_clock.at(event.first),
            until: wall_clock.at(event.last),
            kind,
            why,
            worker: event.worker.map(|worker| worker.id),
            generation: event.worker.map(|worker| worker.generation),
            times: event.times,
            waited_us: u64::try_from(event.waited.as_micros()).unwrap_or(u64::MAX),
            text: text::describe(self, event),
        }
    }

    /// Returns the reason of a process's exit as text, if the exit is still recorded.
    fn exit_reason(&self, worker: WorkerRef) -> Option<Box<str>> {
        let exit_record = self.exit_record(worker);
        let exit = exit_record.and_then(ExitRecord::exit).or_else(|| self.core().exit_of(worker))?;
        Some(loss_reason(&exit, exit_record))
    }
}

fn past(wall_clock: &WallClock, life: &PastSession) -> PastSessionEntry {
    PastSessionEntry {
        began: wall_clock.at(life.began),
        ended: wall_clock.at(life.ended),
        why: past_reason(life.why),
        operations: life.operations,
    }
}

fn state(history: &SessionEventLog) -> HistoryState {
    match &history.present {
        Some(info) if info.state == herder_core::SessionState::Active => HistoryState::Active,
        Some(_) => HistoryState::Expired,
        None if history.past.is_empty() => HistoryState::NeverSeen,
        None => HistoryState::Removed,
    }
}

/// Returns the kind of an event, and what distinguishes it from others of its kind.
fn kind_and_reason(kind: SessionEventKind) -> (&'static str, Option<&'static str>) {
    match kind {
        SessionEventKind::Sent(routing) => ("sent", Some(routing.why().unwrap_or(routing.as_str()))),
        SessionEventKind::Bound => ("bound", None),
        SessionEventKind::Unbound(why) => ("unbound", Some(past_reason(why))),
        SessionEventKind::StateLost => ("lost", None),
        SessionEventKind::LossReported => ("loss_reported", None),
        SessionEventKind::MarkedExpired => ("expired", None),
        SessionEventKind::RefusedExpired => ("refused", Some("expired")),
        SessionEventKind::RefusedBusy => ("refused", Some("busy")),
        SessionEventKind::RefusedFull => ("refused", Some("queue_full")),
        SessionEventKind::TakenBack => ("taken_back", None),
        SessionEventKind::LeftQueue => ("left_queue", None),
        SessionEventKind::Removed(why) => ("removed", Some(past_reason(why))),
    }
}

fn past_reason(why: SessionEndReason) -> &'static str {
    match why {
        SessionEndReason::Ended => "ended",
        SessionEndReason::Expired => "expired",
        SessionEndReason::Moved => "moved",
    }
}
