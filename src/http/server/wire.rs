//! The socket of a connection with its buffers and actix-http's codec: bytes in, parts of requests out, and back. Decides nothing
//! about requests.

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

/// Room for a head, or for the next part of a body.
const ROOM: usize = 8 * 1024;
const ROOM_FOR_BODY: usize = 64 * 1024;
/// From here on actix-http takes a head that is not complete for one that is too large.
const LONGEST_HEAD: usize = 128 * 1024;
/// An output buffer that grew beyond this is given back once it is empty.
const KEPT: usize = 16 * 1024;
/// Bodies up to this size are copied behind their head: one slice is cheaper to write than two.
const COPIED: usize = 1024;
/// How much of a body that no handler has read is discarded so that its connection can stay open.
const DISCARDED: usize = 64 * 1024;

/// What is known of the present request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// All of it was read, or there is none.
    Complete,
    /// More is to come.
    Incomplete,
    /// It can't be read further: where the next request begins is not known.
    Broken,
}

/// A connection's bytes.
pub(super) struct Wire {
    connection: Arc<Connection>,
    codec: Codec,
    input: BytesMut,
    /// `input` has room for bodies.
    has_grown: bool,
    output: BytesMut,
    /// How much of `output` was written.
    sent: usize,
    /// How much of the present response the client's side has taken, head included.
    taken: u64,
    /// The readiness was cleared although bytes may be left: the next read tries the socket before it waits.
    unread: bool,
    body: Body,
    /// Who waits for more of the body: perhaps not the connection's task.
    reader: Option<Waker>,
    /// The client waits for `100 Continue` before it sends the body.
    awaits_continue: bool,
    /// Counts requests, so that the body of an answered one can't take bytes of the next.
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

    /// Reads once. 0 is the end of what the client sends.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread {
            let turn = ready!(poll_proceed(context)); // as the runtime does it for the reads that it knows of
            if let Some(count) = self.fill_now()? {
                turn.made_progress();
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
                        // All there was. Otherwise the next read would be a system call that finds nothing.
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
            self.input = BytesMut::new(); // an idle connection does not keep what a large body or head needed
        }
        if self.input.capacity() - self.input.len() < ROOM / 4 {
            self.has_grown |= self.body == Body::Incomplete || self.input.len() >= ROOM;
            self.input.reserve(if self.body == Body::Incomplete { ROOM_FOR_BODY } else { ROOM });
        }
    }

    /// Reads what is there without asking the runtime; `None` if nothing is.
    pub(super) fn fill_now(&mut self) -> io::Result<Option<usize>> {
        let mut room = [0; ROOM];
        loop {
            match rustix::io::read(self.stream(), &mut room) {
                Ok(count) => {
                    self.input.extend_from_slice(&room[..count]);
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

    /// Clears the socket's readiness although bytes may be left unread; the next read tries the socket first.
    pub(super) fn leave_unread(&mut self) {
        self.unread = true;
        self.note_drained();
    }

    /// What was received and belongs to no request yet.
    pub(super) fn received(&self) -> &[u8] {
        &self.input
    }

    /// Removes empty lines before a request, which some clients send.
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

    pub(super) fn discard(&mut self) {
        self.input.clear();
    }

    /// Decodes the next request if its head may be complete: if a line has ended in what came since the last look, or the first bytes
    /// came (a client that speaks another protocol may never send a line). So a head that comes byte by byte is not parsed for each of them.
    pub(super) fn look_for_head(
        &mut self,
        looked_at: &mut usize,
    ) -> Result<Option<(Request, MessageType)>, ParseError> {
        if *looked_at == 0 {
            self.skip_empty_lines();
        }
        let new = self.input.get(*looked_at..).unwrap_or_default();
        let is_worth_it =
            !new.is_empty() && (*looked_at == 0 || new.contains(&b'\n') || self.input.len() >= LONGEST_HEAD);
        *looked_at = self.input.len();
        if !is_worth_it {
            return Ok(None);
        }
        let found = self.decode_head()?;
        // actix-http looks at the size of incomplete heads only.
        let is_too_long = found.is_some() && *looked_at - self.input.len() > LONGEST_HEAD;
        if is_too_long { Err(ParseError::TooLarge) } else { Ok(found) }
    }

    /// Decodes the next request if its head is complete. Call this only after the previous request was answered: actix-http's codec keeps
    /// the version, method and connection type of the head that it decoded last, and encodes responses with them.
    fn decode_head(&mut self) -> Result<Option<(Request, MessageType)>, ParseError> {
        let Some(message) = self.codec.decode(&mut self.input)? else { return Ok(None) };
        let Message::Item(request) = message else { return Err(ParseError::Incomplete) };
        let kind = self.codec.message_type();
        self.body = if kind == MessageType::None { Body::Complete } else { Body::Incomplete };
        (self.awaits_continue, self.taken) = (request.head().expect(), 0);
        self.number += 1;
        Ok(Some((request, kind)))
    }

    /// Which request is being answered.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next part of the body of this request, or `None` at its end.
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

    /// What is known of the body of the present request.
    pub(super) fn body(&self) -> Body {
        self.body
    }

    /// Lets nobody read the body any more; tells how far it was read. Who waits for more of it is told.
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

    /// A part of the body from what was received.
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

    /// Sends `100 Continue` if the client waits for it: not before the body is asked for, so that a refusal comes instead.
    fn ask_for_body(&mut self, context: &mut Context<'_>) -> Result<(), PayloadError> {
        if std::mem::take(&mut self.awaits_continue) {
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        match self.poll_flush(context, &mut Bytes::new()) {
            Poll::Ready(Err(error)) => Err(self.broken(PayloadError::Io(error))),
            _ => Ok(()),
        }
    }

    /// Discards what is left of the present request's body as far as it is here, and tells whether that was all of it.
    pub(super) fn finish_body(&mut self) -> Body {
        let mut reads = 0;
        while self.body == Body::Incomplete {
            match self.decode_body() {
                Ok(Some(_)) => self.awaits_continue = false,
                Err(_) => {}
                Ok(None) if self.body == Body::Complete => {}
                // A client that waits for `100 Continue` may send the body or not: nobody knows.
                Ok(None) if self.awaits_continue || reads == DISCARDED / ROOM => break,
                Ok(None) if !matches!(self.fill_now(), Ok(Some(1..))) => break,
                Ok(None) => reads += 1,
            }
        }
        self.body
    }

    /// Puts the head of a response into the output. Gives its body's kind.
    pub(super) fn put_head(&mut self, head: Response<()>, size: BodySize) -> io::Result<()> {
        self.awaits_continue = false; // it has the response
        self.codec.encode(Message::Item((head, size)), &mut self.output)
    }

    /// Puts the head of a response to an invalid request into the output. The response is HTTP/1.1 and the last of the connection, whatever preceded it.
    pub(super) fn put_last_head(&mut self, head: Response<()>, size: BodySize) -> io::Result<()> {
        self.codec = Codec::new(self.codec.config().clone());
        self.taken = 0;
        self.put_head(head, size)
    }

    /// Puts a part of a body whose length nobody knows, or its end, into the output.
    pub(super) fn put_chunk(&mut self, part: Option<Bytes>) -> io::Result<()> {
        self.codec.encode(Message::Chunk(part), &mut self.output)
    }

    /// Puts a short part of a body behind its head.
    pub(super) fn put_if_short(&mut self, part: Bytes) -> Bytes {
        if part.len() > COPIED {
            return part;
        }
        self.output.extend_from_slice(&part);
        Bytes::new()
    }

    /// Whether another request may follow the response whose head was put last.
    pub(super) fn keeps_alive(&self) -> bool {
        self.codec.keep_alive()
    }

    /// Counts the bytes that are taken anew.
    pub(super) fn restart_count(&mut self) {
        self.taken = 0;
    }

    /// How many bytes of the present response were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Writes the output, and this after it. The part itself is not copied.
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
