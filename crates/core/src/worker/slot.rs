//! A slot: which process is in it, what it runs, and who waits for it. Holds no call's data.

use super::{Health, ProcessActivity, WorkerState};
use crate::{
    CallId, Generation, Routing, Timestamp, WireId, WorkerRef, failure::KillReason, failure::ProcessExit,
    queue::WaitQueue, session::RowKey,
};

/// One slot of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// The slot and its latest generation (0 before the first).
    pub(crate) worker: WorkerRef,
    /// A base worker, or one of the overflow.
    pub(crate) base: bool,
    pub(crate) process: Process,
    /// Attempts sent to the present process whose final frame has not come. At most the window (I2).
    pub(crate) running: Vec<Attempt>,
    /// First calls of sessions that are bound here and wait.
    pub(crate) queue: WaitQueue,
    /// Failed starts and early deaths in a row.
    pub(crate) failures: u32,
    /// An overflow slot gets no process before. A base slot is scheduled instead.
    pub(crate) cooldown_until: Timestamp,
    /// How the previous process ended.
    pub(crate) last_end: Option<(Generation, ProcessExit)>,
    /// Whether the previous process never became ready.
    pub(crate) start_failed: bool,
    /// Attempts finished, over all generations.
    pub(crate) served: u64,
}

/// The process in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    /// None, and none wanted.
    Absent,
    /// None; the next starts at this moment, when the batch has room.
    Scheduled { at: Timestamp },
    /// Started, not ready.
    Starting { since: Timestamp },
    /// Ready. `unresponsive` is what it did when it last let a ping pass, until it answers one.
    Live {
        since: Timestamp,
        window: u32,
        ping: Ping,
        misses: u32,
        unresponsive: Option<ProcessActivity>,
        idle_since: Timestamp,
    },
    /// Told to end; its exit is awaited. `live_since` is `None` if it never was ready.
    Stopping { live_since: Option<Timestamp>, kill_reason: KillReason },
}

/// Where the probing of a live worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ping {
    /// It serves no control channel.
    Off,
    /// The next goes out then.
    Due { at: Timestamp },
    /// One is out; the process is looked at if it has not answered by then.
    Sent { nonce: u64, until: Timestamp },
    /// It is being looked at; what is not known by then stays unknown.
    Examined { nonce: u64, until: Timestamp },
}

/// One unfinished attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) wire: WireId,
    pub(crate) holder: SlotHolder,
    pub(crate) since: Timestamp,
    pub(crate) routing: Routing,
    /// The session's row and whether the attempt holds the session's turn.
    pub(crate) session: Option<(RowKey, bool)>,
}

/// Whose attempt it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SlotHolder {
    /// A call that waits for it.
    Call(CallId),
    /// Nobody's any more: the call is settled, the slot is still taken.
    Abandoned { next: Escalation },
}

/// What an abandoned attempt still has to expect, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Escalation {
    /// Nothing yet: the worker was asked to stop it, has not said whether it runs, and has an older one that is taken to run.
    Asked,
    Interrupt(Timestamp),
    Kill(Timestamp),
    /// The worker said that it has not begun, and will not. `kill` is set once it is the oldest that the worker has: nothing stands between it
    /// and its final frame any more but what is no call, such as a hook.
    Withdrawn {
        kill: Option<Timestamp>,
    },
}

impl Attempt {
    /// Whether the worker said that it has not begun, and will not.
    pub(crate) fn is_withdrawn(&self) -> bool {
        matches!(self.holder, SlotHolder::Abandoned { next: Escalation::Withdrawn { .. } })
    }

    /// Whether it may have begun, of these that one process has: it does not wait for more older ones than the process runs at once.
    pub(crate) fn may_run(&self, all: &[Self], concurrency: u32) -> bool {
        let older = all.iter().filter(|other| other.wire < self.wire && !other.is_withdrawn()).count();
        match self.holder {
            SlotHolder::Abandoned { next: Escalation::Withdrawn { .. } } => false,
            SlotHolder::Abandoned { next: Escalation::Interrupt(_) | Escalation::Kill(_) } => true,
            SlotHolder::Abandoned { next: Escalation::Asked } | SlotHolder::Call(_) => older < concurrency as usize,
        }
    }
}

impl Slot {
    pub(crate) fn new(worker: WorkerRef, base: bool) -> Self {
        Self {
            worker,
            base,
            process: Process::Absent,
            running: Vec::new(),
            queue: WaitQueue::default(),
            failures: 0,
            cooldown_until: Timestamp(0),
            last_end: None,
            start_failed: false,
            served: 0,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.process, Process::Live { .. })
    }

    /// Whether this very process is ready (R21).
    pub(crate) fn holds(&self, worker: WorkerRef) -> bool {
        self.is_live() && self.worker == worker
    }

    /// Whether a process is starting or scheduled.
    pub(crate) fn is_coming(&self) -> bool {
        matches!(self.process, Process::Starting { .. } | Process::Scheduled { .. })
    }

    /// Whether there is a process, in whatever state.
    pub(crate) fn has_process(&self) -> bool {
        matches!(self.process, Process::Starting { .. } | Process::Live { .. } | Process::Stopping { .. })
    }

    pub(crate) fn window(&self) -> usize {
        match self.process {
            Process::Live { window, .. } => window as usize,
            _ => 0,
        }
    }

    /// Whether it may be given a call: ready, and healthy where `is_health_gated` says that health decides (R24).
    pub(crate) fn accepts(&self, health_gated: bool) -> bool {
        match self.process {
            Process::Live { window, misses, .. } => {
                self.running.len() < window as usize && !(health_gated && misses > 0)
            }
            _ => false,
        }
    }

    /// Its state as R23 names it. `full` is false for basic workers, which are never degraded.
    pub(crate) fn state(&self, full: bool) -> WorkerState {
        match self.process {
            Process::Absent | Process::Scheduled { .. } => WorkerState::Terminated,
            Process::Starting { .. } => WorkerState::Initializing,
            Process::Live { misses, .. } if full && misses > 0 => WorkerState::Degraded,
            Process::Live { window, .. } if self.running.len() >= window as usize => WorkerState::Busy,
            Process::Live { .. } => WorkerState::Ready,
            Process::Stopping { .. } => WorkerState::Terminating,
        }
    }

    pub(crate) fn health(&self) -> Health {
        match self.process {
            Process::Live { misses: 0, .. } => Health::Healthy,
            Process::Live { .. } => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }

    /// What it did when it last let a ping pass, if it has not answered one since.
    pub(crate) fn unresponsive(&self) -> Option<ProcessActivity> {
        match self.process {
            Process::Live { unresponsive, .. } => unresponsive,
            _ => None,
        }
    }

    /// How the process `at` ended, if that is still known.
    pub(crate) fn exit_of(&self, worker: WorkerRef) -> Option<ProcessExit> {
        self.last_end.filter(|(generation, _)| *generation == worker.generation).map(|(_, end)| end)
    }

    pub(crate) fn attempt(&mut self, wire: WireId) -> Option<&mut Attempt> {
        self.running.iter_mut().find(|attempt| attempt.wire == wire)
    }

    /// The attempt that is taken to run as long as the worker says nothing.
    pub(crate) fn oldest(&mut self) -> Option<&mut Attempt> {
        self.running.iter_mut().filter(|attempt| !attempt.is_withdrawn()).min_by_key(|attempt| attempt.wire)
    }

    /// The oldest of its attempts, if the worker has withdrawn that one.
    pub(crate) fn withdrawn_first(&mut self) -> Option<&mut Attempt> {
        self.running.iter_mut().min_by_key(|attempt| attempt.wire).filter(|attempt| attempt.is_withdrawn())
    }

    pub(crate) fn take_attempt(&mut self, wire: WireId) -> Option<Attempt> {
        let place = self.running.iter().position(|attempt| attempt.wire == wire)?;
        Some(self.running.swap_remove(place))
    }
}
