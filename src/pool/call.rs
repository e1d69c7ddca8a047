//! A call before it is submitted, with its options: session, deadline, retries.

use super::stream::CallStream;
use herder_actors::{
    Affinity, Buffer, Error, IfAbsent, PendingReply, PendingStream, PoolClient, Reply, Request, Result, SessionCall,
    SessionId,
};
use serde::de::DeserializeOwned;
use std::{
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

/// A call that is submitted when it is awaited. Its output is the result, decoded as `T`.
#[derive(Debug)]
#[must_use = "a call is submitted when it is awaited"]
pub struct Call<T> {
    client: PoolClient,
    request: Request,
    session: Option<String>,
    if_absent: IfAbsent,
    affinity: Option<Affinity>,
    value: PhantomData<fn() -> T>,
}

impl<T> Call<T> {
    pub(super) fn new(client: PoolClient, request: Request) -> Self {
        Self { client, request, session: None, if_absent: IfAbsent::Create, affinity: None, value: PhantomData }
    }

    /// Sets the session of the call. An id has 1 to 256 bytes and no control characters.
    pub fn session(mut self, session: &str) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Makes the call the answer to a request that has arrived at this time.
    #[cfg(feature = "http")]
    pub(crate) fn served_since(mut self, arrived: herder_actors::Timestamp) -> Self {
        self.request.served_since(arrived);
        self
    }

    /// Sets the deadline, counted from the submission. It covers the queue, the run and all retries. The default is the
    /// pool's `timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout(Some(timeout));
        self
    }

    /// Sets whether the call may run again if its worker dies during the run. The default is what the handler declares.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.request.idempotent(Some(idempotent));
        self
    }

    /// Adds a header, which the handler reads from `herder.current_call().headers`. The name is in lower case there; several
    /// values of one name are joined by `", "`, those of `cookie` by `"; "`. A pool's `forward_headers` concern only the headers of HTTP requests.
    ///
    /// A name has at most 128 characters of those that HTTP allows, and a value no control characters: the call fails with
    /// [`Error::Malformed`] otherwise. All headers together have at most 64 KiB as JSON ([`Error::TooLarge`]).
    ///
    /// ```
    /// # async fn example(pool: herder::Pool) -> herder::Result<()> {
    /// let price: u64 = pool.call("price", &serde_json::json!({})).header("x-tenant", "acme").await?;
    /// # Ok(()) }
    /// ```
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.header(name, value);
        self
    }

    /// Adds an argument that is a buffer: bytes, or a [`Buffer`] with a shape or a media type. It is sent beside the JSON, and
    /// the handler gets a read-only view of it. The name is that of a parameter which the other arguments do not set.
    ///
    /// The call fails with [`Error::Malformed`] if a name is attached twice or if there are more than 1024 buffers, and with
    /// [`Error::TooLarge`] if its frame is larger than the pool's `max_frame`.
    ///
    /// ```
    /// # use herder::Buffer;
    /// # async fn example(pool: herder::Pool, png: Vec<u8>, samples: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
    /// let size: (u32, u32) = pool.call("size", &serde_json::json!({})).attach("image", png).await?;
    /// let samples = Buffer::array(samples, "<f4", [2, 1000])?;
    /// let peak: f32 = pool.call("peak", &serde_json::json!({})).attach("samples", samples).await?;
    /// # Ok(()) }
    /// ```
    pub fn attach(mut self, name: &str, buffer: impl Into<Buffer>) -> Self {
        self.request.attach(name, buffer.into());
        self
    }

    /// Lets the result have buffers, which [`Reply::buffer`] and [`Reply::buffers`] return: bytes, memoryviews, numpy arrays and
    /// other values with the buffer protocol. The JSON of the result has `null` in their places. Without this, such values have
    /// their forms in JSON: base64 text and lists.
    ///
    /// ```
    /// # use serde::de::IgnoredAny;
    /// # async fn example(pool: herder::Pool, png: Vec<u8>) -> herder::Result<()> {
    /// let call = pool.call::<IgnoredAny>("thumbnail", &serde_json::json!({ "width": 64 })).attach("image", png);
    /// let reply = call.take_buffers().reply().await?;
    /// let thumbnail = reply.buffer("image").map(|buffer| buffer.bytes().clone());
    /// # Ok(()) }
    /// ```
    pub fn take_buffers(mut self) -> Self {
        self.request.take_buffers();
        self
    }

    /// Sets what happens if the session does not exist. By default it is created.
    pub fn if_absent(mut self, if_absent: IfAbsent) -> Self {
        self.if_absent = if_absent;
        self
    }

    /// Sets how strictly the call is kept on its session's worker. The default is the pool's affinity mode.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.affinity = Some(affinity);
        self
    }

    /// Sets the longest time between two items of a [`stream`](Self::stream), and before the first one, counted from the send
    /// to the worker. The stream fails with [`Error::IdleTimeout`] otherwise. The time does not run while the worker waits for
    /// the consumer. Without a [`timeout`](Self::timeout), the stream as a whole then has no deadline, and its wait for the
    /// session's own worker has no limit. Has no effect on calls without [`stream`](Self::stream).
    pub fn idle(mut self, idle: Duration) -> Self {
        self.request.idle(Some(idle));
        self
    }

    /// Submits the call immediately. The reply includes metadata, such as the worker and the number of attempts.
    /// Dropping the [`PendingReply`] cancels the call.
    pub fn reply(self) -> PendingReply {
        let (client, request) = self.into_request();
        client.call(request)
    }

    /// Submits the call immediately, and returns the items of its result as JSON text, as they come. For servers that pass them on.
    /// See [`stream`](Self::stream).
    pub fn stream_json(self) -> PendingStream {
        let (client, request) = self.into_request();
        client.stream(request)
    }

    fn into_request(mut self) -> (PoolClient, Request) {
        let (if_absent, affinity) = (self.if_absent, self.affinity);
        let session = self.session.map(|text| {
            let id = SessionId::new(text)?;
            Ok(SessionCall { id, if_absent, affinity })
        });
        self.request.session(session);
        (self.client, self.request)
    }
}

impl<T: DeserializeOwned> Call<T> {
    /// Submits the call immediately, and returns the items of a generator as they come, each decoded as a `T`. A handler that
    /// is not a generator gives one item, its result.
    ///
    /// Dropping the [`CallStream`] cancels the call: the generator is closed, then the usual steps follow (see `cancel` in the
    /// configuration). The worker runs ahead of the consumer by at most the pool's `stream.window` and one item, and then
    /// waits. A consumer that takes nothing for the pool's `stream.stall` meanwhile gets [`Error::StreamStalled`].
    ///
    /// The deadline covers the whole stream. With [`idle`](Self::idle) and without [`timeout`](Self::timeout), there is none. A
    /// call is not retried once its first item has arrived. A session runs its next strict call after the end of the stream.
    ///
    /// With the handler `def words(text: str): yield from text.split()`:
    /// ```
    /// # const APP: &str = "import herder\napp = herder.App()\n@app.command\ndef words(text: str):\n    yield from text.split()\n";
    /// # #[tokio::main]
    /// # async fn main() -> herder::Result<()> {
    /// # let pool = herder::testing::pool("words", |context| {
    /// #     context.file("app.py", APP);
    /// #     context.basic().app("app.py:app").build()
    /// # }).await;
    /// use futures_util::StreamExt;
    /// use serde_json::json;
    ///
    /// let mut words = pool.call::<String>("words", &json!({ "text": "one two" })).stream();
    /// assert_eq!(words.next().await.transpose()?.as_deref(), Some("one"));
    /// while let Some(word) = words.next().await {
    ///     println!("{}", word?);
    /// }
    /// println!("{:?}", words.metadata());
    /// # pool.shutdown_and_check().await;
    /// # Ok(()) }
    /// ```
    pub fn stream(self) -> CallStream<T> {
        CallStream::new(self.stream_json())
    }
}

impl<T> Call<T> {
    /// Cancels the call if `cancel` completes before the reply arrives. Awaiting the call then fails with
    /// [`Error::Cancelled`]; the handler may have run. `cancel` is any future, or the client of an HTTP request
    /// (`&herder::http::Caller`, feature `http`). It is first polled when the call is submitted.
    ///
    /// ```
    /// # async fn example(pool: herder::Pool, stop: tokio::sync::oneshot::Receiver<()>) -> herder::Result<()> {
    /// let cancel = async { drop(stop.await) };
    /// let price: u64 = pool.call("price", &serde_json::json!({ "item": "tea" })).cancel_when(cancel).await?;
    /// # Ok(()) }
    /// ```
    pub fn cancel_when<G: IntoFuture<Output = ()>>(self, cancel: G) -> CancelWhen<T, G::IntoFuture> {
        CancelWhen { call: self, cancel: cancel.into_future() }
    }
}

/// A call that is cancelled when its caller abandons it ([`Call::cancel_when`]). It is submitted when it is awaited. The
/// future of `.await` is not `Send`; the future of [`reply`](Self::reply) is `Send` if `cancel` is.
#[derive(Debug)]
#[must_use = "a call is submitted when it is awaited"]
pub struct CancelWhen<T, G> {
    call: Call<T>,
    cancel: G,
}

impl<T, G: Future<Output = ()>> CancelWhen<T, G> {
    /// Submits the call and waits for its reply with metadata.
    ///
    /// # Errors
    /// Returns the error of the call, or [`Error::Cancelled`] if `cancel` completed first.
    pub async fn reply(self) -> Result<Reply> {
        let (mut reply, mut cancel) = (self.call.reply(), pin!(self.cancel));
        std::future::poll_fn(|context| poll_cancel_when(&mut reply, cancel.as_mut(), context)).await
    }
}

/// Polls `reply` and, if it is pending, `cancel`.
fn poll_cancel_when<G: Future<Output = ()>>(
    reply: &mut PendingReply,
    cancel: Pin<&mut G>,
    context: &mut Context<'_>,
) -> Poll<Result<Reply>> {
    // The reply is polled first. If both are ready, the handler has already run: `Cancelled` would discard its result
    // and tell the caller only that it may have run.
    if let Poll::Ready(answer) = Pin::new(reply).poll(context) {
        return Poll::Ready(answer);
    }
    cancel
        .poll(context)
        .map(|()| Err(Error::Cancelled { message: "the caller abandoned the call".into(), worker: None }))
}

impl<T: DeserializeOwned + 'static, G: Future<Output = ()> + 'static> IntoFuture for CancelWhen<T, G> {
    type Output = Result<T>;
    // Not `Send`: the future that watches the client of an actix-web handler is bound to the handler's thread.
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.reply().await?.decode() })
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for Call<T> {
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.reply().await?.decode() })
    }
}
