//! Lets actors of the pool panic or stop, and holds up work on slabs, for tests. Exists only with the feature `fault-injection`, which no release
//! enables.

use super::PoolSupervisor;
use crate::{
    Result,
    messages::{InjectHold, InjectPanic, InjectStop, Panic, panic_injected},
};
use actix::Handler;

impl Handler<InjectStop> for PoolSupervisor {
    type Result = Result<()>;

    fn handle(&mut self, message: InjectStop, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            active.workers.remove(&message.0);
            Ok(())
        })
    }
}

impl Handler<InjectHold> for PoolSupervisor {
    type Result = Result<()>;

    fn handle(&mut self, message: InjectHold, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.slab_budget.hold(message.0)))
    }
}

impl Handler<InjectPanic> for PoolSupervisor {
    type Result = Result<()>;

    fn handle(&mut self, message: InjectPanic, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            match message {
                InjectPanic::Worker(worker) => active
                    .workers
                    .values()
                    .filter(|(worker_ref, _)| worker_ref.id == worker)
                    .for_each(|(_, actor)| actor.do_send(Panic)),
                InjectPanic::Affinity => active.affinity.actor().iter().for_each(|actor| actor.do_send(Panic)),
                InjectPanic::Supervisor => panic_injected(),
                InjectPanic::Step => active.with(|_| panic_injected())?,
            }
            Ok(())
        })
    }
}
