//! What must hold after each step: I2, I4, I6, I7, I8, deadlines, R12, and that nobody waits for a free worker in vain.

use super::{harness::Harness, model::Call};
use herder_core::{
    Affinity, CallId, Epoch, HISTORY_LIMIT, Health, PoolState, SessionState, WorkerRef, WorkerStatus,
    WorkerTypeSettings,
};

impl Harness {
    pub(crate) fn check(&mut self) {
        self.check_windows();
        self.check_deadlines();
        self.check_bindings();
        let workers = self.core.workers(self.now);
        self.check_bounds(&workers);
        self.check_timers();
        self.check_starts(&workers);
        self.check_attempts();
        self.check_breaker();
        if !self.draining {
            self.check_work(&workers);
        }
        self.base_lived = self.fakes.base_lives(self.settings.pool_size);
    }

    /// I2
    fn check_windows(&self) {
        for (worker, process) in &self.fakes.processes {
            let window = process.window.min(self.settings.window() as usize);
            assert!(process.unfinished.len() <= window, "I2: {worker} has {} unfinished", process.unfinished.len());
        }
    }

    /// R35, R11
    fn check_deadlines(&self) {
        for (id, call) in &self.model.calls {
            assert!(self.now < call.deadline, "R35: {id} is past its deadline");
            let any = call.mode.is_none() && call.sent.is_none() && call.attempts == 0;
            assert!(!any || self.now < call.admitted + self.settings.queue.timeout, "R11: {id} waits too long");
        }
    }

    /// I3, I4, R12: bindings name living processes, an epoch's state never moves, new ones are not on the overflow.
    fn check_bindings(&mut self) {
        for session in 0..self.model.names.len() {
            let Some(info) = self.core.session_info(self.now, self.model.names[session].as_str()) else { continue };
            self.check_pending(session, info.pending);
            let Some((worker, generation)) = info.worker.zip(info.generation) else { continue };
            let worker_ref = WorkerRef { id: worker, generation };
            assert!(self.fakes.is_live(worker_ref), "I4: a session is bound to {worker_ref}, which does not live");
            assert!(self.affinity_mode().is_some(), "I5: a pool without affinity binds");
            if let Some(epoch) = self.bound_epoch(session).or(info.epoch)
                && info.state == SessionState::Active
            {
                self.record_state_owner(session, epoch, worker_ref);
            }
        }
    }

    /// A session counts its calls, settled or not, until they are over: one that has any does not expire (R16).
    fn check_pending(&self, session: usize, pending: u32) {
        let waiting = self.model.calls.values().filter(|call| call.session == Some(session) && call.sent.is_none());
        let unfinished = self.fakes.unfinished().filter(|(.., attempt)| attempt.session == Some(session));
        let expected = waiting.count() + unfinished.count();
        assert_eq!(pending as usize, expected, "R16: pending calls of {}", self.model.names[session]);
    }

    fn record_state_owner(&mut self, session: usize, epoch: Epoch, worker: WorkerRef) {
        let before = self.model.state_owners.insert((session, epoch), worker);
        let held = *self.model.held.entry((session, epoch)).or_insert(worker);
        assert_eq!(held, worker, "I3: the state of epoch {epoch} moved");
        let overflow = worker.id.0 > self.settings.pool_size;
        let base = self.base_lived && self.fakes.base_lives(self.settings.pool_size);
        let by_hand = self.model.by_hand.contains(&(session, worker));
        assert!(
            before.is_some() || !overflow || !base || by_hand,
            "R12: {worker} takes a session while a base worker lives"
        );
    }

    /// The epoch a session's strict calls are in now, if it has any.
    fn bound_epoch(&self, session: usize) -> Option<Epoch> {
        let unfinished = self.fakes.unfinished_strict(session).filter_map(|attempt| attempt.epoch).min();
        unfinished.or_else(|| self.model.strict(session).filter_map(|(_, call)| call.epoch).min())
    }

    /// Where the state of a session is, or was until nobody was told of its loss.
    pub(crate) fn state_owner(&self, session: usize) -> Option<WorkerRef> {
        let epoch = self.bound_epoch(session).or_else(|| self.epoch(session))?;
        self.model.state_owner((session, epoch))
    }

    /// I6
    fn check_bounds(&self, workers: &[WorkerStatus]) {
        let queue = self.core.queue_status();
        let waiting = || self.model.calls.values().filter(|call| call.sent.is_none());
        assert_eq!(queue.waiting, waiting().count(), "what waits is counted");
        assert_eq!(queue.in_flight, self.fakes.unfinished().count(), "what runs is counted");
        let never_sent = waiting().filter(|call| call.attempts == 0).count();
        assert!(never_sent <= self.settings.queue.limit, "I6: {never_sent} calls wait");
        for session in 0..self.model.names.len() {
            let line = self.model.strict(session).filter(|(_, call)| call.sent.is_none()).count();
            assert!(line <= self.settings.queue.per_session + 1, "I6: {line} calls of a session wait");
        }
        let history = |worker: &WorkerStatus| worker.history.as_ref().map_or(0, Vec::len);
        assert!(workers.iter().all(|worker| history(worker) <= HISTORY_LIMIT), "I6: history");
        let sessions = self.core.list_sessions(self.now, 0, usize::MAX).sessions.len();
        assert!(sessions <= self.settings.sessions.max, "I6: {sessions} sessions");
        let load = 2 * (2 * self.model.calls.len() + 4 * workers.len() + queue.in_flight) + 128;
        assert!(self.core.timers_held() <= load, "I6: {} timers", self.core.timers_held());
    }

    /// I8: nothing is pending whose timer is gone.
    fn check_timers(&self) {
        let missing = self.core.missing_timers();
        assert!(missing.is_empty(), "I8: nothing will ever look at {missing:?}");
    }

    /// R33
    fn check_attempts(&self) {
        for (id, call) in &self.model.calls {
            let most = if call.idempotent && !call.is_strict() { self.settings.retry.attempts } else { 1 };
            assert!(call.attempts <= most, "R33: {id} was sent {} times, at most {most} are allowed", call.attempts);
        }
    }

    /// R34: no more trials than allowed, and none that nobody waits for.
    fn check_breaker(&self) {
        let Some((breaker, settings)) = self.core.breaker(self.now).zip(self.settings.breaker.as_ref()) else {
            return;
        };
        let trials = breaker.half_open_calls as usize;
        assert!(breaker.half_open_calls <= settings.half_open_max_calls, "R34: {breaker:?}");
        assert!(trials <= self.model.calls.len(), "R34: {trials} trials, and fewer calls");
        assert!(
            breaker.failures < settings.failure_threshold && breaker.successes < settings.success_threshold,
            "R34: {breaker:?}"
        );
    }

    /// I7: each base slot has a process or a start, or the pool has said why not. R28: it has not failed with all of them ready.
    fn check_starts(&self, workers: &[WorkerStatus]) {
        let excused = !matches!(self.core.pool_state(), PoolState::Starting | PoolState::Running);
        assert!(
            excused || self.announced || self.core.missing_starts() == 0,
            "I7: a base worker is missing and nothing starts it"
        );
        if self.core.pool_state() == PoolState::Failed {
            let alive = |worker: &WorkerStatus| WorkerRef { id: worker.id, generation: worker.generation };
            let mut base = workers.iter().filter(|worker| !worker.overflow);
            assert!(
                base.any(|worker| !self.fakes.is_live(alive(worker))),
                "R28: it failed, and each base worker is ready"
            );
            let probe = self.core.next_wakeup().is_some() || !self.fakes.those(|p| p.stopping || !p.ready).is_empty();
            assert!(probe, "I7: a failed pool has its probe before it");
        }
    }

    /// Nobody waits while a process that could take the call has room.
    fn check_work(&self, workers: &[WorkerStatus]) {
        let takes = |worker: &&WorkerStatus| self.takes(worker);
        let some = workers.iter().any(|worker| self.takes(worker));
        let base = workers.iter().filter(takes).any(|worker| !worker.overflow);
        let waits = |call: &Call| call.sent.is_none() && self.now >= call.cooldown_until;
        for (id, call) in self.model.calls.iter().filter(|(_, call)| waits(call)) {
            match call.mode {
                None => assert!(!some, "{id} waits for any worker while one has room"),
                Some(Affinity::Hint) => assert!(!base, "{id} waits for a worker while one has room"),
                Some(_) => self.check_strict(*id, call, workers),
            }
        }
    }

    fn check_strict(&self, id: CallId, call: &Call, workers: &[WorkerStatus]) {
        let Some(session) = call.session else { return };
        let taken = self.fakes.unfinished_strict(session).next().is_some();
        let first = self.model.strict(session).next().map(|(first, _)| first) == Some(id);
        if taken || !first {
            return;
        }
        let home = call.epoch.and_then(|epoch| self.model.state_owner((session, epoch)));
        let has_room = |worker: &&WorkerStatus| match home {
            Some(worker_ref) => worker.id == worker_ref.id && worker.generation == worker_ref.generation,
            None => !worker.overflow,
        };
        let idle = workers.iter().filter(has_room).any(|worker| self.takes(worker));
        assert!(!idle, "{id} has its session's turn and waits while its worker has room");
    }

    fn takes(&self, worker: &WorkerStatus) -> bool {
        let worker_ref = WorkerRef { id: worker.id, generation: worker.generation };
        let health_gated =
            matches!(self.settings.worker_type, WorkerTypeSettings::Enhanced { state_machine: true, .. });
        let healthy = !health_gated || worker.health == Health::Healthy;
        let Some(process) = self.fakes.processes.get(&worker_ref).filter(|_| self.fakes.is_live(worker_ref)) else {
            return false;
        };
        healthy && process.unfinished.len() < process.window.min(self.settings.window() as usize)
    }
}
