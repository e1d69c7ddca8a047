//! Tests of the pool, one rule at a time. Random schedules are in `tests/schedules.rs`, and all states of small pools
//! in `tests/model_check.rs`.

mod abandoned;
mod batches;
mod bounds;
mod breaker;
mod calls;
mod expiry;
mod fairness;
mod health;
mod in_advance;
mod lazy;
mod overflow;
mod poison;
mod regressions;
mod release;
mod reload;
mod restarts;
mod retries;
mod session_events;
mod sessions;
mod streams;
mod workers;

use super::*;
use crate::{
    Affinity, CallId, Epoch, ExitStatus, Generation, IfAbsent, Lookup, ProcessActivity, SessionId, SessionPage,
    SessionState, Suspect, WorkerTypeSettings, failure::*, messages::*, routing::*, status::*,
};
use std::time::Duration;

/// A pool with a virtual clock: the test sends inputs, answers the effects itself, and moves the time.
struct Harness {
    core: Core,
    now: Timestamp,
    effects: Effects,
    calls: u64,
}

fn process(worker: u32, generation: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(worker), generation: Generation(generation) }
}

impl Harness {
    fn new(kind: WorkerTypeSettings, size: u32) -> Self {
        Self::with(Settings::new(kind, size))
    }

    fn with(settings: Settings) -> Self {
        let size = settings.pool_size;
        let mut harness =
            Self { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
        harness.step(Input::Tick);
        for worker in 1..=size {
            harness.step(Input::Ready { worker: process(worker, 1), window: 1, control: true, in_order: None });
        }
        harness
    }

    fn step(&mut self, input: Input) -> Effects {
        self.effects.clear();
        self.core.handle(self.now, input, &mut self.effects);
        assert_eq!(self.core.verify(), [""; 0]);
        self.effects.clone()
    }

    fn wait(&mut self, span: Duration) -> Effects {
        let end = self.now + span;
        let mut all = Vec::new();
        while let Some(next) = self.core.next_wakeup().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            all.extend(self.step(Input::Tick));
        }
        self.now = end;
        all
    }

    /// Lets time pass without answering pings. Each examination reports this activity.
    fn wait_silent(&mut self, span: Duration, activity: ProcessActivity) -> Effects {
        let end = self.now + span;
        let mut all = Vec::new();
        while let Some(next) = self.core.next_wakeup().filter(|next| *next <= end) {
            for effect in self.wait(next - self.now) {
                if let Effect::Examine { worker, nonce } = effect {
                    all.extend(self.step(Input::Activity { worker, nonce, activity }));
                }
                all.push(effect);
            }
        }
        self.now = end;
        all
    }

    /// Lets time pass and answers every ping.
    fn wait_and_pong(&mut self, span: Duration) {
        for effect in self.wait(span) {
            if let Effect::Ping { worker, nonce } = effect {
                self.step(Input::Pong { worker, nonce });
            }
        }
    }

    fn call(&mut self, session: Option<&str>) -> (CallId, Effects) {
        self.call_with(session, None, false)
    }

    /// Submits a call with this deadline.
    fn call_within(&mut self, session: Option<&str>, span: Duration) -> (CallId, Effects) {
        self.submit(session, None, false, span)
    }

    fn call_with(&mut self, session: Option<&str>, affinity: Option<Affinity>, idempotent: bool) -> (CallId, Effects) {
        self.submit(session, affinity, idempotent, Duration::from_secs(30))
    }

    fn submit(
        &mut self,
        session: Option<&str>,
        affinity: Option<Affinity>,
        idempotent: bool,
        span: Duration,
    ) -> (CallId, Effects) {
        self.calls += 1;
        let call = CallId(self.calls);
        let session =
            session.map(|id| SessionCall { id: SessionId::new(id).unwrap(), if_absent: IfAbsent::Create, affinity });
        let deadline = self.now + span;
        (
            call,
            self.step(Input::Submit(Submission {
                call,
                session,
                deadline,
                idempotent,
                batch: None,
                fingerprint: None,
                stream: None,
            })),
        )
    }

    fn finish(&mut self, sent: (WorkerRef, WireId)) -> Effects {
        self.step(Input::Final { worker: sent.0, wire: sent.1, ok: true, ran: Duration::ZERO })
    }

    /// Submits a call that requires its session to exist.
    fn call_absent(&mut self, session: &str) -> (CallId, Effects) {
        self.calls += 1;
        let (call, deadline) = (CallId(self.calls), self.now + Duration::from_secs(30));
        let session = Some(SessionCall { id: id(session), if_absent: IfAbsent::Reject, affinity: None });
        let idempotent = false;
        let submission =
            Submission { call, session, deadline, idempotent, batch: None, fingerprint: None, stream: None };
        (call, self.step(Input::Submit(submission)))
    }

    /// Runs a call of the session to its final frame and returns how it was routed.
    fn run_call(&mut self, session: &str) -> Routing {
        let (call, effects) = self.call(Some(session));
        let effects = self.finish(sent(&effects, call).unwrap());
        routing(&effects, call).unwrap()
    }

    fn lookup(&mut self, session: &str) -> Lookup {
        self.core.worker_of(self.now, session, &mut self.effects)
    }

    fn bind(&mut self, session: &str, worker: u32) {
        self.core.bind_session(self.now, id(session), WorkerId(worker), &mut self.effects).unwrap();
    }

    fn exit_by_signal(&mut self, worker: WorkerRef) -> Effects {
        self.exit(worker, None, Vec::new())
    }

    fn exit(&mut self, worker: WorkerRef, kill_reason: Option<KillReason>, suspects: Vec<Suspect>) -> Effects {
        let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason };
        self.step(Input::Exited { worker, exit, answers: Answers::ReadToEnd, unwritten: None, suspects })
    }
}

fn id(text: impl AsRef<str>) -> SessionId {
    SessionId::new(text).unwrap()
}

/// Returns an enhanced pool with two-phase expiry.
fn two_phase(grace: Duration, on_expired: crate::OnExpired) -> WorkerTypeSettings {
    let affinity =
        crate::AffinitySettings { expiry: crate::Expiry::TwoPhase { grace }, mode: Affinity::StrictQueue, on_expired };
    WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), worker_metrics: true, state_machine: true }
}

fn sent(effects: &Effects, id: CallId) -> Option<(WorkerRef, WireId)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { worker, call, wire, .. } if *call == id => Some((*worker, *wire)),
        _ => None,
    })
}

fn settled(effects: &Effects, id: CallId) -> Option<CallFailure> {
    effects.iter().find_map(|effect| match effect {
        Effect::Settle { call, failure, .. } if *call == id => Some(failure.clone()),
        _ => None,
    })
}

fn routing(effects: &Effects, id: CallId) -> Option<Routing> {
    effects.iter().find_map(|effect| match effect {
        Effect::Deliver { call, delivery, .. } if *call == id => Some(delivery.routing),
        _ => None,
    })
}
