//! A call in the making: what it may say of its session, its deadline and its repetition.

use crate::{Affinity, Error, IfAbsent, Reply, Result, SessionId};
use herder_actors::{PendingReply, PoolClient, Request, SessionCall};
use serde::de::DeserializeOwned;
use std::{
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

/// A call that is submitted when it is awaited, and gives a `T`.
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

    /// The session it belongs to: 1 to 256 bytes without control characters.
    pub fn session(mut self, session: &str) -> Self {
        self.session = Some(session.into());
        self
    }

    /// The whole deadline from the moment it is submitted: queue, run and retries. The pool's `timeout` unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout(Some(timeout));
        self
    }

    /// Whether it may run again elsewhere when its worker dies in the middle. As the handler says unless set.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.request.idempotent(Some(idempotent));
        self
    }

    /// What to do if there is no such session: begin it, unless set.
    pub fn if_absent(mut self, if_absent: IfAbsent) -> Self {
        self.if_absent = if_absent;
        self
    }

    /// How strictly to keep to the session's worker. The pool's mode unless set.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.affinity = Some(affinity);
        self
    }

    /// Submits it, now. The answer comes with its circumstances; dropping it cancels the call.
    pub fn reply(mut self) -> PendingReply {
        let (if_absent, affinity) = (self.if_absent, self.affinity);
        let session = self.session.map(|text| {
            let id = SessionId::new(text)?;
            Ok(SessionCall { id, if_absent, affinity })
        });
        self.request.session(session);
        self.client.call(self.request)
    }
}

impl<T> Call<T> {
    /// Cancels the call if `gone` completes before the reply. Then awaiting the call gives [`Error::Cancelled`], and its handler may have run. `gone` is any
    /// future, or the client of an HTTP request (`&herder::http::Caller`, feature `http`). It is first polled when the call is submitted.
    ///
    /// ```
    /// # async fn example(pool: herder::Pool, stop: tokio::sync::oneshot::Receiver<()>) -> herder::Result<()> {
    /// let gone = async { drop(stop.await) };
    /// let price: u64 = pool.call("price", &serde_json::json!({ "item": "tea" })).until_gone(gone).await?;
    /// # Ok(()) }
    /// ```
    pub fn until_gone<G: IntoFuture<Output = ()>>(self, gone: G) -> UntilGone<T, G::IntoFuture> {
        UntilGone { call: self, gone: gone.into_future() }
    }
}

/// A call that is cancelled when its caller goes away ([`Call::until_gone`]). It is submitted when it is awaited. The future of `.await` is not `Send`; the
/// future of [`reply`](Self::reply) is `Send` if `gone` is.
#[derive(Debug)]
#[must_use = "a call is submitted when it is awaited"]
pub struct UntilGone<T, G> {
    call: Call<T>,
    gone: G,
}

impl<T, G: Future<Output = ()>> UntilGone<T, G> {
    /// Submits it, and waits for its reply with the circumstances.
    ///
    /// # Errors
    /// Those of the call; [`Error::Cancelled`] when its caller went away first.
    pub async fn reply(self) -> Result<Reply> {
        let (mut reply, mut gone) = (self.call.reply(), pin!(self.gone));
        std::future::poll_fn(|context| poll_until_gone(&mut reply, gone.as_mut(), context)).await
    }
}

/// Polls the reply first: a reply that is ready is returned even if `gone` is ready, too.
fn poll_until_gone<G: Future<Output = ()>>(
    reply: &mut PendingReply,
    gone: Pin<&mut G>,
    context: &mut Context<'_>,
) -> Poll<Result<Reply>> {
    if let Poll::Ready(answer) = Pin::new(reply).poll(context) {
        return Poll::Ready(answer);
    }
    gone.poll(context).map(|()| Err(Error::Cancelled { message: "its caller went away".into(), worker: None }))
}

impl<T: DeserializeOwned + 'static, G: Future<Output = ()> + 'static> IntoFuture for UntilGone<T, G> {
    type Output = Result<T>;
    // Not `Send`: what tells that the caller of an actix-web handler has gone stays on its thread.
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
