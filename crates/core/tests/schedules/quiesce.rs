//! The end of a schedule: processes that behave from now on bring every pool to rest, and then nothing may be left.

use super::{harness::Harness, settings::MAX_QUARANTINE};
use herder_core::{Affinity, BreakerState, PoolState, WireId, WorkerRef};
use std::time::Duration;

impl Harness {
    pub(crate) fn quiesce(&mut self) {
        if self.announced && !self.draining {
            self.shut_down(); // a pool that only announced it stays below its strength
        }
        self.drain();
        assert!(self.model.calls.is_empty(), "I1: never answered: {:?}", self.model.calls);
        self.check_counters();
        if self.draining {
            return assert!(self.fakes.stopped, "the drain is over and the pool did not stop");
        }
        self.check_ends();
        self.close_the_breaker();
        self.check_turns();
    }

    /// Until all calls are over and all base workers are ready.
    fn drain(&mut self) {
        for _ in 0..3000 {
            self.behave();
            let state = self.core.pool_state();
            let quiet = self.model.calls.is_empty() && self.fakes.unfinished().next().is_none();
            if quiet && matches!(state, PoolState::Running | PoolState::Stopped) {
                return;
            }
            let next = self.core.next_wakeup().unwrap_or(self.now);
            self.jump(next.max(self.now + Duration::from_millis(1)));
        }
        let (state, processes) = (self.core.pool_state(), &self.fakes.processes);
        panic!("I7: the pool does not come to rest: {state:?}, {processes:?}, {:?}", self.model.calls);
    }

    fn behave(&mut self) {
        for worker in self.fakes.those(|process| process.stopping) {
            self.exit(worker);
        }
        for worker in self.fakes.those(|process| !process.ready && !process.stopping) {
            self.ready(worker);
        }
        self.answer_pings();
        while let Some((worker, wire)) = self.first_unfinished() {
            self.finish(worker, wire);
        }
    }

    fn first_unfinished(&self) -> Option<(WorkerRef, WireId)> {
        self.fakes.unfinished().next().map(|(worker, wire, _)| (worker, wire))
    }

    /// Every call is counted once, under what became of it.
    fn check_counters(&self) {
        let counters = self.core.status(self.now).counters;
        assert_eq!(counters.submitted, self.model.submitted);
        let over = counters.refused
            + counters.ok
            + counters.failed
            + counters.lost
            + counters.timeouts
            + counters.abandoned
            + counters.failed_by_pool;
        assert_eq!(over, self.model.submitted, "each call is counted once: {counters:?} {:?}", self.model.settled);
        let of = |how| self.model.settled.get(how).copied().unwrap_or_default();
        assert_eq!(counters.ok + counters.failed, of("delivered"));
        assert_eq!(counters.abandoned, of("Abandoned"));
    }

    /// R22: a living process that was sent calls of an epoch that is over has been told, once.
    fn check_ends(&mut self) {
        self.jump(self.now + Duration::from_millis(2)); // whatever was released is met by now
        self.ask("sweep", |core, now, effects| core.sweep(now, usize::MAX, effects));
        for &(session, epoch, worker) in &self.model.touched {
            let told = self.model.notified.contains(&(session, epoch, worker));
            let ended = self.model.released.contains(&(session, epoch));
            let goes_on = (self.epoch(session) == Some(epoch) && !ended) || !self.fakes.is_live(worker);
            assert!(told || goes_on, "R22: {worker} was never told that epoch {epoch} of s{session} is over");
        }
    }

    /// R34: a breaker closes by its trials, wherever it stands, once the pool gives results.
    fn close_the_breaker(&mut self) {
        let Some(settings) = self.settings.breaker.clone() else { return };
        self.behave_for(settings.open_duration.max(MAX_QUARANTINE));
        self.drain();
        for _ in 0..settings.success_threshold {
            let id = self.submit(None, None, Duration::from_secs(1));
            assert!(self.model.calls.contains_key(&id), "R34: {id} is no trial, in a pool at rest");
            while let Some((worker, wire)) = self.first_unfinished() {
                self.finish_with(worker, wire, true);
            }
        }
        let state = self.core.breaker(self.now).map(|breaker| breaker.state);
        assert_eq!(state, Some(BreakerState::Closed), "R34: the breaker is stuck");
    }

    fn behave_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.behave();
            let next = self.core.next_wakeup().unwrap_or(end);
            self.jump(next.max(self.now + Duration::from_millis(1)).min(end));
        }
    }

    /// I3, R36: no session's turn is held by a call that is over.
    fn check_turns(&mut self) {
        for session in 0..self.model.names.len() {
            for _ in 0..2 {
                let id = self.submit(Some(session), Some(Affinity::StrictQueue), Duration::from_secs(1));
                let waits = self.model.calls.get(&id).is_some_and(|call| call.sent.is_none());
                assert!(!waits, "R36: {id} waits for a turn that nobody has, in a pool at rest");
                self.behave();
            }
        }
    }
}
