//! The connection from the pool's state to one process: its outboxes, its child handle, what its hello declared. One per
//! slot.

use super::{
    failed_calls::FailedCalls,
    outbox::{Outbox, PendingFrame},
    slabs::{Made, Placed, SHORT_COPY, Slabs},
    streams::Streams,
};
use crate::{
    child::{ChildHandle, Sampler},
    clock::Clock,
    metrics::CommandNumber,
    process_usage::{ProcessUsage, UsageReadings},
    recorder::{Descriptor, Recorder},
};
use foldhash::fast::FixedState;
use herder_core::{BatchKey, KillReason, ProcessActivity, Suspect, Timestamp, WireId, WorkerRef};
use herder_process::{ProcessSample, Signal};
use herder_wire::{CallBuffers, CommandEntry, HostMessage, SessionEnd};
use std::{collections::HashMap, io, num::NonZeroU64, rc::Rc, time::Duration};
use tokio::sync::Notify;
use tracing::level_filters::LevelFilter;

/// The commands of a worker by name. Each call looks its command up. The names come from the
/// application, not from callers, so that the hashes need not resist attacks.
pub(crate) type CommandTable = HashMap<String, CommandRules, FixedState>;

/// What a command declares about its calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CommandRules {
    /// Whether a call may run twice.
    pub(crate) idempotent: bool,
    /// The most time that a call may take.
    pub(crate) timeout: Option<Duration>,
    /// The number of the command, if it runs in batches.
    pub(crate) batch: Option<BatchKey>,
    /// The number under which its calls are counted.
    pub(crate) number: CommandNumber,
}

impl CommandRules {
    pub(super) fn new(entry: &CommandEntry, number: CommandNumber) -> Self {
        let timeout = entry.timeout_ms.map(|count| Duration::from_millis(count.get()));
        Self { idempotent: entry.idempotent, timeout, batch: None, number }
    }
}

/// The level that was set for the workers of a pool, which each link sends to its worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WorkerLogLevel {
    pub(super) level: Option<LevelFilter>,
    /// Whether a level was ever set. Until then each worker has that of its start.
    pub(super) is_changed: bool,
}

/// The connection to one process. Removed when the process has exited.
pub(crate) struct Link {
    pub(crate) worker: WorkerRef,
    pub(crate) child: Rc<dyn ChildHandle>,
    /// Frames for the calls descriptor.
    pub(crate) calls: Outbox,
    /// Frames for the control descriptor.
    pub(crate) control: Outbox,
    /// Wakes the writer of the calls descriptor.
    pub(crate) flush: Rc<Notify>,
    /// Wakes the writer of the control descriptor.
    pub(crate) flush_control: Rc<Notify>,
    /// The fingerprints of attempts that still run although their calls are settled; filled only if the quarantine is on.
    pub(crate) abandoned: Vec<Suspect>,
    /// The logged calls that have failed while their handlers run on.
    pub(super) failed_calls: FailedCalls,
    /// Whether the worker reads the control descriptor.
    pub(crate) has_control: bool,
    /// Whether the worker accepts calls with buffers.
    pub(crate) accepts_buffers: bool,
    /// Whether the worker accepts changes of the level of its log records.
    pub(crate) accepts_log_level: bool,
    /// The memory that the worker shares with the host. `None`: the worker uses none.
    pub(crate) slabs: Option<Slabs>,
    /// Whether the writer of `calls` has frames that it has not written.
    is_writing: bool,
    /// How many bytes steps have copied to slabs since the writer has last taken what is in `calls`.
    copied: usize,
    /// Whether the worker was asked to stop.
    stopping: bool,
    /// Whether the shutdown message for the control descriptor waits until everything in `calls` is written.
    holds_shutdown: bool,
    health: HealthChecks,
    /// The attempts whose callers take chunks.
    pub(crate) streams: Streams,
    /// Whether the started process is the one that sent the hello, and not a wrapper around it.
    pub(crate) is_direct_child: bool,
    /// The signal at which the worker prints its stack. `None` if a wrapper was started, because the wrapper would receive
    /// the signal.
    pub(crate) stack_signal: Option<Signal>,
    /// The CPU time at the last ping or examination.
    last_cpu_sample: Option<CpuSample>,
    /// The memory and the CPU time as they were read for statuses and metrics.
    usage: UsageReadings,
    pub(crate) max_frame: u32,
    /// The recorder of the frames between host and process.
    pub(crate) recorder: Rc<Recorder>,
}

impl Link {
    /// Creates the link to a process that has just been started.
    pub(crate) fn new(
        worker: WorkerRef,
        child: Rc<dyn ChildHandle>,
        max_frame: u32,
        stream_window: u32,
        clock: Clock,
    ) -> Self {
        Self {
            worker,
            child,
            calls: Outbox::default(),
            control: Outbox::default(),
            flush: Rc::default(),
            flush_control: Rc::default(),
            abandoned: Vec::new(),
            failed_calls: FailedCalls::default(),
            has_control: false,
            accepts_buffers: false,
            accepts_log_level: false,
            slabs: None,
            is_writing: false,
            copied: 0,
            stopping: false,
            holds_shutdown: false,
            health: HealthChecks::default(),
            streams: Streams::new(stream_window),
            is_direct_child: false,
            stack_signal: None,
            last_cpu_sample: None,
            usage: UsageReadings::new(clock.now()),
            max_frame,
            recorder: Rc::new(Recorder::new(clock)),
        }
    }

    /// Queues a message for the control descriptor, if the worker reads it.
    pub(crate) fn send_control(&mut self, message: &HostMessage) {
        let Self { control, recorder, .. } = self;
        if self.has_control && append(message, self.max_frame, control, Descriptor::Control, recorder) {
            self.flush_control.notify_one();
        }
    }

    /// Queues a message for the calls descriptor, behind the queued calls.
    pub(crate) fn send_in_call_order(&mut self, message: &HostMessage) {
        let Self { calls, recorder, .. } = self;
        if append(message, self.max_frame, calls, Descriptor::Calls, recorder) {
            self.flush.notify_one();
        }
    }

    /// Finds a slab for the large buffers of a call that is about to be queued; `None`: all bytes go into the frame. First queues
    /// the messages about slabs, since the worker reads in this order.
    pub(super) fn place_in_slab(&mut self, now: Timestamp, buffers: &CallBuffers) -> Option<Placed> {
        let placed = self.slabs.as_mut()?.place(now, buffers, SHORT_COPY.saturating_sub(self.copied));
        self.copied += placed.as_ref().map_or(0, |placed| placed.copied);
        self.queue_slab_messages();
        placed
    }

    /// Lets the worker send the next result that needs this many bytes in a slab.
    pub(super) fn grant_slab(&mut self, now: Timestamp, need: usize) {
        let Some(work) = self.slabs.as_mut().and_then(|slabs| slabs.grant(now, need)) else { return };
        let (with_slab, without_slab) = Default::default();
        self.calls.push_pending(PendingFrame { work: Some(work), with_slab, without_slab });
        self.flush.notify_one();
    }

    /// Records the end of the work on a slab. Returns whether the worker has the slab now.
    pub(crate) fn finish_work(&mut self, now: Timestamp, slab: NonZeroU64, made: io::Result<Made>) -> bool {
        self.slabs.as_mut().is_some_and(|slabs| slabs.finish(now, slab, made))
    }

    /// Records that the writer has taken what was in `calls`, and whether it has something to write now. If not, sends the shutdown
    /// message that was held back on the control descriptor.
    pub(crate) fn on_calls_taken(&mut self, is_writing: bool) {
        (self.is_writing, self.copied) = (is_writing, 0);
        if !is_writing {
            self.release_shutdown();
        }
    }

    /// Sends the shutdown message that was held back on the control descriptor: everything for the calls descriptor was written, or
    /// need not be.
    fn release_shutdown(&mut self) {
        if std::mem::take(&mut self.holds_shutdown) {
            self.send_control(&HostMessage::Shutdown);
        }
    }

    /// Returns whether the worker was asked to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Drops slabs that are not in use, up to this many bytes, for another worker. Returns how many bytes these are.
    pub(super) fn drop_idle_slabs(&mut self, now: Timestamp, wanted: usize) -> usize {
        let dropped = self.slabs.as_mut().map_or(0, |slabs| slabs.drop_idle(now, wanted));
        if dropped > 0 {
            self.queue_slab_messages();
            self.flush.notify_one();
        }
        dropped
    }

    /// Drops the slabs that were unused for long.
    pub(super) fn drop_unused_slabs(&mut self, now: Timestamp) {
        let Some(slabs) = self.slabs.as_mut() else { return };
        if slabs.drop_unused(now) {
            self.queue_slab_messages();
            self.flush.notify_one();
        }
    }

    /// Queues what the worker must know of its slabs, without waking the writer: the worker needs it before its next call only.
    fn queue_slab_messages(&mut self) {
        let Self { slabs: Some(slabs), calls, recorder, max_frame, .. } = self else { return };
        let [freed, dropped] = slabs.messages();
        let messages = [freed.map(HostMessage::SlabFree), dropped.map(HostMessage::SlabDrop)];
        for message in messages.into_iter().flatten() {
            append(&message, *max_frame, calls, Descriptor::Calls, recorder);
        }
    }

    /// Forgets what is kept of an attempt whose final frame was received: its stream, its fingerprint and its failed call.
    pub(crate) fn finished(&mut self, wire: WireId) {
        self.streams.remove(wire);
        self.failed_calls.forget(wire);
        if !self.abandoned.is_empty() {
            self.abandoned.retain(|suspect| suspect.wire != wire);
        }
    }

    /// Lets the worker send more of a stream, of which the consumer has taken these bytes.
    pub(crate) fn credit(&mut self, now: Timestamp, wire: WireId, bytes: u32) {
        let is_awaited = self.streams.credit(now, wire, bytes) && self.has_control;
        let credit = HostMessage::Credit { wire, bytes };
        // Not recorded, as the chunks are not: one stream would replace all other frames of the recorder within a moment.
        if is_awaited && credit.encode(self.max_frame, self.control.tail()).is_ok() {
            self.flush_control.notify_one();
        }
    }

    pub(crate) fn end_session(&mut self, end: SessionEnd) {
        self.send_in_call_order(&HostMessage::SessionEnd(end));
    }

    /// Asks the worker to run the health function of its app, if it has one and the last answer was received. In the order of
    /// the calls, so that a worker that runs one call at a time runs it between two.
    pub(crate) fn check_health(&mut self, nonce: u64, timeout_ms: u64) {
        if self.health.is_offered && !std::mem::replace(&mut self.health.is_pending, true) {
            self.send_in_call_order(&HostMessage::HealthCheck { nonce, timeout_ms });
        }
    }

    /// Records that the app of the worker has a health function.
    pub(crate) fn offer_health(&mut self) {
        self.health.is_offered = true;
    }

    /// Records the answer to a health check. Returns whether it is the first reason for which the worker is unhealthy.
    pub(crate) fn on_health(&mut self, reason: Box<str>) -> bool {
        self.health.is_pending = false;
        let is_first = !reason.is_empty() && self.health.reason.is_none();
        if is_first {
            self.health.reason = Some(reason);
        }
        is_first
    }

    /// Returns why the worker is unhealthy, if its health function has failed.
    pub(crate) fn unhealthy(&self) -> Option<&str> {
        self.health.reason.as_deref()
    }

    /// Records whether the worker reads the control descriptor, as its hello declares. If the worker was asked to stop before
    /// its hello, sends the shutdown message there now: while the worker loads its application it reads no other descriptor,
    /// and it ignores SIGTERM until it has read the message.
    pub(crate) fn on_hello(&mut self, has_control: bool) {
        self.has_control = has_control;
        if self.stopping {
            self.holds_shutdown = false; // it would be sent twice
            self.send_control(&HostMessage::Shutdown);
        }
    }

    /// Starts the stop sequence: shutdown message, SIGTERM after `grace`, SIGKILL after another `term`. A hanging process
    /// prints its stack before the first signal. Does not wait: `herder-process` runs the sequence. A second call can only
    /// shorten it.
    ///
    /// A worker that does not answer pings has probably not read the shutdown message and may ignore SIGTERM, so its `term`
    /// is zero.
    pub(crate) fn stop(&mut self, kill_reason: KillReason, grace: Duration, term: Duration) {
        if std::mem::replace(&mut self.stopping, true) {
            self.release_shutdown(); // the calls are not waited for any more
            return self.child.stop(grace, term);
        }
        // A worker that reads it on the control descriptor ends when nothing is in the other one. It empties that one faster than
        // the writer fills it. So it is not sent before the calls that the writer still has: their arguments are being copied,
        // or the socket is full. The signals do not wait for it, so a worker that does not read is ended by them.
        if self.is_writing || !self.calls.is_empty() {
            self.holds_shutdown = true;
        } else {
            self.send_control(&HostMessage::Shutdown);
        }
        // On both descriptors: the main thread reads the calls descriptor and may be blocked in a handler, so only the
        // control thread receives the message then. On the calls descriptor the message marks the end of the calls.
        self.send_in_call_order(&HostMessage::Shutdown);
        let term =
            if matches!(kill_reason, KillReason::Unresponsive | KillReason::Stopped) { Duration::ZERO } else { term };
        match self.stack_wanted(kill_reason) {
            // The stack is requested by the stop sequence and not here: it is printed even if the pool's thread is blocked or
            // ends.
            Some(ask) => self.child.stop_with_stack(ask, grace, term),
            None => self.child.stop(grace, term),
        }
    }

    /// Kills the process group with SIGKILL. A hanging process prints its stack first.
    pub(crate) fn kill(&self, kill_reason: KillReason) {
        match self.stack_wanted(kill_reason) {
            Some(ask) => self.child.kill_with_stack(ask),
            None => self.child.kill(),
        }
    }

    /// Records the CPU time of the process and returns its activity since the previous sample. Reads `/proc`, so the
    /// supervisor calls it and no step does.
    pub(super) fn activity_since_sample(&mut self, moment: Timestamp) -> ProcessActivity {
        let Some(activity) = self.child.sample().filter(|_| self.is_direct_child) else {
            return ProcessActivity::Unknown;
        };
        let now = CpuSample { at: moment, cpu: activity.cpu };
        match self.last_cpu_sample.replace(now) {
            _ if activity.stopped => ProcessActivity::Stopped,
            // Also counts a process that gets almost no CPU time on an overloaded machine.
            _ if activity.runnable => ProcessActivity::Computing,
            Some(before) => ProcessActivity::classify(now.cpu.saturating_sub(before.cpu), now.at.since(before.at)),
            None => ProcessActivity::Unknown,
        }
    }

    /// Returns the memory and the CPU time of the process, as they were last read.
    pub(super) fn usage(&self) -> Option<ProcessUsage> {
        self.usage.last()
    }

    /// Returns what reads the memory and the CPU time, for another thread, if they must be read again.
    pub(super) fn due_sampler(&self, now: Timestamp) -> Option<Sampler> {
        if self.usage.is_due(now) { self.child.sampler() } else { None }
    }

    /// Records what was read. `None`: the process has exited.
    pub(super) fn add_sample(&mut self, now: Timestamp, sample: Option<ProcessSample>) {
        match sample {
            Some(sample) => self.usage.add(now, sample.resident_bytes, sample.cpu),
            None => self.usage.end(now),
        }
    }

    /// Returns the CPU time as it was last read.
    pub(super) fn last_cpu(&self) -> Duration {
        self.usage.last_cpu()
    }

    fn stack_wanted(&self, kill_reason: KillReason) -> Option<Signal> {
        self.stack_signal.filter(|_| kill_reason.is_hang())
    }
}

/// The health checks of a process.
#[derive(Debug, Default)]
struct HealthChecks {
    /// Whether the app has a health function.
    is_offered: bool,
    /// Whether a check was sent and has no answer yet.
    is_pending: bool,
    /// Why the function failed.
    reason: Option<Box<str>>,
}

/// The CPU time that a process had used at a point in time.
#[derive(Clone, Copy, Debug)]
struct CpuSample {
    at: Timestamp,
    cpu: Duration,
}

/// Encodes a message into an outbox. Returns false if it does not fit into a frame.
fn append(message: &HostMessage, max_frame: u32, outbox: &mut Outbox, to: Descriptor, recorder: &Recorder) -> bool {
    let tail = outbox.tail();
    let begin = tail.len();
    let fits = message.encode(max_frame, tail).is_ok();
    recorder.sent(to, &tail[begin..]);
    fits
}
