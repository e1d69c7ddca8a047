//! The socket of a connection with its buffers and actix-http's codec: decodes requests from received bytes, and
//! encodes responses. Does not decide how a request is handled.

use crate::http::connections::Connection;
use actix_codec::{Decoder, Encoder};
use actix_http::{
    Request, Response, ServiceConfig,
    body::BodySize,
    error::{ParseError, PayloadError},
    h1::{Codec, Message, MessageType},
};
use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use std::{
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};
use tokio::{io::Interest, net::TcpStream, task::coop::poll_proceed};

/// The free space of the input buffer for a head.
const ROOM: usize = 8 * 1024;
/// The free space of the input buffer for the next part of a body.
const ROOM_FOR_BODY: usize = 64 * 1024;
/// The size from which actix-http refuses an incomplete head as too large.
const LONGEST_HEAD: usize = 128 * 1024;
/// The largest capacity that an empty output buffer keeps.
const KEPT: usize = 16 * 1024;
/// Bodies up to this size are copied after their head: writing one slice is cheaper than writing two.
const COPIED: usize = 1024;
/// The largest unread rest of a request body that is discarded so that the connection can stay open.
const DISCARDED: usize = 64 * 1024;

/// The state of the current request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The body was read completely, or the request has none.
    Complete,
    /// The body has more bytes.
    Incomplete,
    /// The body cannot be read any further, so the position of the next request is unknown.
    Broken,
}

/// The socket of a connection with its buffers.
pub(super) struct Wire {
    connection: Arc<Connection>,
    codec: Codec,
    input: BytesMut,
    /// Whether `input` was enlarged for a body or a large head.
    has_grown: bool,
    output: BytesMut,
    /// The number of bytes of `output` that were written.
    sent: usize,
    /// The number of bytes of the current response that the socket has accepted, head included.
    taken: u64,
    /// Whether the socket's readiness was cleared while bytes may be left in it. If so, the next read tries the socket
    /// before it waits.
    unread: bool,
    body: Body,
    /// The task that waits for more of the body. It may not be the connection's task.
    reader: Option<Waker>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    awaits_continue: bool,
    /// The number of the current request. It prevents that the body of an earlier request reads bytes of this one.
    number: u64,
}

impl Wire {
    pub(super) fn new(connection: Arc<Connection>, config: ServiceConfig) -> Self {
        Self {
            connection,
            codec: Codec::new(config),
            input: BytesMut::new(),
            has_grown: false,
            output: BytesMut::new(),
            sent: 0,
            taken: 0,
            unread: false,
            body: Body::Complete,
            reader: None,
            awaits_continue: false,
            number: 0,
        }
    }

    fn stream(&self) -> &TcpStream {
        self.connection.stream()
    }

    /// Reads once. Returns 0 at the end of the input.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // The readiness is cleared, so waiting for it now could wait forever for bytes that are already in the socket.
        if self.unread {
            // A direct read bypasses the runtime, so it must use the task's cooperative budget itself. A client that
            // sends endlessly would otherwise block the thread.
            let budget = ready!(poll_proceed(context));
            if let Some(count) = self.fill_now()? {
                budget.made_progress();
                return Poll::Ready(Ok(count));
            }
        }
        self.make_room();
        loop {
            ready!(self.connection.stream().poll_read_ready(context))?;
            let room = self.input.capacity() - self.input.len();
            match self.connection.stream().try_read_buf(&mut self.input) {
                Ok(count) => {
                    if count < room {
                        // The socket is empty. Clear its readiness: otherwise the next read would be a system call
                        // without a result.
                        self.note_drained();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn make_room(&mut self) {
        if self.body == Body::Complete && self.input.is_empty() && std::mem::take(&mut self.has_grown) {
            // An idle connection does not keep the space that a large body or head needed.
            self.input = BytesMut::new();
        }
        if self.input.capacity() - self.input.len() < ROOM / 4 {
            self.has_grown |= self.body == Body::Incomplete || self.input.len() >= ROOM;
            self.input.reserve(if self.body == Body::Incomplete { ROOM_FOR_BODY } else { ROOM });
        }
    }

    /// Reads once without waiting for readiness. Returns `None` if there are no bytes.
    pub(super) fn fill_now(&mut self) -> io::Result<Option<usize>> {
        let mut room = [0; ROOM];
        loop {
            match rustix::io::read(self.stream(), &mut room) {
                Ok(count) => {
                    self.input.extend_from_slice(&room[..count]);
                    // There may be more bytes, and the runtime's readiness may be cleared.
                    self.unread = true;
                    return Ok(Some(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.unread = false;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Clears the socket's readiness without reading, so that the runtime waits for the next event.
    fn note_drained(&self) {
        _ = self.stream().try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }

    /// Clears the socket's readiness while bytes may be left in it. The next read tries the socket first.
    pub(super) fn leave_unread(&mut self) {
        self.unread = true;
        self.note_drained();
    }

    /// Returns the received bytes that do not belong to a request yet.
    pub(super) fn received(&self) -> &[u8] {
        &self.input
    }

    /// Removes empty lines before a request. Some clients send them.
    fn skip_empty_lines(&mut self) {
        loop {
            let length = match self.input.as_ref() {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return,
            };
            self.input.advance(length);
        }
    }

    /// Discards the received bytes.
    pub(super) fn discard(&mut self) {
        self.input.clear();
    }

    /// Decodes the next request, if its head may be complete. It may be if the new bytes contain the end of a line, or
    /// are the first ones: a client of another protocol may never send a line. A head that arrives byte by byte is
    /// therefore not parsed again for each byte.
    pub(super) fn try_decode_head(
        &mut self,
        examined: &mut usize,
    ) -> Result<Option<(Request, MessageType)>, ParseError> {
        if *examined == 0 {
            self.skip_empty_lines();
        }
        let new = self.input.get(*examined..).unwrap_or_default();
        let may_be_complete =
            !new.is_empty() && (*examined == 0 || new.contains(&b'\n') || self.input.len() >= LONGEST_HEAD);
        *examined = self.input.len();
        if !may_be_complete {
            return Ok(None);
        }
        let found = self.decode_head()?;
        // actix-http checks the size of incomplete heads only. A complete head that is too large must be refused here.
        let is_too_long = found.is_some() && *examined - self.input.len() > LONGEST_HEAD;
        if is_too_long { Err(ParseError::TooLarge) } else { Ok(found) }
    }

    /// Decodes the next request if its head is complete.
    ///
    /// Call this only after the previous request was answered: actix-http's codec keeps the version, the method and the
    /// connection type of the head that it decoded last, and encodes responses with them.
    fn decode_head(&mut self) -> Result<Option<(Request, MessageType)>, ParseError> {
        let Some(message) = self.codec.decode(&mut self.input)? else { return Ok(None) };
        let Message::Item(request) = message else { return Err(ParseError::Incomplete) };
        let kind = self.codec.message_type();
        self.body = if kind == MessageType::None { Body::Complete } else { Body::Incomplete };
        (self.awaits_continue, self.taken) = (request.head().expect(), 0);
        self.number += 1;
        Ok(Some((request, kind)))
    }

    /// Returns the number of the current request.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the next part of the body of request `number`, or `None` at its end. Fails if that request has already
    /// been answered.
    pub(super) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
    ) -> Poll<Option<Result<Bytes, PayloadError>>> {
        loop {
            match self.body {
                Body::Complete if number == self.number => return Poll::Ready(None),
                Body::Incomplete if number == self.number => {}
                _ => return Poll::Ready(Some(Err(PayloadError::Incomplete(None)))),
            }
            match self.decode_body() {
                Ok(Some(bytes)) => {
                    self.awaits_continue = false;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Ok(None) if self.body == Body::Complete => continue,
                Ok(None) => self.ask_for_body(context)?,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let filled = self.poll_fill(context);
            if filled.is_pending() {
                // `abandon_body` wakes this task. Without that, a task that outlives its request would wait forever for
                // the rest of the body, since nothing reads the socket for it any more.
                self.reader = Some(context.waker().clone());
            }
            match ready!(filled) {
                Ok(1..) => {}
                Ok(0) => return Poll::Ready(Some(Err(self.broken(PayloadError::Incomplete(None))))),
                Err(error) => return Poll::Ready(Some(Err(self.broken(PayloadError::Incomplete(Some(error)))))),
            }
        }
    }

    fn broken(&mut self, error: PayloadError) -> PayloadError {
        self.body = Body::Broken;
        error
    }

    /// Returns the state of the current request's body.
    pub(super) fn body(&self) -> Body {
        self.body
    }

    /// Makes the body unreadable, wakes the task that waits for more of it, and returns its previous state.
    pub(super) fn abandon_body(&mut self) -> Body {
        let reader = self.reader.take();
        match self.body {
            Body::Complete => Body::Complete,
            unread => {
                self.body = Body::Broken;
                reader.into_iter().for_each(Waker::wake);
                unread
            }
        }
    }

    /// Decodes a part of the body from the received bytes.
    fn decode_body(&mut self) -> Result<Option<Bytes>, PayloadError> {
        match self.codec.decode(&mut self.input) {
            Ok(Some(Message::Chunk(Some(bytes)))) => Ok(Some(bytes)),
            Ok(Some(_)) => {
                self.body = Body::Complete;
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(_) => Err(self.broken(PayloadError::EncodingCorrupted)),
        }
    }

    /// Sends `100 Continue` if the client waits for it. This happens only when the body is read: a request that is
    /// refused gets the refusal instead, and the client need not send the body.
    fn ask_for_body(&mut self, context: &mut Context<'_>) -> Result<(), PayloadError> {
        if std::mem::take(&mut self.awaits_continue) {
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        match self.poll_flush(context, &mut Bytes::new()) {
            Poll::Ready(Err(error)) => Err(self.broken(PayloadError::Io(error))),
            _ => Ok(()),
        }
    }

    /// Discards the rest of the current request's body, as far as it has arrived and is short. Returns the state of the
    /// body.
    pub(super) fn finish_body(&mut self) -> Body {
        let mut reads = 0;
        while self.body == Body::Incomplete {
            match self.decode_body() {
                Ok(Some(_)) => self.awaits_continue = false,
                Err(_) => {}
                Ok(None) if self.body == Body::Complete => {}
                // The client waits for `100 Continue`, which it will not get. Whether it sends the body anyway is
                // unknown, so the position of the next request is unknown, too.
                Ok(None) if self.awaits_continue || reads == DISCARDED / ROOM => break,
                Ok(None) if !matches!(self.fill_now(), Ok(Some(1..))) => break,
                Ok(None) => reads += 1,
            }
        }
        self.body
    }

    /// Puts the head of a response into the output buffer.
    pub(super) fn put_head(&mut self, head: Response<()>, size: BodySize) -> io::Result<()> {
        // The final response replaces `100 Continue`.
        self.awaits_continue = false;
        self.codec.encode(Message::Item((head, size)), &mut self.output)
    }

    /// Puts the head of the response to an invalid request into the output buffer. The response is HTTP/1.1, and the
    /// last one of the connection.
    pub(super) fn put_last_head(&mut self, head: Response<()>, size: BodySize) -> io::Result<()> {
        // The codec may be in the middle of the invalid request, or have the version of the previous one.
        self.codec = Codec::new(self.codec.config().clone());
        self.taken = 0;
        self.put_head(head, size)
    }

    /// Puts a part of a body of unknown length into the output buffer; `None` is its end.
    pub(super) fn put_chunk(&mut self, part: Option<Bytes>) -> io::Result<()> {
        self.codec.encode(Message::Chunk(part), &mut self.output)
    }

    /// Puts a short part of a body into the output buffer, after its head. Returns a longer part unchanged.
    pub(super) fn put_if_short(&mut self, part: Bytes) -> Bytes {
        if part.len() > COPIED {
            return part;
        }
        self.output.extend_from_slice(&part);
        Bytes::new()
    }

    /// Returns whether another request may follow the last response.
    pub(super) fn keeps_alive(&self) -> bool {
        self.codec.keep_alive()
    }

    /// Resets the number of accepted bytes.
    pub(super) fn restart_count(&mut self) {
        self.taken = 0;
    }

    /// Returns the number of bytes of the current response that the socket has accepted.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Writes the output buffer, and `part` after it. `part` is not copied.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>, part: &mut Bytes) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() || !part.is_empty() {
            match self.write(part) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    let of_output = count.min(self.output.len() - self.sent);
                    self.sent += of_output;
                    part.advance(count - of_output);
                    self.taken += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.connection.stream().poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.sent = 0;
        self.output.clear();
        if self.output.capacity() > KEPT {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn write(&self, part: &Bytes) -> io::Result<usize> {
        let output = &self.output[self.sent..];
        match part.is_empty() {
            true => self.stream().try_write(output),
            false => self.stream().try_write_vectored(&[IoSlice::new(output), IoSlice::new(part)]),
        }
    }
}
