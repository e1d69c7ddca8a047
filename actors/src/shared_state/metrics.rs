//! Counts calls and exits, and adds what was counted, and what the system knows of the processes, to the status.

use super::{
    Link, State,
    call::{Call, buffers_length},
    state::FinalFrame,
};
use crate::{
    BufferStatus, CommandStatus, Percentiles, PoolMetrics, RunningCallStatus, RunningSummary, Status, WorkerActivity,
    WorkerEntry,
    child::Sampler,
    metrics::{CommandMetrics, CountedAnswer, Outcomes, micros},
    process_usage::ProcessUsage,
};
use herder_core::{CallId, Delivery, ProcessExit, Timestamp, WorkerRef};
use herder_process::ProcessSample;

impl State {
    /// Counts a call that a worker has answered.
    #[inline]
    pub(super) fn count_answer(&mut self, call: &Call, delivery: &Delivery, frame: Option<&FinalFrame>) {
        let Some(frame) = frame else { return };
        let (ok, arguments, result) = (!frame.is_error(), call.size(), frame.result_size());
        let span = call.trace.as_ref().and_then(|trace| trace.recorded());
        let (given, returned) = (call.buffers(), frame.buffers());
        let has_buffers = !given.is_empty() || !returned.is_empty();
        let buffers = has_buffers.then(|| buffers_length(given) + buffers_length(returned));
        let is_stream = call.is_stream();
        let answer = CountedAnswer { delivery, ok, arguments, result, buffers, is_stream, span };
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

    /// Returns how all calls have ended, those that were refused on the threads of their callers included.
    pub(super) fn outcomes(&mut self) -> Outcomes {
        for ((command, kind), calls) in self.call_log.take_refusals() {
            self.metrics.refused(&command, kind, calls);
        }
        self.metrics.outcomes()
    }

    /// Returns what was counted, with the refused calls as of the last status.
    pub(crate) fn metrics(&self) -> &PoolMetrics {
        &self.metrics
    }

    /// Returns what reads the memory and the CPU time of the processes, as far as they must be read again.
    pub(crate) fn due_samplers(&self) -> Vec<(WorkerRef, Sampler)> {
        let now = self.clock.now();
        self.links().filter_map(|link| Some((link.worker, link.due_sampler(now)?))).collect()
    }

    /// Records what was read. Processes that have ended meanwhile are left out.
    pub(crate) fn add_samples(&mut self, samples: Vec<(WorkerRef, Option<ProcessSample>)>) {
        let now = self.clock.now();
        for (worker, sample) in samples {
            if let Some(link) = self.link(worker) {
                link.add_sample(now, sample);
            }
        }
    }

    /// Adds what was counted, and what was last read of the processes, to the status.
    pub(crate) fn complete_status(&mut self, status: &mut Status) {
        self.measure(status);
        let now = self.clock.now();
        let commands = self.metrics.commands().filter(|command| !command.is_other() || command.calls() > 0);
        let entry = |command: &CommandMetrics| (command.name().to_owned(), self.command_status(now, command));
        status.commands = commands.map(entry).collect();
    }

    /// Adds the same without the figures of each command, which [`metrics`](Self::metrics) has: the percentiles of 1,024
    /// commands take half a millisecond.
    pub(crate) fn measure(&mut self, status: &mut Status) {
        status.outcomes = self.outcomes();
        let now = self.clock.now();
        let usage: Vec<_> = self.links.iter().map(|link| link.as_ref().and_then(Link::usage)).collect();
        let known = || usage.iter().flatten();
        status.memory_bytes = known().map(|usage| usage.memory_bytes).sum();
        status.cpu_seconds = rounded(known().map(|usage| usage.cpu.as_secs_f64()).sum());
        status.cpu = rounded(known().map(|usage| usage.cores).sum());
        status.per_second = self.metrics.per_second(now);
        status.running = self.running(now);
        status.buffers = self.buffer_status();
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

    /// Returns what the slabs of the pool are like. `None` in a pool that has not used buffers.
    fn buffer_status(&self) -> Option<BufferStatus> {
        let (slab_bytes, slab_limit_bytes) = self.slab_budget.usage();
        let mut all = self.metrics.commands().filter_map(CommandMetrics::feature_use);
        let has_used = slab_bytes > 0 || all.any(|feature_use| feature_use.with_buffers > 0);
        has_used.then_some(BufferStatus { slab_bytes, slab_limit_bytes })
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use herder_core::WireId;
    use herder_wire::{Buffer, CallResult, SharedMemory, Stamps};
    use std::{num::NonZeroU64, sync::Arc};

    /// Memory that must not be read.
    #[derive(Debug)]
    struct Unread;

    impl SharedMemory for Unread {
        fn copy_to(&self, _: u64, _: &mut [u8]) {
            panic!("the bytes were copied");
        }

        fn to_bytes(&self, _: u64, _: usize) -> Bytes {
            panic!("the bytes were copied");
        }
    }

    /// R43: a result in shared memory is copied by its caller, not when it is counted on the thread of the pool.
    #[test]
    fn r43_a_result_is_counted_without_a_copy() {
        let mut buffer = Buffer::from(Bytes::from(vec![0; 100_000])).placed(NonZeroU64::MIN, 0);
        buffer.find_in(Arc::new(Unread));
        let result = CallResult {
            wire: WireId(1),
            payload: Bytes::from_static(b"null"),
            buffers: vec![buffer],
            stamps: Stamps::default(),
        };
        let frame = FinalFrame::Result(result);
        assert_eq!((frame.result_size(), buffers_length(frame.buffers())), (Some(100_004), 100_000));
    }
}
