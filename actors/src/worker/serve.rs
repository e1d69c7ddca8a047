//! Serves one process until it has exited: reader, writers and control reader run in one task on the pool's arbiter.

use super::{control, reader::Reader, socket::WorkerSocket, writer};
use crate::{
    child::ChildHandle,
    error::ExitRecord,
    launcher::Launched,
    recorder::Recorder,
    shared_state::{Deferred, Link, Outbox, SharedState, Slabs, with},
};
use herder_core::{Answers, ExitStatus, ProcessExit, WireId, WorkerRef};
use herder_wire::{HostHello, HostMessage};
use std::{
    cell::OnceCell,
    num::{NonZeroU32, NonZeroU64},
    rc::Rc,
    time::Duration,
};
use tokio::sync::Notify;

/// The maximum number of bytes read after the exit; more than the buffer of a socket holds.
const DRAIN_LIMIT: usize = 16 * 1024 * 1024;

/// A started process with its sockets. If it is dropped before the exit was reported, the orphan guard kills and reports the
/// process.
pub(super) struct ProcessOwner {
    orphan_guard: OrphanGuard,
    shared_state: SharedState,
    worker: WorkerRef,
    launched: Launched,
    max_frame: u32,
    flush: Rc<Notify>,
    flush_control: Rc<Notify>,
    recorder: Rc<Recorder>,
}

impl ProcessOwner {
    /// Takes over a process and connects it with the pool's state at once, so that no message of the pool to the process is
    /// lost. Queues the host's hello.
    pub(super) fn take(shared_state: SharedState, worker: WorkerRef, mut launched: Launched) -> Self {
        // First: from here on the process is killed and reported whatever happens.
        let orphan_guard = OrphanGuard::new(shared_state.clone(), worker, launched.child.clone());
        let (max_frame, window) =
            (shared_state.borrow().config().max_frame(), shared_state.borrow().config().stream_window());
        let clock = shared_state.borrow().clock().clone();
        let mut link = Link::new(worker, launched.child.clone(), max_frame, window, clock);
        let budget = shared_state.borrow().slab_budget.clone();
        link.slabs = launched.slabs.take().map(|socket| Slabs::new(socket, budget));
        let (flush, flush_control, recorder) = (link.flush.clone(), link.flush_control.clone(), link.recorder.clone());
        shared_state.borrow_mut().connect(link);
        send_hello(&shared_state, worker);
        Self { orphan_guard, shared_state, worker, launched, max_frame, flush, flush_control, recorder }
    }

    /// Serves the process until it has exited, then reports the exit.
    pub(super) async fn serve(self) {
        let Self { orphan_guard, shared_state, worker, launched, max_frame, flush, flush_control, recorder } = self;
        let Launched { calls, control, child, .. } = launched;
        let ended = match (WorkerSocket::new(calls), WorkerSocket::new(control)) {
            (Ok(calls), Ok(control)) => {
                let sockets = Sockets { calls, control, flush, flush_control };
                sockets.serve(&shared_state, worker, &child, max_frame, &recorder).await
            }
            (Err(error), _) | (_, Err(error)) => {
                child.kill();
                let detail = Some(format!("cannot poll the worker's sockets: {error}").into());
                let status = child.wait().await;
                let exit_record = ExitRecord::of(&*child).with_detail(detail, None);
                Ended { status, answers: Answers::Unknown, unwritten: None, exit_record }
            }
        };
        // Disarmed before the step: a panic in the step rebuilds the state and kills all processes anyway, and the guard must
        // not report a process that was reaped.
        orphan_guard.disarm();
        let _ = with(&shared_state, |state| {
            let exit = ProcessExit { status: ended.status, kill_reason: None };
            state.on_exit(worker, exit, (ended.answers, ended.unwritten), ended.exit_record, Some(&recorder));
        });
    }
}

/// Reports a process that lost its actor, by a panic or because the actor was stopped (R29). Nothing else would notice that.
///
/// Armed while the process is served. If it is dropped armed, it kills the process and tells the supervisor to await the
/// exit.
struct OrphanGuard {
    shared_state: SharedState,
    worker: WorkerRef,
    child: Option<Rc<dyn ChildHandle>>,
}

impl OrphanGuard {
    fn new(shared_state: SharedState, worker: WorkerRef, child: Rc<dyn ChildHandle>) -> Self {
        Self { shared_state, worker, child: Some(child) }
    }

    /// Disarms the guard: the exit of the process was noticed.
    fn disarm(mut self) {
        self.child = None;
    }
}

impl Drop for OrphanGuard {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        child.kill();
        // If the state is borrowed, this drop happens inside a step that unwinds, or while the pool is dropped. Both kill all
        // processes, and a second `borrow_mut` would panic during the unwinding and abort the host.
        if let Ok(mut state) = self.shared_state.try_borrow_mut() {
            state.defer(Deferred::Orphaned(self.worker, child));
        }
    }
}

/// The end of a process.
struct Ended {
    status: ExitStatus,
    answers: Answers,
    /// The first call that was not written among those that the writer had taken.
    unwritten: Option<WireId>,
    exit_record: ExitRecord,
}

/// The host's ends of the sockets, and the notifications for their writers.
struct Sockets {
    calls: WorkerSocket,
    control: WorkerSocket,
    flush: Rc<Notify>,
    flush_control: Rc<Notify>,
}

impl Sockets {
    async fn serve(
        &self,
        shared_state: &SharedState,
        worker: WorkerRef,
        child: &Rc<dyn ChildHandle>,
        max_frame: u32,
        recorder: &Recorder,
    ) -> Ended {
        let fault = OnceCell::new();
        let mut reader = Reader::new(shared_state.clone(), worker, max_frame, &fault, recorder);
        // Here, so that what was not written is known at the exit.
        let (mut writing, mut writing_control) = (Outbox::default(), Outbox::default());
        let calls = writer::run(shared_state, worker, &self.calls, &self.flush, &mut writing, |link, writing| {
            link.calls.move_into(writing);
            link.on_calls_taken(!writing.is_empty());
        });
        let control = writer::run(
            shared_state,
            worker,
            &self.control,
            &self.flush_control,
            &mut writing_control,
            |link, writing| {
                link.control.move_into(writing);
            },
        );
        // None of the loops returns: after an error each waits for ever, and the exit of the process ends the select. Should
        // one return anyway, the exit is still awaited, because a process that is not reaped keeps its slot. `biased`, and
        // the exit last: frames that have already arrived are handled in their own steps before the exit.
        let status = tokio::select! {
            biased;
            () = reader.run(&self.calls) => child.wait().await,
            () = calls => child.wait().await,
            () = control::run(shared_state, worker, &self.control, max_frame, &fault, recorder) => child.wait().await,
            () = control => child.wait().await,
            status = child.wait() => status,
        };
        // The exit can be seen before the socket was polled again. Answers that the process wrote before it exited are still
        // there: they must be handled before the exit is, or their calls would be lost (R36).
        let answers = reader.drain(&self.calls, DRAIN_LIMIT);
        let exit_record = ExitRecord::of(&**child);
        let (detail, traceback) = reader.exit_detail(&exit_record.stderr_tail);
        let exit_record = exit_record.with_detail(detail, traceback);
        Ended { status, answers, unwritten: writing.first_call(), exit_record }
    }
}

/// Queues the host's hello, which must be the first frame.
fn send_hello(shared_state: &SharedState, worker: WorkerRef) {
    let mut state = shared_state.borrow_mut();
    let settings = state.core().settings();
    let (concurrency, pipeline) = (at_least_one(settings.concurrency), at_least_one(settings.pipeline.max_depth()));
    let hello = HostHello {
        concurrency,
        pipeline,
        max_frame: at_least_one(state.config().max_frame()),
        session_state: state.session_state(),
        // The default timeout of a call, since the calls of the worker wait for a hook as they wait for each other.
        session_end_timeout_ms: Some(milliseconds(state.config().timeout())),
        stop_timeout_ms: Some(milliseconds(state.config().stop().grace)),
        stream_window: Some(at_least_one(state.config().stream_window())),
    };
    if let Some(link) = state.link(worker) {
        link.send_in_call_order(&HostMessage::Hello(hello));
    }
}

/// Returns a duration in milliseconds, at least 1.
fn milliseconds(duration: Duration) -> NonZeroU64 {
    u64::try_from(duration.as_millis())
        .ok()
        .map_or(NonZeroU64::MAX, |count| NonZeroU64::new(count).unwrap_or(NonZeroU64::MIN))
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
