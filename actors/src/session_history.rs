//! Why a session's calls ran where they ran, in words: the core's bare events with the wall clock, texts and the reasons of ends
//! added when somebody asks. A snapshot, no state.

mod text;

use crate::{clock::WallClock, shared_state::State, status::rfc3339};
use herder_core::{
    Generation, PastSession, PoolName, SessionEndReason, SessionEvent, SessionEventKind, SessionEventLog, SessionId,
    SessionInfo, Timestamp, WorkerId, WorkerRef,
};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// The story of one session, as far as its pool remembers: the last 16,384 events and the last 4096 sessions that are gone.
///
/// `Display` gives it as text, a line an event.
#[derive(Clone, Debug, Serialize)]
pub struct SessionHistory {
    /// The pool.
    pub pool: PoolName,
    /// The session.
    pub session: SessionId,
    /// How it stands.
    pub state: HistoryState,
    /// The same in words.
    pub summary: String,
    /// What is known of it now, if it is there.
    pub present: Option<SessionInfo>,
    /// Its lives that are over, the oldest first.
    pub past: Vec<PastSessionEntry>,
    /// What happened, the oldest first.
    pub events: Vec<HistoryEntry>,
    /// Whether nothing before the first event was forgotten.
    pub complete: bool,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryState {
    /// It is there, and its timeout runs.
    Active,
    /// Its timeout has passed, and it is still known.
    Expired,
    /// It was there, and is gone.
    Removed,
    /// It was never there, as far as the pool remembers.
    NeverSeen,
}

/// A life of the session that is over.
#[derive(Clone, Debug, Serialize)]
pub struct PastSessionEntry {
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    pub began: SystemTime,
    /// When it was gone.
    #[serde(serialize_with = "rfc3339")]
    pub ended: SystemTime,
    /// `expired` or `ended`.
    pub why: &'static str,
    /// Calls finished.
    pub operations: u64,
}

/// One thing, or several of the same kind in a row, that happened to the session.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEntry {
    /// When, the first time.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// When, the last time.
    #[serde(serialize_with = "rfc3339")]
    pub until: SystemTime,
    /// `send_count`, `bound`, `unbound`, `lost`, `told_of_loss`, `expired`, `refused`, `gave_up` or `gone`.
    pub kind: &'static str,
    /// How a call was routed, why something ended, or why a call was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// The worker's slot, if one was concerned.
    pub worker: Option<WorkerId>,
    /// Which of the slot's processes.
    pub generation: Option<Generation>,
    /// How often in a row.
    pub times: u32,
    /// The longest wait in the queue of these calls, in microseconds.
    pub waited_us: u64,
    /// All that in words.
    pub text: String,
}

impl State {
    /// The story of a session; `None` in a pool without session affinity.
    pub(crate) fn session_history(&self, now: Timestamp, session: SessionId) -> Option<SessionHistory> {
        let found = self.core().session_events(now, session.as_str())?;
        let wall = WallClock::now(self.clock());
        let (state, summary) = (state(&found), text::summary(self, now, &found));
        let events = found.events.iter().map(|event| self.entry(&wall, event)).collect();
        let past = found.past.iter().map(|life| past(&wall, life)).collect();
        let (present, complete) = (found.present, found.complete);
        let pool = self.config().name().clone();
        Some(SessionHistory { pool, session, state, summary, present, past, events, complete })
    }

    fn entry(&self, wall: &WallClock, event: &SessionEvent) -> HistoryEntry {
        let (what, why) = kind_and_reason(event.kind);
        HistoryEntry {
            at: wall.at(event.first),
            until: wall.at(event.last),
            kind: what,
            why,
            worker: event.worker.map(|worker| worker.id),
            generation: event.worker.map(|worker| worker.generation),
            times: event.times,
            waited_us: u64::try_from(event.waited.as_micros()).unwrap_or(u64::MAX),
            text: text::describe(self, event),
        }
    }

    /// How a process ended, in words, if that is still known.
    fn end_in_words(&self, worker: WorkerRef) -> Option<Box<str>> {
        self.core().exit_of(worker).map(|end| crate::error::loss_reason(&end, self.exit_record(worker)))
    }
}

fn past(wall: &WallClock, life: &PastSession) -> PastSessionEntry {
    PastSessionEntry {
        began: wall.at(life.began),
        ended: wall.at(life.ended),
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

/// The kind of an event, and what tells it from others of its kind.
fn kind_and_reason(what: SessionEventKind) -> (&'static str, Option<&'static str>) {
    match what {
        SessionEventKind::Sent(routing) => ("sent", Some(routing.why().unwrap_or(routing.as_str()))),
        SessionEventKind::Bound => ("bound", None),
        SessionEventKind::Unbound(why) => ("unbound", Some(past_reason(why))),
        SessionEventKind::StateLost => ("lost", None),
        SessionEventKind::LossReported => ("told_of_loss", None),
        SessionEventKind::MarkedExpired => ("expired", None),
        SessionEventKind::RefusedExpired => ("refused", Some("expired")),
        SessionEventKind::RefusedBusy => ("refused", Some("busy")),
        SessionEventKind::RefusedFull => ("refused", Some("queue_full")),
        SessionEventKind::LeftQueue => ("gave_up", None),
        SessionEventKind::Removed(why) => ("gone", Some(past_reason(why))),
    }
}

fn past_reason(why: SessionEndReason) -> &'static str {
    match why {
        SessionEndReason::Ended => "ended",
        SessionEndReason::Expired => "expired",
        SessionEndReason::Moved => "moved",
    }
}

/// Nanoseconds, and microseconds of what took longer, are noise in a text.
pub(crate) fn rounded(span: Duration) -> humantime::FormattedDuration {
    let unit = match span.as_micros() {
        0..1_000 => 1_000,
        1_000..10_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_nanos(nanos / unit * unit))
}
