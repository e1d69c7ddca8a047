//! How a starting pool gets its name (R4): it takes a free name, waits while the pool that has the name is ending, and is
//! refused while that pool runs.

use super::{Mode, PoolSupervisor};
use crate::{
    Error,
    registry::{self, Holder},
};
use actix::{ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, fut::wrap_future};
use herder_core::Timestamp;
use std::pin::pin;
use tokio::sync::oneshot;

/// Asks the pool that has a name whether it is ending.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct IsEnding(pub(crate) oneshot::Sender<bool>);

impl Handler<IsEnding> for PoolSupervisor {
    type Result = ();

    /// A pool is ending if it received `Shutdown`, or if it has no address left. The sender of this message has dropped its
    /// own address by now.
    fn handle(&mut self, IsEnding(reply): IsEnding, ctx: &mut Self::Context) {
        let is_stopping = match &self.mode {
            Mode::Running(active) => active.shared_state.borrow().stopping_since().is_some(),
            Mode::New | Mode::Refused(_) => true,
        };
        let _ = reply.send(is_stopping || registry::while_locked(|| !ctx.connected()));
    }
}

impl PoolSupervisor {
    /// Registers the name and starts the pool. While another pool has the name and is ending, no message is handled: messages
    /// wait until the name is free or refused.
    pub(super) fn start_under_name(&mut self, ctx: &mut Context<Self>, deadline: Timestamp) {
        match registry::register(self.config.name().as_str(), &ctx.address()) {
            Ok((registration, how)) => self.begin_service(registration, how, ctx),
            Err(_) => {
                let (name, clock) = (self.config.name().to_string(), self.shared.clock().clone());
                let name_free = async move {
                    let span = deadline.since(clock.now());
                    let mut is_ending = false;
                    tokio::select! {
                        biased;
                        decided = until_free(&name, &mut is_ending) => return decided,
                        () = clock.sleep(span) => {}
                    }
                    Err(if is_ending { Error::PoolEnding { pool: name } } else { Error::PoolNameTaken { pool: name } })
                };
                let decided = wrap_future::<_, Self>(name_free).map(move |outcome, supervisor, ctx| match outcome {
                    Ok(()) if !ctx.connected() => ctx.stop(), // the pool was dropped while it waited
                    Ok(()) => supervisor.start_under_name(ctx, deadline), // another waiting pool may have taken the name: tries again
                    Err(error) => supervisor.refuse_service(error),
                });
                ctx.wait(decided);
            }
        }
    }
}

/// Waits until the name is free. Fails if the pool that has the name is not ending; `is_ending` tells the last answer of that
/// pool.
async fn until_free(name: &str, is_ending: &mut bool) -> Result<(), Error> {
    loop {
        // Enabled before the registry is read: a name that is released in between would not wake this task otherwise.
        let mut released = pin!(registry::name_released());
        released.as_mut().enable();
        let (reply, answer) = oneshot::channel();
        let holder = registry::with_holder(name, |pool: &Addr<PoolSupervisor>| pool.do_send(IsEnding(reply)));
        *is_ending = match holder {
            Holder::Free => return Ok(()),
            Holder::Known(()) => answer.await.unwrap_or(true), // no answer: the pool has ended meanwhile
            Holder::Other => false,
        };
        if !*is_ending {
            return Err(Error::PoolNameTaken { pool: name.into() });
        }
        released.await;
    }
}
