//! [`WorkerActor`]: one a process. It hands what the process says to the pool's state and writes what the pool has for it. Calls
//! do not pass through its mailbox, and it decides nothing: its end, by return, stop or panic, is the pool's to judge.

mod control;
mod guard;
mod reader;
mod serve;
mod writer;

use crate::{cell::Cell, launcher::Launched};
use actix::{Actor, Context};
use actix_rt::task::JoinHandle;
use herder_core::WorkerRef;

/// The actor in charge of one process.
pub struct WorkerActor {
    cell: Cell,
    at: WorkerRef,
    launched: Option<Launched>,
    serving: Option<JoinHandle<()>>,
}

impl WorkerActor {
    /// Takes charge of a process that was started, by its sockets and its handle.
    pub(crate) fn new(cell: Cell, at: WorkerRef, launched: Launched) -> Self {
        Self { cell, at, launched: Some(launched), serving: None }
    }
}

impl Actor for WorkerActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if let Some(launched) = self.launched.take() {
            self.serving = Some(actix_rt::spawn(serve::serve(self.cell.clone(), self.at, launched)));
        }
    }
}

/// However the actor ends: if its process was still served, the guard in there reports it.
impl Drop for WorkerActor {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
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
