//! A worker that follows a script and behaves like Herder's Python worker: it does the handshake, starts calls in their
//! order, runs as many concurrently as allowed, keeps the states of its sessions, and answers pings while it works. Holds the
//! running calls and the states.

use super::{Fault, Invocation, Script, Session, commands::Outcome, fault::Kind};
use crate::{
    clock::Clock,
    panic_text::panic_text,
    testing::fake_worker::{FakeWorker, command, encoded, hello},
};
use actix_rt::task::JoinHandle;
use herder_core::{Epoch, ExitStatus, SessionId, WireId};
use herder_wire::{
    CallFrame, CallHeaders, CallResult, HostMessage, Ready, SessionEnd, Stamps, WorkerError, WorkerErrorKind,
    WorkerHello, WorkerMessage,
};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};
use tokio::sync::{Semaphore, mpsc, watch};

/// How workers behave between hello and ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartBehavior {
    /// They become ready.
    #[default]
    Ready,
    /// They wait until the behavior is changed, as while a model is loaded.
    Wait,
    /// They fail to load their application, with this message.
    Fail(String),
}

pub(super) struct Worker {
    peer: FakeWorker,
    script: Script,
    clock: Clock,
    starts: watch::Receiver<StartBehavior>,
    stopped: watch::Receiver<bool>,
    sessions: HashMap<SessionId, (Epoch, Rc<RefCell<Value>>)>,
    /// The headers of calls that have not been received yet.
    headers: HashMap<WireId, CallHeaders>,
    running: HashMap<WireId, JoinHandle<()>>,
    done: (mpsc::UnboundedSender<FinishedCall>, mpsc::UnboundedReceiver<FinishedCall>),
    /// Whether the shutdown message was received: the worker finishes its calls, then exits.
    shutting_down: bool,
}

/// A call whose closure has finished.
struct FinishedCall {
    wire: WireId,
    stamps: Stamps,
    outcome: Outcome,
}

impl Worker {
    pub(super) fn new(
        script: Script,
        clock: Clock,
        starts: watch::Receiver<StartBehavior>,
        peer: FakeWorker,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let (sessions, headers, running) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self {
            peer,
            script,
            clock,
            starts,
            stopped,
            sessions,
            headers,
            running,
            done: mpsc::unbounded_channel(),
            shutting_down: false,
        }
    }

    /// Runs until the process has ended. The messages that the worker has sent can still be read afterwards.
    pub(super) async fn run(mut self) {
        let child = self.peer.child.clone();
        let (clock, stopped) = (self.clock.clone(), self.stopped.clone());
        let stop_sequence = async {
            let (grace, term) = child.stop_requested().await;
            clock.sleep(grace).await;
            if *stopped.borrow() {
                clock.sleep(term).await;
                return child.exit(ExitStatus::Signal(9));
            }
            child.exit(ExitStatus::Signal(15));
        };
        let end = tokio::select! {
            status = child.ended() => status,
            () = stop_sequence => ExitStatus::Signal(15),
            status = self.serve() => status,
        };
        child.exit(end);
    }

    async fn serve(&mut self) -> ExitStatus {
        let Some(permits) = self.handshake().await else { return ExitStatus::Code(1) };
        while !self.shutting_down || !self.running.is_empty() {
            // A stopped process does nothing, as after SIGSTOP, until it is resumed.
            wait_for_flag(&mut self.stopped, false).await;
            tokio::select! {
                () = wait_for_flag(&mut self.stopped, true) => {}
                message = self.peer.calls.message() => match message {
                    Some(message) => self.on_message(message, &permits).await,
                    None => return ExitStatus::Code(0), // the host has closed the socket
                },
                message = self.peer.control.message() => match message {
                    Some(message) => self.on_message(message, &permits).await,
                    None => return ExitStatus::Code(0),
                },
                Some(done) = self.done.1.recv() => if let Some(status) = self.answer(done).await { return status },
            }
        }
        ExitStatus::Code(0)
    }

    /// Sends hello and ready, and returns the permits for concurrent calls; `None` if the start fails.
    async fn handshake(&mut self) -> Option<Arc<Semaphore>> {
        let Some(HostMessage::Hello(host)) = self.peer.calls.message().await else { return None };
        let window = host.concurrency.saturating_mul(host.pipeline);
        let pid = self.peer.child.pid();
        let hello = WorkerHello { pid, window, ..hello() };
        self.send(&WorkerMessage::Hello(hello)).await;
        let behavior = self
            .starts
            .wait_for(|behavior| *behavior != StartBehavior::Wait)
            .await
            .map_or(StartBehavior::Ready, |behavior| behavior.clone());
        if let StartBehavior::Fail(why) = behavior {
            let error = WorkerError::new(WorkerErrorKind::StartFailed, why);
            self.send(&WorkerMessage::StartFailed(error)).await;
            return None;
        }
        let commands = self.script.commands.iter().map(|(name, entry)| command(name, entry.idempotent)).collect();
        self.send(&WorkerMessage::Ready(Ready { commands, window: None, in_order: None, health: false })).await;
        Some(Arc::new(Semaphore::new(host.concurrency.get() as usize)))
    }

    async fn on_message(&mut self, message: HostMessage, permits: &Arc<Semaphore>) {
        match message {
            HostMessage::Call(call) => self.start_call(&call, permits.clone()),
            HostMessage::Headers { wire, headers } => drop(self.headers.insert(wire, headers)),
            HostMessage::Cancel { wire, .. } => self.cancel(wire).await,
            HostMessage::Ping { nonce } => {
                let pong = encoded(&WorkerMessage::Pong { nonce });
                let _ = self.peer.control.write(&pong).await; // fails if the host has closed the socket
            }
            HostMessage::SessionEnd(SessionEnd { session, epoch, .. }) => {
                if self.sessions.get(&session).is_some_and(|(current, _)| *current == epoch) {
                    self.sessions.remove(&session);
                }
            }
            HostMessage::Shutdown => self.shutting_down = true,
            // This worker states neither `in_order`, `health`, `slabs` nor `log_level`, and no command is a stream or has batches.
            HostMessage::Hello(_)
            | HostMessage::Revoke { .. }
            | HostMessage::Credit { .. }
            | HostMessage::HealthCheck { .. }
            | HostMessage::Batch { .. }
            | HostMessage::SlabFree(_)
            | HostMessage::SlabDrop(_)
            | HostMessage::LogLevel(_) => {}
        }
    }

    fn start_call(&mut self, call: &CallFrame, permits: Arc<Semaphore>) {
        let (wire, done, clock) = (call.wire, self.done.0.clone(), self.clock.clone());
        let handler = self.script.commands.get(&*call.command).map(|command| command.handler.clone());
        let session = call.session.as_ref().map(|(id, epoch)| self.session(id, *epoch));
        let headers = self.headers.remove(&wire).unwrap_or_default();
        let invocation = Invocation::new(self.peer.worker, call, session, headers);
        let task = async move {
            let _permit = permits.acquire().await;
            let started = clock.now();
            let outcome = match (handler, invocation) {
                (Some(handler), Ok(invocation)) => catch_panic(handler(invocation)).await,
                (Some(_), Err(fault)) => Err(fault),
                (None, _) => Err(Fault(Kind::Error(Box::new(WorkerError::new(WorkerErrorKind::UnknownCommand, ""))))),
            };
            let stamps = Stamps { started, ended: clock.now() };
            let _ = done.send(FinishedCall { wire, stamps, outcome }); // fails if the worker has ended
        };
        self.running.insert(wire, actix_rt::spawn(task));
    }

    fn session(&mut self, id: &SessionId, epoch: Epoch) -> Session {
        let entry = self.sessions.entry(id.clone()).or_insert_with(|| (epoch, Rc::default()));
        if entry.0 != epoch {
            *entry = (epoch, Rc::default()); // a new epoch starts with an empty state
        }
        Session::new(id.clone(), entry.1.clone())
    }

    /// Cancels a running call at its next await. A call that has finished has already been answered.
    async fn cancel(&mut self, wire: WireId) {
        if let Some(task) = self.running.remove(&wire) {
            task.abort();
            let error = WorkerError::new(WorkerErrorKind::Cancelled, "cancelled");
            self.send(&WorkerMessage::Error { wire, stamps: Stamps::NOT_RUN, error }).await;
        }
    }

    /// Sends the answer. Returns the exit status if the call ended the process instead.
    async fn answer(&mut self, done: FinishedCall) -> Option<ExitStatus> {
        let FinishedCall { wire, stamps, outcome } = done;
        self.running.remove(&wire)?; // a cancelled call was answered
        match outcome.map_err(|fault| fault.0) {
            Ok(value) => {
                let payload = value.to_string().into_bytes().into();
                self.send(&WorkerMessage::Result(CallResult { wire, stamps, payload, buffers: Vec::new() })).await;
            }
            Err(Kind::Error(error)) => self.send(&WorkerMessage::Error { wire, stamps, error: *error }).await,
            Err(Kind::Bytes(bytes)) => drop(self.peer.calls.write(&bytes).await),
            Err(Kind::Ends(status)) => return Some(status),
        }
        None
    }

    async fn send(&mut self, message: &WorkerMessage) {
        let _ = self.peer.calls.write(&encoded(message)).await; // fails if the host has closed the socket
    }
}

/// Aborts the running calls, however the worker ends.
impl Drop for Worker {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

/// Runs a handler; a panic becomes the error of its call.
async fn catch_panic(running: impl Future<Output = Outcome>) -> Outcome {
    let mut running = pin!(running);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(panic) => Poll::Ready(Err(Fault::raised("Panic", &panic_text(&*panic)))),
    })
    .await
}

async fn wait_for_flag(flag: &mut watch::Receiver<bool>, value: bool) {
    if flag.wait_for(|flag| *flag == value).await.is_err() {
        std::future::pending::<()>().await; // the sender was dropped: the flag will never change
    }
}
