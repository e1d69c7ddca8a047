//! What is checked after each step: I2, I4, I6, I7, I8, deadlines, R12, and that no call waits while a worker that can
//! run it is free.

use super::{harness::Harness, model::Call, processes::Process};
use herder_core::{
    Affinity, CallId, Epoch, HISTORY_LIMIT, Health, PoolState, SessionState, WorkerRef, WorkerStatus,
    WorkerTypeSettings,
};
use std::time::Duration;

impl Harness {
    pub(crate) fn check(&mut self) {
        self.check_windows();
        self.check_deadlines();
        self.check_bindings();
        self.check_ends_of_sessions();
        let workers = self.core.workers(self.now);
        self.check_bounds(&workers);
        self.check_parts();
        self.check_starts(&workers);
        self.check_attempts();
        self.check_stops();
        self.check_breaker();
        if !self.draining {
            let free_for_batch = self.check_work(&workers);
            self.check_waits_for_batches(&free_for_batch);
        }
        self.had_live_base_worker = self.has_live_base_worker();
    }

    /// I2
    fn check_windows(&self) {
        for (worker, process) in &self.fakes.processes {
            let window = process.window.min(self.settings.window() as usize);
            let unfinished = process.invocations();
            assert!(unfinished <= window, "I2: {worker} has {unfinished} unfinished");
        }
    }

    /// R35, R11
    fn check_deadlines(&self) {
        for (id, call) in &self.model.calls {
            assert!(self.now < call.deadline, "R35: {id} is past its deadline");
            let any = call.mode.is_none() && call.sent.is_none() && call.attempts == 0 && !call.returned;
            assert!(!any || self.now < call.admitted + self.settings.queue.timeout, "R11: {id} waits too long");
        }
    }

    /// I3, I4, R12: bindings name live processes, the state of an epoch never moves, and new sessions are not bound to
    /// overflow workers.
    fn check_bindings(&mut self) {
        for session in 0..self.model.names.len() {
            let Some(info) = self.core.session_info(self.now, self.model.names[session].as_str()) else { continue };
            self.check_pending(session, info.pending);
            let Some((worker, generation)) = info.worker.zip(info.generation) else { continue };
            let worker_ref = WorkerRef { id: worker, generation };
            assert!(self.fakes.is_live(worker_ref), "I4: a session is bound to {worker_ref}, which is not alive");
            assert!(self.affinity_mode().is_some(), "I5: a pool without affinity has a binding");
            if let Some(epoch) = self.bound_epoch(session).or(info.epoch)
                && info.state == SessionState::Active
            {
                self.record_state_owner(session, epoch, worker_ref);
            }
        }
    }

    /// R22: an ended session is gone once it has no calls, unless it was begun anew.
    fn check_ends_of_sessions(&mut self) {
        let info = |session: &usize| self.core.session_info(self.now, self.model.names[*session].as_str());
        let (gone, left): (Vec<usize>, Vec<usize>) =
            self.model.ended.keys().partition(|session| info(session).is_none());
        for session in left {
            let pending = info(&session).map_or(0, |info| info.pending);
            assert!(pending > 0, "R22: {} was ended and has no calls, but exists", self.model.names[session]);
        }
        gone.iter().for_each(|session| _ = self.model.ended.remove(session));
    }

    /// R16: a session counts its calls, settled or not, until they are finished. A session with calls does not expire.
    fn check_pending(&self, session: usize, pending: u32) {
        let waiting = self.model.calls.values().filter(|call| call.session == Some(session) && call.sent.is_none());
        let unfinished = self.fakes.unfinished().filter(|(.., attempt)| attempt.session == Some(session));
        let expected = waiting.count() + unfinished.count();
        assert_eq!(pending as usize, expected, "R16: pending calls of {}", self.model.names[session]);
    }

    fn record_state_owner(&mut self, session: usize, epoch: Epoch, worker: WorkerRef) {
        let before = self.model.reported_owners.insert((session, epoch), worker);
        let owner = *self.model.state_owners.entry((session, epoch)).or_insert(worker);
        assert_eq!(owner, worker, "I3: the state of epoch {epoch} moved");
        let overflow = !self.is_base(worker);
        let base = self.had_live_base_worker && self.has_live_base_worker();
        let bound_by_message = self.model.bound_by_message.contains(&(session, worker));
        assert!(
            before.is_some() || !overflow || !base || bound_by_message,
            "R12: {worker} is bound to a session while a base worker is alive"
        );
    }

    /// Returns the epoch of the session's strict calls that run or wait, if there are any.
    fn bound_epoch(&self, session: usize) -> Option<Epoch> {
        let unfinished = self.fakes.unfinished_strict(session).filter_map(|attempt| attempt.epoch).min();
        unfinished.or_else(|| self.model.strict(session).filter_map(|(_, call)| call.epoch).min())
    }

    /// Returns the process that holds the state of a session, or held it, if the loss was not reported yet.
    pub(crate) fn state_owner(&self, session: usize) -> Option<WorkerRef> {
        let epoch = self.bound_epoch(session).or_else(|| self.epoch(session))?;
        self.model.state_owner((session, epoch))
    }

    /// I6
    fn check_bounds(&self, workers: &[WorkerStatus]) {
        let queue = self.core.queue_status();
        let waiting = || self.model.calls.values().filter(|call| call.sent.is_none());
        let in_advance = self.fakes.processes.values().flat_map(Process::in_advance);
        let in_advance = in_advance.filter(|call| self.model.calls.contains_key(call)).count();
        assert_eq!(queue.waiting, waiting().count() + in_advance, "the number of waiting calls");
        let begun: usize = self.fakes.processes.values().map(Process::begun).sum();
        assert_eq!(queue.in_flight, begun, "the number of calls that run");
        let never_sent = waiting().filter(|call| call.attempts == 0 && !call.returned).count();
        // Calls that only wait for others of their batch are not refused; they are fewer than a batch has calls, for each worker.
        let in_batches = self.batches().map_or(0, |limits| limits.max_batch_size as usize * (2 + workers.len()));
        let most = self.settings.queue.limit + in_batches;
        assert!(never_sent <= most, "I6: {never_sent} calls wait that were never sent");
        for session in 0..self.model.names.len() {
            let waiting_calls = self.model.strict(session).filter(|(_, call)| call.sent.is_none()).count();
            assert!(
                waiting_calls <= self.settings.queue.per_session + 1,
                "I6: {waiting_calls} calls of a session wait"
            );
        }
        let history = |worker: &WorkerStatus| worker.history.as_ref().map_or(0, Vec::len);
        assert!(workers.iter().all(|worker| history(worker) <= HISTORY_LIMIT), "I6: history");
        let sessions = self.core.list_sessions(self.now, 0, usize::MAX).sessions.len();
        assert!(sessions <= self.settings.sessions.max, "I6: {sessions} sessions");
        // A call may be due twice: at its deadline, and with its batch.
        let load = 2 * self.model.calls.len() + workers.len();
        assert!(self.core.timers_held() <= load, "I6: {} timers", self.core.timers_held());
    }

    /// I8, and what the parts of the core derive from each other.
    fn check_parts(&self) {
        let broken = self.core.verify();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// R33
    fn check_attempts(&self) {
        for (id, call) in &self.model.calls {
            let most = if call.idempotent && !call.is_strict() { self.settings.retry.attempts } else { 1 };
            assert!(call.attempts <= most, "R33: {id} was sent {} times, at most {most} are allowed", call.attempts);
        }
    }

    /// R30, R31: once the calls of a pool that shuts down have ended, no worker has time for calls.
    fn check_stops(&self) {
        let is_over = self.draining && self.model.calls.is_empty() && self.fakes.unfinished().next().is_none();
        let slow = self.fakes.matching(|process| process.after_calls);
        assert!(!is_over || slow.is_empty(), "R31: {slow:?} may still finish calls that have ended");
    }

    /// R34: there are no more trials than allowed, and each belongs to a pending call.
    fn check_breaker(&self) {
        let Some((breaker, settings)) = self.core.breaker(self.now).zip(self.settings.breaker.as_ref()) else {
            return;
        };
        let trials = breaker.half_open_calls as usize;
        assert!(breaker.half_open_calls <= settings.half_open_max_calls, "R34: {breaker:?}");
        assert!(trials <= self.model.calls.len(), "R34: {trials} trials, but fewer pending calls");
        assert!(
            breaker.failures < settings.failure_threshold && breaker.successes < settings.success_threshold,
            "R34: {breaker:?}"
        );
    }

    /// I7: each base slot has a process or a scheduled start, or the state of the pool explains why not. R28: a failed
    /// pool has a base worker that is not ready.
    fn check_starts(&self, workers: &[WorkerStatus]) {
        let excused = !matches!(self.core.pool_state(), PoolState::Starting | PoolState::Running);
        assert!(
            excused || self.announced || self.core.missing_starts() == 0,
            "I7: a base worker is missing, and no start is scheduled"
        );
        if self.core.pool_state() == PoolState::Failed {
            let alive = |worker: &WorkerStatus| WorkerRef { id: worker.id, generation: worker.generation };
            let mut base = workers.iter().filter(|worker| !worker.overflow);
            assert!(
                base.any(|worker| !self.fakes.is_live(alive(worker))),
                "R28: the pool has failed, but every base worker is ready"
            );
            let probe =
                self.core.next_wakeup().is_some() || !self.fakes.matching(|p| p.stopping || !p.ready).is_empty();
            assert!(probe, "I7: a failed pool has no probe");
        }
    }

    /// Checks that no call waits while a process that can run it has capacity.
    /// Returns the calls that may do so since they wait for others of a batch.
    fn check_work(&self, workers: &[WorkerStatus]) -> Vec<CallId> {
        let mut for_batch = Vec::new();
        let accepts = |worker: &&WorkerStatus| self.can_accept(worker);
        let some = workers.iter().any(|worker| self.can_accept(worker));
        let base = workers.iter().filter(accepts).any(|worker| !worker.overflow);
        let waits = |call: &Call| call.sent.is_none() && self.now >= call.cooldown_until;
        for (id, call) in self.model.calls.iter().filter(|(_, call)| waits(call)) {
            let free = match call.mode {
                None => some,
                Some(Affinity::Hint) => base,
                Some(_) => self.is_free_for_strict(*id, call, workers),
            };
            let waits_for_batch = self.batches().is_some() && !id.0.is_multiple_of(3) && !call.lost;
            assert!(!free || waits_for_batch, "{id} waits while a worker that can run it is free");
            for_batch.extend(free.then_some(*id));
        }
        for_batch
    }

    /// A call waits for others of its batch for `max_wait` and no longer, while a worker is free.
    fn check_waits_for_batches(&mut self, calls: &[CallId]) {
        let max_wait = self.batches().map_or(Duration::ZERO, |limits| limits.max_wait);
        self.waiting_for_batch.retain(|id, _| calls.contains(id));
        for id in calls {
            let since = *self.waiting_for_batch.entry(*id).or_insert(self.now);
            assert!(self.now <= since + max_wait, "{id} waits too long for its batch, since {since:?}");
        }
    }

    /// Returns whether a worker is free that can run this strict call, and the call is the current one of its session.
    fn is_free_for_strict(&self, id: CallId, call: &Call, workers: &[WorkerStatus]) -> bool {
        let Some(session) = call.session else { return false };
        let taken = self.fakes.unfinished_strict(session).next().is_some();
        let first = self.model.strict(session).next().map(|(first, _)| first) == Some(id);
        if taken || !first {
            return false;
        }
        let owner = call.epoch.and_then(|epoch| self.model.state_owner((session, epoch)));
        let has_room = |worker: &&WorkerStatus| match owner {
            Some(worker_ref) => worker.id == worker_ref.id && worker.generation == worker_ref.generation,
            None => !worker.overflow,
        };
        workers.iter().filter(has_room).any(|worker| self.can_accept(worker))
    }

    fn can_accept(&self, worker: &WorkerStatus) -> bool {
        let worker_ref = WorkerRef { id: worker.id, generation: worker.generation };
        let health_gated =
            matches!(self.settings.worker_type, WorkerTypeSettings::Enhanced { state_machine: true, .. });
        let healthy = !health_gated || worker.health == Health::Healthy;
        let Some(process) = self.fakes.processes.get(&worker_ref).filter(|_| self.fakes.is_live(worker_ref)) else {
            return false;
        };
        healthy && process.invocations() < process.places
    }
}
