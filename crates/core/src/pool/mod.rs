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
mod death;
mod dispatch;
mod evidence;
mod expiry;
mod health;
mod io;
mod lifecycle;
mod overflow;
mod recovery;
mod release;
mod retries;
mod salvage;
mod sessions;
mod settle;
mod shutdown;
mod snapshot;
mod status;
mod submit;
mod timing;
mod trail;
mod turn;

#[cfg(test)]
mod tests;

pub use binding::{BindError, Lookup};
pub use io::{AttemptState, Delivery, Effect, Input, LogEvent, SessionCall, SessionEndReason, StopMethod, Submission};
pub use salvage::RecoverySnapshot;
pub use sessions::{PAGE_SCAN, SessionInfo, SessionPage, SessionState};
pub use status::{
    AffinityStatus, Counters, Features, PoolState, PoolStatus, QueueStatus, SESSIONS_SHOWN, TransitionStatus,
    WorkerStatus,
};
pub use trail::{PastSession, SessionEventLog};

use crate::{
    Epoch, Generation, Settings, Timestamp, WireId, WorkerId, WorkerRef, WorkerTypeSettings,
    breaker::Breaker,
    pace::Pace,
    quarantine::Quarantine,
    queue::{Fairness, WaitQueue},
    restart::{Intensity, OverflowStarts},
    retry::Budget,
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
    anyone: WaitQueue,
    /// Waiting first calls of sessions that are bound nowhere: for base workers, as long as one lives.
    homeless: WaitQueue,
    /// All waiting calls, in whatever queue.
    queued: usize,
    fairness: Fairness,
    /// `None` where no call is refused for being too late.
    pace: Option<Pace>,
    budget: Budget,
    breaker: Option<Breaker>,
    quarantine: Quarantine,
    /// Scatters waits.
    seed: u64,
    sessions: Sessions,
    extras: Extras,
    intensity: Intensity,
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
enum Extras {
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
        let slots: Vec<Slot> = (1..=total).map(|id| Slot::new(nobody(id), id <= settings.pool_size)).collect();
        let (sessions, extras) = match &settings.worker_type {
            WorkerTypeSettings::Basic => (Sessions::Tracked(Table::new(seed)), Extras::Basic),
            WorkerTypeSettings::Enhanced { session_affinity, worker_metrics, state_machine } => {
                let sessions = match session_affinity {
                    Some(affinity) => Sessions::Routed(Routes::new(affinity.clone(), seed, slots.len())),
                    None => Sessions::Tracked(Table::new(seed)),
                };
                let metrics = worker_metrics.then(|| vec![WorkerMetrics::default(); slots.len()]);
                let history = state_machine.then(|| vec![History::default(); slots.len()]);
                (sessions, Extras::Enhanced { metrics, history })
            }
        };
        Self {
            phase: Phase::Running,
            started: now,
            shutdown_announced: false,
            slots,
            calls: Calls::default(),
            anyone: WaitQueue::default(),
            homeless: WaitQueue::default(),
            queued: 0,
            fairness: Fairness::default(),
            pace: settings.queue.shed.then(Pace::default),
            budget: Budget::default(),
            breaker: settings.breaker.clone().map(Breaker::new),
            quarantine: Quarantine::new(settings.poison.clone()),
            seed,
            sessions,
            extras,
            intensity: Intensity::new(settings.restart.clone()),
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
    pub fn handle(&mut self, now: Timestamp, input: Input, fx: &mut Effects) {
        self.tick(now, fx);
        match input {
            Input::Tick => {}
            Input::Submit(submission) => self.submit(now, submission, fx),
            Input::Cancel(call) => self.abandon(now, call, fx),
            Input::Ready { at, window, control } => self.ready(now, at, window, control, fx),
            Input::Final { at, wire, ok } => self.finish(now, at, wire, ok, fx),
            Input::SendFailed { at, wire } => self.send_failed(now, at, wire, fx),
            Input::AttemptState { at, wire, state } => self.attempt_state(now, at, wire, state),
            Input::Pong { at, nonce } => self.pong(now, at, nonce, fx),
            Input::Activity { at, nonce, activity } => self.examined(now, at, nonce, activity, fx),
            Input::Exited { at, end, suspects } => self.exited(now, at, end, &suspects, fx),
            Input::Kill { at, kill_reason } => self.stop_process(now, at, kill_reason, StopMethod::Kill, fx),
            Input::PrepareShutdown => self.shutdown_announced = true,
            Input::Shutdown { until } => self.begin_drain(now, until, fx),
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
    fn current(&mut self, at: WorkerRef) -> Option<&mut Slot> {
        self.slots.get_mut((at.worker.0 as usize).checked_sub(1)?).filter(|slot| slot.at == at)
    }

    /// Whether this very process is ready to answer for its sessions (I4).
    fn is_alive(&self, at: WorkerRef) -> bool {
        self.slots[index(at.worker)].holds(at)
    }

    /// Whether health decides who gets work (`state_machine`).
    fn gated(&self) -> bool {
        matches!(self.extras, Extras::Enhanced { history: Some(_), .. })
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
        self.anyone.hash(state);
        self.homeless.hash(state);
        self.fairness.hash(state);
        self.pace.hash(state);
        self.budget.hash(state);
        self.breaker.hash(state);
        self.quarantine.hash(state);
        self.sessions.hash(state);
        self.extras.hash(state);
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

fn nobody(id: u32) -> WorkerRef {
    WorkerRef { worker: WorkerId(id), generation: Generation(0) }
}
