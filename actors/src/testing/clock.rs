//! What a test does with a virtual clock: it creates the clock, and moves it. The clock's state is in
//! `clock/virtual_clock.rs`.

use super::wait::{wait_until, with_timeout};
use crate::clock::{UnansweredPings, VirtualClock, now};
use std::time::Duration;

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualClock {
    /// Creates a clock that stands at the current time.
    pub fn new() -> Self {
        Self::starting_at(now())
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
    /// # use herder_actors::testing::VirtualClock;
    /// let clock = VirtualClock::new();
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

    /// Waits until all pings are answered. Answers do not arrive faster than the machine runs: two moves without a pause
    /// would make a working worker look unresponsive. The question passes through each pool's mailbox, so that the pool has
    /// handled what was submitted before.
    async fn wait_for_pongs(&self) {
        for pool in self.pools() {
            wait_until("all pings are answered", async || {
                match pool.upgrade().map(|pool| pool.send(UnansweredPings)) {
                    Some(asked) => asked.await.map_or(true, |pinged| pinged == 0), // an error: the pool has ended
                    None => true,
                }
            })
            .await;
        }
    }

    async fn until_idle(&self) {
        let mut changed = self.changes();
        let idle = async {
            while self.is_due() {
                let _ = changed.changed().await; // the sender is dropped with this clock
            }
        };
        with_timeout("the work that became due is done", idle).await;
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
