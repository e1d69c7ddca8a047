//! The actions of the model, and how each is performed. They respect what a shell guarantees: a process becomes ready
//! at most once, its frames arrive between that and its exit, and it exits once.

use super::{
    faults::Fault,
    pool::{BATCHED, Kind, Pool},
    processes::{Attempt, Phase, Process},
    state::{Call, State, Violation},
};
use herder_core::{
    Affinity, Answers, AttemptState, CallId, Core, Effects, ExitStatus, Fingerprint, IfAbsent, Input, Outcome,
    ProcessActivity, ProcessExit, SessionCall, SessionId, StreamLimits, Submission, Suspect, Timestamp, WireId,
    WorkerId, WorkerRef,
};
use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Submit(Kind),
    Cancel(CallId),
    Ready(WorkerRef),
    /// The final frame of an attempt.
    Answer(WorkerRef, WireId),
    /// A process that begins its calls in order begins one.
    Begin(WorkerRef, WireId),
    /// Such a process notices that it was asked to stop an attempt or to take it back.
    Notice(WorkerRef, WireId),
    /// Its answer arrives.
    Tell(WorkerRef, WireId),
    /// The first chunk of an attempt.
    Chunk(WorkerRef, WireId),
    /// An attempt could not be written to its process.
    FailSend(WorkerRef, WireId),
    /// The process exits, whether it was asked to stop or not.
    Exit(WorkerRef),
    /// The same, but what it wrote last is not read: all calls that it has not withdrawn have run.
    ExitUnread(WorkerRef),
    /// Time advances to the next deadline, timeout or start.
    Advance,
    /// Enough time for sessions to expire passes, in a pool where nothing else happens.
    Idle,
    Sweep,
    Bind(&'static str, WorkerId),
    Unbind(&'static str),
    End(&'static str),
    Shutdown,
    Pong(WorkerRef, u64),
    /// The result of an examination.
    Examined(WorkerRef, u64, ProcessActivity),
    /// All sessions of a worker are unbound.
    Remove(WorkerId),
    Reload,
    /// The health function of a ready process fails.
    Unhealthy(WorkerRef),
    /// The breaker is notified of an outcome that was observed outside of the pool.
    Record(Outcome),
    Reset,
}

impl State {
    pub(crate) fn possible_actions(&self, pool: &Pool, actions: &mut Vec<Action>) {
        self.caller_actions(pool, actions);
        self.process_actions(pool, actions);
        self.manual_actions(pool, actions);
        if self.core.next_wakeup().is_some() {
            actions.push(Action::Advance);
        }
        if self.budget.idles > 0 {
            actions.push(Action::Idle);
            // Without sessions a sweep changes nothing but the budget.
            actions.extend(Some(Action::Sweep).filter(|_| !pool.sessions.is_empty()));
        }
        if self.budget.shutdowns > 0 {
            actions.push(Action::Shutdown);
        }
        if self.budget.reloads > 0 {
            actions.push(Action::Reload);
        }
    }

    fn caller_actions(&self, pool: &Pool, actions: &mut Vec<Action>) {
        if self.budget.calls > 0 {
            actions.extend(pool.kinds.iter().map(|kind| Action::Submit(*kind)));
        }
        if self.budget.cancels > 0 {
            let waiting = (1..).map(CallId).zip(&self.calls).filter(|(_, call)| call.answers == 0);
            actions.extend(waiting.map(|(id, _)| Action::Cancel(id)));
        }
    }

    fn process_actions(&self, pool: &Pool, actions: &mut Vec<Action>) {
        for (&worker, process) in &self.fakes.processes {
            if !process.ready {
                actions.push(Action::Ready(worker));
            }
            if self.budget.unhealthy > 0 && self.fakes.is_live(worker) {
                actions.push(Action::Unhealthy(worker));
            }
            if process.stopping || self.budget.deaths > 0 {
                actions.push(Action::Exit(worker));
                // Without order, there is no difference.
                actions.extend(pool.in_order.then_some(Action::ExitUnread(worker)));
            }
            if pool.in_order {
                actions.extend(process.finishable().map(|wire| Action::Answer(worker, wire)));
                actions.extend(process.next_to_begin().map(|wire| Action::Begin(worker, wire)));
                let asked = process.unfinished.iter().filter(|(_, attempt)| attempt.phase.asked);
                actions.extend(asked.map(|(wire, _)| Action::Notice(worker, *wire)));
                let told = process.unfinished.iter().filter(|(_, attempt)| attempt.phase.answer.is_some());
                actions.extend(told.map(|(wire, _)| Action::Tell(worker, *wire)));
            } else {
                actions.extend(process.unfinished.keys().map(|wire| Action::Answer(worker, *wire)));
            }
            if pool.has_streams {
                let may_send = |phase: &Phase| !phase.has_chunks && (phase.begun || !pool.in_order);
                let silent = process.unfinished.iter().filter(|(_, attempt)| may_send(&attempt.phase));
                actions.extend(silent.map(|(wire, _)| Action::Chunk(worker, *wire)));
            }
            if self.budget.failed_sends > 0 {
                actions.extend(process.unfinished.keys().map(|wire| Action::FailSend(worker, *wire)));
            }
            actions.extend(process.ping.map(|nonce| Action::Pong(worker, nonce)));
            if let Some(nonce) = process.examined {
                actions.extend(
                    [ProcessActivity::Computing, ProcessActivity::Idle]
                        .map(|activity| Action::Examined(worker, nonce, activity)),
                );
            }
        }
    }

    fn manual_actions(&self, pool: &Pool, actions: &mut Vec<Action>) {
        if self.budget.manual_bindings > 0 && pool.settings.breaker.is_some() {
            actions.extend([Action::Record(Outcome::Success), Action::Record(Outcome::Failure), Action::Reset]);
        }
        if self.budget.removals > 0 {
            actions.extend((1..=pool.settings.pool_size).map(|worker| Action::Remove(WorkerId(worker))));
        }
        let sessions = pool.sessions.iter().filter(|_| self.budget.manual_bindings > 0);
        for &session in sessions {
            actions.extend([Action::Unbind(session), Action::End(session)]);
            let workers = (1..=pool.settings.pool_size).map(WorkerId);
            actions.extend(workers.map(|worker| Action::Bind(session, worker)));
        }
    }

    /// Returns false if the action changes nothing, or is not possible now.
    pub(crate) fn apply_action(&mut self, pool: &Pool, action: Action) -> bool {
        match action {
            Action::Submit(kind) => self.submit(pool, kind),
            Action::Cancel(id) => self.cancel(pool, id),
            Action::Ready(worker_ref) => self.ready(pool, worker_ref),
            Action::Answer(worker_ref, wire) => self.answer(pool, worker_ref, wire),
            Action::Begin(worker_ref, wire) => self.begin(worker_ref, wire),
            Action::Notice(worker_ref, wire) => self.notice(worker_ref, wire),
            Action::Tell(worker_ref, wire) => self.tell(pool, worker_ref, wire),
            Action::Chunk(worker_ref, wire) => self.first_chunk(pool, worker_ref, wire),
            Action::FailSend(worker_ref, wire) => self.fail_send(pool, worker_ref, wire),
            Action::Exit(worker_ref) => self.exit(pool, worker_ref, Answers::ReadToEnd),
            Action::ExitUnread(worker_ref) => self.exit(pool, worker_ref, Answers::Unknown),
            Action::Advance => return self.advance(pool),
            Action::Idle => return self.idle(pool),
            Action::Sweep => {
                self.budget.idles -= 1;
                self.ask(pool, |core, now, effects| core.sweep(now, usize::MAX, effects).0);
            }
            Action::Bind(session, worker) => {
                self.request_manually(pool, |core, now, effects| {
                    core.bind_session(now, name(session), worker, effects).is_ok()
                });
            }
            Action::Unbind(session) => {
                self.request_manually(pool, |core, now, effects| core.unbind_session(now, session, effects));
            }
            Action::End(session) => {
                self.request_manually(pool, |core, now, effects| core.end_session(now, session, effects));
            }
            Action::Shutdown => {
                self.budget.shutdowns -= 1;
                self.step(pool, Input::Shutdown { until: self.now + pool.call_timeout / 2 }, None);
            }
            Action::Reload => {
                self.budget.reloads -= 1;
                self.reloads += 1;
                if pool.fault != Some(Fault::ReloadNotReported) {
                    self.step(pool, Input::Reload, None);
                }
            }
            Action::Unhealthy(worker) => {
                self.budget.unhealthy -= 1;
                self.step(pool, Input::Unhealthy { worker }, None);
            }
            Action::Pong(worker_ref, nonce) => self.pong(pool, worker_ref, nonce),
            Action::Examined(worker_ref, nonce, activity) => self.examined(pool, worker_ref, nonce, activity),
            Action::Remove(worker) => self.remove(pool, worker),
            Action::Record(outcome) => {
                self.request_manually(pool, |core, now, _| core.record_outcome(now, outcome));
            }
            Action::Reset => self.request_manually(pool, |core, _, _| core.reset_breaker()),
        }
        true
    }

    fn submit(&mut self, pool: &Pool, kind: Kind) {
        self.budget.calls -= 1;
        let mode = pool.mode(kind);
        let ending = kind.session.is_some_and(|session| mode.is_some() && self.is_ending(session));
        let strict = mode.is_some_and(|mode| mode != Affinity::Hint) || ending;
        let alone = self.calls.iter().all(|call| call.session != kind.session || call.answers > 0);
        self.calls.push(Call {
            session: kind.session,
            strict,
            epoch: None,
            sent: false,
            deadline: self.now + pool.call_timeout,
            may_run: if kind.idempotent && !strict { pool.settings.retry.attempts } else { 1 },
            runs: 0,
            begun: false,
            cooldown_until: Timestamp(0),
            payload: kind.payload,
            poisonous: self.is_quarantined(pool, kind.payload),
            passed: (alone && pool.is_fair).then(BTreeMap::new),
            answers: 0,
        });
        let call = CallId(self.calls.len() as u64);
        let to_session_call =
            |session| SessionCall { id: name(session), if_absent: IfAbsent::Create, affinity: kind.affinity };
        let (session, deadline) = (kind.session.map(to_session_call), self.now + pool.call_timeout);
        let session = session.filter(|_| pool.fault != Some(Fault::SessionsHidden));
        let stream = pool.has_streams.then(StreamLimits::default);
        let fingerprint = kind.payload.map(Fingerprint).filter(|_| self.core.needs_fingerprints());
        let idempotent = kind.idempotent;
        let batch = pool.batches.map(|_| BATCHED);
        let submission = Submission { call, session, deadline, idempotent, batch, fingerprint, stream };
        let mut effects = Effects::new();
        self.core.handle(self.now, Input::Submit(submission), &mut effects);
        let info = kind.session.and_then(|session| self.core.session_info(self.now, session));
        self.call(call).epoch = info.and_then(|info| info.epoch).filter(|_| mode.is_some());
        self.apply_effects(pool, &effects, None);
    }

    /// R22: returns whether calls of an earlier epoch of the session still run or wait. A hint call that is submitted
    /// then waits like a strict one.
    fn is_ending(&self, session: &'static str) -> bool {
        let now = self.core.session_info(self.now, session).and_then(|info| info.epoch);
        let mut waiting = self.calls.iter().filter(|call| call.strict && call.answers == 0);
        let mut running = self.fakes.unfinished().map(|(.., attempt)| attempt).filter(|attempt| attempt.strict);
        waiting.any(|call| call.session == Some(session) && call.epoch < now)
            || running.any(|attempt| attempt.session == Some(session) && attempt.epoch < now)
    }

    pub(crate) fn ready(&mut self, pool: &Pool, worker: WorkerRef) {
        if let Some(process) = self.fakes.processes.get_mut(&worker) {
            process.ready = true;
        }
        if pool.batches.is_some() {
            self.core.state_batches(worker, &[BATCHED]);
        }
        let (window, control) = (pool.settings.window(), pool.has_control);
        let in_order = NonZeroU32::new(u32::from(pool.in_order));
        self.step(pool, Input::Ready { worker, window, control, in_order }, None);
    }

    fn exit(&mut self, pool: &Pool, worker: WorkerRef, answers: Answers) {
        match answers {
            Answers::ReadToEnd if pool.in_order => self.return_calls_not_begun(worker),
            Answers::ReadToEnd => {}
            Answers::Unknown => self.begin_all(worker),
        }
        let process = self.fakes.processes.remove(&worker).unwrap_or_default();
        self.budget.deaths -= u32::from(!process.stopping);
        if self.hides_exits(pool) {
            return;
        }
        for attempt in process.unfinished.values().filter(|attempt| !attempt.phase.returned) {
            self.lose_attempt(pool, attempt, process.stopping);
        }
        let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason: None };
        let suspects = self.suspects_of(pool, &process);
        let answers = if pool.fault == Some(Fault::AnswersMissed) { Answers::ReadToEnd } else { answers };
        self.step(pool, Input::Exited { worker, exit, answers, unwritten: None, suspects }, None);
    }

    /// Lets a process begin all calls that it has not withdrawn.
    fn begin_all(&mut self, worker: WorkerRef) {
        let unfinished = self.fakes.processes.get(&worker).map(|process| process.unfinished.clone());
        for (wire, attempt) in unfinished.into_iter().flatten().filter(|(_, attempt)| !attempt.phase.withdrawn) {
            debug_assert!(!attempt.phase.returned, "{wire} was given back, and is not withdrawn");
            self.begin(worker, wire);
        }
    }

    /// R20: the calls that a process had not begun when it died are not lost.
    fn return_calls_not_begun(&mut self, worker: WorkerRef) {
        let Some(process) = self.fakes.processes.get(&worker).cloned() else { return };
        // The pool does not know whether the first call that was not withdrawn has begun.
        let first = process.unfinished.iter().find(|(_, attempt)| !attempt.phase.returned).map(|(wire, _)| *wire);
        for (wire, attempt) in process.unfinished.into_iter().filter(|(wire, _)| Some(*wire) != first) {
            self.require(!attempt.phase.begun, Violation::NotRun);
            self.return_call(worker, wire);
        }
    }

    /// Records the loss of an attempt: its call waits before the retry, and its fingerprint is suspected.
    fn lose_attempt(&mut self, pool: &Pool, attempt: &Attempt, was_stopping: bool) {
        let (now, rest) = (self.now, pool.settings.retry.base);
        let call = self.call(attempt.call);
        if call.answers == 0 {
            call.cooldown_until = now + rest;
        }
        let Some((poison, payload)) = pool.settings.poison.as_ref().zip(attempt.payload).filter(|_| !was_stopping)
        else {
            return;
        };
        let entry = self.suspects.entry(payload).or_insert((0, now));
        let deaths = if now < entry.1 + poison.quarantine { entry.0 + 1 } else { 1 };
        *entry = (deaths, now);
    }

    fn suspects_of(&self, pool: &Pool, process: &Process) -> Vec<Suspect> {
        let is_reported = self.core.needs_suspects() && pool.fault != Some(Fault::SuspectsNotReported);
        let suspect = |(&wire, attempt): (&WireId, &Attempt)| {
            let payload = attempt.payload.filter(|_| is_reported)?;
            Some(Suspect { wire, fingerprint: Fingerprint(payload), command: "any".into() })
        };
        process.unfinished.iter().filter_map(suspect).collect()
    }

    /// Runs a call that is lost, retried, and then answered.
    pub(crate) fn lose_one(&mut self, pool: &Pool) {
        let kind = Kind { session: None, affinity: None, idempotent: true, payload: None };
        self.budget.calls += 1;
        self.budget.deaths += 1;
        self.submit(pool, kind);
        let attempts: Vec<WorkerRef> = self.fakes.unfinished().map(|(worker, ..)| worker).collect();
        attempts.into_iter().for_each(|worker| self.exit(pool, worker, Answers::ReadToEnd));
        while self.advance(pool) {
            self.answer_everything(pool);
        }
    }

    /// Lets each process do at once what it has to do.
    pub(crate) fn answer_everything(&mut self, pool: &Pool) {
        for (worker, process) in self.fakes.processes.clone() {
            match process {
                Process { stopping: true, .. } => self.exit(pool, worker, Answers::ReadToEnd),
                Process { ready: false, .. } => self.ready(pool, worker),
                _ => process.unfinished.into_keys().for_each(|wire| self.answer(pool, worker, wire)),
            }
        }
    }

    /// Lets processes finish their work, submits a call, and lets time pass.
    pub(crate) fn recover(&mut self, pool: &Pool) {
        self.answer_everything(pool);
        self.budget.calls = 1;
        self.submit(pool, pool.kinds[0]);
        self.answer_everything(pool);
        if !self.advance(pool) {
            self.now = self.now + pool.call_timeout;
        }
    }

    fn begin(&mut self, worker: WorkerRef, wire: WireId) {
        let Some(phase) = self.fakes.phase(worker, wire) else { return };
        phase.begun = true;
        let call = self.fakes.processes[&worker].unfinished[&wire].call;
        let call = self.call(call);
        call.begun = call.answers == 0;
    }

    fn notice(&mut self, worker: WorkerRef, wire: WireId) {
        let Some(phase) = self.fakes.phase(worker, wire) else { return };
        phase.asked = false;
        phase.withdrawn |= !phase.begun;
        phase.answer = Some(if phase.begun { AttemptState::Running } else { AttemptState::Withdrawn });
    }

    fn tell(&mut self, pool: &Pool, worker: WorkerRef, wire: WireId) {
        let Some(state) = self.fakes.phase(worker, wire).and_then(|phase| phase.answer.take()) else { return };
        if state == AttemptState::Withdrawn {
            self.return_call(worker, wire);
        }
        self.step(pool, Input::AttemptState { worker, wire, state }, None);
    }

    /// Records that a call that had not begun may be sent elsewhere: this attempt does not count.
    fn return_call(&mut self, worker: WorkerRef, wire: WireId) {
        let Some(phase) = self.fakes.phase(worker, wire).filter(|phase| !phase.returned) else { return };
        phase.returned = true;
        let call = self.fakes.processes[&worker].unfinished[&wire].call;
        let call = self.call(call);
        if call.answers == 0 {
            call.runs -= 1;
            call.sent = false;
        }
    }

    fn answer(&mut self, pool: &Pool, worker: WorkerRef, wire: WireId) {
        if self.fakes.phase(worker, wire).is_some_and(|phase| phase.withdrawn) {
            self.return_call(worker, wire);
            self.fakes.answer(worker, wire);
            self.step(pool, Input::Final { worker, wire, ok: false, ran: Duration::ZERO }, None);
            return;
        }
        let attempt = self.fakes.answer(worker, wire);
        // A late answer clears the fingerprint too.
        let cleared = attempt.as_ref().and_then(|attempt| attempt.payload);
        let call = attempt.map(|attempt| attempt.call);
        if let Some(payload) = cleared.filter(|_| !self.is_quarantined(pool, cleared)) {
            self.suspects.remove(&payload);
        }
        self.step(pool, Input::Final { worker, wire, ok: true, ran: RUN }, call);
        cleared.into_iter().for_each(|payload| self.core.clear_payload(Fingerprint(payload)));
    }

    /// R33, R42: a call that has a chunk may not be sent again.
    fn first_chunk(&mut self, pool: &Pool, worker: WorkerRef, wire: WireId) {
        let Some(phase) = self.fakes.phase(worker, wire) else { return };
        phase.has_chunks = true;
        let call = self.fakes.processes[&worker].unfinished[&wire].call;
        let call = self.call(call);
        if call.answers == 0 {
            call.may_run = call.runs;
        }
        self.step(pool, Input::FirstChunk { worker, wire }, None);
    }

    /// The shell has answered the caller of an attempt that it could not write, unless the call was settled before. The
    /// core must not answer the call again, nor send it again, and no suspect is cleared.
    fn fail_send(&mut self, pool: &Pool, worker: WorkerRef, wire: WireId) {
        self.budget.failed_sends -= 1;
        let call = self.fakes.answer(worker, wire).map(|attempt| attempt.call);
        if let Some(id) = call.filter(|id| self.call(*id).answers == 0) {
            self.answer_caller(pool, id);
        }
        self.step(pool, Input::SendFailed { worker, wire }, None);
    }

    fn cancel(&mut self, pool: &Pool, id: CallId) {
        self.budget.cancels -= 1;
        if pool.fault == Some(Fault::CancelNotReported) {
            self.call(id).answers += 1;
        } else {
            self.step(pool, Input::Cancel(id), None);
        }
    }

    fn pong(&mut self, pool: &Pool, worker: WorkerRef, nonce: u64) {
        if let Some(process) = self.fakes.processes.get_mut(&worker) {
            (process.ping, process.examined, process.missed) = (None, None, false);
        }
        self.step(pool, Input::Pong { worker, nonce }, None);
    }

    fn examined(&mut self, pool: &Pool, worker: WorkerRef, nonce: u64, activity: ProcessActivity) {
        if let Some(process) = self.fakes.processes.get_mut(&worker) {
            let computes = activity == ProcessActivity::Computing && !process.unfinished.is_empty();
            (process.examined, process.missed) = (None, process.missed && !computes);
        }
        self.step(pool, Input::Activity { worker, nonce, activity }, None);
    }

    /// R14: sessions without calls are not bound to the worker afterwards.
    fn remove(&mut self, pool: &Pool, worker: WorkerId) {
        let is_reported = pool.fault != Some(Fault::RemovalNotReported);
        self.budget.removals -= 1;
        self.ask(
            pool,
            |core, now, effects| if is_reported { core.remove_worker_sessions(now, worker, effects) } else { 0 },
        );
        let bound = |session: &&str| {
            let info = self.core.session_info(self.now, session);
            info.is_some_and(|info| info.worker == Some(worker) && info.pending == 0)
        };
        let released = !pool.sessions.iter().any(bound);
        self.require(released, Violation::Released);
    }

    fn idle(&mut self, pool: &Pool) -> bool {
        self.budget.idles -= 1;
        let rests = self.is_idle(pool);
        self.now = self.now + pool.settings.sessions.timeout;
        self.step(pool, Input::Tick, None);
        rests
    }

    fn request_manually(&mut self, pool: &Pool, question: impl FnOnce(&mut Core, Timestamp, &mut Effects) -> bool) {
        self.budget.manual_bindings -= 1;
        self.ask(pool, |core, now, effects| usize::from(question(core, now, effects)));
    }

    fn ask(&mut self, pool: &Pool, question: impl FnOnce(&mut Core, Timestamp, &mut Effects) -> usize) {
        let mut effects = Effects::new();
        question(&mut self.core, self.now, &mut effects);
        self.apply_effects(pool, &effects, None);
    }
}

fn name(session: &str) -> SessionId {
    SessionId::new(session).expect("a session id")
}

/// The run time of all calls, as their workers report it: a worker has at most two calls in advance.
const RUN: Duration = Duration::from_micros(650);

/// The unit of all times in the model. Using few different times makes more states equal.
pub(crate) fn units(count: u32) -> Duration {
    Duration::from_millis(10) * count
}
