//! Receives the body of a call within its time, its largest size, and the server's limit for all bodies.

use super::{
    alarm::{Alarm, later},
    refusal::Refusal,
};
use crate::body_buffers::{Buffers, Room, SMALL};
use actix_web::{HttpMessage, HttpRequest, dev::Payload, error::PayloadError as BodyError, http::header};
use bytes::Bytes;
use futures_core::Stream;
use herder_actors::{Attempts, Error};
use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};
use tokio::time::Instant;

/// The number of bytes after which the timeout of a body starts again. In effect, this sets a minimum rate: otherwise a
/// client could keep a request open forever by sending single bytes.
pub(super) const STRIDE: usize = 64 * 1024;
/// The default of `body_timeout`.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// The limits for the bodies of all requests to some pools.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// The timeout for the next [`STRIDE`] bytes of a body, or for its end.
    pub(super) timeout: Duration,
    pub(super) buffers: Arc<Buffers>,
}

/// The limits for one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyReader<'a> {
    pub(super) limits: &'a Limits,
    pub(super) max_frame: usize,
    /// The time at which the head of the request was complete.
    pub(super) began: Instant,
    /// The call's deadline.
    pub(super) deadline: Instant,
}

/// The part of a body that has arrived.
struct Part {
    bytes: Vec<u8>,
    room: Room,
    /// The number of received bytes at which the timeout starts again.
    stride: usize,
}

/// The reason why the body could not be received.
pub(super) enum Failed {
    /// An error of the call. It is logged like other errors of calls.
    Call(Error),
    /// A refusal of the request. It is not logged.
    Request(Refusal),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Request(refusal)
    }
}

impl BodyReader<'_> {
    /// Receives the body. Its bytes count against the server's limit until the last clone of them is dropped.
    pub(super) async fn body(&self, request: &HttpRequest, body: &mut Payload) -> Result<Bytes, Failed> {
        let announced = announced(request).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let end = ends_with_the_connection(request).then_some(announced.unwrap_or_default());
        let mut part = self.begin(announced.unwrap_or_default())?;
        let (mut alarm, mut due) = (Alarm::default(), self.due(self.began));
        while end.is_none_or(|end| part.bytes.len() < end) {
            // Check the timeout only if no data is available: a body that has already arrived is not late, even if this
            // task was not polled for a long time.
            let arrival = poll_fn(|context| match Pin::new(&mut *body).poll_next(context) {
                Poll::Ready(chunk) => Poll::Ready(Ok(chunk)),
                Poll::Pending => alarm.poll(context, due).map(Err),
            });
            match arrival.await {
                Ok(Some(chunk)) => {
                    self.add(&mut part, &chunk.map_err(|error| incomplete_body(request, &error))?, end)?;
                }
                Ok(None) if end.is_some() => return Err(incomplete_body(request, &BodyError::Incomplete(None))),
                Ok(None) => break,
                Err(()) => return Err(self.late(part.bytes.len())),
            }
            if part.bytes.len() >= part.stride {
                part.stride = part.bytes.len() + STRIDE;
                due = self.due_from_now();
            }
        }
        Ok(if part.bytes.is_empty() { Bytes::new() } else { part.room.hold(part.bytes) })
    }

    /// Starts to receive a body. A body that is announced as large gets its reservation immediately. If several large
    /// bodies arrive at once, some of them are then received completely, and none is refused shortly before its end.
    fn begin(&self, announced: usize) -> Result<Part, Failed> {
        self.check_length(announced)?;
        let mut part = Part { bytes: Vec::new(), room: Room::none(&self.limits.buffers), stride: STRIDE };
        if announced > SMALL {
            part.room.grow_to(announced).map_err(|full| full.refusal(false))?;
            part.bytes.reserve_exact(announced);
        }
        Ok(part)
    }

    fn add(&self, part: &mut Part, chunk: &[u8], end: Option<usize>) -> Result<(), Failed> {
        // If only the connection's end ends the body (see `ends_with_the_connection`), the bytes beyond `end` are not part
        // of it.
        let rest = end.map_or(chunk.len(), |end| end - part.bytes.len());
        let chunk = &chunk[..rest.min(chunk.len())];
        let total = part.bytes.len() + chunk.len();
        self.check_length(total)?;
        part.room.grow_to(total).map_err(|full| full.refusal(false))?;
        part.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn check_length(&self, length: usize) -> Result<(), Failed> {
        check_length(length, &self.limits.buffers, self.max_frame)
    }

    /// Returns a function that reserves space for arguments of a known length, for use on another thread.
    pub(super) fn reservation(&self) -> impl FnOnce(usize) -> Result<Room, Failed> + Send + use<> {
        let (buffers, max_frame) = (self.limits.buffers.clone(), self.max_frame);
        move |length| {
            check_length(length, &buffers, max_frame)?;
            let mut room = Room::none(&buffers);
            room.grow_to(length).map_err(|full| full.refusal(false))?;
            Ok(room)
        }
    }

    /// Returns the time until the call's deadline.
    #[expect(clippy::disallowed_methods, reason = "the deadline is on this clock; the pool has its own")]
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Returns the time by which the next bytes must have arrived, if the timeout starts at `start`.
    fn due(&self, start: Instant) -> Instant {
        self.deadline.min(later(start, self.limits.timeout))
    }

    #[expect(clippy::disallowed_methods, reason = "the user sets how long a body may take")]
    fn due_from_now(&self) -> Instant {
        self.due(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "the user sets how long a body may take")]
    fn late(&self, received: usize) -> Failed {
        if Instant::now() >= self.deadline {
            let (may_have_run, command_timeout, attempts) = (false, None, Attempts::default());
            return Failed::Call(Error::DeadlineExceeded { may_have_run, command_timeout, attempts });
        }
        Refusal::BodyTimeout { timeout: self.limits.timeout, step: STRIDE, received }.into()
    }
}

fn check_length(length: usize, buffers: &Buffers, max_frame: usize) -> Result<(), Failed> {
    let longest = buffers.longest();
    let (limit, name) =
        if longest < max_frame { (longest, "all that `buffer_limit` allows") } else { (max_frame, "`max_frame`") };
    if length <= limit {
        return Ok(());
    }
    let message = format!("the arguments are longer than {limit} bytes ({name})");
    Err(Failed::Call(Error::TooLarge { message, may_have_run: false, worker: None }))
}

/// Returns the refusal for an incomplete body. For chunked bodies, actix-http does not distinguish an invalid chunk
/// from the end of the connection.
fn incomplete_body(request: &HttpRequest, error: &BodyError) -> Failed {
    let in_chunks = request.chunked().unwrap_or(false);
    let message = match error {
        BodyError::Incomplete(_) | BodyError::EncodingCorrupted if in_chunks => {
            "the size or the end of a chunk is wrong, or the connection ended before the last chunk".into()
        }
        BodyError::Incomplete(_) => "the connection ended before all of `Content-Length` had arrived".into(),
        _ => error.to_string(),
    };
    Refusal::BadBody { message }.into()
}

/// Returns whether actix-http treats everything after the head as the body, despite `Content-Length`. It does so for
/// requests that offer a WebSocket. The client then waits for the response without closing the connection, so the body
/// must end at its announced length.
fn ends_with_the_connection(request: &HttpRequest) -> bool {
    let offer = request.headers().get(header::UPGRADE).map(|offer| offer.as_bytes().trim_ascii());
    offer.is_some_and(|offer| offer.eq_ignore_ascii_case(b"websocket")) && !request.chunked().unwrap_or(false)
}

/// Returns the value of `Content-Length`, if it is valid.
fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
