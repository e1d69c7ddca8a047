//! All counts of a pool.

use super::{
    commands::{CommandMetrics, CommandNumber, CommandTable, CountedAnswer},
    histogram::{Histogram, micros},
    outcomes::Outcomes,
    processes::ProcessMetrics,
    workers::{SessionMetrics, SlotMetrics},
};
use crate::error::{Error, FailureKind};
use herder_core::{BatchStatus, Features, Timestamp, WorkerId};
use std::time::Duration;

/// The counts of a pool since its start. They never decrease.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    pub(crate) since: Timestamp,
    commands: CommandTable,
    /// The calls without a result. `ok` is counted for each command.
    failures: Outcomes,
    slots: Option<Vec<SlotMetrics>>,
    sessions: Option<SessionMetrics>,
    pub(crate) processes: ProcessMetrics,
    timer_lag: Histogram,
}

impl PoolMetrics {
    /// Creates the counts of a pool with these features.
    pub(crate) fn new(now: Timestamp, features: Features, slots: usize) -> Self {
        Self {
            since: now,
            commands: CommandTable::default(),
            failures: Outcomes::default(),
            slots: features.worker_metrics.then(|| vec![SlotMetrics::default(); slots]),
            sessions: features.session_affinity.then(SessionMetrics::default),
            processes: ProcessMetrics::default(),
            timer_lag: Histogram::default(),
        }
    }

    /// Returns the number of a command of the application.
    pub(crate) fn add_command(&mut self, name: &str) -> CommandNumber {
        self.commands.add(name)
    }

    /// Counts the answer of a worker. An error is also [counted](Self::failed).
    #[inline]
    pub(crate) fn answered(&mut self, command: &str, number: CommandNumber, answer: &CountedAnswer<'_>) {
        self.commands.of_call(command, number).answered(answer);
        if let Some(slots) = &mut self.slots {
            SlotMetrics::of(slots, answer.delivery.worker.id).answered(answer.delivery);
        }
        if let Some(sessions) = &mut self.sessions {
            sessions.count(answer.delivery.routing);
        }
    }

    /// Keeps the batches of a command that the core has counted, which begins anew.
    pub(crate) fn keep_batches(&mut self, command: &str, counts: &BatchStatus) {
        self.commands.named(command).keep_batches(counts);
    }

    /// Counts a call that failed, whether a worker or the pool failed it.
    pub(crate) fn failed(&mut self, command: &str, error: &Error) {
        self.count_failures(command, error.slug(), error.failure_kind(), 1);
    }

    /// Counts calls that were refused before they reached the pool's state, with this kind of error.
    pub(crate) fn refused(&mut self, command: &str, kind: &'static str, calls: u64) {
        self.count_failures(command, kind, FailureKind::Refused, calls);
    }

    fn count_failures(&mut self, command: &str, kind: &'static str, failure: FailureKind, calls: u64) {
        self.failures.add(failure, calls);
        self.commands.named(command).failed(kind, calls);
        if let Some(sessions) = self.sessions.as_mut().filter(|_| kind == SessionMetrics::LOST) {
            sessions.lost += calls;
        }
    }

    /// Returns how the calls have ended.
    pub(crate) fn outcomes(&self) -> Outcomes {
        Outcomes { ok: self.commands.iter().map(CommandMetrics::ok).sum(), ..self.failures }
    }

    /// Counts how late the timer of the pool ran.
    pub(crate) fn timer_ran(&mut self, late_by: Duration) {
        self.timer_lag.record(micros(late_by));
    }

    /// Returns the counts of each command: first those of calls without a command that exists, then those of the commands of
    /// the application.
    pub fn commands(&self) -> impl Iterator<Item = &CommandMetrics> {
        self.commands.iter()
    }

    /// Returns the counts of each slot, the first one first. `None` in a pool without `worker_metrics`.
    pub fn slots(&self) -> Option<&[SlotMetrics]> {
        self.slots.as_deref()
    }

    /// Adds the CPU time of a process that has exited, as it was last read.
    pub(crate) fn add_exited_cpu(&mut self, worker: WorkerId, cpu: Duration) {
        self.processes.exited_cpu += cpu;
        if let Some(slots) = &mut self.slots {
            SlotMetrics::of(slots, worker).exited_cpu += cpu;
        }
    }

    /// Returns the counts of sessions. `None` in a pool without session affinity.
    pub fn sessions(&self) -> Option<&SessionMetrics> {
        self.sessions.as_ref()
    }

    /// Returns the counts of the processes.
    pub fn processes(&self) -> &ProcessMetrics {
        &self.processes
    }

    /// Returns how late the timer of the pool ran, in microseconds: by how much other work of its thread delays it.
    pub fn timer_lag(&self) -> &Histogram {
        &self.timer_lag
    }

    /// Returns the calls per second that workers have answered in the last ten seconds.
    pub(crate) fn per_second(&self, now: Timestamp) -> f64 {
        let all: f64 = self.commands.iter().map(|command| command.per_second(now, self.since)).sum();
        (all * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herder_core::{Delivery, Generation, Routing, WorkerRef};

    fn answer(metrics: &mut PoolMetrics, command: &str, finished: u64) {
        let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
        let (admitted, sent, finished) = (Timestamp(0), Timestamp(0), Timestamp(finished));
        let delivery = Delivery { worker, routing: Routing::Unrouted, attempts: 1, admitted, sent, finished };
        let (arguments, result, buffers, is_stream, span) = (2, Some(2), None, false, None);
        let delivery = &delivery;
        let answer = CountedAnswer { delivery, ok: true, arguments, result, buffers, is_stream, span };
        metrics.answered(command, CommandNumber::default(), &answer);
    }

    /// A clone is made on the thread of the pool for each scrape, with up to 1,024 commands of 10 KiB each.
    #[test]
    fn a_clone_shares_the_histograms_until_the_next_answer() {
        let mut features = Features::default();
        features.worker_metrics = true;
        let mut metrics = PoolMetrics::new(Timestamp(0), features, 1);
        ["a", "b"].iter().for_each(|command| {
            metrics.add_command(command);
            answer(&mut metrics, command, 1000);
        });
        let clone = metrics.clone();
        answer(&mut metrics, "b", 2000);
        let times = |metrics: &PoolMetrics| {
            let of_commands = metrics.commands().filter_map(|command| command.run_time().map(Histogram::count));
            let of_slot = metrics.slots().unwrap()[0].run_time().unwrap().count();
            (of_commands.collect::<Vec<_>>(), of_slot)
        };
        assert_eq!((times(&clone), times(&metrics)), ((vec![1, 1], 2), (vec![1, 2], 3)));
        let is_shared = |command: usize| {
            let of = |metrics: &PoolMetrics| {
                std::ptr::from_ref(metrics.commands().nth(command).unwrap().run_time().unwrap())
            };
            of(&clone) == of(&metrics)
        };
        assert_eq!([1, 2].map(is_shared), [true, false]);
    }
}
