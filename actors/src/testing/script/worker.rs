//! One worker that follows a script, as the package's own does: it greets, takes calls in their order, runs as many at once as it may,
//! keeps its sessions' states, answers pings while it works. Holds what runs and the states.

use super::{Fault, Invocation, Outcome, Script, Session, StartBehavior, fault::Kind, workers::Inner};
use crate::{
    Epoch, SessionId, Stamps,
    clock::Clock,
    shared_state::panic_text,
    testing::{
        ExitStatus, FakeWorker,
        fake_worker::{command, encoded, hello},
        wire::{
            CallFrame, CallResult, HostMessage, Ready, SessionEnd, WireId, WorkerError, WorkerErrorKind, WorkerHello,
            WorkerMessage,
        },
    },
};
use actix_rt::task::JoinHandle;
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

pub(super) struct Worker {
    peer: FakeWorker,
    script: Script,
    clock: Clock,
    starts: watch::Receiver<StartBehavior>,
    stopped: watch::Receiver<bool>,
    sessions: HashMap<SessionId, (Epoch, Rc<RefCell<Value>>)>,
    running: HashMap<WireId, JoinHandle<()>>,
    done: (mpsc::UnboundedSender<FinishedCall>, mpsc::UnboundedReceiver<FinishedCall>),
    /// It was told to end: it finishes what it has.
    ending: bool,
}

/// A call that ran.
struct FinishedCall {
    wire: WireId,
    stamps: Stamps,
    outcome: Outcome,
}

impl Worker {
    pub(super) fn new(workers: &Inner, peer: FakeWorker, stopped: watch::Receiver<bool>) -> Self {
        let clock = workers.clock.clone();
        let (script, starts) = (workers.script.clone(), workers.starts.subscribe());
        let (sessions, running) = (HashMap::new(), HashMap::new());
        Self { peer, script, clock, starts, stopped, sessions, running, done: mpsc::unbounded_channel(), ending: false }
    }

    /// Until its process has ended, for whatever reason. What it sent before can still be read then.
    pub(super) async fn run(mut self) {
        let child = self.peer.child.clone();
        let (clock, stopped) = (self.clock.clone(), self.stopped.clone());
        let stop_sequence = async {
            let (grace, term) = child.told_to_end().await;
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
        while !self.ending || !self.running.is_empty() {
            next_control_message(&mut self.stopped, false).await;
            tokio::select! {
                () = next_control_message(&mut self.stopped, true) => {}
                message = self.peer.calls.message() => match message {
                    Some(message) => self.on_message(message, &permits).await,
                    None => return ExitStatus::Code(0), // the host is gone
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

    /// Hello and ready; `None` if it can't start. Gives the room for calls that run at once.
    async fn handshake(&mut self) -> Option<Arc<Semaphore>> {
        let Some(HostMessage::Hello(host)) = self.peer.calls.message().await else { return None };
        let window = host.concurrency.saturating_mul(host.pipeline);
        let pid = self.peer.child.pid();
        let hello = WorkerHello { pid, window, ..hello() };
        self.send(&WorkerMessage::Hello(hello)).await;
        let how = self
            .starts
            .wait_for(|how| *how != StartBehavior::Wait)
            .await
            .map_or(StartBehavior::Ready, |how| how.clone());
        if let StartBehavior::Fail(why) = how {
            let error = WorkerError::new(WorkerErrorKind::StartFailed, why);
            self.send(&WorkerMessage::StartFailed(error)).await;
            return None;
        }
        let commands = self.script.commands.iter().map(|(name, each)| command(name, each.idempotent)).collect();
        self.send(&WorkerMessage::Ready(Ready { commands, window: None })).await;
        Some(Arc::new(Semaphore::new(host.concurrency.get() as usize)))
    }

    async fn on_message(&mut self, message: HostMessage, permits: &Arc<Semaphore>) {
        match message {
            HostMessage::Call(call) => self.begin(&call, permits.clone()),
            HostMessage::Cancel { wire, .. } => self.cancel(wire).await,
            HostMessage::Ping { nonce } => {
                let pong = encoded(&WorkerMessage::Pong { nonce });
                let _ = self.peer.control.write(&pong).await; // a host that is gone hears nothing
            }
            HostMessage::SessionEnd(SessionEnd { session, epoch, .. }) => {
                if self.sessions.get(&session).is_some_and(|(of, _)| *of == epoch) {
                    self.sessions.remove(&session);
                }
            }
            HostMessage::Shutdown => self.ending = true,
            HostMessage::Hello(_) | HostMessage::Ignored(_) => {}
        }
    }

    fn begin(&mut self, call: &CallFrame, permits: Arc<Semaphore>) {
        let (wire, done, clock) = (call.wire, self.done.0.clone(), self.clock.clone());
        let handler = self.script.commands.get(&*call.command).map(|command| command.handler.clone());
        let session = call.session.as_ref().map(|(id, epoch)| self.session(id, *epoch));
        let invocation = Invocation::new(self.peer.worker, call, session);
        let task = async move {
            let _permit = permits.acquire().await;
            let started = clock.now();
            let outcome = match (handler, invocation) {
                (Some(handler), Ok(invocation)) => caught(handler(invocation)).await,
                (Some(_), Err(fault)) => Err(fault),
                (None, _) => Err(Fault(Kind::Error(WorkerError::new(WorkerErrorKind::UnknownCommand, "")))),
            };
            let stamps = Stamps { started, ended: clock.now() };
            let _ = done.send(FinishedCall { wire, stamps, outcome }); // a worker that has ended answers nothing
        };
        self.running.insert(wire, actix_rt::spawn(task));
    }

    fn session(&mut self, id: &SessionId, epoch: Epoch) -> Session {
        let kept = self.sessions.entry(id.clone()).or_insert_with(|| (epoch, Rc::default()));
        if kept.0 != epoch {
            *kept = (epoch, Rc::default()); // another life begins with nothing
        }
        Session::new(id.clone(), kept.1.clone())
    }

    /// What runs is dropped where it waits. One that is over already has answered.
    async fn cancel(&mut self, wire: WireId) {
        if let Some(task) = self.running.remove(&wire) {
            task.abort();
            let error = WorkerError::new(WorkerErrorKind::Cancelled, "cancelled");
            self.send(&WorkerMessage::Error { wire, stamps: Stamps::NOT_RUN, error }).await;
        }
    }

    /// Gives the exit status if that is how it went.
    async fn answer(&mut self, done: FinishedCall) -> Option<ExitStatus> {
        let FinishedCall { wire, stamps, outcome } = done;
        self.running.remove(&wire)?; // one that was cancelled has its answer
        match outcome.map_err(|fault| fault.0) {
            Ok(value) => {
                let payload = value.to_string().into_bytes().into();
                self.send(&WorkerMessage::Result(CallResult { wire, stamps, payload })).await;
            }
            Err(Kind::Error(error)) => self.send(&WorkerMessage::Error { wire, stamps, error }).await,
            Err(Kind::Bytes(bytes)) => drop(self.peer.calls.write(&bytes).await),
            Err(Kind::Ends(status)) => return Some(status),
        }
        None
    }

    async fn send(&mut self, message: &WorkerMessage) {
        let _ = self.peer.calls.write(&encoded(message)).await; // a host that is gone hears nothing
    }
}

/// Whatever ends it: what runs for it ends too.
impl Drop for Worker {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

/// A panic of a handler is an error of its call.
async fn caught(running: impl Future<Output = Outcome>) -> Outcome {
    let mut running = pin!(running);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(panic) => Poll::Ready(Err(Fault::raised("Panic", &panic_text(&*panic)))),
    })
    .await
}

async fn next_control_message(flag: &mut watch::Receiver<bool>, value: bool) {
    if flag.wait_for(|flag| *flag == value).await.is_err() {
        std::future::pending::<()>().await; // nobody will ever tell
    }
}
