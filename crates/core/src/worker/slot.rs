//! A slot: its process and the attempts that the process has. Both change only through [`Workers`](super::Workers).

use super::{Attempts, Health, WorkerState};
use crate::{
    Generation, ProcessActivity, Timestamp, WorkerRef,
    derived::{Derived, Statistic},
    due::Due,
    failure::{KillReason, ProcessExit},
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
    pub(super) attempts: Attempts,
    /// The number of attempts below which the slot accepts a call.
    limit: Derived<u32>,
    /// The generation and the exit of the previous process.
    pub(crate) last_exit: Option<(Generation, ProcessExit)>,
    /// The number of finished attempts, across all generations.
    pub(crate) finished_attempts: Statistic<u64>,
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

impl Ping {
    /// Returns when the next step is due, or [`Timestamp::NEVER`].
    fn due(self) -> Timestamp {
        match self {
            Self::Due { at: due } | Self::Sent { until: due, .. } | Self::Examined { until: due, .. } => due,
            Self::Off => Timestamp::NEVER,
        }
    }
}

impl Slot {
    pub(crate) fn new(worker: WorkerRef, base: bool) -> Self {
        let attempts = Attempts::default();
        let (limit, finished_attempts) = (Derived(0), Statistic(0));
        Self { worker, base, process: Process::Absent, attempts, limit, last_exit: None, finished_attempts }
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Returns the unfinished attempts.
    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Returns the number of unfinished attempts.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.attempts.len()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.process, Process::Live { .. })
    }

    /// Returns whether this process (slot and generation) is ready (R21).
    // Comparing the slot alone would accept the successor of a process that died, which does not hold its sessions'
    // state (I4).
    #[inline]
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
    /// `state_machine`, the process must also have answered its last ping (R24).
    #[inline]
    pub(crate) fn accepts(&self) -> bool {
        // Abandoned attempts count as well: the worker still runs them, or holds them in its own queue (I2).
        self.attempts.count() < *self.limit
    }

    /// Returns the number of attempts below which a slot with this process accepts a call.
    fn limit_of(&self, health_gated: bool) -> u32 {
        match self.process {
            Process::Live { misses, .. } if health_gated && misses > 0 => 0,
            Process::Live { window, .. } => window,
            _ => 0,
        }
    }

    /// Updates what follows from the process, after a change of it.
    pub(super) fn update_limit(&mut self, health_gated: bool) {
        *self.limit = self.limit_of(health_gated);
    }

    /// Returns whether [`accepts`](Self::accepts) follows from the process. For checks.
    pub(super) fn is_limit_current(&self, health_gated: bool) -> bool {
        *self.limit == self.limit_of(health_gated)
    }

    /// Returns the state of the worker as R23 names it. Only with `health_gated` can it be degraded.
    pub(crate) fn state(&self, health_gated: bool) -> WorkerState {
        match self.process {
            Process::Absent | Process::Scheduled { .. } => WorkerState::Terminated,
            Process::Starting { .. } => WorkerState::Initializing,
            Process::Live { misses, .. } if health_gated && misses > 0 => WorkerState::Degraded,
            Process::Live { window, .. } if self.attempts.len() >= window as usize => WorkerState::Busy,
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
        self.last_exit.filter(|(generation, _)| *generation == worker.generation).map(|(_, exit)| exit)
    }

    /// Returns what is due first in this slot, and when. A scheduled start is not included, since it may have to wait
    /// for others.
    pub(super) fn next_due(&self) -> Option<(Timestamp, Due)> {
        let worker = self.worker.id;
        let due = match self.process {
            Process::Starting { until } => (until, Due::Worker(worker)),
            Process::Live { ping, idle_check, .. } => {
                let attempt = self.attempts.next_due().map(|(at, wire)| (at, Due::Attempt(worker, wire)));
                let process = [(ping.due(), Due::Worker(worker)), (*idle_check, Due::OverflowIdle(worker))];
                attempt.into_iter().chain(process).min()?
            }
            // The exit is awaited; the stop sequence of the shell bounds it. The attempts end with the process.
            Process::Absent | Process::Scheduled { .. } | Process::Stopping { .. } => return None,
        };
        Some(due).filter(|(at, _)| *at != Timestamp::NEVER)
    }
}
