//! The arguments and the caller of a call, which the core does not see. Owned by the pool's state.

use crate::{
    Error, Reply, Request, Result,
    call_log::CallIdentity,
    chunks::{ChunkSender, Item},
    gate::Permit,
    metrics::CommandNumber,
    traces::CallTrace,
};
use bytes::Bytes;
use herder_core::{CallId, SessionCall, Timestamp, WireId, WorkerRef};
use herder_wire::{Buffer, CallBuffers, CallHeaders};
use std::{sync::Arc, task::Waker, time::Duration};
use tokio::sync::oneshot;

/// The result that a caller gets.
pub(crate) type Answer = Result<Reply>;

/// Where the answer of a call goes.
#[derive(Debug)]
pub(crate) enum Replier {
    /// To a caller that waits for one result.
    Once(oneshot::Sender<Answer>),
    /// To a caller that takes chunks.
    Stream(ChunkSender),
}

/// A call that has not been submitted to the core.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: CallId,
    pub(crate) command: Arc<str>,
    pub(crate) session: Option<SessionCall>,
    /// The arguments: a JSON object.
    pub(crate) body: Bytes,
    pub(crate) deadline: Timestamp,
    /// Whether the call may run twice. `None`: as the handler declares.
    pub(crate) idempotent: Option<bool>,
    /// The encoded headers, if the call has any.
    pub(crate) headers: Option<Box<[u8]>>,
    pub(crate) trace: Option<Box<CallTrace>>,
    /// The longest time between two chunks.
    pub(crate) idle: Option<Duration>,
    /// The buffers, if the call has any or its caller takes any.
    pub(crate) buffers: Option<Box<CallBuffers>>,
    pub(crate) reply: Replier,
    /// The place at the gate. `None` for calls by message, which only the core's limits bound.
    pub(crate) permit: Option<Permit>,
}

/// A submitted call. Dropping it without an answer makes its caller get `PoolClosed`.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) command: Arc<str>,
    /// The number under which calls of the command are counted.
    pub(crate) number: CommandNumber,
    pub(crate) session: Option<herder_core::SessionId>,
    pub(crate) body: Bytes,
    pub(crate) deadline: Timestamp,
    pub(crate) headers: Option<Box<[u8]>>,
    /// The trace that the call belongs to, if there is one.
    pub(crate) trace: Option<Box<CallTrace>>,
    pub(crate) buffers: Option<Box<CallBuffers>>,
    /// The timeout of the command, if `deadline` follows from it.
    pub(crate) command_timeout: Option<Duration>,
    /// The most recent attempt.
    pub(crate) sent: Option<(WorkerRef, WireId)>,
    /// When it was sent.
    pub(crate) sent_at: Timestamp,
    pub(crate) reply: Replier,
    pub(crate) permit: Option<Permit>,
}

impl Call {
    /// Returns what the log says of it.
    pub(super) fn identity(&self, id: CallId) -> CallIdentity<'_> {
        let trace = self.trace.as_ref().map(|trace| trace.id());
        CallIdentity { id, command: &self.command, session: self.session.as_ref(), trace }
    }

    /// Answers the call. Does nothing if the caller has abandoned it.
    pub(crate) fn answer(self, answer: Answer) {
        settle(self.reply, self.permit, answer);
    }

    /// Returns the bytes of the arguments, with their buffers.
    pub(super) fn size(&self) -> usize {
        self.body.len() + buffers_length(self.buffers())
    }

    pub(super) fn buffers(&self) -> &[Buffer] {
        self.buffers.as_ref().map_or(&[], |call| &call.buffers)
    }

    /// Returns whether its caller takes items.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.reply, Replier::Stream(_))
    }

    /// Returns the length of the headers that a worker gets, in bytes, at most.
    pub(crate) fn headers_length(&self) -> usize {
        headers_length(self.headers.as_deref(), self.trace.as_deref())
    }

    /// Answers a call whose worker has ended the stream.
    pub(crate) fn end_stream(self, reply: Reply) {
        drop(self.permit);
        match self.reply {
            Replier::Once(caller) => drop(caller.send(Ok(reply))), // not reachable: such a call is not sent as a stream
            Replier::Stream(chunks) => chunks.end(Ok(reply)),
        }
    }
}

impl Incoming {
    /// Returns what the log says of it.
    pub(crate) fn identity(&self) -> CallIdentity<'_> {
        let session = self.session.as_ref().map(|session| &session.id);
        let trace = self.trace.as_ref().map(|trace| trace.id());
        CallIdentity { id: self.id, command: &self.command, session, trace }
    }

    /// Creates the call of a request.
    ///
    /// # Errors
    /// The error of the request's session, arguments, headers or buffers.
    pub(crate) fn of(
        request: Request,
        id: CallId,
        deadline: Timestamp,
        reply: Replier,
        permit: Option<Permit>,
    ) -> Result<Self> {
        let Request { command, body, session, idempotent, headers, idle, buffers, served_since, .. } = request;
        if let Some(buffers) = &buffers {
            buffers.check().map_err(Error::malformed)?;
        }
        let mut headers = headers.map(|headers| *headers).transpose()?;
        let trace = CallTrace::begin(&mut headers, served_since);
        let headers = headers.filter(|headers| !headers.is_empty()).map(|headers| encoded(&headers)).transpose()?;
        Ok(Self {
            id,
            command,
            session: session.transpose()?,
            body: body?,
            deadline,
            idempotent,
            headers,
            trace,
            idle,
            buffers,
            reply,
            permit,
        })
    }

    /// Returns the length of the headers that a worker gets, in bytes, at most.
    pub(crate) fn headers_length(&self) -> usize {
        headers_length(self.headers.as_deref(), self.trace.as_deref())
    }

    /// Refuses the call.
    pub(crate) fn refuse(self, refusal: Error) {
        settle(self.reply, self.permit, Err(refusal));
    }
}

/// Returns the number of bytes of buffers, without copying those in shared memory.
pub(super) fn buffers_length(buffers: &[Buffer]) -> usize {
    buffers.iter().map(Buffer::length).sum()
}

fn headers_length(headers: Option<&[u8]>, trace: Option<&CallTrace>) -> usize {
    headers.map_or(0, <[u8]>::len) + trace.map_or(0, CallTrace::max_length)
}

/// The maximum length of the headers of a call, in bytes of JSON.
const MAX_HEADERS: usize = 64 * 1024;

fn encoded(headers: &CallHeaders) -> Result<Box<[u8]>> {
    let too_large = |message| Error::TooLarge { message, may_have_run: false, worker: None };
    let json = headers.to_json().map_err(|error| too_large(error.to_string()))?;
    if json.len() > MAX_HEADERS {
        return Err(too_large(format!("the headers have {} bytes; the limit is {MAX_HEADERS} bytes", json.len())));
    }
    Ok(json.into())
}

/// Sends the answer. The place at the gate is released first: the caller may submit its next call as soon as it is woken,
/// possibly on another thread, and must not find the gate full because of this call.
fn settle(reply: Replier, permit: Option<Permit>, answer: Answer) {
    drop(permit);
    match reply {
        Replier::Once(caller) => drop(caller.send(answer)),
        Replier::Stream(chunks) => {
            // A worker that answers with one result instead of a stream: the result is the only item.
            let item = answer.as_ref().ok().map(Item::of_reply);
            let waker = item.and_then(|item| chunks.input().push(item));
            chunks.end(answer);
            waker.into_iter().for_each(Waker::wake);
        }
    }
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

    /// Tries to enter the gate at the moment at which the caller is woken.
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
    fn the_place_at_the_gate_is_free_when_the_caller_is_woken() {
        let gate = Gate::new(1);
        let (reply, answer) = oneshot::channel();
        let next = Arc::new(NextCall { gate: gate.clone(), found_room: AtomicBool::new(false) });
        let waker = next.clone().into();
        let mut answer = pin!(answer);
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        settle(Replier::Once(reply), gate.enter(), Err(Error::QueueFull { limit: 1 }));
        assert!(next.found_room.load(Ordering::Relaxed));
    }
}
