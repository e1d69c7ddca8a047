//! The counts of the processes of a pool: starts, exits by cause, restarts, and what a rebuild of the state would lose.

use herder_core::{BreakerStatus, Counters, ExitStatus, KillReason, ProcessExit, WorkerRef};
use std::{collections::BTreeSet, time::Duration};

/// The counts of a pool's processes.
#[derive(Clone, Debug, Default)]
pub struct ProcessMetrics {
    starts: u64,
    restarts: u64,
    exits: Vec<(&'static str, u64)>,
    /// The slots whose last process ended unexpectedly, so not on request, and was not replaced yet.
    died: BTreeSet<u32>,
    /// The CPU time of the processes that have exited, as last read.
    pub(crate) exited_cpu: Duration,
    rebuilds: u64,
    earlier: CoreCounts,
}

/// What the core counts, and begins anew when the state is rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreCounts {
    /// Retries.
    pub retries: u64,
    /// Calls that were refused because of their estimated wait.
    pub shed: u64,
    /// Sessions that were removed because they had expired.
    pub sessions_expired: u64,
    /// Answers that arrived after their call was settled.
    pub late_answers: u64,
    /// The number of times that the breaker opened.
    pub breaker_opened: u64,
}

impl CoreCounts {
    pub(crate) fn of(counters: &Counters, breaker: Option<&BreakerStatus>) -> Self {
        let Counters { retries, shed, sessions_expired, late_answers, .. } = *counters;
        Self {
            retries,
            shed,
            sessions_expired,
            late_answers,
            breaker_opened: breaker.map_or(0, |breaker| breaker.opened),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            retries: self.retries + other.retries,
            shed: self.shed + other.shed,
            sessions_expired: self.sessions_expired + other.sessions_expired,
            late_answers: self.late_answers + other.late_answers,
            breaker_opened: self.breaker_opened + other.breaker_opened,
        }
    }
}

impl ProcessMetrics {
    /// Counts a process that is started.
    pub(crate) fn started(&mut self, worker: WorkerRef) {
        self.starts += 1;
        self.restarts += u64::from(self.died.remove(&worker.id.0));
    }

    /// Counts a process that has exited. `is_current`: whether its slot has no other process yet.
    pub(crate) fn exited(&mut self, worker: WorkerRef, exit: &ProcessExit, is_out_of_memory: bool, is_current: bool) {
        let cause = if is_out_of_memory { "out_of_memory" } else { cause(exit) };
        match self.exits.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, count)) => *count += 1,
            None => self.exits.push((cause, 1)),
        }
        let is_expected = matches!(
            exit.kill_reason,
            Some(KillReason::Requested | KillReason::Idle | KillReason::Shutdown | KillReason::Reload)
        );
        if is_current && !is_expected {
            self.died.insert(worker.id.0);
        }
    }

    /// Counts a rebuild of the state.
    pub(crate) fn rebuilt(&mut self) {
        self.rebuilds += 1;
    }

    /// Keeps what the core has counted, which begins anew.
    pub(crate) fn keep(&mut self, counts: CoreCounts) {
        self.earlier = self.earlier.plus(counts);
    }

    /// Returns the number of processes that were started.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Returns the number of processes that were started in the place of one that had ended unexpectedly.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns the number of processes that have exited, by cause.
    pub fn exits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.exits.iter().copied()
    }

    /// Returns the CPU time of the processes that have exited, as last read.
    pub fn exited_cpu(&self) -> Duration {
        self.exited_cpu
    }

    /// Returns how often the state was rebuilt after a panic.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds
    }

    /// Returns what the core has counted since the start of the pool.
    pub fn since_start(&self, counters: &Counters, breaker: Option<&BreakerStatus>) -> CoreCounts {
        self.earlier.plus(CoreCounts::of(counters, breaker))
    }
}

/// Returns the cause of an exit: one of a fixed number of names.
fn cause(exit: &ProcessExit) -> &'static str {
    match (exit.kill_reason, exit.status) {
        (Some(KillReason::Requested), _) => "requested",
        (Some(KillReason::Unresponsive), _) => "unresponsive",
        (Some(KillReason::Stopped), _) => "stopped",
        (Some(KillReason::CancelTimeout), _) => "cancel_timeout",
        (Some(KillReason::ProtocolViolation), _) => "protocol_violation",
        (Some(KillReason::StartTimeout), _) => "start_timeout",
        (Some(KillReason::Unhealthy), _) => "unhealthy",
        (Some(KillReason::Idle), _) => "idle",
        (Some(KillReason::Shutdown), _) => "shutdown",
        (Some(KillReason::Reload), _) => "reload",
        (Some(KillReason::ActorPanicked), _) => "actor_panicked",
        (Some(KillReason::NoDescriptors), _) => "no_descriptors",
        (None, ExitStatus::Code(_)) => "exited",
        (None, ExitStatus::Signal(_)) => "signal",
        (None, ExitStatus::Unknown) => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herder_core::{Generation, WorkerId};

    #[test]
    fn only_unexpected_ends_lead_to_restarts() {
        let restarts = |kill_reason| {
            let mut metrics = ProcessMetrics::default();
            let process = |generation| WorkerRef { id: WorkerId(1), generation: Generation(generation) };
            let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason };
            metrics.started(process(1));
            metrics.exited(process(1), &exit, false, true);
            metrics.started(process(2));
            metrics.restarts()
        };
        for reason in [KillReason::Requested, KillReason::Idle, KillReason::Shutdown, KillReason::Reload] {
            assert_eq!(restarts(Some(reason)), 0, "{reason}");
        }
        assert_eq!((restarts(None), restarts(Some(KillReason::Unresponsive))), (1, 1));
    }
}
