//! Closes the connection of a request that is answered before its body has been read completely.
//!
//! actix-http closes a connection if the body with a `Content-Length` was not read completely. A chunked body, however,
//! it reads to the end before it closes the connection or accepts the next request, however long that takes. It closes
//! immediately if the application still holds the body.

use super::connections::Connection;
use actix_web::{
    HttpMessage, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceResponse},
};
use bytes::Bytes;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// The body of a request, stored in the extensions of the request. It may have an unread rest. It is only held, not
/// read.
struct Unread {
    _body: Payload,
}

/// Makes the connection close after the response, unless the body has been read completely. Does nothing for a
/// connection of [`Server`](super::Server), which discards the rest itself.
pub(super) fn keep(request: &HttpRequest, body: Payload) {
    if Connection::of(request).is_some_and(|connection| connection.discards_bodies()) {
        return;
    }
    request.extensions_mut().insert(Unread { _body: body });
}

/// Moves the request's body into the response body, which holds it until the response has been written.
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
