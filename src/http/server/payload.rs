//! The body of a request as a stream, which reads the connection when it is polled. Holds no bytes.

use super::wire::Wire;
use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_core::Stream;
use std::{
    cell::RefCell,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

/// The body of one request. After the request has been answered, the stream fails instead of reading more.
pub(super) struct RequestPayload {
    wire: Weak<RefCell<Wire>>,
    number: u64,
}

impl RequestPayload {
    /// Creates the body of the request that was decoded last.
    pub(super) fn of(wire: &Rc<RefCell<Wire>>) -> Self {
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
