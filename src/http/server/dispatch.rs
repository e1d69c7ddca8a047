//! Serves one connection: reads a request, writes its response, and only then reads the next request. Holds the
//! connection's channel; the application decides what a request means.
//!
//! actix-http's dispatcher is not used. It decodes the next request while the previous one is being served, and its
//! codec then encodes the response with the method, the version and the connection type of the later head
//! (`docs/notes/actix-http-pipelining.md`).

use super::{
    channel::{Channel, Next},
    head,
    response::RequestInfo,
    settings::Settings,
    wire::Wire,
};
use crate::http::connections::{ActiveRequest, Connection, Connections};
use actix_http::{
    BoxedPayloadStream, HttpMessage, Method, Payload, Request, Response, ServiceConfig, body::MessageBody,
    error::PayloadError, h1::MessageType,
};
use actix_service::Service;
use actix_web::Error;
use bytes::Bytes;
use futures_core::Stream;
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    marker::PhantomData,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::{Rc, Weak},
    task::{Context, Poll},
};
use tokio::net::TcpStream;

/// The state that all connections of a thread share.
pub(super) struct ThreadState<S, B> {
    pub(super) service: S,
    /// The type of the response bodies of the service.
    pub(super) body: PhantomData<B>,
    pub(super) config: ServiceConfig,
    pub(super) settings: Settings,
    pub(super) connections: Connections,
}

/// Serves a connection until it ends.
pub(super) async fn serve<S, B>(state: Rc<ThreadState<S, B>>, stream: TcpStream)
where
    S: Service<Request>,
    S::Error: Into<Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    // A response is written in one go: delaying its last segment in the hope of more data would only add latency.
    _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().ok();
    let connection = Connection::served(&state.connections, stream);
    let channel = Channel::new(connection, state.config.clone(), state.settings);
    if let Err(error) = (Dispatcher { state, channel, peer }).run().await {
        tracing::debug!(%error, ?peer, "a connection ended with an error");
    }
}

struct Dispatcher<S, B> {
    state: Rc<ThreadState<S, B>>,
    channel: Channel,
    peer: Option<SocketAddr>,
}

impl<S, B> Dispatcher<S, B>
where
    S: Service<Request>,
    S::Error: Into<Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    async fn run(&mut self) -> io::Result<()> {
        let mut idle = self.state.settings.head;
        loop {
            // A client can send many requests at once, and their handlers may never wait. Without this, one connection
            // could occupy the thread.
            tokio::task::coop::consume_budget().await;
            let keeps_alive = match self.channel.next(idle).await? {
                Next::Request(request, kind) => self.exchange(request, kind).await?,
                Next::Refused(refusal) => self.channel.refuse(&refusal).await.map(|()| false)?,
                Next::End => return Ok(()),
            };
            if !keeps_alive {
                return self.channel.linger().await;
            }
            idle = self.state.settings.keep_alive;
        }
    }

    /// Serves a request. Returns whether another one may follow on the connection.
    async fn exchange(&mut self, mut request: Request, kind: MessageType) -> io::Result<bool> {
        let busy = ActiveRequest::on(Some(self.channel.connection.clone()));
        if let Err(refusal) = head::check_expectations(request.head()) {
            self.channel.refuse(&refusal).await?;
            return Ok(false);
        }
        if kind != MessageType::None {
            let payload: BoxedPayloadStream = Box::pin(RequestPayload::of(&self.channel.wire));
            *request.payload() = Payload::Stream { payload };
        }
        request.head_mut().peer_addr = self.peer;
        request.extensions_mut().insert(self.channel.connection.clone());
        let info = RequestInfo {
            version: request.version(),
            is_head: request.method() == Method::HEAD,
            // After an offer of an upgrade, or of a body that ends with the connection, the following bytes may not be
            // a request.
            is_last: request.head().upgrade() || kind == MessageType::Stream,
        };
        match self.call(request).await {
            Ok(response) => self.channel.answer(response, info).await?,
            Err(error) => self.channel.answer(error.error_response().into(), info).await?,
        }
        // The request ends before the check. A drain that starts before this line sees a busy connection and leaves it
        // open, but `keeps_alive` then sees that the server drains. A drain that starts after it finds an idle
        // connection and closes it.
        drop(busy);
        Ok(self.channel.keeps_alive())
    }

    /// Runs the application's service. If the client closes the connection meanwhile, marks the connection; the service
    /// still runs to its end, because it decides what a disconnect means.
    async fn call(&self, request: Request) -> Result<Response<B>, Error> {
        let service = &self.state.service;
        poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
        let mut work = pin!(service.call(request));
        let outcome = tokio::select! {
            // The service is polled first: a response that is ready is not affected by a disconnect at the same moment.
            biased;
            outcome = &mut work => outcome,
            () = self.channel.client_closed() => {
                self.channel.connection.mark_client_closed();
                work.await
            }
        };
        outcome.map(Into::into).map_err(Into::into)
    }
}

/// The body of one request as a stream, which reads the connection when it is polled. Holds no bytes. After the
/// request has been answered, the stream fails instead of reading more.
struct RequestPayload {
    wire: Weak<RefCell<Wire>>,
    number: u64,
}

impl RequestPayload {
    /// Creates the body of the request that was decoded last.
    fn of(wire: &Rc<RefCell<Wire>>) -> Self {
        Self { number: wire.borrow().number(), wire: Rc::downgrade(wire) }
    }
}

impl Stream for RequestPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.wire.upgrade() {
            Some(wire) => wire.borrow_mut().poll_body(context, self.number),
            None => Poll::Ready(Some(Err(PayloadError::Incomplete(None)))),
        }
    }
}
