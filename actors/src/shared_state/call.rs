//! A call's payload and caller: what the core does not see. Owned by the pool's state alone.

use crate::{Error, Reply, Result, gate::Permit};
use bytes::Bytes;
use herder_core::{CallId, SessionCall, Timestamp, WireId, WorkerRef};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a caller gets.
pub(crate) type Answer = Result<Reply>;

/// A call on its way into the pool.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: CallId,
    pub(crate) command: Arc<str>,
    pub(crate) session: Option<SessionCall>,
    /// Its arguments: a JSON object.
    pub(crate) body: Bytes,
    pub(crate) deadline: Timestamp,
    /// `None`: as the handler says.
    pub(crate) idempotent: Option<bool>,
    pub(crate) reply: oneshot::Sender<Answer>,
    /// `None` for calls by message, which the core's own limits bound.
    pub(crate) permit: Option<Permit>,
}

/// An admitted call. Dropping it without an answer tells its caller that the pool is gone.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) command: Arc<str>,
    pub(crate) session: Option<herder_core::SessionId>,
    pub(crate) body: Bytes,
    pub(crate) deadline: Timestamp,
    /// Its last attempt.
    pub(crate) sent: Option<(WorkerRef, WireId)>,
    pub(crate) reply: oneshot::Sender<Answer>,
    pub(crate) permit: Option<Permit>,
}

impl Call {
    /// Answers it. A caller that left gets nothing.
    pub(crate) fn answer(self, answer: Answer) {
        settle(self.reply, self.permit, answer);
    }
}

impl Incoming {
    /// Answers a call that is not taken.
    pub(crate) fn refuse(self, refusal: Error) {
        settle(self.reply, self.permit, Err(refusal));
    }
}

/// The place at the gate is free before the caller hears: the next call it makes at once must not find the gate full.
fn settle(reply: oneshot::Sender<Answer>, permit: Option<Permit>, answer: Answer) {
    drop(permit);
    let _ = reply.send(answer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Gate;
    use std::{
        future::Future,
        pin::pin,
        sync::atomic::{AtomicBool, Ordering},
        task::{Context, Wake},
    };

    /// Looks for a place at the gate in the very moment its caller is woken.
    struct NextCall {
        gate: Arc<Gate>,
        found_room: AtomicBool,
    }

    impl Wake for NextCall {
        fn wake(self: Arc<Self>) {
            self.found_room.store(self.gate.enter().is_some(), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_caller_that_is_answered_finds_its_place_free() {
        let gate = Gate::new(1);
        let (reply, answer) = oneshot::channel();
        let next = Arc::new(NextCall { gate: gate.clone(), found_room: AtomicBool::new(false) });
        let waker = next.clone().into();
        let mut answer = pin!(answer);
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        settle(reply, gate.enter(), Err(Error::QueueFull { limit: 1 }));
        assert!(next.found_room.load(Ordering::Relaxed));
    }
}
