//! A clock that stands still until a test moves it. Shared by the test and the pools that go by it; holds the time, and when each of
//! their alarms is to ring.

use super::{UnansweredPings, wait_until, with_timeout};
use actix::WeakRecipient;
use herder_core::Timestamp;
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
pub struct VirtualClock(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    now: AtomicU64,
    timers: Mutex<VirtualTimers>,
    /// Told of each change: of the time, and of an alarm.
    changed: watch::Sender<()>,
    pools: Mutex<Pools>,
}

/// The pools that go by a clock, as long as they live.
#[derive(Default)]
struct Pools(Vec<WeakRecipient<UnansweredPings>>);

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pools", self.0.len())
    }
}

#[derive(Debug, Default)]
struct VirtualTimers {
    next: u64,
    /// When each that was set rings. One that has rung stays until its owner is done with what it rang for.
    set: BTreeMap<u64, Timestamp>,
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualClock {
    /// A clock that stands at this moment.
    pub fn new() -> Self {
        let now = crate::clock::Clock::default().now().0;
        Self(Arc::new(ClockState {
            now: now.into(),
            timers: Mutex::default(),
            changed: watch::Sender::new(()),
            pools: Mutex::default(),
        }))
    }

    /// The time it shows, in nanoseconds.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.now.load(Ordering::SeqCst))
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
    /// let clock = herder_actors::testing::VirtualClock::new();
    /// let before = clock.now();
    /// clock.advance(Duration::from_secs(1800)).await;
    /// assert_eq!(clock.now() - before, Duration::from_secs(1800));
    /// # });
    /// ```
    pub async fn advance(&self, span: Duration) {
        self.pings_are_answered().await;
        self.jump(span);
        self.until_idle().await;
        self.pings_are_answered().await;
    }

    /// Moves it, and wakes who waits for it: they run when this task lets them.
    pub(crate) fn jump(&self, span: Duration) {
        self.timers(|_| {
            let later = self.now() + span;
            self.0.now.store(later.0, Ordering::SeqCst);
        });
    }

    /// Whether somebody waits for this moment.
    #[cfg(test)]
    pub(crate) fn is_set_for(&self, moment: Timestamp) -> bool {
        self.timers(|timers| timers.set.values().any(|at| *at == moment))
    }

    /// A pool that goes by it from now on.
    pub(crate) fn attach(&self, pool: WeakRecipient<UnansweredPings>) {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).0.push(pool);
    }

    /// Answers travel at the machine's pace: two leaps without a pause would make a worker look silent that is not. Asking goes through
    /// each pool's mailbox, so that it has taken what was submitted before.
    async fn pings_are_answered(&self) {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        for pool in pools {
            wait_until("pings are answered", async || match pool.upgrade().map(|pool| pool.send(UnansweredPings)) {
                Some(asked) => asked.await.map_or(true, |pinged| pinged.unwrap_or(0) == 0), // an error: it has ended
                None => true,
            })
            .await;
        }
    }

    async fn until_idle(&self) {
        let mut changed = self.0.changed.subscribe();
        let settled = async {
            while self.is_due() {
                let _ = changed.changed().await; // its sender lives as long as this clock
            }
        };
        with_timeout("what became due is done", settled).await;
    }

    fn is_due(&self) -> bool {
        let timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
        timers.set.values().any(|at| *at <= self.now())
    }

    /// Something of a pool that rings by this clock.
    pub(crate) fn timer(&self) -> VirtualTimer {
        let number = self.timers(|timers| {
            timers.next += 1;
            timers.next
        });
        VirtualTimer { clock: self.clone(), number }
    }

    fn timers<T>(&self, change: impl FnOnce(&mut VirtualTimers) -> T) -> T {
        let value = change(&mut self.0.timers.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.send_replace(());
        value
    }
}

/// One alarm of a virtual clock. From when it rings until it is set again, its owner is taken to be at work.
pub(crate) struct VirtualTimer {
    clock: VirtualClock,
    number: u64,
}

impl VirtualTimer {
    pub(crate) async fn wait_until(&mut self, at: Option<Timestamp>) {
        let mut changed = self.clock.0.changed.subscribe();
        self.clock.timers(|timers| match at {
            Some(at) => drop(timers.set.insert(self.number, at)),
            None => drop(timers.set.remove(&self.number)),
        });
        while at.is_none_or(|at| self.clock.now() < at) {
            let _ = changed.changed().await; // its sender lives as long as the clock
        }
    }
}

impl Drop for VirtualTimer {
    fn drop(&mut self) {
        self.clock.timers(|timers| timers.set.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    const HOUR: Duration = Duration::from_secs(3600);

    /// R49: a leap is over when all that rang is done with what it rang for, however long that takes; and nothing rings too early.
    #[actix_rt::test]
    async fn r49_advance_waits_for_due_timers() {
        let (clock, done) = (VirtualClock::new(), Rc::new(Cell::new(0)));
        let (mut timer, fired) = (clock.timer(), done.clone());
        let first = clock.now() + HOUR;
        actix_rt::spawn(async move {
            for round in 1.. {
                timer.wait_until(Some(first + (round - 1) * HOUR)).await;
                for _ in 0..100 {
                    tokio::task::yield_now().await; // what it has to do
                }
                fired.set(round);
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
    async fn r49_advance_ignores_stopped_pools() {
        let clock = VirtualClock::new();
        let (mut dropped, mut waits) = (clock.timer(), clock.timer());
        tokio::select! {
            biased;
            () = dropped.wait_until(Some(clock.now() + HOUR)) => panic!("too early"),
            () = waits.wait_until(Some(clock.now() + HOUR)) => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        drop(dropped);
        tokio::select! {
            biased;
            () = waits.wait_until(None) => panic!("never"),
            () = std::future::ready(()) => {}
        }
        clock.advance(2 * HOUR).await;
    }
}
