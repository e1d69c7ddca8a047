//! A call in the making: what it may say of its session, its deadline and its repetition.

use crate::{Affinity, IfAbsent, Result, SessionId};
use herder_actors::{PendingReply, PoolClient, Request, SessionCall};
use serde::de::DeserializeOwned;
use std::{
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
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

impl<T: DeserializeOwned + 'static> IntoFuture for Call<T> {
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.reply().await?.decode() })
    }
}
