//! The operations of a schedule. They respect what a shell guarantees: a process becomes ready at most once, its frames
//! arrive between that and its exit, and it exits once.

use super::{
    harness::{BATCHED, Harness, payload},
    model::Cause,
    processes::{Attempt, Process},
    settings::MODES,
};
use herder_core::{
    Affinity, AttemptState, CallId, Core, Fingerprint, Input, KillReason, Lookup, Outcome, Pipeline, ProcessActivity,
    SessionState, StreamWait, Timestamp, WireId, WorkerId, WorkerRef, WorkerTypeSettings,
};
use std::{num::NonZeroU32, time::Duration};

const STATES: [AttemptState; 3] = [AttemptState::Running, AttemptState::Withdrawn, AttemptState::Finished];
const ACTIVITIES: [ProcessActivity; 4] =
    [ProcessActivity::Computing, ProcessActivity::Idle, ProcessActivity::Stopped, ProcessActivity::Unknown];

impl Harness {
    pub(crate) fn operate(&mut self) {
        match self.rng.below(100) {
            0..30 => self.submit_any(),
            30..44 => self.finish_any(),
            44..57 => self.pass_time(),
            57..69 => self.ready_any(),
            69..72 => self.cancel_any(),
            72..74 => self.report_attempt_state(),
            74..77 => self.answer_pings(),
            77..79 => self.examine_any(),
            79..84 => self.exit_any(),
            84..86 => self.unknown_frame(),
            86 => self.kill_any(),
            87 => self.control_manually(),
            88..97 => self.request_any(),
            97 => {
                self.check_status();
                self.fail_sends();
            }
            98 if self.rng.chance(30) => self.rebuild(),
            99 if self.rng.chance(20) => self.shut_down(),
            _ if self.reloads_often() => self.reload(),
            _ => self.step_to_wakeup(),
        }
        self.send_first_chunks();
        self.answer_examinations();
    }

    /// R42: half of the attempts whose callers take chunks send one as soon as they may have begun.
    fn send_first_chunks(&mut self) {
        let streams = self.fakes.unfinished().filter(|(worker, wire, attempt)| {
            let is_stream = self.model.calls.get(&attempt.call).is_some_and(|call| call.stream.is_some());
            let process = &self.fakes.processes[worker];
            let may_send = !attempt.has_chunks && !attempt.taken_back && attempt.state.is_none();
            let has_begun = process.may_have_begun(*wire) && process.in_advance().all(|call| call != attempt.call);
            is_stream && may_send && has_begun && wire.0.is_multiple_of(2)
        });
        for (worker, wire, attempt) in streams.collect::<Vec<_>>() {
            let process = self.fakes.process(worker);
            process.unfinished.entry(wire).and_modify(|attempt| (attempt.has_chunks, attempt.begun) = (true, true));
            self.model.take_chunk(attempt.call, (worker, wire));
            self.input(Input::FirstChunk { worker, wire }, Cause::Other);
        }
    }

    /// R42: a stream waits for its worker or its consumer, for some time or not at all.
    fn answer_examinations(&mut self) {
        for call in std::mem::take(&mut self.model.examined) {
            let since = Timestamp(self.now.0.saturating_sub(call.0 % 5 * 30_000_000));
            let is_consumer = call.0.is_multiple_of(4) || self.now.0.is_multiple_of(2);
            let wait = if is_consumer { StreamWait::Consumer { since } } else { StreamWait::Worker { since } };
            self.input(Input::StreamWait { call, wait }, Cause::Other);
        }
    }

    /// Every fourth pool is reloaded. This is not drawn, so that the schedules of the corpus stay the same in the others.
    fn reloads_often(&self) -> bool {
        self.settings.cancel.withdrawn.as_millis() % 4 == 1
    }

    fn reload(&mut self) {
        // Instead of some reloads, a worker is unhealthy.
        let live = self.fakes.matching(|process| process.ready && !process.stopping);
        if self.next_call.is_multiple_of(3)
            && let Some(worker) = live.first()
        {
            return self.input(Input::Unhealthy { worker: *worker }, Cause::Other);
        }
        self.reloads += 1;
        self.input(Input::Reload, Cause::Other);
    }

    fn submit_any(&mut self) {
        let sessions = self.model.names.len();
        let session = self.rng.chance(75).then(|| self.rng.below(sessions));
        let affinity: Option<Affinity> = self.rng.chance(30).then(|| MODES[self.rng.below(3)]);
        let wait = if self.rng.chance(2) { Duration::ZERO } else { self.rng.millis(1, 300) };
        self.submit(session, affinity, wait);
    }

    fn finish_any(&mut self) {
        let sent = self.fakes.unfinished().map(|(worker, wire, _)| (worker, wire));
        let sent: Vec<_> = sent.filter(|(worker, wire)| self.fakes.processes[worker].may_finish(*wire)).collect();
        if let Some((worker, wire)) = self.rng.pick(&sent) {
            self.finish(worker, wire);
        }
    }

    pub(crate) fn finish(&mut self, worker: WorkerRef, wire: WireId) {
        let ok = self.rng.chance(80);
        self.finish_with(worker, wire, ok);
    }

    pub(crate) fn finish_with(&mut self, worker: WorkerRef, wire: WireId, ok: bool) {
        self.input(Input::Tick, Cause::Other);
        if self.finish_withdrawn(worker, wire) {
            return;
        }
        let attempt = self.fakes.answer(worker, wire);
        let call = attempt.map(|attempt| attempt.call);
        // Mostly short, so that calls follow in advance; some are slow.
        let ran = if wire.0.is_multiple_of(7) { Duration::from_millis(3) } else { Duration::from_micros(100) };
        let is_withdrawn = attempt.is_some_and(|attempt| attempt.state == Some(AttemptState::Withdrawn));
        let (ok, ran) = if is_withdrawn { (false, Duration::ZERO) } else { (ok, ran) };
        let waits = call.filter(|id| self.model.calls.contains_key(id));
        self.input(Input::Final { worker, wire, ok, ran }, Cause::Final(call));
        call.into_iter().for_each(|id| self.clear_payload(id));
        let answered = waits.is_none_or(|id| !self.model.calls.contains_key(&id));
        assert!(answered, "I1: {call:?} has its final frame, but no answer");
    }

    /// R71: the final frame of a call that a process gave back when asked. Returns false if the attempt is another one.
    /// Every other such frame overtakes the answer to the revoke, which is on the other descriptor.
    fn finish_withdrawn(&mut self, worker: WorkerRef, wire: WireId) -> bool {
        let Some(attempt) = self.fakes.process(worker).unfinished.get(&wire).copied() else { return false };
        let overtakes = attempt.revoked && !attempt.begun && attempt.state.is_none() && wire.0.is_multiple_of(2);
        if attempt.abandoned || !(attempt.taken_back || overtakes) {
            return false;
        }
        self.fakes.answer(worker, wire);
        self.model.return_call(attempt.call, wire);
        self.input(Input::Final { worker, wire, ok: false, ran: Duration::ZERO }, Cause::Other);
        true
    }

    /// R37: a finished call clears its fingerprint, unless that is in quarantine already.
    fn clear_payload(&mut self, call: CallId) {
        let payload = payload(call);
        self.ask("clear fingerprint", |core, _, _| core.clear_payload(payload));
        let watched = self.core.quarantine_entries(self.now);
        let cleared = watched.iter().all(|each| each.fingerprint != payload || each.quarantined);
        assert!(cleared, "R37: {payload:?} has finished, but is still watched");
    }

    /// Some calls could not be written to their processes.
    fn fail_sends(&mut self) {
        for _ in 0..self.rng.range(1, 3) {
            // A process that has reported the state of an attempt has received it.
            let unreported = self.fakes.unfinished().filter(|(.., attempt)| attempt.state.is_none());
            let candidates: Vec<(WorkerRef, WireId)> = unreported.map(|(worker, wire, _)| (worker, wire)).collect();
            if let Some((worker, wire)) = self.rng.pick(&candidates) {
                self.fail_send(worker, wire);
            }
        }
    }

    /// A call could not be written to its process. The shell has answered its caller, unless the call was settled
    /// before. The attempt is over, as after a final frame, but it is no outcome: it counts neither for the breaker and
    /// the quarantine, nor as a finished attempt of the worker, and the call is not sent again.
    fn fail_send(&mut self, worker: WorkerRef, wire: WireId) {
        let outcomes = |harness: &Self| {
            let breaker = harness.core.breaker(harness.now).map(|breaker| (breaker.failures, breaker.successes));
            let workers = harness.core.workers(harness.now).into_iter();
            let finished = workers.filter(|status| status.id == worker.id).map(|status| status.operations).next();
            (breaker, harness.core.quarantine_entries(harness.now), finished)
        };
        let before = outcomes(self);
        let Some(attempt) = self.fakes.answer(worker, wire) else { return };
        if self.model.calls.contains_key(&attempt.call) {
            // From here on, another answer to the call fails the test (I1).
            self.model.settle(attempt.call, "NotSent");
        }
        self.input(Input::SendFailed { worker, wire }, Cause::Other);
        assert_eq!(before, outcomes(self), "R34, R37: {wire} was not sent, but counts as an outcome");
    }

    fn pass_time(&mut self) {
        let span = match self.rng.below(20) {
            0 => self.rng.millis(200, 2000),
            1..5 => self.rng.millis(20, 120),
            _ => Duration::from_micros(u64::from(self.rng.range(0, 9000))),
        };
        if self.rng.chance(80) { self.run_until(self.now + span) } else { self.jump(self.now + span) }
    }

    /// Performs a step at each wakeup, as a shell with an exact timer does.
    pub(crate) fn run_until(&mut self, end: Timestamp) {
        while let Some(next) = self.core.next_wakeup().filter(|next| *next <= end) {
            self.jump(next.max(self.now));
        }
        self.jump(end);
    }

    pub(crate) fn jump(&mut self, to: Timestamp) {
        self.now = to;
        self.input(Input::Tick, Cause::Other);
    }

    pub(crate) fn step_to_wakeup(&mut self) {
        if let Some(next) = self.core.next_wakeup() {
            self.jump(next.max(self.now));
        }
    }

    fn ready_any(&mut self) {
        let starting = self.fakes.matching(|process| !process.ready);
        if let Some(worker) = self.rng.pick(&starting) {
            self.ready(worker);
        }
    }

    pub(crate) fn ready(&mut self, worker: WorkerRef) {
        let (window, control) = (self.rng.range(0, 5), self.rng.chance(80));
        let process = self.fakes.process(worker);
        (process.ready, process.control, process.window) = (true, control, window.max(1) as usize);
        process.in_order = NonZeroU32::new(window % 3).filter(|_| control);
        let offered = process.window.min(self.settings.window() as usize);
        process.places = match (self.settings.pipeline, process.in_order) {
            (Pipeline::Auto, in_order) => {
                let at_once =
                    in_order.map_or(self.settings.concurrency, |calls| calls.get().min(self.settings.concurrency));
                offered.min(at_once as usize)
            }
            _ => offered,
        };
        let in_order = process.in_order;
        if self.batches().is_some() && worker.generation.0 % 4 != 2 {
            // Not with `ask`, which checks the pool: it does not know that the process is ready.
            self.core.state_batches(worker, &[BATCHED]);
        }
        self.input(Input::Ready { worker, window, control, in_order }, Cause::Other);
    }

    fn cancel_any(&mut self) {
        let calls: Vec<CallId> = self.model.calls.keys().copied().collect();
        let id = self.rng.pick(&calls).unwrap_or(CallId(u64::MAX));
        self.input(Input::Cancel(id), Cause::Other);
        assert!(!self.model.calls.contains_key(&id), "I1: {id} was abandoned, but is not settled");
    }

    /// R35: a process reports the state of an attempt, usually of one that it was asked to stop.
    fn report_attempt_state(&mut self) {
        let all = self.fakes.unfinished();
        let is_asked = |attempt: &Attempt| attempt.abandoned || attempt.revoked;
        let candidates: Vec<_> =
            all.filter(|(.., attempt)| is_asked(attempt) || self.now.0.is_multiple_of(8)).collect();
        let Some((worker, wire, attempt)) = self.rng.pick(&candidates) else { return };
        let mut state = STATES[self.rng.below(STATES.len())];
        if attempt.state.is_some_and(|before| before != AttemptState::Running || state == AttemptState::Withdrawn) {
            // What it reported before stays true.
            state = attempt.state.unwrap_or(state);
        }
        if attempt.has_chunks && state == AttemptState::Withdrawn {
            state = AttemptState::Running;
        }
        let process = self.fakes.process(worker);
        if process.in_order.is_some() && attempt.state != Some(AttemptState::Withdrawn) {
            state = match process.may_have_begun(wire) {
                false => AttemptState::Withdrawn,
                true if attempt.begun && state == AttemptState::Withdrawn => AttemptState::Running,
                true => state,
            };
        }
        if is_asked(&attempt)
            && let Some(attempt) = process.unfinished.get_mut(&wire)
        {
            attempt.state = Some(state);
            attempt.begun |= state != AttemptState::Withdrawn;
            attempt.taken_back |= attempt.revoked && !attempt.abandoned && state == AttemptState::Withdrawn;
            if attempt.taken_back {
                // Its session waits for the call, not for this attempt.
                attempt.session = None;
                self.model.return_call(attempt.call, wire);
            }
        }
        self.input(Input::AttemptState { worker, wire, state }, Cause::Other);
    }

    pub(crate) fn answer_pings(&mut self) {
        for worker in self.fakes.matching(|process| !process.pings.is_empty()) {
            for nonce in std::mem::take(&mut self.fakes.process(worker).pings) {
                self.input(Input::Pong { worker, nonce }, Cause::Other);
            }
        }
    }

    /// R26: whatever an unresponsive process does, and however late that is reported, it is stopped at most once, and
    /// not while it computes for its calls.
    fn examine_any(&mut self) {
        for worker in self.fakes.matching(|process| !process.examined.is_empty()) {
            for nonce in std::mem::take(&mut self.fakes.process(worker).examined) {
                let activity = ACTIVITIES[self.rng.below(ACTIVITIES.len())];
                self.input(Input::Tick, Cause::Other);
                let bound = activity == ProcessActivity::Computing && self.fakes.is_busy(worker);
                let was_live = self.fakes.is_live(worker);
                self.input(Input::Activity { worker, nonce, activity }, Cause::Other);
                assert!(
                    !bound || self.fakes.is_live(worker) == was_live,
                    "R26: {worker} is stopped while it computes for its calls"
                );
            }
        }
    }

    fn exit_any(&mut self) {
        let stopping = self.fakes.matching(|process| process.stopping);
        let all = self.fakes.matching(|_| true);
        let candidates = if self.rng.chance(60) && !stopping.is_empty() { stopping } else { all };
        if let Some(worker) = self.rng.pick(&candidates) {
            self.exit(worker);
        }
    }

    /// Frames and failed sends of no call: of attempts that were answered before, that were never sent, or of processes
    /// that have exited.
    fn unknown_frame(&mut self) {
        let again = self.rng.pick(&self.fakes.answered.clone());
        let dead = self.rng.pick(&self.fakes.dead.clone());
        let live = self.rng.pick(&self.fakes.matching(|process| process.ready));
        let wire = self.fakes.unfinished().next().map_or(WireId(77), |(_, wire, _)| wire);
        let frame = match self.rng.below(3) {
            0 => again,
            1 => dead.map(|worker| (worker, wire)),
            _ => live.map(|worker| (worker, WireId(1 << 40))),
        };
        let Some((worker, wire)) = frame else { return };
        if let Some(process) = self.fakes.processes.get_mut(&worker) {
            process.in_order = None; // nothing that it states is relied on any more
        }
        self.input(Input::Final { worker, wire, ok: true, ran: Duration::ZERO }, Cause::Other);
        self.input(Input::SendFailed { worker, wire }, Cause::Other);
        self.input(Input::Pong { worker, nonce: 1 }, Cause::Other);
        self.input(Input::Activity { worker, nonce: 1, activity: ProcessActivity::Stopped }, Cause::Other);
        if let Some(worker) = dead {
            self.input(Input::Ready { worker, window: 1, control: true, in_order: None }, Cause::Other);
        }
    }

    fn kill_any(&mut self) {
        let all = self.fakes.matching(|_: &Process| true);
        let kill_reason = if self.rng.chance(50) { KillReason::Requested } else { KillReason::ProtocolViolation };
        if let Some(worker) = self.rng.pick(&all) {
            self.input(Input::Kill { worker, kill_reason }, Cause::Other);
        }
    }

    /// R34, R37: manual control of the breaker and the quarantine.
    fn control_manually(&mut self) {
        self.input(Input::Tick, Cause::Other);
        let outcome = [Outcome::Success, Outcome::Failure, Outcome::Ignored][self.rng.below(3)];
        let payload = Fingerprint(self.rng.below(3) as u64);
        match self.rng.below(3) {
            0 => _ = self.ask("record", |core, now, _| core.record_outcome(now, outcome)),
            1 => _ = self.ask("reset", |core, _, _| core.reset_breaker()),
            _ => self.release_payload(payload),
        }
    }

    /// R37: a released fingerprint is not watched any more.
    fn release_payload(&mut self, payload: Fingerprint) {
        let watched = |harness: &Self| {
            harness.core.quarantine_entries(harness.now).iter().any(|each| each.fingerprint == payload)
        };
        let before = watched(self);
        let released = self.ask("release", |core, _, _| core.release_payload(payload));
        assert!((released || !before) && !watched(self), "R37: {payload:?} was released, but is still watched");
    }

    fn request_any(&mut self) {
        self.input(Input::Tick, Cause::Other);
        let session = self.rng.below(self.model.names.len());
        let id = self.model.names[session].clone();
        let worker = WorkerId(self.rng.range(1, self.settings.pool_size + self.settings.overflow + 1));
        match self.rng.below(10) {
            0..3 => {
                let current = self.fakes.matching(|_| true).into_iter().filter(|worker_ref| worker_ref.id == worker);
                self.model.bound_by_message.extend(current.map(|worker_ref| (session, worker_ref)));
                let bound = self.ask("bind", |core, now, effects| core.bind_session(now, id, worker, effects));
                if let Ok(worker_ref) = bound {
                    self.model.ended.remove(&session);
                    assert!(self.fakes.is_live(worker_ref), "I4: bound to {worker_ref}");
                }
            }
            3 => {
                if self.ask("unbind", |core, now, effects| core.unbind_session(now, id.as_str(), effects)) {
                    // It replaces an end that waits for calls.
                    self.model.ended.remove(&session);
                }
            }
            4 => {
                if self.ask("end", |core, now, effects| core.end_session(now, id.as_str(), effects)) {
                    self.model.ended.insert(session, CallId(self.next_call));
                }
            }
            5 => self.remove_sessions_of(worker),
            6 => _ = self.ask("track", |core, now, effects| core.track_session(now, id, effects).is_ok()),
            7 => _ = self.ask("activity", |core, now, effects| core.update_session_activity(now, &id, effects)),
            8 => self.sweep(),
            _ => self.look_up(session),
        }
    }

    fn sweep(&mut self) {
        let budget = if self.rng.chance(50) { usize::MAX } else { 2 };
        self.ask("sweep", |core, now, effects| core.sweep(now, budget, effects));
    }

    /// R14: none of the sessions is bound afterwards, even if its worker is notified later.
    fn remove_sessions_of(&mut self, worker: WorkerId) {
        let names = self.model.names.clone();
        let info = |harness: &Self, n: usize| harness.core.session_info(harness.now, names[n].as_str());
        let bound: Vec<_> = (0..names.len())
            .filter_map(|n| Some((n, info(self, n).filter(|info| info.worker == Some(worker))?)))
            .collect();
        let released =
            self.ask("remove of worker", |core, now, effects| core.remove_worker_sessions(now, worker, effects));
        assert!(released >= bound.len(), "R14: {released} of {} sessions were removed", bound.len());
        for (session, before) in bound.into_iter().filter(|(_, before)| before.pending == 0) {
            self.model.released.extend(before.epoch.map(|epoch| (session, epoch)));
            let after = info(self, session).and_then(|info| info.worker);
            assert_eq!(after, None, "R14: a session is bound to a worker from which it was removed");
        }
    }

    /// I4, R15
    fn look_up(&mut self, session: usize) {
        let id = self.model.names[session].clone();
        let before = self.core.session_info(self.now, id.as_str());
        let lookup = self.ask("lookup", |core, now, effects| core.worker_of(now, id.as_str(), effects));
        match lookup {
            Lookup::Bound(worker) => {
                assert!(self.fakes.is_live(worker), "I4: {id} is bound to {worker}, which is not alive");
            }
            Lookup::Expired => assert!(before.is_some_and(|info| info.state == SessionState::Expired)),
            Lookup::NotBound => {}
        }
        assert!(lookup == Lookup::NotBound || self.affinity_mode().is_some(), "I5: a basic pool has no bindings");
    }

    fn check_status(&mut self) {
        self.set_batches();
        let status = self.core.status(self.now);
        assert!(status.session_affinity.is_some() == self.affinity_mode().is_some(), "I5");
        if matches!(self.settings.worker_type, WorkerTypeSettings::Basic) {
            let is_basic = |worker: &herder_core::WorkerStatus| worker.metrics.is_none() && worker.history.is_none();
            assert!(status.workers.iter().all(is_basic), "I5: a basic worker has neither metrics nor history");
        }
    }

    /// R29: a panic in a step. The shell fails all calls, kills all processes, and continues with the recovery
    /// snapshot.
    fn rebuild(&mut self) {
        if self.draining {
            return;
        }
        self.log(|| "the state is rebuilt".into());
        assert!(
            self.core.unsettled().iter().eq(self.model.calls.keys()),
            "I1: the core and the model have the same unsettled calls"
        );
        let bound: Vec<(usize, WorkerRef)> = (0..self.model.names.len())
            .filter_map(|session| Some((session, self.live_state_owner(session)?)))
            .collect();
        for id in self.core.unsettled() {
            self.model.settle(id, "rebuilt");
        }
        self.core = Core::resume(self.settings.clone(), self.rng.next(), self.now, self.core.recovery_snapshot());
        self.model.submitted = 0;
        self.model.ended.clear();
        self.model.settled.clear();
        (self.announced, self.reloads) = (false, 0);
        for worker in self.fakes.matching(|_| true) {
            self.fakes.exit(worker);
        }
        self.set_batches();
        for (session, worker) in bound {
            if let Some(epoch) = self.epoch(session) {
                self.model.state_owners.insert((session, epoch), worker);
            }
        }
        self.input(Input::Tick, Cause::Other);
    }

    /// Returns the process that holds the state of a session that has not expired.
    fn live_state_owner(&self, session: usize) -> Option<WorkerRef> {
        let info = self.core.session_info(self.now, self.model.names[session].as_str())?;
        let released = info.epoch.is_some_and(|epoch| self.model.released.contains(&(session, epoch)));
        self.state_owner(session).filter(|_| info.state == SessionState::Active && !released)
    }

    /// Shuts the pool down, sometimes after an announcement.
    pub(crate) fn shut_down(&mut self) {
        if !self.announced && !self.draining && self.rng.chance(50) {
            self.announced = true;
            return self.input(Input::PrepareShutdown, Cause::Other);
        }
        self.draining = true;
        let until = self.now + self.rng.millis(0, 200);
        self.input(Input::Shutdown { until }, Cause::Other);
    }
}
