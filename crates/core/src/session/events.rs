//! What happened to sessions: fixed-size events in one bounded ring, each linked to the session's event before it, and the last
//! sessions that are gone. Written on the way of a call, read only when somebody asks why. Decides nothing.

use crate::{SessionEndReason, SessionId, Timestamp, WorkerRef};
use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    time::Duration,
};

/// Events kept in a pool: 1 MiB.
pub const SESSION_EVENT_LIMIT: usize = 16_384;
/// Sessions that are gone and still known, in a pool.
pub const REMOVED_SESSION_LIMIT: usize = 4096;

/// One thing, or several of the same kind in a row, that happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEvent {
    /// What.
    pub kind: SessionEventKind,
    /// With which process, if with one.
    pub worker: Option<WorkerRef>,
    /// When, the first time.
    pub first: Timestamp,
    /// When, the last time.
    pub last: Timestamp,
    /// How often.
    pub times: u32,
    /// The longest wait of these calls in the queue.
    pub waited: Duration,
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEventKind {
    /// Its call was sent; how that was routed.
    Sent(crate::Routing),
    /// Somebody bound it.
    Bound,
    /// Its state was ended, and it stays; why.
    Unbound(SessionEndReason),
    /// The process that held its state is gone.
    StateLost,
    /// So its call was answered `SessionWorkerLost`.
    LossReported,
    /// Its timeout passed, which a read or a sweep noticed (two-phase expiry).
    MarkedExpired,
    /// Its call was answered `SessionExpired`.
    RefusedExpired,
    /// Its call was answered `WorkerBusy`.
    RefusedBusy,
    /// Its call was answered `SessionQueueFull`.
    RefusedFull,
    /// Its call waited, and was answered or left before it was sent.
    LeftQueue,
    /// It is gone; why.
    Removed(SessionEndReason),
}

/// A session that is gone.
#[derive(Clone, Debug)]
pub(crate) struct RemovedSession {
    pub(crate) id: SessionId,
    pub(crate) first_seen: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) why: SessionEndReason,
    pub(crate) operations: u64,
    pub(crate) last_event: EventId,
}

/// The number of an event, from 1; 0 is none. The end of a session's chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EventId(u64);

#[derive(Clone, Debug)]
struct Link {
    event: SessionEvent,
    before: EventId,
}

/// The ring of a pool, and its sessions that are gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventRing {
    ring: Vec<Link>,
    written: u64,
    removed: VecDeque<RemovedSession>,
}

impl EventRing {
    /// Notes something on a session's chain: more of the same only counts. Costs one entry; allocates only until the ring is full.
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
            (event.last, event.times, event.waited) = (now, event.times.saturating_add(1), event.waited.max(waited));
            return;
        }
        let event = SessionEvent { kind: what, worker, first: now, last: now, times: 1, waited };
        *event_id = self.push(Link { event, before: *event_id });
    }

    /// Notes that a session is gone; its chain stays readable as long as ring and list reach back.
    pub(crate) fn archive_session(&mut self, mut gone: RemovedSession) {
        self.record_event(&mut gone.last_event, gone.at, SessionEventKind::Removed(gone.why), None, Duration::ZERO);
        if self.removed.len() == REMOVED_SESSION_LIMIT {
            self.removed.pop_front();
        }
        self.removed.push_back(gone);
    }

    /// The lives of a session that are gone and still known, the last one first. Costs their number.
    pub(crate) fn removed_sessions<'a>(&'a self, id: &'a [u8]) -> impl Iterator<Item = &'a RemovedSession> {
        self.removed.iter().rev().filter(move |gone| gone.id.as_bytes() == id)
    }

    /// A chain's events, the last first, as far as the ring reaches back; and whether that is all of them.
    pub(crate) fn events(&self, event_id: EventId) -> (Vec<SessionEvent>, bool) {
        let (mut events, mut at) = (Vec::new(), event_id);
        while let Some(link) = self.link(at) {
            events.push(link.event);
            at = link.before;
        }
        (events, at.0 == 0)
    }

    fn push(&mut self, link: Link) -> EventId {
        let place = self.written as usize % SESSION_EVENT_LIMIT;
        match self.ring.get_mut(place) {
            Some(oldest) => *oldest = link,
            None => self.ring.push(link),
        }
        self.written += 1;
        EventId(self.written)
    }

    fn place(&self, event_id: EventId) -> Option<usize> {
        let known = event_id.0 > 0 && event_id.0 + SESSION_EVENT_LIMIT as u64 > self.written;
        known.then(|| (event_id.0 - 1) as usize % SESSION_EVENT_LIMIT)
    }

    fn link(&self, event_id: EventId) -> Option<&Link> {
        self.ring.get(self.place(event_id)?)
    }

    fn link_mut(&mut self, event_id: EventId) -> Option<&mut Link> {
        let place = self.place(event_id)?;
        self.ring.get_mut(place)
    }
}

/// The trail tells, and decides nothing: two cores that differ only in it are the same.
macro_rules! tells_only {
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

tells_only!(EventRing, EventId);

#[cfg(test)]
mod tests {
    use super::*;

    fn record_event(log: &mut EventRing, event_id: &mut EventId, now: u64, what: SessionEventKind) {
        log.record_event(event_id, Timestamp(now), what, None, Duration::from_nanos(now));
    }

    #[test]
    fn more_of_the_same_only_counts() {
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

    /// I6: the ring keeps its size, and a chain whose beginning was overwritten says so.
    #[test]
    fn the_ring_is_bounded_and_never_mixes_sessions() {
        let mut log = EventRing::default();
        let mut traces = [EventId::default(); 2];
        record_event(&mut log, &mut traces[0], 1, SessionEventKind::Bound);
        for now in 2..3 * SESSION_EVENT_LIMIT as u64 {
            let what = if now % 2 == 0 { SessionEventKind::MarkedExpired } else { SessionEventKind::Bound };
            record_event(&mut log, &mut traces[1], now, what);
        }
        assert_eq!(log.ring.len(), SESSION_EVENT_LIMIT);
        assert_eq!(log.events(traces[0]), (Vec::new(), false));
        let (events, all) = log.events(traces[1]);
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
