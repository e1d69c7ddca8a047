//! One connection from its first byte to its end: a request, its response, and only then the next request. Holds nothing but the connection's
//! channel; what a request means is the application's affair.
//!
//! Why not actix-http's dispatcher: it decodes the next request while one is in service, and its codec then answers that one by the method, the
//! version and the connection type of the later head (`docs/notes/actix-http-pipelining.md`).

use super::{
    channel::{Channel, Next},
    head,
    payload::RequestPayload,
    response::Asked,
    settings::Settings,
};
use crate::http::connections::{ActiveRequest, Connection, Connections};
use actix_http::{
    BoxedPayloadStream, HttpMessage, Method, Payload, Request, Response, ServiceConfig, body::MessageBody,
    h1::MessageType,
};
use actix_service::Service;
use actix_web::Error;
use std::{future::poll_fn, io, marker::PhantomData, net::SocketAddr, pin::pin, rc::Rc};
use tokio::net::TcpStream;

/// What all connections of a thread share.
pub(super) struct Site<S, B> {
    pub(super) service: S,
    /// The bodies of the service's responses.
    pub(super) body: PhantomData<B>,
    pub(super) config: ServiceConfig,
    pub(super) settings: Settings,
    pub(super) connections: Connections,
}

/// Serves a connection until it ends.
pub(super) async fn serve<S, B>(site: Rc<Site<S, B>>, stream: TcpStream)
where
    S: Service<Request>,
    S::Error: Into<Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    _ = stream.set_nodelay(true); // a response is written at once: its last part need not wait for more
    let peer = stream.peer_addr().ok();
    let connection = Connection::served(&site.connections, stream);
    let channel = Channel::new(connection, site.config.clone(), site.settings);
    if let Err(error) = (Dispatcher { site, channel, peer }).run().await {
        tracing::debug!(%error, ?peer, "a connection ended with an error");
    }
}

struct Dispatcher<S, B> {
    site: Rc<Site<S, B>>,
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
        let mut idle = self.site.settings.head;
        loop {
            // Pipelined requests that need no waiting must not keep others from the thread.
            tokio::task::coop::consume_budget().await;
            let keeps_alive = match self.channel.next(idle).await? {
                Next::Request(request, kind) => self.exchange(request, kind).await?,
                Next::Refused(refusal) => self.channel.refuse(&refusal).await.map(|()| false)?,
                Next::End => return Ok(()),
            };
            if !keeps_alive {
                return self.channel.linger().await;
            }
            idle = self.site.settings.keep_alive;
        }
    }

    /// Answers a request. Returns whether another one may follow.
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
        let asked = Asked {
            version: request.version(),
            is_head: request.method() == Method::HEAD,
            // What follows such a head need not be a request.
            is_last: request.head().upgrade() || kind == MessageType::Stream,
        };
        match self.call(request).await {
            Ok(response) => self.channel.answer(response, asked).await?,
            Err(error) => self.channel.answer(error.error_response().into(), asked).await?,
        }
        drop(busy); // before the look: a drain that begins in between finds an idle connection
        Ok(self.channel.keeps_alive())
    }

    /// Runs the application's service. Marks the connection if the client closes it meanwhile.
    async fn call(&self, request: Request) -> Result<Response<B>, Error> {
        let service = &self.site.service;
        poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
        let mut work = pin!(service.call(request));
        let outcome = tokio::select! {
            biased;
            outcome = &mut work => outcome,
            () = self.channel.departure() => {
                self.channel.connection.depart();
                work.await
            }
        };
        outcome.map(Into::into).map_err(Into::into)
    }
}
