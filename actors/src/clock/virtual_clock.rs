//! The state of a clock that a test moves: the time, and the timers of the pools that use the clock. Shared by the test and
//! these pools. How a test waits for the work that became due is in `testing/clock.rs`.

use actix::{Message, WeakRecipient};
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

/// Asks a supervisor how many workers were pinged and have not answered, of those that answer by themselves; none if the
/// pool does not run. A test that moves a clock waits for the answers between two moves, since they do not arrive faster
/// than the machine runs; otherwise a working worker would be taken for unresponsive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "usize")]
pub(crate) struct UnansweredPings;

impl VirtualClock {
    pub(crate) fn starting_at(now: Timestamp) -> Self {
        Self(Arc::new(ClockState {
            now: now.0.into(),
            timers: Mutex::default(),
            changed: watch::Sender::new(()),
            pools: Mutex::default(),
        }))
    }

    /// Returns the clock's time, in nanoseconds.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.now.load(Ordering::SeqCst))
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

    /// Returns the pools that use the clock.
    pub(crate) fn pools(&self) -> Vec<WeakRecipient<UnansweredPings>> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Returns a receiver that is notified of each change of the time and of a timer.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Returns whether the owner of a timer that has fired is still working.
    pub(crate) fn is_due(&self) -> bool {
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
        let mut changed = self.clock.changes();
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
