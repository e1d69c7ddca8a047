//! [`WorkerActor`]: one a process. It hands what the process says to the pool's state and writes what the pool has for it. Calls
//! do not pass through its mailbox, and it decides nothing: its end, by return, stop or panic, is the pool's to judge.

mod control;
mod orphan_guard;
mod reader;
mod serve;
mod writer;

use crate::{launcher::Launched, shared_state::SharedState};
use actix::{Actor, Context};
use actix_rt::task::JoinHandle;
use herder_core::WorkerRef;
use serve::ProcessOwner;

/// The actor in charge of one process.
pub struct WorkerActor(ActorState);

enum ActorState {
    /// Not started yet. The process is in somebody's charge already: a guard in there reports whatever happens.
    New(Option<ProcessOwner>),
    /// It serves.
    Serving(JoinHandle<()>),
}

impl WorkerActor {
    /// Takes charge of a process that was started, by its sockets and its handle. From here on the pool reaches it.
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

/// However the actor ends: if its process was still served, the guard in there reports it.
impl Drop for WorkerActor {
    fn drop(&mut self) {
        if let ActorState::Serving(serving) = &self.0 {
            serving.abort();
        }
    }
}

#[cfg(feature = "fault-injection")]
impl actix::Handler<crate::messages::Panic> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: crate::messages::Panic, _: &mut Self::Context) {
        crate::messages::injected();
    }
}
