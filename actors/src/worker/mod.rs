//! [`WorkerActor`]: one per process. It passes the frames of the process to the pool's state and writes the frames that the
//! state has queued. Calls do not pass through its mailbox. It decides nothing: the core reacts when it ends by return, stop
//! or panic.

mod control;
mod fault;
mod reader;
mod serve;
mod slab_thread;
mod socket;
mod writer;

use crate::{launcher::Launched, shared_state::SharedState};
use actix::{Actor, Context};
use actix_rt::task::JoinHandle;
use herder_core::WorkerRef;
use serve::ProcessOwner;

/// The actor that serves one process.
pub struct WorkerActor(ActorState);

enum ActorState {
    /// Not started. The `ProcessOwner` reports the process if the actor is dropped before it starts.
    New(Option<ProcessOwner>),
    /// The task that serves the process.
    Serving(JoinHandle<()>),
}

impl WorkerActor {
    /// Creates the actor for a started process. From now on the pool can send to the process.
    pub(crate) fn new(shared_state: SharedState, worker: WorkerRef, launched: Launched) -> Self {
        Self(ActorState::New(Some(ProcessOwner::take(shared_state, worker, launched))))
    }
}

impl Actor for WorkerActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if let ActorState::New(owner) = &mut self.0
            && let Some(owner) = owner.take()
        {
            self.0 = ActorState::Serving(actix_rt::spawn(owner.serve()));
        }
    }
}

/// Stops serving, however the actor ends. If the process has not exited, the orphan guard in the aborted task kills and
/// reports it.
impl Drop for WorkerActor {
    fn drop(&mut self) {
        if let ActorState::Serving(serving) = &self.0 {
            // Aborting only schedules the task: it is dropped at its next poll, with the orphan guard in it, and not inside a
            // step that drops the actor.
            serving.abort();
        }
    }
}

#[cfg(feature = "fault-injection")]
impl actix::Handler<crate::messages::Panic> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: crate::messages::Panic, _: &mut Self::Context) {
        crate::messages::panic_injected();
    }
}
