//! A pool whose workers are scripted: each call runs until the benchmark answers it.

use crate::steps::Steps;
use herder_core::{
    CallId, Core, Effect, Effects, Finished, Generation, IfAbsent, Input, SessionCall, SessionId, Settings, Submission,
    Timestamp, WireId, WorkerId, WorkerRef, WorkerTypeSettings,
};
use std::{collections::VecDeque, time::Duration};

/// Longer than any run, so that nothing times out.
const LONG: Duration = Duration::from_secs(1_000_000);
const PAUSE: Duration = Duration::from_micros(10);

pub(crate) struct Pool {
    core: Core,
    now: Timestamp,
    calls: u64,
    effects: Effects,
    /// The attempts that run, oldest first.
    running: VecDeque<(CallId, WorkerRef, WireId)>,
}

impl Pool {
    pub(crate) fn new(worker_type: WorkerTypeSettings, workers: u32) -> Self {
        let mut core = Core::new(settings(worker_type, workers), 1, Timestamp(1));
        let mut effects = Effects::new();
        core.handle(Timestamp(1), Input::Tick, &mut effects);
        for id in 1..=workers {
            let worker = WorkerRef { id: WorkerId(id), generation: Generation(1) };
            core.handle(Timestamp(1), Input::Ready { worker, window: 1, control: true, in_order: None }, &mut effects);
        }
        Self { core, now: Timestamp(1), calls: 0, effects, running: VecDeque::new() }
    }

    /// Submits a call and returns its id.
    pub(crate) fn submit(&mut self, session: Option<SessionId>) -> CallId {
        let submission = self.submission(session);
        let call = submission.call;
        self.handle(Input::Submit(submission));
        call
    }

    /// Submits a call as a measured step. As in the shell, no input is built.
    pub(crate) fn count_submit(&mut self, session: Option<SessionId>, steps: &mut Steps) -> CallId {
        let submission = self.submission(session);
        let Self { core, now, effects, .. } = self.begin_step();
        let dispatch = steps.count(|| core.submit(*now, &submission, effects));
        self.effects.extend(dispatch.map(Effect::from));
        self.note_sent();
        submission.call
    }

    /// Answers the oldest attempt and returns its call.
    pub(crate) fn answer(&mut self) -> CallId {
        let (call, Finished { worker, wire, ok, ran }) = self.oldest();
        self.handle(Input::Final { worker, wire, ok, ran });
        call
    }

    /// Answers the oldest attempt as a measured step. As in the shell, no input is built.
    pub(crate) fn count_answer(&mut self, steps: &mut Steps) -> CallId {
        let (call, finished) = self.oldest();
        let Self { core, now, effects, .. } = self.begin_step();
        let answer = steps.count(|| core.finish(*now, finished, effects));
        assert!(answer.is_some(), "not answered: {:?}", self.effects);
        self.note_sent();
        call
    }

    pub(crate) fn cancel(&mut self, call: CallId) {
        self.handle(Input::Cancel(call));
    }

    pub(crate) fn count_cancel(&mut self, call: CallId, steps: &mut Steps) {
        let Self { core, now, effects, .. } = self.begin_step();
        steps.count(|| core.handle(*now, Input::Cancel(call), effects));
        assert!(matches!(self.effects[..], [Effect::Settle { .. }]), "it did not wait: {:?}", self.effects);
    }

    /// Binds a session to the first worker as a measured step.
    pub(crate) fn count_bind(&mut self, session: SessionId, steps: &mut Steps) {
        let Self { core, now, effects, .. } = self;
        effects.clear();
        steps.count(|| core.bind_session(*now, session, WorkerId(1), effects)).expect("a ready worker");
        self.note_sent();
    }

    pub(crate) fn end_session(&mut self, session: &SessionId) {
        self.effects.clear();
        assert!(self.core.end_session(self.now, session, &mut self.effects), "the session exists");
    }

    pub(crate) fn count_end_session(&mut self, session: &SessionId, steps: &mut Steps) {
        let Self { core, now, effects, .. } = self;
        effects.clear();
        assert!(steps.count(|| core.end_session(*now, session, effects)), "the session exists");
    }

    /// Returns the last call that was sent.
    pub(crate) fn last_sent(&self) -> Option<CallId> {
        self.running.back().map(|attempt| attempt.0)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    fn submission(&mut self, session: Option<SessionId>) -> Submission {
        self.calls += 1;
        let call = CallId(self.calls);
        let session = session.map(|id| SessionCall { id, if_absent: IfAbsent::Create, affinity: None });
        let deadline = self.now + LONG;
        Submission { call, session, deadline, idempotent: false, batch: None, fingerprint: None, stream: None }
    }

    fn oldest(&mut self) -> (CallId, Finished) {
        let (call, worker, wire) = self.running.pop_front().expect("a call that runs");
        (call, Finished { worker, wire, ok: true, ran: Duration::ZERO })
    }

    fn begin_step(&mut self) -> &mut Self {
        self.now = self.now + PAUSE;
        self.effects.clear();
        self
    }

    fn handle(&mut self, input: Input) {
        let Self { core, now, effects, .. } = self.begin_step();
        core.handle(*now, input, effects);
        self.note_sent();
    }

    fn note_sent(&mut self) {
        for effect in &self.effects {
            if let Effect::Send { worker, call, wire, .. } = effect {
                self.running.push_back((*call, *worker, *wire));
            }
        }
    }
}

/// Returns settings with which nothing is limited, times out or is pinged.
fn settings(worker_type: WorkerTypeSettings, workers: u32) -> Settings {
    let mut settings = Settings::new(worker_type, workers);
    settings.overflow = 0;
    settings.start_batch = workers;
    (settings.queue.limit, settings.queue.per_session) = (10_000_000, 10_000_000);
    (settings.queue.timeout, settings.queue.shed) = (LONG, false);
    settings.health.interval = LONG;
    (settings.sessions.max, settings.sessions.timeout, settings.sessions.cleanup_interval) = (10_000_000, LONG, LONG);
    settings
}

/// Returns an id that is as long as a UUID.
pub(crate) fn session(n: usize) -> SessionId {
    SessionId::new(format!("0b6f1e52-6c1c-4c3a-9d2e-{n:012}")).expect("an id")
}
