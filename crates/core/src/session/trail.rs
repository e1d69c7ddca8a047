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
    pub at: Option<WorkerRef>,
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
pub(crate) struct Gone {
    pub(crate) id: SessionId,
    pub(crate) first_seen: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) why: SessionEndReason,
    pub(crate) operations: u64,
    pub(crate) trace: Trace,
}

/// The number of an event, from 1; 0 is none. The end of a session's chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace(u64);

#[derive(Clone, Debug)]
struct Link {
    event: SessionEvent,
    before: Trace,
}

/// The ring of a pool, and its sessions that are gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    ring: Vec<Link>,
    written: u64,
    gone: VecDeque<Gone>,
}

impl Trail {
    /// Notes something on a session's chain: more of the same only counts. Costs one entry; allocates only until the ring is full.
    pub(crate) fn note(
        &mut self,
        trace: &mut Trace,
        now: Timestamp,
        what: SessionEventKind,
        at: Option<WorkerRef>,
        waited: Duration,
    ) {
        if let Some(link) = self.link_mut(*trace)
            && (link.event.kind, link.event.at) == (what, at)
        {
            let event = &mut link.event;
            (event.last, event.times, event.waited) = (now, event.times.saturating_add(1), event.waited.max(waited));
            return;
        }
        let event = SessionEvent { kind: what, at, first: now, last: now, times: 1, waited };
        *trace = self.push(Link { event, before: *trace });
    }

    /// Notes that a session is gone; its chain stays readable as long as ring and list reach back.
    pub(crate) fn bury(&mut self, mut gone: Gone) {
        self.note(&mut gone.trace, gone.at, SessionEventKind::Removed(gone.why), None, Duration::ZERO);
        if self.gone.len() == REMOVED_SESSION_LIMIT {
            self.gone.pop_front();
        }
        self.gone.push_back(gone);
    }

    /// The lives of a session that are gone and still known, the last one first. Costs their number.
    pub(crate) fn gone<'a>(&'a self, id: &'a [u8]) -> impl Iterator<Item = &'a Gone> {
        self.gone.iter().rev().filter(move |gone| gone.id.as_bytes() == id)
    }

    /// A chain's events, the last first, as far as the ring reaches back; and whether that is all of them.
    pub(crate) fn events(&self, trace: Trace) -> (Vec<SessionEvent>, bool) {
        let (mut events, mut at) = (Vec::new(), trace);
        while let Some(link) = self.link(at) {
            events.push(link.event);
            at = link.before;
        }
        (events, at.0 == 0)
    }

    fn push(&mut self, link: Link) -> Trace {
        let place = self.written as usize % SESSION_EVENT_LIMIT;
        match self.ring.get_mut(place) {
            Some(oldest) => *oldest = link,
            None => self.ring.push(link),
        }
        self.written += 1;
        Trace(self.written)
    }

    fn place(&self, trace: Trace) -> Option<usize> {
        let known = trace.0 > 0 && trace.0 + SESSION_EVENT_LIMIT as u64 > self.written;
        known.then(|| (trace.0 - 1) as usize % SESSION_EVENT_LIMIT)
    }

    fn link(&self, trace: Trace) -> Option<&Link> {
        self.ring.get(self.place(trace)?)
    }

    fn link_mut(&mut self, trace: Trace) -> Option<&mut Link> {
        let place = self.place(trace)?;
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

tells_only!(Trail, Trace);

#[cfg(test)]
mod tests {
    use super::*;

    fn note(trail: &mut Trail, trace: &mut Trace, now: u64, what: SessionEventKind) {
        trail.note(trace, Timestamp(now), what, None, Duration::from_nanos(now));
    }

    #[test]
    fn more_of_the_same_only_counts() {
        let (mut trail, mut trace) = (Trail::default(), Trace::default());
        for now in 1..=5 {
            note(&mut trail, &mut trace, now, SessionEventKind::Bound);
        }
        note(&mut trail, &mut trace, 6, SessionEventKind::StateLost);
        let (events, all) = trail.events(trace);
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
        let mut trail = Trail::default();
        let mut traces = [Trace::default(); 2];
        note(&mut trail, &mut traces[0], 1, SessionEventKind::Bound);
        for now in 2..3 * SESSION_EVENT_LIMIT as u64 {
            let what = if now % 2 == 0 { SessionEventKind::MarkedExpired } else { SessionEventKind::Bound };
            note(&mut trail, &mut traces[1], now, what);
        }
        assert_eq!(trail.ring.len(), SESSION_EVENT_LIMIT);
        assert_eq!(trail.events(traces[0]), (Vec::new(), false));
        let (events, all) = trail.events(traces[1]);
        assert_eq!((events.len(), all), (SESSION_EVENT_LIMIT, false));
    }

    #[test]
    fn the_gone_are_bounded_and_keep_their_trail() {
        let mut trail = Trail::default();
        for n in 0..REMOVED_SESSION_LIMIT as u64 + 10 {
            let mut trace = Trace::default();
            note(&mut trail, &mut trace, n, SessionEventKind::Bound);
            let id = SessionId::new(format!("s{}", n % 5000)).unwrap();
            let why = SessionEndReason::Expired;
            trail.bury(Gone { id, first_seen: Timestamp(n), at: Timestamp(n), why, operations: n, trace });
        }
        assert_eq!(
            (trail.gone.len(), trail.gone(b"s9").count(), trail.gone(b"s4105").count()),
            (REMOVED_SESSION_LIMIT, 0, 1)
        );
        let last = trail.gone(b"s4105").next().unwrap();
        let what: Vec<SessionEventKind> = trail.events(last.trace).0.iter().map(|event| event.kind).collect();
        assert_eq!(what, [SessionEventKind::Removed(SessionEndReason::Expired), SessionEventKind::Bound]);
    }
}
