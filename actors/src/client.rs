//! The handle of a pool for callers on any thread. It refuses a call without room on the caller's thread, sends the others to
//! the supervisor, and cancels calls that are abandoned.

use crate::{
    Error, ErrorId, PoolSupervisor, Reply, ReplyMetadata, Result,
    call_log::CallIdentity,
    chunks::{ChunkReceiver, Next, chunks},
    messages::Request,
    pool_supervisor::{Cancel, Credit, FailuresSuppressed, Shared, Submit},
    reply::find_buffer,
    shared_state::{Answer, Incoming, Replier},
    traces::trace_of,
};
use actix::{Actor, Addr, Handler, Message};
use bytes::Bytes;
use futures_core::Stream;
use herder_core::{CallId, PoolName, Timestamp};
use herder_wire::Buffer;
use std::{
    future::Future,
    mem,
    num::NonZeroU128,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::oneshot;
use tracing::Level;

/// A handle of a pool. In a forked copy of the process that started the pool, its methods fail at once with
/// [`Error::Forked`], and dropping it does nothing: the pool's threads run in the other process.
#[derive(Clone, Debug)]
pub struct PoolClient(Arc<Inner>);

/// What all clones of a handle share. Each call clones the handle; a clone of an address would allocate twice.
#[derive(Debug)]
struct Inner {
    supervisor: Addr<PoolSupervisor>,
    shared: Arc<Shared>,
}

/// Forgets the address in a forked copy of the process. Dropping the last address wakes the pool's runtime, and another
/// thread may have held a lock of that runtime at the fork: the drop would block for ever. With the forgotten clone, no
/// address in the copy is the last one.
impl Drop for Inner {
    fn drop(&mut self) {
        if !self.shared.is_here() {
            mem::forget(self.supervisor.clone());
        }
    }
}

impl PoolClient {
    /// Starts the supervisor on the current arbiter.
    pub fn start(supervisor: PoolSupervisor) -> Self {
        let shared = supervisor.shared();
        Self(Arc::new(Inner { supervisor: supervisor.start(), shared }))
    }

    /// Returns the address of the supervisor.
    pub fn supervisor(&self) -> &Addr<PoolSupervisor> {
        &self.0.supervisor
    }

    fn is_here(&self) -> bool {
        self.0.shared.is_here()
    }

    /// Sends a message to the supervisor and waits for the answer.
    ///
    /// # Errors
    /// [`Error::PoolClosed`] if the pool has ended, [`Error::Forked`] in a forked copy of its process.
    pub async fn ask<M>(&self, message: M) -> Result<M::Result>
    where
        M: Message<Result: Send> + Send + 'static,
        PoolSupervisor: Handler<M>,
    {
        if !self.is_here() {
            return Err(Error::Forked { may_have_run: false });
        }
        Ok(self.0.supervisor.send(message).await?)
    }

    /// Logs that all base workers of the pool are ready.
    pub fn log_ready(&self, pool: &PoolName, workers: u32) {
        let pool = pool.clone();
        self.0.shared.call_log().events().queue(Level::INFO, move || {
            tracing::info!(%pool, "workers ready: {workers} of {workers}");
        });
    }

    /// Logs that some workers of the pool failed to start.
    pub fn log_partial_start(&self, pool: &PoolName, error: Error) {
        let pool = pool.clone();
        self.0.shared.call_log().events().queue(Level::WARN, move || {
            tracing::warn!(%pool, %error, "the pool has fewer workers than configured: some failed to start");
        });
    }

    /// Submits a call. Never blocks; a full pool refuses at once. Dropping the returned future before it is ready cancels the
    /// call.
    pub fn call(&self, request: Request) -> PendingReply {
        let (reply, answer) = oneshot::channel();
        let (submitted, ids) = self.submit_or_log(request, Replier::Once(reply));
        let state = match submitted {
            Ok(id) => Pending::Waiting { answer, id, client: self.clone() },
            Err(error) => Pending::Refused(Some(error)),
        };
        PendingReply { state, ids }
    }

    /// Submits a call whose result is taken item by item. Never blocks; a full pool refuses at once. Dropping the returned
    /// stream before its end cancels the call.
    pub fn stream(&self, request: Request) -> PendingStream {
        let (sender, receiver) = chunks(self.0.shared.stream_window());
        let (submitted, ids) = self.submit_or_log(request, Replier::Stream(sender));
        let state = match submitted {
            Ok(id) => Items::Arriving { receiver, id, client: self.clone() },
            Err(error) => Items::Refused(error),
        };
        PendingStream { state, ids, buffers: Vec::new() }
    }

    /// Submits a call. Logs a refusal. Also returns the ids under which the log has the call.
    fn submit_or_log(&self, request: Request, reply: Replier) -> (Result<CallId, Box<Error>>, LogIds) {
        let call_log = self.0.shared.call_log();
        if !self.is_here() {
            // Checked before anything that takes a lock, since another thread may have held the lock at the fork. For the
            // same reason no event is logged.
            let ids = LogIds { error: call_log.error_id(CallId(0)), trace: None };
            return (Err(Box::new(Error::Forked { may_have_run: false })), ids);
        }
        let (id, command) = (self.0.shared.next_call(), request.command().clone());
        let error_id = call_log.error_id(id);
        match self.submit(id, request, reply) {
            Ok(trace) => (Ok(id), LogIds { error: error_id, trace }),
            Err(Refused { error, trace }) => {
                let error = error.with_id(error_id);
                self.log_refusal(CallIdentity { id, command: &command, session: None, trace }, &error);
                (Err(Box::new(error)), LogIds { error: error_id, trace })
            }
        }
    }

    /// Logs a call that the caller of this method refuses, as the pool logs its own refusals. Returns the id under which the
    /// log has the call.
    pub fn refused(&self, command: &str, error: &Error) -> ErrorId {
        let id = self.0.shared.next_call();
        self.log_refusal(CallIdentity { id, command: &command.into(), session: None, trace: None }, error);
        self.0.shared.call_log().error_id(id)
    }

    fn log_refusal(&self, call: CallIdentity<'_>, error: &Error) {
        if self.0.shared.call_log().log_refusal(call, error, self.0.shared.clock().now()) {
            self.0.supervisor.do_send(FailuresSuppressed);
        }
    }

    /// Returns the id of the call's trace, if it belongs to one.
    fn submit(&self, id: CallId, request: Request, reply: Replier) -> Result<Option<NonZeroU128>, Refused> {
        // `do_send` to a stopped supervisor drops the message silently, and the caller would get `PoolClosed` with
        // `may_have_run: true`. This check gives the definite answer. If the pool stops right after it, the indefinite one is
        // still correct.
        if !self.0.supervisor.connected() {
            return Err(Refused::of(Error::closed(false), &request));
        }
        // The permit travels with the call and is dropped when the call is answered, before its caller is woken. If
        // `Incoming::of` fails here, it is dropped at once.
        let permit = self.0.shared.enter().map_err(|error| Refused::of(error, &request))?;
        let deadline = match (&reply, request.timeout, request.idle) {
            (Replier::Stream(_), None, Some(_)) => Timestamp::NEVER,
            (_, timeout, _) => self.0.shared.clock().now() + timeout.unwrap_or(self.0.shared.timeout()),
        };
        let incoming = Incoming::of(request, id, deadline, reply, Some(permit))?;
        let trace = incoming.trace.as_ref().map(|trace| trace.id());
        self.0.supervisor.do_send(Submit(incoming));
        Ok(trace)
    }
}

/// The ids under which the log has a call.
#[derive(Clone, Copy, Debug)]
struct LogIds {
    error: ErrorId,
    trace: Option<NonZeroU128>,
}

/// A call that does not reach the supervisor.
struct Refused {
    error: Error,
    /// The id of its trace, if it is known.
    trace: Option<NonZeroU128>,
}

impl Refused {
    fn of(error: Error, request: &Request) -> Self {
        let headers = request.headers.as_ref().and_then(|headers| headers.as_ref().as_ref().ok());
        Self { error, trace: trace_of(headers) }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, trace: None }
    }
}

/// The future reply of a call. Dropping it before it is ready cancels the call.
#[derive(Debug)]
pub struct PendingReply {
    state: Pending,
    ids: LogIds,
}

#[derive(Debug)]
enum Pending {
    Refused(Option<Box<Error>>),
    Waiting { answer: oneshot::Receiver<Answer>, id: CallId, client: PoolClient },
    Done,
}

impl PendingReply {
    /// Returns the id under which the log has this call if it fails.
    pub fn error_id(&self) -> ErrorId {
        self.ids.error
    }

    /// Returns the id of the [trace](crate::traces) that this call belongs to: that of its caller, or one that the pool records.
    pub fn trace_id(&self) -> Option<NonZeroU128> {
        self.ids.trace
    }
}

impl Future for PendingReply {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.state {
            Pending::Waiting { client, .. } if !client.is_here() => Err(Error::Forked { may_have_run: true }),
            Pending::Waiting { answer, .. } => match Pin::new(answer).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answer) => answer.unwrap_or(Err(Error::closed(true))),
            },
            Pending::Refused(error) => match error.take() {
                Some(error) => Err(*error),
                None => return Poll::Pending, // polled after completion, like `Done`
            },
            Pending::Done => return Poll::Pending,
        };
        self.state = Pending::Done;
        Poll::Ready(answer)
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if let Pending::Waiting { id, client, answer } = &mut self.state
            && client.is_here()
            && answer.try_recv().is_err()
        {
            // An answer that arrives between this check and the cancel is dropped; the pool ignores the cancel of a settled
            // call.
            client.0.supervisor.do_send(Cancel(*id));
        }
    }
}

/// The items of a call's result, as JSON text, in order. Dropping the stream before its end cancels the call.
///
/// The items are those of a generator, each as soon as it arrives. A handler that is not a generator gives one item, its
/// result. A generator in a worker without control descriptor also gives one item, the list of its items. An error follows
/// the items that have arrived, and ends the stream.
///
/// The worker runs ahead of the consumer by at most the pool's `stream.window`. If the consumer takes nothing for the pool's
/// `stream.stall` while the worker waits, the stream fails with [`Error::StreamStalled`].
#[derive(Debug)]
#[must_use = "a stream that is dropped cancels its call"]
pub struct PendingStream {
    state: Items,
    ids: LogIds,
    /// Those of the last item.
    buffers: Vec<Buffer>,
}

#[derive(Debug)]
enum Items {
    Refused(Box<Error>),
    Arriving {
        receiver: ChunkReceiver,
        id: CallId,
        client: PoolClient,
    },
    /// With the answer of a stream that has ended without an error.
    Ended(Option<Box<Reply>>),
}

impl PendingStream {
    /// Returns the id under which the log has this call if it fails.
    pub fn error_id(&self) -> ErrorId {
        self.ids.error
    }

    /// Returns the id of the [trace](crate::traces) that this call belongs to: that of its caller, or one that the pool records.
    pub fn trace_id(&self) -> Option<NonZeroU128> {
        self.ids.trace
    }

    /// Returns where and how the call ran, once the stream has ended without an error.
    pub fn metadata(&self) -> Option<ReplyMetadata> {
        match &self.state {
            Items::Ended(Some(reply)) => Some(reply.metadata()),
            Items::Ended(None) | Items::Refused(_) | Items::Arriving { .. } => None,
        }
    }

    /// Returns the buffers of the item that was returned last: the values that were sent beside its JSON, which has `null` in their
    /// places. Empty, unless the call was made to take buffers.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the buffer that is the value of this key of the item that was returned last; with an empty key the buffer that is
    /// the item itself.
    pub fn buffer(&self, key: &str) -> Option<&Buffer> {
        find_buffer(&self.buffers, key)
    }

    /// Records that the consumer still works on the last item, as on one that it sends to a slow client. Otherwise it counts as
    /// stalled after the pool's `stream.stall`.
    pub fn keep_busy(&self) {
        if let Items::Arriving { receiver, .. } = &self.state {
            receiver.keep_busy();
        }
    }

    /// Forgets a stream in a forked copy of the process: a thread of the pool may have held its lock at the fork.
    fn forget(&mut self) {
        mem::forget(mem::replace(&mut self.state, Items::Ended(None)));
    }

    /// Ends the stream. Returns its last item: the error, if it has failed.
    fn end(&mut self, end: Result<Reply, Box<Error>>) -> Poll<Option<Result<Bytes>>> {
        let (reply, error) = match end {
            Ok(reply) => (Some(Box::new(reply)), None),
            Err(error) => (None, Some(Err(*error))),
        };
        // The call is over. Its receiver is dropped here, without a cancel.
        self.state = Items::Ended(reply);
        Poll::Ready(error)
    }
}

impl Stream for PendingStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.state {
            Items::Arriving { client, .. } if !client.is_here() => {
                self.forget();
                return Poll::Ready(Some(Err(Error::Forked { may_have_run: true })));
            }
            Items::Arriving { receiver, id, client } => {
                let next = receiver.poll_next(context);
                if let Some(credit) = receiver.credit() {
                    client.0.supervisor.do_send(Credit(*id, credit));
                }
                next
            }
            Items::Refused(_) => {
                let Items::Refused(error) = mem::replace(&mut self.state, Items::Ended(None)) else {
                    return Poll::Ready(None);
                };
                return Poll::Ready(Some(Err(*error)));
            }
            Items::Ended(_) => return Poll::Ready(None),
        };
        match next {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Next::Chunk(item)) => {
                let json = item.json.clone();
                self.buffers = item.into_buffers();
                Poll::Ready(Some(Ok(json)))
            }
            Poll::Ready(Next::End(end)) => self.end(end.map_err(Box::new)),
        }
    }
}

impl Drop for PendingStream {
    fn drop(&mut self) {
        match &self.state {
            // The pool ignores the cancel of a call that is settled meanwhile.
            Items::Arriving { id, client, .. } if client.is_here() => client.0.supervisor.do_send(Cancel(*id)),
            Items::Arriving { .. } => self.forget(),
            Items::Refused(_) | Items::Ended(_) => {}
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::{PoolConfig, testing::FakeWorkers};
    use serde_json::json;
    use std::task::Waker;

    /// A thread of the pool may hold the lock of a stream at a fork. The copy must neither poll nor drop the stream with it.
    #[actix_rt::test]
    async fn forked_stream_takes_no_lock() {
        let config = PoolConfig::basic("forked-stream").command(["scripted"]).pool_size(1).build().unwrap();
        let (workers, _launches) = FakeWorkers::new();
        let client = PoolClient::start(PoolSupervisor::with_launcher(config, workers));
        let (sender, receiver) = chunks(4096);
        let mut stream = client.stream(Request::typed("echo", &json!({})));
        let Items::Arriving { receiver: its, .. } = &mut stream.state else { panic!("{stream:?}") };
        *its = receiver;
        let forked = sender.while_locked(|| {
            herder_process::in_fork(|| {
                let item = Pin::new(&mut stream).poll_next(&mut Context::from_waker(Waker::noop()));
                u8::from(!matches!(item, Poll::Ready(Some(Err(Error::Forked { may_have_run: true })))))
            })
        });
        assert_eq!(forked.unwrap(), Some(0), "a signal ends a copy that waits for a lock");
        let mut stream = Some(stream);
        let forked = sender.while_locked(|| {
            herder_process::in_fork(|| {
                drop(stream.take());
                0
            })
        });
        assert_eq!(forked.unwrap(), Some(0), "a signal ends a copy that waits for a lock");
    }
}
