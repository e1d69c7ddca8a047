//! What happened to sessions: fixed-size events in one bounded ring, each linked to the session's event before it, and the last
//! sessions that are gone. Written on the way of a call, read only when somebody asks why. Decides nothing.

use crate::{Now, SessionEnd, SessionId, WorkerRef};
use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    time::Duration,
};

/// Events kept in a pool: 1 MiB.
pub const TRAIL_LIMIT: usize = 16_384;
/// Sessions that are gone and still known, in a pool.
pub const GONE_LIMIT: usize = 4096;

/// One thing, or several of the same kind in a row, that happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailEvent {
    /// What.
    pub what: Happened,
    /// With which process, if with one.
    pub at: Option<WorkerRef>,
    /// When, the first time.
    pub first: Now,
    /// When, the last time.
    pub last: Now,
    /// How often.
    pub times: u32,
    /// The longest wait of these calls in the queue.
    pub waited: Duration,
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happened {
    /// Its call was sent; how that was routed.
    Sent(crate::Routing),
    /// Somebody bound it.
    Bound,
    /// Its state was ended, and it stays; why.
    Unbound(SessionEnd),
    /// The process that held its state is gone.
    Lost,
    /// So its call was answered `SessionWorkerLost`.
    ToldOfLoss,
    /// Its timeout passed, which a read or a sweep noticed (two-phase expiry).
    Marked,
    /// Its call was answered `SessionExpired`.
    RefusedExpired,
    /// Its call was answered `WorkerBusy`.
    RefusedBusy,
    /// Its call was answered `SessionQueueFull`.
    RefusedFull,
    /// Its call waited, and was answered or left before it was sent.
    GaveUp,
    /// It is gone; why.
    Gone(SessionEnd),
}

/// A session that is gone.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    pub(crate) id: SessionId,
    pub(crate) first_seen: Now,
    pub(crate) at: Now,
    pub(crate) why: SessionEnd,
    pub(crate) operations: u64,
    pub(crate) trace: Trace,
}

/// The number of an event, from 1; 0 is none. The end of a session's chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace(u64);

#[derive(Clone, Debug)]
struct Link {
    event: TrailEvent,
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
        now: Now,
        what: Happened,
        at: Option<WorkerRef>,
        waited: Duration,
    ) {
        if let Some(link) = self.link_mut(*trace)
            && (link.event.what, link.event.at) == (what, at)
        {
            let event = &mut link.event;
            (event.last, event.times, event.waited) = (now, event.times.saturating_add(1), event.waited.max(waited));
            return;
        }
        let event = TrailEvent { what, at, first: now, last: now, times: 1, waited };
        *trace = self.push(Link { event, before: *trace });
    }

    /// Notes that a session is gone; its chain stays readable as long as ring and list reach back.
    pub(crate) fn bury(&mut self, mut gone: Gone) {
        self.note(&mut gone.trace, gone.at, Happened::Gone(gone.why), None, Duration::ZERO);
        if self.gone.len() == GONE_LIMIT {
            self.gone.pop_front();
        }
        self.gone.push_back(gone);
    }

    /// The lives of a session that are gone and still known, the last one first. Costs their number.
    pub(crate) fn gone<'a>(&'a self, id: &'a [u8]) -> impl Iterator<Item = &'a Gone> {
        self.gone.iter().rev().filter(move |gone| gone.id.as_bytes() == id)
    }

    /// A chain's events, the last first, as far as the ring reaches back; and whether that is all of them.
    pub(crate) fn events(&self, trace: Trace) -> (Vec<TrailEvent>, bool) {
        let (mut events, mut at) = (Vec::new(), trace);
        while let Some(link) = self.link(at) {
            events.push(link.event);
            at = link.before;
        }
        (events, at.0 == 0)
    }

    fn push(&mut self, link: Link) -> Trace {
        let place = self.written as usize % TRAIL_LIMIT;
        match self.ring.get_mut(place) {
            Some(oldest) => *oldest = link,
            None => self.ring.push(link),
        }
        self.written += 1;
        Trace(self.written)
    }

    fn place(&self, trace: Trace) -> Option<usize> {
        let known = trace.0 > 0 && trace.0 + TRAIL_LIMIT as u64 > self.written;
        known.then(|| (trace.0 - 1) as usize % TRAIL_LIMIT)
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

    fn note(trail: &mut Trail, trace: &mut Trace, now: u64, what: Happened) {
        trail.note(trace, Now(now), what, None, Duration::from_nanos(now));
    }

    #[test]
    fn more_of_the_same_only_counts() {
        let (mut trail, mut trace) = (Trail::default(), Trace::default());
        for now in 1..=5 {
            note(&mut trail, &mut trace, now, Happened::Bound);
        }
        note(&mut trail, &mut trace, 6, Happened::Lost);
        let (events, all) = trail.events(trace);
        assert_eq!(events.iter().map(|event| event.what).collect::<Vec<_>>(), [Happened::Lost, Happened::Bound]);
        let bound = events[1];
        assert_eq!((bound.times, bound.first, bound.last, bound.waited.as_nanos(), all), (5, Now(1), Now(5), 5, true));
    }

    /// I6: the ring keeps its size, and a chain whose beginning was overwritten says so.
    #[test]
    fn the_ring_is_bounded_and_never_mixes_sessions() {
        let mut trail = Trail::default();
        let mut traces = [Trace::default(); 2];
        note(&mut trail, &mut traces[0], 1, Happened::Bound);
        for now in 2..3 * TRAIL_LIMIT as u64 {
            let what = if now % 2 == 0 { Happened::Marked } else { Happened::Bound };
            note(&mut trail, &mut traces[1], now, what);
        }
        assert_eq!(trail.ring.len(), TRAIL_LIMIT);
        assert_eq!(trail.events(traces[0]), (Vec::new(), false));
        let (events, all) = trail.events(traces[1]);
        assert_eq!((events.len(), all), (TRAIL_LIMIT, false));
    }

    #[test]
    fn the_gone_are_bounded_and_keep_their_trail() {
        let mut trail = Trail::default();
        for n in 0..GONE_LIMIT as u64 + 10 {
            let mut trace = Trace::default();
            note(&mut trail, &mut trace, n, Happened::Bound);
            let id = SessionId::new(format!("s{}", n % 5000)).unwrap();
            let why = SessionEnd::Expired;
            trail.bury(Gone { id, first_seen: Now(n), at: Now(n), why, operations: n, trace });
        }
        assert_eq!((trail.gone.len(), trail.gone(b"s9").count(), trail.gone(b"s4105").count()), (GONE_LIMIT, 0, 1));
        let last = trail.gone(b"s4105").next().unwrap();
        let what: Vec<Happened> = trail.events(last.trace).0.iter().map(|event| event.what).collect();
        assert_eq!(what, [Happened::Gone(SessionEnd::Expired), Happened::Bound]);
    }
}
