//! A pool with affinity and ready workers, its clock, and the ids of its sessions.

use herder_core::{
    Core, Effect, Effects, Generation, Input, Lookup, SessionId, Settings, Timestamp, WorkerId, WorkerRef,
    WorkerTypeSettings,
};
use std::time::Duration;

pub(crate) const WORKERS: u32 = 4;

pub(crate) struct Pool {
    pub(crate) core: Core,
    pub(crate) now: Timestamp,
    pub(crate) effects: Effects,
}

/// Returns an id that is as long as a UUID.
pub(crate) fn id(n: usize) -> SessionId {
    SessionId::new(format!("0b6f1e52-6c1c-4c3a-9d2e-{n:012}")).expect("an id")
}

impl Pool {
    /// Returns a pool without sessions. Workers are never pinged, since hours pass in one step.
    pub(crate) fn new(sessions: usize) -> Self {
        let mut settings = Settings::new(WorkerTypeSettings::enhanced(), WORKERS);
        settings.sessions.max = sessions;
        settings.health.interval = Duration::from_secs(1_000_000);
        let mut pool = Self { core: Core::new(settings, 7, Timestamp(1)), now: Timestamp(1), effects: Effects::new() };
        pool.core.handle(pool.now, Input::Tick, &mut pool.effects);
        for worker in 1..=WORKERS {
            pool.ready(process(worker, 1));
        }
        pool.effects.clear();
        pool
    }

    pub(crate) fn ready(&mut self, worker: WorkerRef) {
        self.core.handle(
            self.now,
            Input::Ready { worker, window: 1, control: true, in_order: None },
            &mut self.effects,
        );
    }

    /// Returns a pool with this many sessions, bound to its workers in rotation.
    pub(crate) fn full(sessions: usize) -> Self {
        let mut pool = Self::new(sessions);
        (0..sessions).for_each(|n| pool.bind(id(n), n as u32));
        pool
    }

    pub(crate) fn bind(&mut self, id: SessionId, n: u32) {
        self.now.0 += 100;
        let bound = self.core.bind_session(self.now, id, WorkerId(1 + n % WORKERS), &mut self.effects);
        bound.expect("a ready worker");
        if self.effects.len() > 10_000 {
            self.effects.clear();
        }
    }

    pub(crate) fn lookup(&mut self, id: &SessionId) -> bool {
        matches!(self.core.worker_of(self.now, id, &mut self.effects), Lookup::Bound(_))
    }

    pub(crate) fn touch(&mut self, id: &SessionId) -> bool {
        self.now.0 += 100;
        self.core.update_session_activity(self.now, id, &mut self.effects)
    }

    /// Advances the time to the next timer of the pool. Returns false if that is later than `within`.
    pub(crate) fn next_timer(&mut self, within: Duration) -> bool {
        let next = self.core.next_wakeup().filter(|next| *next <= self.now + within);
        self.now = next.unwrap_or(self.now);
        next.is_some()
    }

    pub(crate) fn tick(&mut self) {
        self.core.handle(self.now, Input::Tick, &mut self.effects);
    }

    pub(crate) fn started(&self) -> Option<WorkerRef> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Start(worker) => Some(*worker),
            _ => None,
        })
    }
}

pub(crate) fn process(worker: u32, generation: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(worker), generation: Generation(generation) }
}
