//! What leads from the pool's state to one process: its outboxes, its commands, its child handle. One a slot.

use super::{activity::CpuSample, outbox::Outbox};
use crate::{
    child::ChildHandle,
    clock::Clock,
    recorder::{Descriptor, Recorder},
};
use herder_core::{KillReason, Suspect, WireId, WorkerRef};
use herder_process::Signal;
use herder_wire::{CommandEntry, HostMessage, SessionEnd};
use std::{collections::HashMap, rc::Rc, time::Duration};
use tokio::sync::Notify;

/// The commands a worker offers.
pub(crate) type CommandTable = HashMap<String, CommandEntry>;

/// Leads to one process. Gone when the process's end was noticed.
pub(crate) struct Link {
    pub(crate) worker: WorkerRef,
    pub(crate) child: Rc<dyn ChildHandle>,
    /// Frames for the calls descriptor.
    pub(crate) calls: Outbox,
    /// Frames for the control descriptor.
    pub(crate) control: Outbox,
    /// Wakes who writes the calls descriptor.
    pub(crate) flush: Rc<Notify>,
    /// Wakes who writes the control descriptor.
    pub(crate) flush_control: Rc<Notify>,
    /// Attempts whose callers have had their answers, by payload; kept where a quarantine wants them.
    pub(crate) abandoned: Vec<Suspect>,
    /// Whether it serves the control descriptor.
    pub(crate) has_control: bool,
    /// Whether the worker was asked to stop.
    stopping: bool,
    /// Whether the process that was started is the one that said hello, and no wrapper around it.
    pub(crate) is_direct_child: bool,
    /// At which signal it prints its stack. None of a wrapper's: it would get the signal.
    pub(crate) stack_signal: Option<Signal>,
    /// What it had done when it was pinged, or looked at, last.
    pub(crate) last_cpu_sample: Option<CpuSample>,
    pub(crate) max_frame: u32,
    /// What passed between the host and the process last.
    pub(crate) recorder: Rc<Recorder>,
}

impl Link {
    /// To a process that was just started.
    pub(crate) fn new(worker: WorkerRef, child: Rc<dyn ChildHandle>, max_frame: u32, clock: Clock) -> Self {
        Self {
            worker,
            child,
            calls: Outbox::default(),
            control: Outbox::default(),
            flush: Rc::default(),
            flush_control: Rc::default(),
            abandoned: Vec::new(),
            has_control: false,
            stopping: false,
            is_direct_child: false,
            stack_signal: None,
            last_cpu_sample: None,
            max_frame,
            recorder: Rc::new(Recorder::new(clock)),
        }
    }

    /// Queues a message for the control descriptor, if the worker serves it.
    pub(crate) fn send_control(&mut self, message: &HostMessage) {
        let Self { control, recorder, .. } = self;
        if self.has_control && append(message, self.max_frame, control, Descriptor::Control, recorder) {
            self.flush_control.notify_one();
        }
    }

    /// Queues a message for the calls descriptor, behind the calls that are there.
    pub(crate) fn send_in_call_order(&mut self, message: &HostMessage) {
        let Self { calls, recorder, .. } = self;
        if append(message, self.max_frame, calls, Descriptor::Calls, recorder) {
            self.flush.notify_one();
        }
    }

    /// The final frame of an attempt came.
    pub(crate) fn finished(&mut self, wire: WireId) {
        if !self.abandoned.is_empty() {
            self.abandoned.retain(|suspect| suspect.wire != wire);
        }
    }

    pub(crate) fn end_session(&mut self, end: SessionEnd) {
        self.send_in_call_order(&HostMessage::SessionEnd(end));
    }

    /// Records whether the worker serves the control descriptor, as its hello says. If it was asked to stop before its hello, sends the
    /// shutdown message there now: while it loads its application it reads no other descriptor, and it ignores SIGTERM until it has read it.
    pub(crate) fn on_hello(&mut self, has_control: bool) {
        self.has_control = has_control;
        if self.stopping {
            self.send_control(&HostMessage::Shutdown);
        }
    }

    /// The ladder: shutdown message, SIGTERM, SIGKILL; for a process that hangs, its stack before these two. The waiting is the
    /// process crate's.
    ///
    /// A worker that answers no pings has probably not read the shutdown message and may ignore SIGTERM: SIGKILL follows at once.
    pub(crate) fn stop(&mut self, kill_reason: KillReason, grace: Duration, term: Duration) {
        self.stopping = true;
        self.send_control(&HostMessage::Shutdown);
        self.send_in_call_order(&HostMessage::Shutdown); // behind the last call: what stands before it is all there is
        let term =
            if matches!(kill_reason, KillReason::Unresponsive | KillReason::Stopped) { Duration::ZERO } else { term };
        match self.stack_wanted(kill_reason) {
            Some(ask) => self.child.stop_with_stack(ask, grace, term),
            None => self.child.stop(grace, term),
        }
    }

    /// SIGKILL; for a process that hangs, its stack before that.
    pub(crate) fn kill(&self, kill_reason: KillReason) {
        match self.stack_wanted(kill_reason) {
            Some(ask) => self.child.kill_with_stack(ask),
            None => self.child.kill(),
        }
    }

    fn stack_wanted(&self, kill_reason: KillReason) -> Option<Signal> {
        self.stack_signal.filter(|_| kill_reason.is_hang())
    }
}

/// Encodes a message into an outbox; false if that can't be.
fn append(message: &HostMessage, max_frame: u32, outbox: &mut Outbox, to: Descriptor, recorder: &Recorder) -> bool {
    let tail = outbox.tail();
    let begin = tail.len();
    let fits = message.encode(max_frame, tail).is_ok();
    recorder.sent(to, &tail[begin..]);
    fits
}
