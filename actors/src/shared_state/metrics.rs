//! Counts calls and exits, and adds what was counted, and what the system knows of the processes, to the status.

use super::{Link, State, call::Call, state::FinalFrame};
use crate::{
    CommandStatus, Percentiles, PoolMetrics, RunningCallStatus, RunningSummary, Status, WorkerActivity, WorkerEntry,
    metrics::{CommandMetrics, CountedAnswer, micros},
    process_usage::ProcessUsage,
};
use herder_core::{CallId, Delivery, ProcessExit, Timestamp, WorkerRef};

impl State {
    /// Counts a call that a worker has answered.
    #[inline]
    pub(super) fn count_answer(&mut self, call: &Call, delivery: &Delivery, frame: Option<&FinalFrame>) {
        let Some(frame) = frame else { return };
        let answer =
            CountedAnswer { delivery, ok: !frame.is_error(), arguments: call.size(), result: frame.result_size() };
        self.metrics.answered(&call.command, call.number, &answer);
    }

    /// Counts a process that has exited. `link`: its link, unless the state was rebuilt since its start.
    pub(super) fn count_exit(
        &mut self,
        worker: WorkerRef,
        exit: ProcessExit,
        is_out_of_memory: bool,
        link: Option<&Link>,
    ) {
        // The core's record has the kill reason. A core that was rebuilt has none, and has started the slot anew.
        let recorded = self.core.exit_of(worker);
        let is_current = recorded.is_some();
        self.metrics.processes.exited(worker, &recorded.unwrap_or(exit), is_out_of_memory, is_current);
        if let Some(link) = link {
            self.metrics.add_exited_cpu(worker.id, link.last_cpu());
        }
    }

    /// Counts the calls that were refused on the threads of their callers.
    fn count_refusals(&mut self) {
        for ((command, kind), calls) in self.call_log.take_refusals() {
            self.metrics.failed(&command, kind, calls);
        }
    }

    /// Returns what was counted, with the refused calls as of the last status.
    pub(crate) fn metrics(&self) -> &PoolMetrics {
        &self.metrics
    }

    /// Adds what was counted, and what the system knows of the processes, to the status. Reads `/proc`, so no step calls it.
    pub(crate) fn complete_status(&mut self, status: &mut Status) {
        self.count_refusals();
        let now = self.clock.now();
        let usage: Vec<_> =
            self.links.iter_mut().map(|link| link.as_mut().and_then(|link| link.read_usage(now))).collect();
        let known = || usage.iter().flatten();
        status.memory_bytes = known().map(|usage| usage.memory_bytes).sum();
        status.cpu_seconds = rounded(known().map(|usage| usage.cpu.as_secs_f64()).sum());
        status.cpu = rounded(known().map(|usage| usage.cores).sum());
        status.per_second = self.metrics.per_second(now);
        status.running = self.running(now);
        let commands = self.metrics.commands().filter(|command| !command.is_other() || command.calls() > 0);
        let entry = |command: &CommandMetrics| (command.name().to_owned(), self.command_status(now, command));
        status.commands = commands.map(entry).collect();
        for worker in &mut status.workers {
            let usage = usage.get((worker.status.id.0 as usize).saturating_sub(1));
            self.complete_worker(now, worker, usage.copied().flatten());
        }
    }

    /// Adds what was counted for a worker, in a pool with `worker_metrics`.
    fn complete_worker(&self, now: Timestamp, worker: &mut WorkerEntry, usage: Option<ProcessUsage>) {
        let Some(slots) = self.metrics.slots() else { return };
        worker.resident_bytes = usage.map(|usage| usage.memory_bytes);
        worker.cpu_seconds = usage.map(|usage| rounded(usage.cpu.as_secs_f64()));
        worker.cpu = usage.map(|usage| rounded(usage.cores));
        let slot = slots.get((worker.status.id.0 as usize).saturating_sub(1));
        let process = WorkerRef { id: worker.status.id, generation: worker.status.generation };
        let running = self.core.begun_calls(process).map(|(call, since)| self.running_call(now, call, since));
        worker.activity = Some(WorkerActivity {
            per_second: slot.map_or(0.0, |slot| slot.per_second(now, self.metrics.since)),
            run_us: slot.and_then(|slot| slot.run_time()).and_then(Percentiles::of),
            running: running.collect(),
        });
    }

    /// Returns the number of the calls that run, and the oldest of them.
    fn running(&self, now: Timestamp) -> RunningSummary {
        let all = || self.core.processes().flat_map(|worker| self.core.begun_calls(worker));
        let longest = all().min_by_key(|(_, since)| *since).map(|(call, since)| self.running_call(now, call, since));
        let longest = longest.map(|call| RunningCallStatus { session: None, ..call });
        RunningSummary { count: all().count(), longest }
    }

    fn running_call(&self, now: Timestamp, call: Option<CallId>, since: Timestamp) -> RunningCallStatus {
        let known = call.and_then(|call| self.calls.get(&call));
        RunningCallStatus {
            call: call.map(|call| call.0),
            command: known.map(|call| call.command.to_string()),
            session: known.and_then(|call| call.session.as_ref()).map(|session| session.as_str().to_owned()),
            since_us: micros(now.since(since)),
        }
    }

    fn command_status(&self, now: Timestamp, command: &CommandMetrics) -> CommandStatus {
        CommandStatus {
            calls: command.calls(),
            errors: command.errors().collect(),
            per_second: command.per_second(now, self.metrics.since),
            queue_us: command.queue_wait().and_then(Percentiles::of),
            run_us: command.run_time().and_then(Percentiles::of),
        }
    }
}

/// Returns the value with two decimals.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
