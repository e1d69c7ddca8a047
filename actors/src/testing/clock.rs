//! A clock that stands still until a test moves it. Shared by the test and the pools that go by it; holds the time, and when each of
//! their alarms is to ring.

use super::{Pinged, guarded, until};
use actix::WeakRecipient;
use herder_core::Now;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// A virtual clock: whoever goes by it sees no time pass but what [`advance`](Self::advance) says. Clones are the same clock.
///
/// For pools with scripted workers: all of a pool's timers go by it (expiry of sessions, backoff, deadlines, queue timeouts,
/// breaker, pings, start timeout, patience). What stays real: the pause between two steps of a long `CleanupStaleSessions`, and the
/// second that a status waits at most for the statistics of the affinity actor.
///
/// It begins at the machine's monotonic clock, so that stamps and deadlines look as they always do.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    now: AtomicU64,
    alarms: Mutex<Alarms>,
    /// Told of each change: of the time, and of an alarm.
    changed: watch::Sender<()>,
    pools: Mutex<Pools>,
}

/// The pools that go by a clock, as long as they live.
#[derive(Default)]
struct Pools(Vec<WeakRecipient<Pinged>>);

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pools", self.0.len())
    }
}

#[derive(Debug, Default)]
struct Alarms {
    next: u64,
    /// When each that was set rings. One that has rung stays until its owner is done with what it rang for.
    set: BTreeMap<u64, Now>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock that stands at this moment.
    pub fn new() -> Self {
        let now = crate::clock::Clock::default().now().0;
        Self(Arc::new(Hands {
            now: now.into(),
            alarms: Mutex::default(),
            changed: watch::Sender::new(()),
            pools: Mutex::default(),
        }))
    }

    /// The time it shows, in nanoseconds.
    pub fn now(&self) -> Now {
        Now(self.0.now.load(Ordering::SeqCst))
    }

    /// Moves it, in one leap, and waits until everything that became due by that is done: timers have fired, a sweep has looked at its
    /// first 256 sessions (it takes a millisecond of this clock for each 256 more), workers of a [`Script`](super::Script) have answered their pings. Calls that this task submitted before are taken first. What follows elsewhere (a process that ends, a caller that is answered) is an event that the test waits for.
    ///
    /// A leap is to a pool what a machine is that slept: what was to happen several times on the way happens once.
    ///
    /// # Panics
    /// When something that was due does not get done, as in a pool whose thread is blocked.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// let clock = herder_actors::testing::Clock::new();
    /// let before = clock.now();
    /// clock.advance(Duration::from_secs(1800)).await;
    /// assert_eq!(clock.now() - before, Duration::from_secs(1800));
    /// # });
    /// ```
    pub async fn advance(&self, span: Duration) {
        self.pings_are_answered().await;
        self.leap(span);
        self.settled().await;
        self.pings_are_answered().await;
    }

    /// Moves it, and wakes who waits for it: they run when this task lets them.
    pub(crate) fn leap(&self, span: Duration) {
        self.alarms(|_| {
            let later = self.now() + span;
            self.0.now.store(later.0, Ordering::SeqCst);
        });
    }

    /// Whether somebody waits for this moment.
    #[cfg(test)]
    pub(crate) fn is_set_for(&self, moment: Now) -> bool {
        self.alarms(|alarms| alarms.set.values().any(|at| *at == moment))
    }

    /// A pool that goes by it from now on.
    pub(crate) fn attach(&self, pool: WeakRecipient<Pinged>) {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).0.push(pool);
    }

    /// Answers travel at the machine's pace: two leaps without a pause would make a worker look silent that is not. Asking goes through
    /// each pool's mailbox, so that it has taken what was submitted before.
    async fn pings_are_answered(&self) {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        for pool in pools {
            until("pings are answered", async || match pool.upgrade().map(|pool| pool.send(Pinged)) {
                Some(asked) => asked.await.map_or(true, |pinged| pinged.unwrap_or(0) == 0), // an error: it has ended
                None => true,
            })
            .await;
        }
    }

    async fn settled(&self) {
        let mut changed = self.0.changed.subscribe();
        let settled = async {
            while self.is_due() {
                let _ = changed.changed().await; // its sender lives as long as this clock
            }
        };
        guarded("what became due is done", settled).await;
    }

    fn is_due(&self) -> bool {
        let alarms = self.0.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.set.values().any(|at| *at <= self.now())
    }

    /// Something of a pool that rings by this clock.
    pub(crate) fn bell(&self) -> Bell {
        let number = self.alarms(|alarms| {
            alarms.next += 1;
            alarms.next
        });
        Bell { clock: self.clone(), number }
    }

    fn alarms<T>(&self, change: impl FnOnce(&mut Alarms) -> T) -> T {
        let value = change(&mut self.0.alarms.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.send_replace(());
        value
    }
}

/// One alarm of a virtual clock. From when it rings until it is set again, its owner is taken to be at work.
pub(crate) struct Bell {
    clock: Clock,
    number: u64,
}

impl Bell {
    pub(crate) async fn rings(&mut self, at: Option<Now>) {
        let mut changed = self.clock.0.changed.subscribe();
        self.clock.alarms(|alarms| match at {
            Some(at) => drop(alarms.set.insert(self.number, at)),
            None => drop(alarms.set.remove(&self.number)),
        });
        while at.is_none_or(|at| self.clock.now() < at) {
            let _ = changed.changed().await; // its sender lives as long as the clock
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.clock.alarms(|alarms| alarms.set.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    const HOUR: Duration = Duration::from_secs(3600);

    /// R49: a leap is over when all that rang is done with what it rang for, however long that takes; and nothing rings too early.
    #[actix_rt::test]
    async fn r49_a_leap_waits_for_what_became_due() {
        let (clock, done) = (Clock::new(), Rc::new(Cell::new(0)));
        let (mut bell, rung) = (clock.bell(), done.clone());
        let first = clock.now() + HOUR;
        actix_rt::spawn(async move {
            for round in 1.. {
                bell.rings(Some(first + (round - 1) * HOUR)).await;
                for _ in 0..100 {
                    tokio::task::yield_now().await; // what it has to do
                }
                rung.set(round);
            }
        });
        tokio::task::yield_now().await; // it is set
        clock.advance(HOUR - Duration::from_nanos(1)).await;
        assert_eq!(done.get(), 0);
        clock.advance(Duration::from_nanos(1)).await;
        assert_eq!(done.get(), 1);
        clock.advance(3 * HOUR).await;
        assert_eq!(done.get(), 4, "also what became due by that again");
    }

    /// R49: who is dropped, or waits for ever, holds up no leap.
    #[actix_rt::test]
    async fn r49_a_leap_waits_for_nobody_who_is_gone() {
        let clock = Clock::new();
        let (mut dropped, mut waits) = (clock.bell(), clock.bell());
        tokio::select! {
            biased;
            () = dropped.rings(Some(clock.now() + HOUR)) => panic!("too early"),
            () = waits.rings(Some(clock.now() + HOUR)) => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        drop(dropped);
        tokio::select! {
            biased;
            () = waits.rings(None) => panic!("never"),
            () = std::future::ready(()) => {}
        }
        clock.advance(2 * HOUR).await;
    }
}
