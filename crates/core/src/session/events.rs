//! The session events: fixed-size records in one bounded ring for the pool, each linked to the previous event of its
//! session, and the last sessions that were removed. Written while calls are processed, and read only by `herder why`
//! and the like. Decides nothing.

use crate::{SessionEndReason, SessionId, Timestamp, WorkerRef};
use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    time::Duration,
};

/// The number of events that a pool keeps: 1 MiB ([I6](crate#invariants)).
pub const SESSION_EVENT_LIMIT: usize = 16_384;
/// The number of removed sessions that a pool remembers ([I6](crate#invariants)).
pub const REMOVED_SESSION_LIMIT: usize = 4096;

/// One event of a session, or several consecutive ones of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEvent {
    /// The kind of the event.
    pub kind: SessionEventKind,
    /// The process that took part, if there was one.
    pub worker: Option<WorkerRef>,
    /// The time of the first of these events.
    pub first: Timestamp,
    /// The time of the last of these events.
    pub last: Timestamp,
    /// The number of these events.
    pub times: u32,
    /// The longest time that one of these calls waited in the queue.
    pub waited: Duration,
}

/// The kinds of events of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEventKind {
    /// A call was sent, routed this way.
    Sent(crate::Routing),
    /// The session was bound by a message.
    Bound,
    /// The state of the session was ended for this reason; the session itself stays.
    Unbound(SessionEndReason),
    /// The process that held the state is gone.
    StateLost,
    /// A call was answered `SessionWorkerLost`, because the state was lost.
    LossReported,
    /// The session was marked as expired by a read or a sweep (two-phase expiry).
    MarkedExpired,
    /// A call was answered `SessionExpired`.
    RefusedExpired,
    /// A call was answered `WorkerBusy`.
    RefusedBusy,
    /// A call was answered `SessionQueueFull`.
    RefusedFull,
    /// A call that was sent in advance waits again, since the worker gave it back or died before it began.
    TakenBack,
    /// A waiting call was answered or abandoned before it was sent.
    LeftQueue,
    /// The session was removed for this reason.
    Removed(SessionEndReason),
}

/// A session that was removed.
#[derive(Clone, Debug)]
pub(crate) struct RemovedSession {
    pub(crate) id: SessionId,
    pub(crate) first_seen: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) why: SessionEndReason,
    pub(crate) operations: u64,
    pub(crate) last_event: EventId,
}

/// The number of an event, from 1; 0 means none. A route holds the number of its session's last event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EventId(u64);

#[derive(Clone, Debug)]
struct Link {
    event: SessionEvent,
    before: EventId,
}

/// The events of a pool, and its removed sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventRing {
    ring: Vec<Link>,
    written: u64,
    removed: VecDeque<RemovedSession>,
}

impl EventRing {
    /// Records an event of a session. An event that equals the session's last one only increases its counter. Allocates
    /// only until the ring is full.
    #[inline(always)]
    pub(crate) fn record_event(
        &mut self,
        event_id: &mut EventId,
        now: Timestamp,
        what: SessionEventKind,
        worker: Option<WorkerRef>,
        waited: Duration,
    ) {
        if let Some(link) = self.link_mut(*event_id)
            && (link.event.kind, link.event.worker) == (what, worker)
        {
            let event = &mut link.event;
            (event.last, event.times) = (now, event.times.saturating_add(1));
            // Most calls have not waited, and where this is known nothing is compared.
            if !waited.is_zero() {
                event.waited = event.waited.max(waited);
            }
            return;
        }
        let event = SessionEvent { kind: what, worker, first: now, last: now, times: 1, waited };
        *event_id = self.push(Link { event, before: *event_id });
    }

    /// Records the removal of a session. Its events stay readable as long as they are in the ring and the session is
    /// among the last removed ones.
    pub(crate) fn archive_session(&mut self, mut gone: RemovedSession) {
        self.record_event(&mut gone.last_event, gone.at, SessionEventKind::Removed(gone.why), None, Duration::ZERO);
        if self.removed.len() == REMOVED_SESSION_LIMIT {
            self.removed.pop_front();
        }
        self.removed.push_back(gone);
    }

    /// Returns the remembered lives of a removed session, the last one first. Costs [`REMOVED_SESSION_LIMIT`]
    /// comparisons.
    pub(crate) fn removed_sessions<'a>(&'a self, id: &'a [u8]) -> impl Iterator<Item = &'a RemovedSession> {
        self.removed.iter().rev().filter(move |gone| gone.id.as_bytes() == id)
    }

    /// Returns the events of a session, the last one first, and whether none of them has been overwritten.
    pub(crate) fn events(&self, event_id: EventId) -> (Vec<SessionEvent>, bool) {
        let (mut events, mut at) = (Vec::new(), event_id);
        while let Some(link) = self.link(at) {
            events.push(link.event);
            at = link.before;
        }
        (events, at.0 == 0)
    }

    #[inline(never)]
    fn push(&mut self, link: Link) -> EventId {
        let place = self.written as usize % SESSION_EVENT_LIMIT;
        match self.ring.get_mut(place) {
            Some(oldest) => *oldest = link,
            None => self.ring.push(link),
        }
        self.written += 1;
        EventId(self.written)
    }

    #[inline]
    fn place(&self, event_id: EventId) -> Option<usize> {
        // An id outside of this range was overwritten: the ring now has an event of another session at its index.
        let known = event_id.0 > 0 && event_id.0 + SESSION_EVENT_LIMIT as u64 > self.written;
        known.then(|| (event_id.0 - 1) as usize % SESSION_EVENT_LIMIT)
    }

    fn link(&self, event_id: EventId) -> Option<&Link> {
        self.ring.get(self.place(event_id)?)
    }

    #[inline]
    fn link_mut(&mut self, event_id: EventId) -> Option<&mut Link> {
        let place = self.place(event_id)?;
        self.ring.get_mut(place)
    }
}

/// Events are informative only: two cores that differ only in their events are equal.
macro_rules! ignored_in_comparisons {
    ($($type:ty),*) => {$(
        impl PartialEq for $type {
            fn eq(&self, _: &Self) -> bool {
                true
            }
        }

        impl Eq for $type {}

        impl Hash for $type {
            fn hash<H: Hasher>(&self, _: &mut H) {}
        }
    )*};
}

ignored_in_comparisons!(EventRing, EventId);

#[cfg(test)]
mod tests {
    use super::*;

    fn record_event(log: &mut EventRing, event_id: &mut EventId, now: u64, what: SessionEventKind) {
        log.record_event(event_id, Timestamp(now), what, None, Duration::from_nanos(now));
    }

    #[test]
    fn repeated_events_increase_a_counter() {
        let (mut log, mut event_id) = (EventRing::default(), EventId::default());
        for now in 1..=5 {
            record_event(&mut log, &mut event_id, now, SessionEventKind::Bound);
        }
        record_event(&mut log, &mut event_id, 6, SessionEventKind::StateLost);
        let (events, all) = log.events(event_id);
        assert_eq!(
            events.iter().map(|event| event.kind).collect::<Vec<_>>(),
            [SessionEventKind::StateLost, SessionEventKind::Bound]
        );
        let bound = events[1];
        assert_eq!(
            (bound.times, bound.first, bound.last, bound.waited.as_nanos(), all),
            (5, Timestamp(1), Timestamp(5), 5, true)
        );
    }

    /// I6: the ring keeps its size, and a session whose first event was overwritten reports that.
    #[test]
    fn the_ring_is_bounded_and_never_mixes_sessions() {
        let mut log = EventRing::default();
        let mut last_events = [EventId::default(); 2];
        record_event(&mut log, &mut last_events[0], 1, SessionEventKind::Bound);
        for now in 2..3 * SESSION_EVENT_LIMIT as u64 {
            let what = if now % 2 == 0 { SessionEventKind::MarkedExpired } else { SessionEventKind::Bound };
            record_event(&mut log, &mut last_events[1], now, what);
        }
        assert_eq!(log.ring.len(), SESSION_EVENT_LIMIT);
        assert_eq!(log.events(last_events[0]), (Vec::new(), false));
        let (events, all) = log.events(last_events[1]);
        assert_eq!((events.len(), all), (SESSION_EVENT_LIMIT, false));
    }

    #[test]
    fn removed_sessions_are_bounded_and_keep_their_events() {
        let mut log = EventRing::default();
        for n in 0..REMOVED_SESSION_LIMIT as u64 + 10 {
            let mut event_id = EventId::default();
            record_event(&mut log, &mut event_id, n, SessionEventKind::Bound);
            let id = SessionId::new(format!("s{}", n % 5000)).unwrap();
            let why = SessionEndReason::Expired;
            log.archive_session(RemovedSession {
                id,
                first_seen: Timestamp(n),
                at: Timestamp(n),
                why,
                operations: n,
                last_event: event_id,
            });
        }
        assert_eq!(
            (log.removed.len(), log.removed_sessions(b"s9").count(), log.removed_sessions(b"s4105").count()),
            (REMOVED_SESSION_LIMIT, 0, 1)
        );
        let last = log.removed_sessions(b"s4105").next().unwrap();
        let what: Vec<SessionEventKind> = log.events(last.last_event).0.iter().map(|event| event.kind).collect();
        assert_eq!(what, [SessionEventKind::Removed(SessionEndReason::Expired), SessionEventKind::Bound]);
    }
}
