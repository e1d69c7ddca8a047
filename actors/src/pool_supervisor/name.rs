//! The name of a pool at its start (R4): it is taken if it is free, waited for while the pool that has it is ending, and refused while
//! that one lives.

use super::{Mode, PoolSupervisor};
use crate::{
    Error,
    registry::{self, Holder},
};
use actix::{ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, fut::wrap_future};
use herder_core::Timestamp;
use std::pin::pin;
use tokio::sync::oneshot;

/// A pool that starts wants the name: answers whether this pool is ending.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct IsEnding(pub(crate) oneshot::Sender<bool>);

impl Handler<IsEnding> for PoolSupervisor {
    type Result = ();

    /// A pool is ending if it received `Shutdown`, or if no address of it is left. The sender of this message has dropped its address by now.
    fn handle(&mut self, IsEnding(reply): IsEnding, ctx: &mut Self::Context) {
        let is_told = match &self.mode {
            Mode::Running(active) => active.shared_state.borrow().stopping_since().is_some(),
            Mode::New | Mode::Refused(_) => true,
        };
        let _ = reply.send(is_told || registry::undisturbed(|| !ctx.connected()));
    }
}

impl PoolSupervisor {
    /// Registers the name and starts the pool. While another pool has the name and is ending, no message is handled: messages wait until the name is free or refused.
    pub(super) fn start_under_name(&mut self, ctx: &mut Context<Self>, give_up: Timestamp) {
        match registry::register(self.config.name().as_str(), &ctx.address()) {
            Ok((registration, how)) => self.begin_service(registration, how, ctx),
            Err(_) => {
                let (name, clock) = (self.config.name().to_string(), self.shared.clock().clone());
                let free = async move {
                    let span = give_up.since(clock.now());
                    let mut is_ending = false;
                    tokio::select! {
                        biased;
                        decided = until_free(&name, &mut is_ending) => return decided,
                        () = clock.sleep(span) => {}
                    }
                    Err(if is_ending { Error::PoolEnding { pool: name } } else { Error::PoolNameTaken { pool: name } })
                };
                let decided = wrap_future::<_, Self>(free).map(move |free, supervisor, ctx| match free {
                    Ok(()) if !ctx.connected() => ctx.stop(), // nobody waits for it any more
                    Ok(()) => supervisor.start_under_name(ctx, give_up), // unless another that waited was faster
                    Err(error) => supervisor.refuse_service(error),
                });
                ctx.wait(decided);
            }
        }
    }
}

/// Waits until nobody has the name, as long as the one that has it `is_ending`.
async fn until_free(name: &str, is_ending: &mut bool) -> Result<(), Error> {
    loop {
        let mut returned = pin!(registry::name_returned());
        returned.as_mut().enable(); // before the look: a name that is given back in between would not be noticed
        let (reply, answer) = oneshot::channel();
        let holder = registry::with_holder(name, |pool: &Addr<PoolSupervisor>| pool.do_send(IsEnding(reply)));
        *is_ending = match holder {
            Holder::Nobody => return Ok(()),
            Holder::Known(()) => answer.await.unwrap_or(true), // no answer: it ended meanwhile
            Holder::Other => false,
        };
        if !*is_ending {
            return Err(Error::PoolNameTaken { pool: name.into() });
        }
        returned.await;
    }
}
