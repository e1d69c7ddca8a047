//! Closes the connection of a request that is answered before its body has been read to the end.
//!
//! Why: actix-http closes a connection whose `Content-Length` was not read to its end, but goes on reading a body in chunks that nobody wants, for
//! as long as it takes, before it closes or takes the next request. It closes at once while somebody still holds the body.

use super::connections::Connection;
use actix_web::{
    HttpMessage, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    web,
};
use bytes::Bytes;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// The body of a request, in the request's extensions. It may have an unread rest. It is only kept, not read.
struct Unread {
    _body: web::Payload,
}

/// Lets the connection close after the response, unless all of the body has been read. Our own server does so by itself.
pub(super) fn keep(request: &HttpRequest, body: web::Payload) {
    if Connection::of(request).is_some_and(|connection| connection.discards_bodies()) {
        return;
    }
    request.extensions_mut().insert(Unread { _body: body });
}

/// Puts the request's body where it lives until the response is written.
pub(super) fn hold(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let unread = response.request().extensions_mut().remove::<Unread>();
    match unread {
        Some(unread) => response.map_body(|_, body| BoxBody::new(Holds { body, _unread: unread })),
        None => response,
    }
}

struct Holds {
    body: BoxBody,
    _unread: Unread,
}

impl MessageBody for Holds {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
