//! The pool as a pure machine: something happened, now what? All state of a pool that decides anything is here.
//!
//! One step takes an [`Input`] and the time, and appends [`Effect`]s. It does no I/O, reads no clock and draws no random
//! number, so a schedule that went wrong replays. The life of a call: `admission` (whether it is taken), `submit` (what its
//! session demands, its first place), `dispatch` (choice and queues), `settle` (final frames, deadlines, cancels), `retries`,
//! `lifecycle` (starts, deaths, restarts), `health` (pings), `timing` (what is looked at when).

mod abandoned;
mod admission;
mod binding;
mod call;
mod completion;
mod deadlines;
mod death;
mod dispatch;
mod expiry;
mod health;
mod invariants;
mod lifecycle;
mod messages;
mod overflow;
mod recovery;
mod recovery_snapshot;
mod release;
mod retries;
mod session_events;
mod session_queue;
mod sessions;
mod shutdown;
mod snapshot;
mod status;
mod submit;

#[cfg(test)]
mod tests;

pub use binding::{BindError, Lookup};
pub use messages::{
    AttemptState, Delivery, Effect, Input, LogEvent, SessionCall, SessionEndReason, StopMethod, Submission,
};
pub use recovery_snapshot::RecoverySnapshot;
pub use session_events::{PastSession, SessionEventLog};
pub use sessions::{PAGE_SCAN, SessionInfo, SessionPage, SessionState};
pub use status::{
    AffinityStatus, Counters, Features, PoolState, PoolStatus, QueueStatus, SESSIONS_SHOWN, TransitionStatus,
    WorkerStatus,
};

use crate::{
    Epoch, Generation, Settings, Timestamp, WireId, WorkerId, WorkerRef, WorkerTypeSettings,
    breaker::Breaker,
    quarantine::Quarantine,
    queue::{Fairness, WaitQueue},
    restart::{OverflowStarts, RestartIntensity},
    retry::Budget,
    service_time::ServiceTimeEwma,
    session::{Routes, Sessions, Table},
    timers::Timers,
    worker::{History, Slot, WorkerMetrics},
};
use call::Calls;
use std::hash::{Hash, Hasher};

/// Where effects go, in order.
pub type Effects = Vec<Effect>;

/// A pool's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    settings: Settings,
    phase: Phase,
    started: Timestamp,
    /// A shutdown was announced.
    shutdown_announced: bool,
    slots: Vec<Slot>,
    calls: Calls,
    /// Waiting calls that any worker may take.
    any_worker_queue: WaitQueue,
    /// Waiting first calls of sessions that are bound nowhere: for base workers, as long as one lives.
    unbound_queue: WaitQueue,
    /// All waiting calls, in whatever queue.
    queued: usize,
    fairness: Fairness,
    /// `None` where no call is refused for being too late.
    service_time: Option<ServiceTimeEwma>,
    budget: Budget,
    breaker: Option<Breaker>,
    quarantine: Quarantine,
    /// Scatters waits.
    seed: u64,
    sessions: Sessions,
    enhanced_state: EnhancedState,
    intensity: RestartIntensity,
    overflow: OverflowStarts,
    timers: Timers,
    next_sweep: Timestamp,
    /// A sweep has made way for calls, and goes on then.
    is_sweeping: bool,
    next_wire: u64,
    next_epoch: u64,
    next_nonce: u64,
    counters: Counters,
}

/// Whether the pool takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Running,
    /// Too many restarts: none but a probe, at this moment.
    Failed {
        retry_at: Timestamp,
    },
    /// The probe is starting.
    Probing,
    Draining {
        until: Timestamp,
    },
    /// Workers are being ended. At `until` the pool stops, whether they are gone or not.
    Closing {
        until: Timestamp,
    },
    Stopped,
}

/// What an enhanced pool keeps for each slot besides (R9). A basic pool has no place for it (I5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum EnhancedState {
    Basic,
    Enhanced { metrics: Option<Vec<WorkerMetrics>>, history: Option<Vec<History>> },
}

impl Core {
    /// A new pool: its base workers are to be started by the first step. `seed` scatters the session table.
    pub fn new(settings: Settings, seed: u64, now: Timestamp) -> Self {
        Self::resume(settings, seed, now, RecoverySnapshot::default())
    }

    fn build(settings: Settings, seed: u64, now: Timestamp) -> Self {
        let total = settings.pool_size + settings.overflow;
        let slots: Vec<Slot> = (1..=total).map(|id| Slot::new(no_worker(id), id <= settings.pool_size)).collect();
        let (sessions, enhanced_state) = match &settings.worker_type {
            WorkerTypeSettings::Basic => (Sessions::Tracked(Table::new(seed)), EnhancedState::Basic),
            WorkerTypeSettings::Enhanced { session_affinity, worker_metrics, state_machine } => {
                let sessions = match session_affinity {
                    Some(affinity) => Sessions::Routed(Routes::new(affinity.clone(), seed, slots.len())),
                    None => Sessions::Tracked(Table::new(seed)),
                };
                let metrics = worker_metrics.then(|| vec![WorkerMetrics::default(); slots.len()]);
                let history = state_machine.then(|| vec![History::default(); slots.len()]);
                (sessions, EnhancedState::Enhanced { metrics, history })
            }
        };
        Self {
            phase: Phase::Running,
            started: now,
            shutdown_announced: false,
            slots,
            calls: Calls::default(),
            any_worker_queue: WaitQueue::default(),
            unbound_queue: WaitQueue::default(),
            queued: 0,
            fairness: Fairness::default(),
            service_time: settings.queue.shed.then(ServiceTimeEwma::default),
            budget: Budget::default(),
            breaker: settings.breaker.clone().map(Breaker::new),
            quarantine: Quarantine::new(settings.poison.clone()),
            seed,
            sessions,
            enhanced_state,
            intensity: RestartIntensity::new(settings.restart.clone()),
            overflow: OverflowStarts::default(),
            timers: Timers::default(),
            next_sweep: Timestamp::NEVER,
            is_sweeping: false,
            next_wire: 0,
            next_epoch: 0,
            next_nonce: 0,
            counters: Counters::default(),
            settings,
        }
    }

    /// One step. What was due before `now` happens first.
    pub fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Effects) {
        self.tick(now, effects);
        match input {
            Input::Tick => {}
            Input::Submit(submission) => self.submit(now, submission, effects),
            Input::Cancel(call) => self.abandon(now, call, effects),
            Input::Ready { worker, window, control } => self.ready(now, worker, window, control, effects),
            Input::Final { worker, wire, ok } => self.finish(now, worker, wire, ok, effects),
            Input::SendFailed { worker, wire } => self.send_failed(now, worker, wire, effects),
            Input::AttemptState { worker, wire, state } => self.attempt_state(now, worker, wire, state),
            Input::Pong { worker, nonce } => self.on_pong(now, worker, nonce, effects),
            Input::Activity { worker, nonce, activity } => self.on_examined(now, worker, nonce, activity, effects),
            Input::Exited { worker, end, suspects } => self.exited(now, worker, end, &suspects, effects),
            Input::Kill { worker, kill_reason } => {
                self.stop_process(now, worker, kill_reason, StopMethod::Kill, effects)
            }
            Input::PrepareShutdown => self.shutdown_announced = true,
            Input::Shutdown { until } => self.begin_drain(now, until, effects),
        }
    }

    /// When to step again with [`Input::Tick`] if nothing else happens. It may be early, never late.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn slot(&self, worker: WorkerId) -> &Slot {
        &self.slots[index(worker)]
    }

    fn slot_mut(&mut self, worker: WorkerId) -> &mut Slot {
        &mut self.slots[index(worker)]
    }

    /// The slot, if this process is the latest in it.
    fn current(&mut self, worker: WorkerRef) -> Option<&mut Slot> {
        self.slots.get_mut((worker.id.0 as usize).checked_sub(1)?).filter(|slot| slot.worker == worker)
    }

    /// Whether this very process is ready to answer for its sessions (I4).
    fn is_alive(&self, worker: WorkerRef) -> bool {
        self.slots[index(worker.id)].holds(worker)
    }

    /// Whether health decides who gets work (`state_machine`).
    fn is_health_gated(&self) -> bool {
        matches!(self.enhanced_state, EnhancedState::Enhanced { history: Some(_), .. })
    }

    fn fresh_wire(&mut self) -> WireId {
        self.next_wire += 1;
        WireId(self.next_wire)
    }

    fn fresh_epoch(&mut self) -> Epoch {
        self.next_epoch += 1;
        Epoch(self.next_epoch)
    }
}

/// What decides is hashed, the calls by number: their order in the map means nothing. Counters and the start only tell.
impl Hash for Core {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.settings.hash(state);
        (self.phase, self.shutdown_announced).hash(state);
        self.slots.hash(state);
        self.any_worker_queue.hash(state);
        self.unbound_queue.hash(state);
        self.fairness.hash(state);
        self.service_time.hash(state);
        self.budget.hash(state);
        self.breaker.hash(state);
        self.quarantine.hash(state);
        self.sessions.hash(state);
        self.enhanced_state.hash(state);
        self.intensity.hash(state);
        self.overflow.hash(state);
        for call in self.unsettled() {
            (call, self.calls.get(&call)).hash(state);
        }
        (self.next_sweep, self.is_sweeping, self.next_wire, self.next_epoch, self.next_nonce).hash(state);
    }
}

fn index(worker: WorkerId) -> usize {
    worker.0 as usize - 1
}

fn no_worker(id: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(id), generation: Generation(0) }
}
