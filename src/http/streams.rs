//! A call as a stream: each item of its handler as a server-sent event or as a line of JSON, sent as soon as the client can
//! take it. A client that does not read stops the handler, since the stream takes items only when the connection asks for
//! them. Holds the item that is being written, and the stream, which cancels its call when it is dropped.

use super::{body_check, body_reader::Limits, call_error::CallErrorResponse, connections::Connection};
use crate::body_buffers::{Room, SMALL};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, Result,
    body::{BodyStream, BoxBody},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue, Quality},
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use herder_actors::{Error, ErrorDetail, ErrorId, PendingStream, ReplyMetadata, check_json, without_byte_order_mark};
use serde::Serialize;
use std::{cell::Cell, future::Future, io, pin::Pin, rc::Rc, sync::Arc};

/// The size of a part that the connection gets at once. Items that are ready are put together up to this size, and a large
/// item is divided.
const PART: usize = 32 * 1024;
const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// The form in which a client takes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamFormat {
    /// Server-sent events.
    Events,
    /// A line of JSON for each item.
    Lines,
}

impl StreamFormat {
    /// Returns the form that a request accepts; `None` if it asks for no stream, or prefers JSON.
    pub(super) fn accepted(request: &HttpRequest) -> Option<Self> {
        // Nearly all requests end here, without parsing the header.
        if !names_a_stream(request.headers()) {
            return None;
        }
        let accept = request.get_header::<header::Accept>()?;
        let refused: Vec<_> = accept.iter().filter(|kind| kind.quality == Quality::ZERO).collect();
        let ranked = accept.ranked();
        let accepted = ranked.iter().filter(|kind| refused.iter().all(|refused| refused.item != **kind));
        accepted.into_iter().find_map(|kind| match kind.essence_str() {
            EVENTS => Some(Some(Self::Events)),
            LINES => Some(Some(Self::Lines)),
            "application/json" => Some(None),
            _ => None,
        })?
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Events => EVENTS,
            Self::Lines => LINES,
        }
    }

    /// The text before an item.
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Events => b"data: ",
            Self::Lines => b"",
        }
    }

    /// The text after an item.
    fn suffix(self) -> &'static [u8] {
        match self {
            Self::Events => b"\n\n",
            Self::Lines => b"\n",
        }
    }

    /// Returns the end of a stream whose call has failed.
    fn failure(self, problem: &str) -> String {
        match self {
            Self::Events => format!("event: error\ndata: {problem}\n\n"),
            Self::Lines => format!("{{\"error\":{problem}}}\n"),
        }
    }

    /// Returns the end of a complete stream.
    fn end(self, metadata: Option<&ReplyMetadata>) -> String {
        match self {
            Self::Events => format!("event: end\ndata: {}\n\n", json(&metadata)),
            Self::Lines => String::new(),
        }
    }
}

fn names_a_stream(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).filter(|value| value.len() >= EVENTS.len());
    values.any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        [EVENTS, LINES].iter().any(|name| value.windows(name.len()).any(|part| part == name.as_bytes()))
    })
}

/// How much detail of an error a stream shows. The guard sets it, before the body of the response is read.
#[derive(Clone, Debug)]
pub(super) struct DetailOfStream(Rc<Cell<ErrorDetail>>);

impl DetailOfStream {
    /// Sets the detail of the stream in this response, if it has one.
    pub(super) fn set(response: &HttpResponse<impl Sized>, detail: ErrorDetail) {
        if let Some(Self(cell)) = response.extensions().get::<Self>() {
            cell.set(detail);
        }
    }
}

/// Creates the response with a stream whose first item, if it has one, was received.
///
/// # Errors
/// Fails if the item is not JSON.
pub(super) async fn respond(
    request: &HttpRequest,
    format: StreamFormat,
    limits: &Limits,
    items: PendingStream,
    first: Option<Bytes>,
) -> Result<HttpResponse> {
    let detail = Rc::new(Cell::new(ErrorDetail::Brief));
    let gone = gone(Connection::of(request));
    let mut body = StreamBody {
        format,
        id: items.error_id(),
        items,
        limits: limits.clone(),
        detail: detail.clone(),
        gone,
        text: BytesMut::new(),
        large: None,
        state: State::Running,
    };
    match first {
        Some(item) => body.add(item).await.map_err(|failure| failure.into_response(body.id))?,
        None => body.finish(),
    }
    let body = stream::unfold(body, |mut body| async { body.next_part().await.map(|part| (part, body)) });
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(BodyStream::new(Box::pin(body))));
    let headers = [
        (header::CONTENT_TYPE, format.media_type()),
        // No cache and no proxy may collect the items. An encoding is named so that no middleware compresses them.
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::CONTENT_ENCODING, "identity"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.extensions_mut().insert(DetailOfStream(detail));
    Ok(response)
}

/// Completes when the client has closed its connection, if the server watches it.
fn gone(connection: Option<Arc<Connection>>) -> Pin<Box<dyn Future<Output = ()>>> {
    match connection {
        Some(connection) => Box::pin(async move { connection.disconnected().await }),
        None => Box::pin(std::future::pending()),
    }
}

/// The unwritten rest of a stream. Dropping it cancels the call.
struct StreamBody {
    format: StreamFormat,
    items: PendingStream,
    id: ErrorId,
    limits: Limits,
    detail: Rc<Cell<ErrorDetail>>,
    gone: Pin<Box<dyn Future<Output = ()>>>,
    /// Text that the connection has not taken.
    text: BytesMut,
    /// The rest of a large item, which follows the text, with its reservation.
    large: Option<(Bytes, Room)>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The stream is complete, except for what is left to write.
    Ended,
    /// The call has failed, and the client must not take the response for a complete one.
    Broken,
}

/// The reason why an item cannot be sent.
enum Failure {
    Call(Error),
    ClientGone,
}

impl Failure {
    fn into_response(self, id: ErrorId) -> actix_web::Error {
        match self {
            Self::Call(error) => CallErrorResponse::new(error, id).into(),
            Self::ClientGone => io::Error::from(io::ErrorKind::ConnectionAborted).into(),
        }
    }
}

impl StreamBody {
    /// Returns the next part of the response. Waits only for the first item of a part.
    async fn next_part(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(part) = self.take_large() {
            return Some(Ok(part));
        }
        while self.state == State::Running && self.large.is_none() && self.text.len() < PART {
            let item = match self.items.next().now_or_never() {
                Some(item) => item,
                None if !self.text.is_empty() => break,
                None => tokio::select! {
                    biased;
                    item = self.items.next() => item,
                    () = &mut self.gone => return Some(Err(io::ErrorKind::ConnectionAborted.into())),
                },
            };
            match item {
                Some(Ok(item)) => match self.add(item).await {
                    Ok(()) => {}
                    Err(Failure::Call(error)) => self.fail(&error),
                    Err(Failure::ClientGone) => return Some(Err(io::ErrorKind::ConnectionAborted.into())),
                },
                Some(Err(error)) => self.fail(&error),
                None => self.finish(),
            }
        }
        if !self.text.is_empty() {
            return Some(Ok(self.text.split().freeze()));
        }
        if self.state == State::Broken {
            // actix-web's server drops what it has not written when a body fails. It writes while the body is pending.
            tokio::task::yield_now().await;
            return Some(Err(io::Error::other("the call of a stream failed")));
        }
        None
    }

    /// Returns the next part of a large item. The text before it has been taken.
    fn take_large(&mut self) -> Option<Bytes> {
        let (item, _) = self.large.as_mut().filter(|_| self.text.is_empty())?;
        self.items.keep_busy(); // the client reads, however long it takes for a large item
        let part = item.split_to(item.len().min(PART));
        if item.is_empty() {
            self.large = None;
            self.text.extend_from_slice(self.format.suffix());
        }
        Some(part)
    }

    /// Adds an item, after a check that it is JSON: other text could end its event, or forge the next one. A large item waits
    /// for room in the buffers of the server.
    async fn add(&mut self, item: Bytes) -> Result<(), Failure> {
        let mark = item.len() - without_byte_order_mark(&item).len();
        let item = item.slice(mark..);
        let room = match item.len() {
            0..=SMALL => None,
            length => Some(self.room(length).await?),
        };
        match body_check::checked(&item, check_json).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Failure::Call(Error::decode(error))),
            Err(stopped) => return Err(Failure::Call(Error::decode(stopped))),
        }
        let item = in_one_line(item);
        self.text.extend_from_slice(self.format.prefix());
        match room {
            Some(room) => self.large = Some((item, room)),
            None => {
                self.text.extend_from_slice(&item);
                self.text.extend_from_slice(self.format.suffix());
            }
        }
        Ok(())
    }

    /// Waits for room for a large item. Nothing is taken from the worker meanwhile, so that the stream stalls if it takes long.
    async fn room(&mut self, length: usize) -> Result<Room, Failure> {
        tokio::select! {
            biased;
            room = self.limits.buffers.wait_for_result(length) => Ok(room),
            () = &mut self.gone => Err(Failure::ClientGone),
        }
    }

    fn finish(&mut self) {
        self.text.extend_from_slice(self.format.end(self.items.metadata().as_ref()).as_bytes());
        self.state = State::Ended;
    }

    /// Ends the stream with an error. Lines have no sign for that which no item can be, so their body stays incomplete.
    fn fail(&mut self, error: &Error) {
        let mut problem = error.problem_in(self.detail.get());
        problem.error_id = problem.error_id.or(Some(self.id));
        self.text.extend_from_slice(self.format.failure(&json(&problem)).as_bytes());
        self.state = if self.format == StreamFormat::Lines { State::Broken } else { State::Ended };
    }
}

/// Returns JSON without line breaks. In valid JSON they are only between tokens, where a space is the same.
fn in_one_line(json: Bytes) -> Bytes {
    if !json.contains(&b'\n') && !json.contains(&b'\r') {
        return json;
    }
    json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}
