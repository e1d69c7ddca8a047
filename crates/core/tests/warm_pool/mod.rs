//! A pool whose workers are ready and answer at once. Used by the instruction benchmark and the allocation test, which
//! measure `serve`.

use herder_core::{
    Affinity, AffinitySettings, CallId, Core, Dispatch, Effect, Effects, Expiry, Finished, Generation, IfAbsent, Input,
    OnExpired, Routing, SessionCall, SessionId, Settings, Submission, Timestamp, WorkerId, WorkerRef,
    WorkerTypeSettings,
};
use std::time::Duration;

/// The time between two calls. Ten thousand calls take less than any interval of the pool, so that no timer of it is
/// due among them.
const PAUSE: Duration = Duration::from_micros(10);
const RUN: Duration = Duration::from_micros(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The pool, its clock and the number of calls so far.
pub(crate) struct WarmPool {
    core: Core,
    now: Timestamp,
    calls: u64,
    effects: Effects,
    sessions: Vec<SessionCall>,
}

impl WarmPool {
    /// Returns a pool of this many workers after `calls` calls of each of its sessions, or without sessions if `sessions`
    /// is 0.
    pub(crate) fn new(kind: WorkerTypeSettings, workers: u32, sessions: usize, calls: usize) -> Self {
        let mut effects = Effects::new();
        let mut settings = Settings::new(kind, workers);
        // All workers start in the first step.
        settings.start_batch = settings.start_batch.max(workers);
        let mut core = Core::new(settings, 1, Timestamp(1));
        core.handle(Timestamp(1), Input::Tick, &mut effects);
        for id in 1..=workers {
            let worker = WorkerRef { id: WorkerId(id), generation: Generation(1) };
            core.handle(Timestamp(1), Input::Ready { worker, window: 1, control: true, in_order: None }, &mut effects);
        }
        // Those of the start. A call has exactly one effect at each end, which the core returns.
        effects.clear();
        let mut pool =
            Self { core, now: Timestamp(1), calls: 0, effects, sessions: (0..sessions).map(session).collect() };
        (0..calls * sessions.max(1)).for_each(|_| _ = pool.call());
        pool
    }

    /// Runs one call and returns how it was routed.
    pub(crate) fn call(&mut self) -> Routing {
        let next = self.next();
        self.serve(&next)
    }

    /// Returns the next call, of the next session if there are any.
    pub(crate) fn next(&mut self) -> Submission {
        self.calls += 1;
        self.now = self.now + PAUSE;
        let index = usize::try_from(self.calls).unwrap_or(0) % self.sessions.len().max(1);
        let session = self.sessions.get(index).cloned();
        Submission {
            call: CallId(self.calls),
            session,
            deadline: self.now + CALL_TIMEOUT,
            idempotent: false,
            batch: None,
            fingerprint: None,
            stream: None,
        }
    }

    /// Submits the call, and answers it.
    pub(crate) fn serve(&mut self, next: &Submission) -> Routing {
        let (core, effects) = (&mut self.core, &mut self.effects);
        let dispatch = core.submit(self.now, next, effects);
        let Dispatch { worker, wire, .. } = dispatch.unwrap_or_else(|| appended_dispatch(effects));
        let finished = Finished { worker, wire, ok: true, ran: Duration::ZERO };
        let Some(answer) = core.finish(self.now + RUN, finished, effects) else { panic!("not delivered: {effects:?}") };
        assert!(effects.is_empty(), "more than one effect: {effects:?}");
        answer.delivery.routing
    }
}

/// Returns the dispatch of the first call of a session, which binds it.
#[cold]
fn appended_dispatch(effects: &mut Effects) -> Dispatch {
    match effects.pop() {
        Some(Effect::Send { worker, call, wire, epoch }) => Dispatch { worker, call, wire, epoch },
        other => panic!("not sent at once: {other:?}, {effects:?}"),
    }
}

/// Returns an enhanced pool with exactly these features.
pub(crate) fn enhanced(affinity: bool, worker_metrics: bool, state_machine: bool) -> WorkerTypeSettings {
    let session_affinity = affinity.then_some(AffinitySettings {
        expiry: Expiry::Immediate,
        mode: Affinity::StrictQueue,
        on_expired: OnExpired::Rebind,
    });
    WorkerTypeSettings::Enhanced { session_affinity, worker_metrics, state_machine }
}

fn session(n: usize) -> SessionCall {
    let id = SessionId::new(format!("session-{n}")).expect("an id");
    SessionCall { id, if_absent: IfAbsent::Create, affinity: None }
}
