//! A slot: its process and the attempts that the process has. Both change only through [`Workers`](super::Workers).

use super::{Attempt, Attempts, Health, SlotHolder, WorkerState, pace::Pace};
use crate::{
    Generation, ProcessActivity, StopMethod, Timestamp, WorkerRef,
    derived::{Derived, Statistic},
    due::Due,
    failure::{KillReason, ProcessExit},
};
use std::time::Duration;

/// One slot of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// The slot and its latest generation, which is 0 before the first process.
    pub(crate) worker: WorkerRef,
    /// Whether this is the slot of a base worker, not of an overflow worker.
    pub(crate) base: bool,
    /// The number from 0 that the process is told, such as for choosing a device. That of a replacement is the number of the
    /// worker that it replaces.
    pub(crate) number: u32,
    pub(super) process: Process,
    /// Attempts sent to the current process whose final frame has not arrived. At most as many invocations as the window
    /// ([I2](crate#invariants)).
    pub(super) attempts: Attempts,
    /// How many calls the process may have.
    pub(super) pace: Pace,
    /// The number of attempts below which the slot accepts a call, and below which the call is not in advance.
    limit: Derived<u32>,
    open_places: Derived<u32>,
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
        ping: Ping,
        misses: u32,
        unresponsive: Option<ProcessActivity>,
        idle_since: Timestamp,
        /// When an overflow worker is examined next, whether it has been idle long enough.
        idle_check: Derived<Timestamp>,
    },
    /// The process was asked to stop or is being killed, and has not exited. `live_since` is `None` if it never was
    /// ready.
    Stopping { live_since: Option<Timestamp>, kill_reason: KillReason, method: StopMethod },
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
        let (attempts, pace) = (Attempts::default(), Pace::default());
        let (limit, open_places, finished_attempts) = (Derived(0), Derived(0), Statistic(0));
        Self {
            worker,
            base,
            number: worker.id.0.saturating_sub(1),
            process: Process::Absent,
            attempts,
            pace,
            limit,
            open_places,
            last_exit: None,
            finished_attempts,
        }
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

    /// Returns the maximum number of unfinished attempts of the process, if it is ready.
    pub(crate) fn window(&self) -> usize {
        if self.is_live() { self.pace.window() as usize } else { 0 }
    }

    /// Returns the number of unfinished attempts of the process that count as running, if it is ready.
    pub(crate) fn places(&self) -> usize {
        if self.is_live() { self.pace.places() as usize } else { 0 }
    }

    /// Returns whether the slot can accept a call, at once or in advance: its process is ready and does not have all the
    /// calls that it may have. With `state_machine`, the process must also have answered its last ping (R24).
    #[inline]
    pub(crate) fn accepts(&self) -> bool {
        // Abandoned attempts count as well: the worker still runs them, or holds them in its own queue (I2).
        self.attempts.count() < *self.limit
    }

    /// Returns whether the process accepts a call and can run it at once.
    #[inline]
    pub(crate) fn has_place(&self) -> bool {
        self.attempts.count() < *self.open_places
    }

    /// Returns the load by which a slot is chosen that accepts a call: the number of its attempts, and more if the call
    /// would be in advance than any slot with a free place has. `places` is the maximum of all slots. `None` if it accepts
    /// none.
    #[inline(always)]
    pub(super) fn load(&self, places: u32) -> Option<u32> {
        match self.attempts.count() {
            attempts if attempts < *self.open_places => Some(attempts),
            attempts if attempts < *self.limit => Some(attempts - *self.open_places + places),
            _ => None,
        }
    }

    /// Counts a finished attempt.
    #[inline(always)]
    pub(super) fn count_finished(&mut self, now: Timestamp) {
        *self.finished_attempts += 1;
        self.set_idle_since(now);
    }

    /// Records that the process had an attempt until now.
    #[inline(always)]
    pub(super) fn set_idle_since(&mut self, now: Timestamp) {
        if let Process::Live { idle_since, .. } = &mut self.process {
            *idle_since = now;
        }
    }

    /// Counts the run time of a finished call.
    #[inline]
    pub(super) fn observe(&mut self, ran: Duration) {
        if self.pace.observe(ran) && *self.open_places > 0 {
            *self.limit = self.pace.limit();
        }
    }

    /// Returns the attempts in advance that another worker could run, and that the process was not asked to take back. None
    /// if the process may run what it gives back.
    pub(super) fn revocable(&self) -> impl Iterator<Item = &Attempt> {
        let is_revocable = |attempt: &&Attempt| {
            matches!(attempt.holder, SlotHolder::Call(_) | SlotHolder::Stream(_)) && !attempt.is_strict()
        };
        self.attempts.iter_in_advance().filter(is_revocable).filter(|_| self.can_revoke())
    }

    /// Returns whether the process can be asked to take back attempts.
    pub(super) fn can_revoke(&self) -> bool {
        self.pace.in_order().is_some()
    }

    /// Returns whether its attempts in advance agree with its pace. For tests.
    pub(super) fn is_pace_consistent(&self) -> bool {
        let begun = self.attempts.begun();
        let has_begun_all = self.attempts.in_advance().is_empty();
        self.pace.is_consistent() && (has_begun_all || begun >= self.pace.places())
    }

    /// Returns the numbers of attempts below which a slot with this process accepts a call, and can run it at once.
    fn limits(&self, health_gated: bool) -> (u32, u32) {
        match self.process {
            Process::Live { misses, .. } if health_gated && misses > 0 => (0, 0),
            Process::Live { .. } => (self.pace.limit(), self.pace.places()),
            _ => (0, 0),
        }
    }

    /// Updates what follows from the process, after a change of it.
    pub(super) fn update_limit(&mut self, health_gated: bool) {
        (*self.limit, *self.open_places) = self.limits(health_gated);
    }

    /// Returns whether [`accepts`](Self::accepts) follows from the process. For checks.
    pub(super) fn is_limit_current(&self, health_gated: bool) -> bool {
        (*self.limit, *self.open_places) == self.limits(health_gated)
    }

    /// Returns the state of the worker as R23 names it. Only with `health_gated` can it be degraded.
    pub(crate) fn state(&self, health_gated: bool) -> WorkerState {
        match self.process {
            Process::Absent | Process::Scheduled { .. } => WorkerState::Terminated,
            Process::Starting { .. } => WorkerState::Initializing,
            Process::Live { misses, .. } if health_gated && misses > 0 => WorkerState::Degraded,
            Process::Live { .. } if self.attempts.count() as usize >= self.places() => WorkerState::Busy,
            Process::Live { .. } => WorkerState::Ready,
            Process::Stopping { .. } => WorkerState::Terminating,
        }
    }

    pub(crate) fn health(&self) -> Health {
        match self.process {
            Process::Live { misses: 0, .. } => Health::Healthy,
            Process::Live { .. } | Process::Stopping { kill_reason: KillReason::Unhealthy, .. } => Health::Unhealthy,
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
                let process = [
                    (ping.due(), Due::Worker(worker)),
                    (*idle_check, Due::OverflowIdle(worker)),
                    (self.pace.check_due(), Due::InAdvance(worker)),
                ];
                attempt.into_iter().chain(process).min()?
            }
            // It finishes its calls before it stops. Without these timeouts, a call that hangs would keep it for the longest
            // deadline of its calls.
            Process::Stopping { method: StopMethod::AfterCalls, .. } => {
                self.attempts.next_due().map(|(at, wire)| (at, Due::Attempt(worker, wire)))?
            }
            // The exit is awaited; the stop sequence of the shell bounds it. The attempts end with the process.
            Process::Absent | Process::Scheduled { .. } | Process::Stopping { .. } => return None,
        };
        Some(due).filter(|(at, _)| *at != Timestamp::NEVER)
    }
}
