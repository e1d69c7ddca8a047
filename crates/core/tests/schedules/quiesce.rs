//! The end of a schedule: from now on all processes answer and start normally. Every pool must become idle, with
//! nothing left over.

use super::{harness::Harness, settings::MAX_QUARANTINE};
use herder_core::{Affinity, BreakerState, PoolState, WireId, WorkerRef};
use std::time::Duration;

impl Harness {
    pub(crate) fn quiesce(&mut self) {
        if self.announced && !self.draining {
            // A pool whose shutdown was only announced does not restart its workers.
            self.shut_down();
        }
        if self.core.pool_state() == PoolState::Idle {
            self.submit(None, None, Duration::from_secs(1)); // R11: any call ends that
        }
        self.drain();
        assert!(self.model.calls.is_empty(), "I1: calls were never answered: {:?}", self.model.calls);
        self.check_counters();
        if self.draining {
            return assert!(self.fakes.stopped, "the drain is complete, but the pool did not stop");
        }
        self.check_ends();
        self.close_the_breaker();
        self.check_sessions_are_free();
    }

    /// Runs the pool until no call is pending and all base workers are ready.
    fn drain(&mut self) {
        for _ in 0..3000 {
            self.answer_everything();
            let state = self.core.pool_state();
            let quiet = self.model.calls.is_empty() && self.fakes.unfinished().next().is_none() && self.reloads == 0;
            if quiet && matches!(state, PoolState::Running | PoolState::Stopped) {
                return;
            }
            let next = self.core.next_wakeup().unwrap_or(self.now);
            self.jump(next.max(self.now + Duration::from_millis(1)));
        }
        let (state, processes) = (self.core.pool_state(), &self.fakes.processes);
        panic!("I7: the pool does not become idle: {state:?}, {processes:?}, {:?}", self.model.calls);
    }

    fn answer_everything(&mut self) {
        for worker in self.fakes.matching(|process| process.stopping) {
            self.exit(worker);
        }
        for worker in self.fakes.matching(|process| !process.ready && !process.stopping) {
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

    /// Every call is counted once, by its outcome.
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

    /// R22: each live process that was sent calls of an ended epoch was notified of its end once.
    fn check_ends(&mut self) {
        // By then the scan has visited all released rows.
        self.jump(self.now + Duration::from_millis(2));
        self.ask("sweep", |core, now, effects| core.sweep(now, usize::MAX, effects));
        for &(session, epoch, worker) in &self.model.sent_to {
            let notified = self.model.notified.contains(&(session, epoch, worker));
            let ended = self.model.released.contains(&(session, epoch));
            let continues = (self.epoch(session) == Some(epoch) && !ended) || !self.fakes.is_live(worker);
            assert!(
                notified || continues,
                "R22: {worker} was never notified of the end of epoch {epoch} of s{session}"
            );
        }
    }

    /// R34: a breaker in any state is closed by its trials, once the pool returns results.
    fn close_the_breaker(&mut self) {
        let Some(settings) = self.settings.breaker.clone() else { return };
        self.answer_everything_for(settings.open_duration.max(MAX_QUARANTINE));
        self.drain();
        for _ in 0..settings.success_threshold {
            let id = self.submit(None, None, Duration::from_secs(1));
            assert!(self.model.calls.contains_key(&id), "R34: {id} was refused, in an idle pool");
            self.wait_for_batch();
            while let Some((worker, wire)) = self.first_unfinished() {
                self.finish_with(worker, wire, true);
            }
        }
        let state = self.core.breaker(self.now).map(|breaker| breaker.state);
        assert_eq!(state, Some(BreakerState::Closed), "R34: the breaker does not close");
    }

    fn answer_everything_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.answer_everything();
            let next = self.core.next_wakeup().unwrap_or(end);
            self.jump(next.max(self.now + Duration::from_millis(1)).min(end));
        }
    }

    /// Lets the time pass for which a call waits for others of its batch.
    fn wait_for_batch(&mut self) {
        if let Some(limits) = self.batches() {
            self.run_until(self.now + limits.max_wait);
        }
    }

    /// I3, R36: no session is occupied by a finished call.
    fn check_sessions_are_free(&mut self) {
        for session in 0..self.model.names.len() {
            for _ in 0..2 {
                let id = self.submit(Some(session), Some(Affinity::StrictQueue), Duration::from_secs(1));
                self.wait_for_batch();
                let waits = self.model.calls.get(&id).is_some_and(|call| call.sent.is_none());
                assert!(!waits, "R36: {id} waits for its session, in an idle pool");
                self.answer_everything();
            }
        }
    }
}
