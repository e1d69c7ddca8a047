//! Submits calls to the pool, from messages and from handles on other threads, and cancels calls that are abandoned.

use super::{Cancel, Credit, FailuresSuppressed, Mode, PoolSupervisor, Submit};
use crate::{
    Error, Execute, ExecuteInSession, Reply, Result,
    call_log::CallIdentity,
    messages::Request,
    shared_state::{Incoming, Replier, WeakSharedState, with},
};
use actix::{
    Actor, AsyncContext, Context, Handler, Message,
    dev::{MessageResponse, OneshotSender},
    fut::wrap_future,
};
use herder_core::CallId;
use std::{rc::Rc, sync::Arc};
use tokio::sync::oneshot;

/// The number of submissions after which the supervisor yields: a thread that floods the mailbox would otherwise starve the
/// timers and sockets of the arbiter.
const BURST: u32 = 64;

/// The future answer to a call by message.
pub struct CallResponse(Response);

enum Response {
    Ready(Box<Result<Reply>>),
    Pending { shared_state: WeakSharedState, id: CallId, answer: oneshot::Receiver<Result<Reply>> },
}

impl Handler<Submit> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, message: Submit, ctx: &mut Self::Context) {
        self.yield_after_burst(ctx);
        if let Mode::Refused(refusal) = &self.mode {
            let refusal = refusal.clone();
            self.log_refused(message.0.identity(), &refusal);
            return message.0.refuse(refusal);
        }
        let _ = self.active(|active| active.with(|state| state.submit(message.0)));
    }
}

impl Handler<Cancel> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, message: Cancel, ctx: &mut Self::Context) {
        self.yield_after_burst(ctx);
        let _ = self.active(|active| active.with(|state| state.cancel(message.0)));
    }
}

impl Handler<Credit> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, Credit(call, bytes): Credit, ctx: &mut Self::Context) {
        self.yield_after_burst(ctx);
        let _ = self.active(|active| active.with(|state| state.credit(call, bytes)));
    }
}

impl Handler<FailuresSuppressed> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, _: FailuresSuppressed, _: &mut Self::Context) {
        self.log_suppressed_failures();
    }
}

impl Handler<Execute> for PoolSupervisor {
    type Result = CallResponse;

    fn handle(&mut self, message: Execute, ctx: &mut Self::Context) -> Self::Result {
        self.yield_after_burst(ctx);
        self.execute(message.0)
    }
}

impl Handler<ExecuteInSession> for PoolSupervisor {
    type Result = CallResponse;

    fn handle(&mut self, message: ExecuteInSession, ctx: &mut Self::Context) -> Self::Result {
        self.yield_after_burst(ctx);
        self.execute(message.0)
    }
}

impl PoolSupervisor {
    fn execute(&mut self, request: Request) -> CallResponse {
        let (id, command) = (self.shared.next_call(), request.command().clone());
        CallResponse(self.submit(id, request).unwrap_or_else(|error| {
            let error = error.with_id(self.shared.call_log().error_id(id));
            self.log_refusal(id, &command, &error);
            Response::Ready(Box::new(Err(error)))
        }))
    }

    fn log_suppressed_failures(&mut self) {
        let _ = self.active(|active| {
            active.log_suppressed_failures();
            Ok(())
        });
    }

    /// Logs a call that was refused before it reached the pool's state.
    fn log_refusal(&mut self, id: CallId, command: &Arc<str>, error: &Error) {
        self.log_refused(CallIdentity { id, command, session: None, trace: None }, error);
    }

    fn log_refused(&mut self, call: CallIdentity<'_>, error: &Error) {
        let now = self.shared.clock().now();
        if self.shared.call_log().log_refusal(call, error, now) {
            self.log_suppressed_failures();
        }
    }

    fn submit(&mut self, id: CallId, request: Request) -> Result<Response> {
        let (reply, answer) = oneshot::channel();
        let deadline = self.shared.clock().now() + request.timeout.unwrap_or(self.config.timeout());
        let incoming = Incoming::of(request, id, deadline, Replier::Once(reply), None)?;
        self.active(|active| {
            active.with(|state| state.submit(incoming))?;
            Ok(Response::Pending { shared_state: Rc::downgrade(&active.shared_state), id, answer })
        })
    }

    fn yield_after_burst(&mut self, ctx: &mut Context<Self>) {
        self.handled += 1;
        if self.handled.is_multiple_of(BURST) {
            ctx.wait(wrap_future(tokio::task::yield_now()));
        }
    }
}

impl<A, M> MessageResponse<A, M> for CallResponse
where
    A: Actor,
    M: Message<Result = Result<Reply>>,
{
    /// Waits for the answer while holding actix's sender, so that an abandoned call is noticed. (A `ResponseFuture` would run
    /// on.)
    fn handle(self, _: &mut A::Context, sender: Option<OneshotSender<Result<Reply>>>) {
        let Some(mut sender) = sender else { return }; // sent with `do_send`: the call runs, its answer is dropped
        match self.0 {
            Response::Ready(answer) => {
                let _ = sender.send(*answer);
            }
            Response::Pending { shared_state, id, answer } => {
                actix_rt::spawn(async move {
                    // `biased`: if the answer is ready and the caller gone in the same poll, the call is over and must not be
                    // cancelled.
                    tokio::select! {
                        biased;
                        answer = answer => {
                            let _ = sender.send(answer.unwrap_or(Err(Error::closed(true))));
                        }
                        () = sender.closed() => {
                            let _ = shared_state.upgrade().map(|shared_state| with(&shared_state, |state| state.cancel(id)));
                        }
                    }
                });
            }
        }
    }
}
