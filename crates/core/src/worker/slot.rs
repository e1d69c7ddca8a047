//! A slot: its process and the attempts that the process has. Holds call ids only, not calls.

use super::{Health, ProcessActivity, WorkerState};
use crate::{
    CallId, Generation, Routing, Timestamp, WireId, WorkerRef, derived::Derived, due::Due, failure::KillReason,
    failure::ProcessExit, session::RowKey,
};

/// One slot of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// The slot and its latest generation, which is 0 before the first process.
    pub(crate) worker: WorkerRef,
    /// Whether this is the slot of a base worker, not of an overflow worker.
    pub(crate) base: bool,
    pub(super) process: Process,
    /// Attempts sent to the current process whose final frame has not arrived. At most the window
    /// ([I2](crate#invariants)).
    pub(super) running: Vec<Attempt>,
    /// The generation and the exit of the previous process.
    pub(crate) last_end: Option<(Generation, ProcessExit)>,
    /// The number of finished attempts, across all generations.
    pub(crate) finished_attempts: u64,
}

/// The process in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    /// There is no process, and none is scheduled.
    Absent,
    /// There is no process. The next one starts at this time, or later if `start_batch` processes are starting.
    Scheduled { at: Timestamp },
    /// The process was started and is not ready. If it is not ready at `until`, it is stopped.
    Starting { until: Timestamp },
    /// The process is ready. `unresponsive` is what it did when it last missed a ping, until it answers one.
    Live {
        since: Timestamp,
        window: u32,
        ping: Ping,
        misses: u32,
        unresponsive: Option<ProcessActivity>,
        idle_since: Timestamp,
        /// When an overflow worker is examined next, whether it has been idle long enough.
        idle_check: Derived<Timestamp>,
    },
    /// The process was asked to stop or is being killed, and has not exited. `live_since` is `None` if it never was
    /// ready.
    Stopping { live_since: Option<Timestamp>, kill_reason: KillReason },
}

/// The state of the pings of a live worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ping {
    /// The worker has no control channel.
    Off,
    /// The next ping is sent at this time.
    Due { at: Timestamp },
    /// A ping was sent. If it is not answered by `until`, the process is examined.
    Sent { nonce: u64, until: Timestamp },
    /// The process is being examined. If there is no result by `until`, its activity is unknown.
    Examined { nonce: u64, until: Timestamp },
}

/// One unfinished attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) wire: WireId,
    pub(crate) holder: SlotHolder,
    pub(crate) since: Timestamp,
    pub(crate) routing: Routing,
    /// The row of the session, and whether the attempt runs the session's current strict call ([I3](crate#invariants)).
    pub(crate) session: Option<(RowKey, bool)>,
}

/// The occupant of a call slot of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SlotHolder {
    /// An attempt of a call that is not settled.
    Call(CallId),
    /// An attempt whose call is settled. The call slot stays occupied until the final frame.
    Abandoned { next: Escalation },
}

/// The next step of stopping an abandoned attempt, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Escalation {
    /// None yet: the worker was asked to stop the attempt and has not answered whether the attempt runs, and an older
    /// attempt is assumed to run.
    Asked,
    Interrupt(Timestamp),
    Kill(Timestamp),
    /// The worker answered that the attempt has not begun and will not begin. `kill` is set once the attempt is the
    /// oldest that the worker has. From then on only something that is not a call, such as a hook, can delay its final
    /// frame.
    Withdrawn {
        kill: Option<Timestamp>,
    },
}

impl Ping {
    /// Returns when the next step is due, or [`Timestamp::NEVER`].
    fn due(self) -> Timestamp {
        match self {
            Self::Due { at: due } | Self::Sent { until: due, .. } | Self::Examined { until: due, .. } => due,
            Self::Off => Timestamp::NEVER,
        }
    }
}

impl Attempt {
    /// Returns when the next step of stopping the attempt is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.holder {
            SlotHolder::Abandoned { next: Escalation::Interrupt(due) | Escalation::Kill(due) } => Some(due),
            SlotHolder::Abandoned { next: Escalation::Withdrawn { kill } } => kill,
            SlotHolder::Abandoned { next: Escalation::Asked } | SlotHolder::Call(_) => None,
        }
    }

    /// Returns whether the worker answered that the attempt has not begun and will not begin.
    pub(crate) fn is_withdrawn(&self) -> bool {
        matches!(self.holder, SlotHolder::Abandoned { next: Escalation::Withdrawn { .. } })
    }

    /// Returns whether the attempt may have begun. `all` are the attempts of its process: the attempt has not begun if
    /// at least `concurrency` older ones may still run.
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
        Self { worker, base, process: Process::Absent, running: Vec::new(), last_end: None, finished_attempts: 0 }
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Returns the unfinished attempts, in no defined order.
    pub(crate) fn running(&self) -> &[Attempt] {
        &self.running
    }

    /// Returns the number of unfinished attempts.
    pub(crate) fn in_flight(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.process, Process::Live { .. })
    }

    /// Returns whether this process (slot and generation) is ready (R21).
    // Comparing the slot alone would accept the successor of a process that died, which does not hold its sessions'
    // state (I4).
    pub(crate) fn holds(&self, worker: WorkerRef) -> bool {
        self.is_live() && self.worker == worker
    }

    /// Returns whether there is a process, in any state.
    pub(crate) fn has_process(&self) -> bool {
        matches!(self.process, Process::Starting { .. } | Process::Live { .. } | Process::Stopping { .. })
    }

    pub(crate) fn window(&self) -> usize {
        match self.process {
            Process::Live { window, .. } => window as usize,
            _ => 0,
        }
    }

    /// Returns whether the slot can accept a call: its process is ready and its window is not full. With
    /// `health_gated`, the process must also have answered its last ping (R24).
    pub(crate) fn accepts(&self, health_gated: bool) -> bool {
        match self.process {
            Process::Live { window, misses, .. } => {
                // Abandoned attempts count as well: the worker still runs them, or holds them in its own queue (I2).
                self.running.len() < window as usize && !(health_gated && misses > 0)
            }
            _ => false,
        }
    }

    /// Returns the state of the worker as R23 names it. Only with `health_gated` can it be degraded.
    pub(crate) fn state(&self, health_gated: bool) -> WorkerState {
        match self.process {
            Process::Absent | Process::Scheduled { .. } => WorkerState::Terminated,
            Process::Starting { .. } => WorkerState::Initializing,
            Process::Live { misses, .. } if health_gated && misses > 0 => WorkerState::Degraded,
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

    /// Returns what the process did when it last missed a ping, if it has not answered one since.
    pub(crate) fn unresponsive(&self) -> Option<ProcessActivity> {
        match self.process {
            Process::Live { unresponsive, .. } => unresponsive,
            _ => None,
        }
    }

    /// Returns how this process ended, if it is the last of its slot that has ended.
    pub(crate) fn exit_of(&self, worker: WorkerRef) -> Option<ProcessExit> {
        self.last_end.filter(|(generation, _)| *generation == worker.generation).map(|(_, end)| end)
    }

    pub(crate) fn attempt(&self, wire: WireId) -> Option<&Attempt> {
        self.running.iter().find(|attempt| attempt.wire == wire)
    }

    /// Returns the attempt that is assumed to run while the worker has not answered a cancel.
    pub(crate) fn oldest_running(&self) -> Option<&Attempt> {
        self.running.iter().filter(|attempt| !attempt.is_withdrawn()).min_by_key(|attempt| attempt.wire)
    }

    /// Returns the oldest attempt, if the worker has withdrawn that one.
    pub(crate) fn oldest_if_withdrawn(&self) -> Option<&Attempt> {
        self.running.iter().min_by_key(|attempt| attempt.wire).filter(|attempt| attempt.is_withdrawn())
    }

    /// Returns what is due first in this slot, and when. A scheduled start is not included, since it may have to wait
    /// for others.
    pub(super) fn next_due(&self) -> Option<(Timestamp, Due)> {
        let worker = self.worker.id;
        let due = match self.process {
            Process::Starting { until } => (until, Due::Worker(worker)),
            Process::Live { ping, idle_check, .. } => {
                let of_attempt = |attempt: &Attempt| Some((attempt.due()?, Due::Attempt(worker, attempt.wire)));
                let process = [(ping.due(), Due::Worker(worker)), (*idle_check, Due::OverflowIdle(worker))];
                self.running.iter().filter_map(of_attempt).chain(process).min()?
            }
            // The exit is awaited; the stop sequence of the shell bounds it. The attempts end with the process.
            Process::Absent | Process::Scheduled { .. } | Process::Stopping { .. } => return None,
        };
        Some(due).filter(|(at, _)| *at != Timestamp::NEVER)
    }

    pub(super) fn take_attempt(&mut self, wire: WireId) -> Option<Attempt> {
        let place = self.running.iter().position(|attempt| attempt.wire == wire)?;
        Some(self.running.swap_remove(place))
    }
}
