//! The history of a session as users read it: the core's events with system times, texts and the reasons of exits, which are
//! added only on request. A snapshot; holds no state.

mod text;

use crate::{clock::WallClock, shared_state::State, status::rfc3339};
use herder_core::{
    Generation, PastSession, PoolName, SessionEndReason, SessionEvent, SessionEventKind, SessionEventLog, SessionId,
    SessionInfo, Timestamp, WorkerId, WorkerRef,
};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// The history of one session, as far as the pool keeps it: the last 16,384 events of the pool and its last 4096 removed
/// sessions.
///
/// `Display` formats it as text with one event per line.
#[derive(Clone, Debug, Serialize)]
pub struct SessionHistory {
    /// The pool.
    pub pool: PoolName,
    /// The session.
    pub session: SessionId,
    /// The state of the session.
    pub state: HistoryState,
    /// The state in one sentence.
    pub summary: String,
    /// The session's present entry, unless it was removed or never existed.
    pub present: Option<SessionInfo>,
    /// The earlier lives of the session, the oldest first.
    pub past: Vec<PastSessionEntry>,
    /// The events, the oldest first.
    pub events: Vec<HistoryEntry>,
    /// Whether the events before the first one are known, so that the history is complete.
    pub complete: bool,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryState {
    /// The session exists and its timeout has not passed.
    Active,
    /// The session's timeout has passed, and it was not removed yet.
    Expired,
    /// The session was removed.
    Removed,
    /// The session never existed, as far as the pool knows.
    NeverSeen,
}

/// A life of the session that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct PastSessionEntry {
    /// When the session started.
    #[serde(serialize_with = "rfc3339")]
    pub began: SystemTime,
    /// When the session was removed.
    #[serde(serialize_with = "rfc3339")]
    pub ended: SystemTime,
    /// `expired` or `ended`.
    pub why: &'static str,
    /// The number of calls finished.
    pub operations: u64,
}

/// An event, or several consecutive events of the same kind.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEntry {
    /// When the first of them happened.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// When the last of them happened.
    #[serde(serialize_with = "rfc3339")]
    pub until: SystemTime,
    /// `sent`, `bound`, `unbound`, `lost`, `loss_reported`, `expired`, `refused`, `left_queue` or `removed`.
    pub kind: &'static str,
    /// How a call was routed, why a binding or the session ended, or why a call was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// The slot of the worker, if the event concerns one.
    pub worker: Option<WorkerId>,
    /// The generation of the worker's process.
    pub generation: Option<Generation>,
    /// The number of events.
    pub times: u32,
    /// The longest time that one of these calls waited in the queue, in microseconds.
    pub waited_us: u64,
    /// The event as text.
    pub text: String,
}

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
        self.core().exit_of(worker).map(|end| crate::error::loss_reason(&end, self.exit_record(worker)))
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

/// Rounds a duration for texts: nanoseconds are dropped, and also microseconds of longer times.
pub(crate) fn rounded(span: Duration) -> humantime::FormattedDuration {
    let unit = match span.as_micros() {
        0..1_000 => 1_000,
        1_000..10_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_nanos(nanos / unit * unit))
}
