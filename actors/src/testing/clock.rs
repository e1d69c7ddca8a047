//! A clock that a test moves. Shared by the test and the pools that use it; holds the time and the pools' timers.

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

/// A virtual clock: for pools that use it, time passes only by [`advance`](Self::advance). Clones are the same clock.
///
/// For pools with scripted workers. All timers of such a pool use it: expiry of sessions, backoff, deadlines, queue timeouts,
/// breaker, pings, start and stop timeouts. Two times stay real: the pause between two steps of a long
/// `CleanupStaleSessions`, and the second that a status waits at most for the statistics of the affinity actor.
///
/// It starts at the machine's monotonic clock, so that stamps and deadlines look as usual.
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    now: AtomicU64,
    timers: Mutex<VirtualTimers>,
    /// Notified of each change of the time and of a timer.
    changed: watch::Sender<()>,
    pools: Mutex<Pools>,
}

/// The pools that use the clock.
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
    /// The times for which timers are set. A timer that has fired stays until its owner has done the work that was due.
    set: BTreeMap<u64, Timestamp>,
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualClock {
    /// Creates a clock that stands at the current time.
    pub fn new() -> Self {
        let now = crate::clock::Clock::default().now().0;
        Self(Arc::new(ClockState {
            now: now.into(),
            timers: Mutex::default(),
            changed: watch::Sender::new(()),
            pools: Mutex::default(),
        }))
    }

    /// Returns the clock's time, in nanoseconds.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.now.load(Ordering::SeqCst))
    }

    /// Moves the clock in one step, and waits until the work that became due is done: timers have fired, a sweep has checked
    /// its first 256 sessions (it takes a millisecond of this clock for each 256 more), workers of a
    /// [`Script`](super::Script) have answered their pings. Calls that this task submitted before are handled first. Effects
    /// elsewhere (a process exits, a caller is answered) are events that the test must wait for.
    ///
    /// For a pool such a step is as if the machine had been suspended: an event that was due several times meanwhile happens
    /// once.
    ///
    /// # Panics
    /// If the work that was due is not done in time, as in a pool whose thread is blocked.
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
        self.wait_for_pongs().await;
        self.jump(span);
        self.until_idle().await;
        self.wait_for_pongs().await;
    }

    /// Moves the clock and wakes the timers: they run when this task yields.
    pub(crate) fn jump(&self, span: Duration) {
        // Under the timers' lock, so that a timer that is being set sees either the old time and the notification, or the new
        // time.
        self.timers(|_| {
            let later = self.now() + span;
            self.0.now.store(later.0, Ordering::SeqCst);
        });
    }

    /// Returns whether a timer is set for this time.
    #[cfg(test)]
    pub(crate) fn is_set_for(&self, moment: Timestamp) -> bool {
        self.timers(|timers| timers.set.values().any(|time| *time == moment))
    }

    /// Adds a pool that uses the clock.
    pub(crate) fn attach(&self, pool: WeakRecipient<UnansweredPings>) {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).0.push(pool);
    }

    /// Waits until all pings are answered. Answers do not arrive faster than the machine runs: two moves without a pause
    /// would make a working worker look unresponsive. The question passes through each pool's mailbox, so that the pool has
    /// handled what was submitted before.
    async fn wait_for_pongs(&self) {
        let pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        for pool in pools {
            wait_until("all pings are answered", async || {
                match pool.upgrade().map(|pool| pool.send(UnansweredPings)) {
                    Some(asked) => asked.await.map_or(true, |pinged| pinged.unwrap_or(0) == 0), // an error: the pool has ended
                    None => true,
                }
            })
            .await;
        }
    }

    async fn until_idle(&self) {
        let mut changed = self.0.changed.subscribe();
        let idle = async {
            while self.is_due() {
                let _ = changed.changed().await; // the sender is dropped with this clock
            }
        };
        with_timeout("the work that became due is done", idle).await;
    }

    fn is_due(&self) -> bool {
        let timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
        timers.set.values().any(|time| *time <= self.now())
    }

    /// Creates a timer of a pool.
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

/// One timer of a virtual clock. From the time at which it fires until it is set again, its owner counts as working.
pub(crate) struct VirtualTimer {
    clock: VirtualClock,
    number: u64,
}

impl VirtualTimer {
    pub(crate) async fn wait_until(&mut self, time: Option<Timestamp>) {
        // Subscribed before the time is read below: a move in between would not wake this task otherwise.
        let mut changed = self.clock.0.changed.subscribe();
        self.clock.timers(|timers| match time {
            Some(time) => drop(timers.set.insert(self.number, time)),
            None => drop(timers.set.remove(&self.number)),
        });
        while time.is_none_or(|time| self.clock.now() < time) {
            let _ = changed.changed().await; // the sender is dropped with the clock
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

    /// R49: a move ends when the owners of all fired timers have done their work, however long that takes; no timer fires
    /// early.
    #[actix_rt::test]
    async fn r49_advance_waits_for_due_timers() {
        let (clock, done) = (VirtualClock::new(), Rc::new(Cell::new(0)));
        let (mut timer, fired) = (clock.timer(), done.clone());
        let first = clock.now() + HOUR;
        actix_rt::spawn(async move {
            for round in 1.. {
                timer.wait_until(Some(first + (round - 1) * HOUR)).await;
                for _ in 0..100 {
                    tokio::task::yield_now().await; // the work that was due
                }
                fired.set(round);
            }
        });
        tokio::task::yield_now().await; // lets the timer be set
        clock.advance(HOUR - Duration::from_nanos(1)).await;
        assert_eq!(done.get(), 0);
        clock.advance(Duration::from_nanos(1)).await;
        assert_eq!(done.get(), 1);
        clock.advance(3 * HOUR).await;
        assert_eq!(done.get(), 4, "also the rounds that became due during the work");
    }

    /// R49: a timer that was dropped or waits for ever does not delay a move.
    #[actix_rt::test]
    async fn r49_advance_ignores_stopped_pools() {
        let clock = VirtualClock::new();
        let (mut dropped, mut waiting) = (clock.timer(), clock.timer());
        tokio::select! {
            biased;
            () = dropped.wait_until(Some(clock.now() + HOUR)) => panic!("too early"),
            () = waiting.wait_until(Some(clock.now() + HOUR)) => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        drop(dropped);
        tokio::select! {
            biased;
            () = waiting.wait_until(None) => panic!("never"),
            () = std::future::ready(()) => {}
        }
        clock.advance(2 * HOUR).await;
    }
}
