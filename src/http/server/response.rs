//! Responses on a connection: head and body written out, each within the time for it, and the body never copied if it is large. Holds nothing.

use super::{channel::Channel, wire::Body};
use crate::http::{connections::Connection, receive::later, refusal::Refusal};
use actix_http::{
    ConnectionType, Response, StatusCode, Version,
    body::{BodySize, BoxBody, MessageBody},
};
use actix_web::ResponseError;
use bytes::Bytes;
use rustix::net::sockopt;
use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};
use tokio::{io::Interest, task::coop::consume_budget, time::Instant};

/// What a response depends on, of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) version: Version,
    /// For the head alone.
    pub(super) is_head: bool,
    /// What follows is no request.
    pub(super) is_last: bool,
}

impl Channel {
    /// Responds to an invalid request, or to one that this server does not support. Then the connection ends.
    pub(super) async fn refuse(&mut self, refusal: &Refusal) -> io::Result<()> {
        let (head, body) = Response::from(refusal.error_response()).into_parts();
        self.wire.borrow_mut().put_last_head(head, body.size())?;
        self.write_body(body, false).await
    }

    /// Writes a response to the present request.
    pub(super) async fn answer<B>(&mut self, response: Response<B>, to: Asked) -> io::Result<()>
    where
        B: MessageBody + 'static,
    {
        let (mut head, body) = response.into_parts();
        let status = head.status();
        // A client of HTTP/1.0 knows no chunks: such a body ends with its connection.
        let has_no_end = to.version == Version::HTTP_10 && body.size() == BodySize::Stream;
        if has_no_end {
            head.head_mut().no_chunking(true);
        }
        let has_switched = head.upgrade(); // the application, to another protocol
        let is_last = to.is_last || has_no_end;
        if !has_switched && (is_last || self.finish_body() != Body::Complete || self.connection.is_draining()) {
            head.head_mut().set_connection_type(ConnectionType::Close);
        }
        self.wire.borrow_mut().put_head(head, body.size())?;
        let has_none = to.is_head || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        self.write_body(body.boxed(), has_none).await
    }

    /// Discards what is left of the request's body, unless somebody still has it and may read it: the body of the response can be made of it.
    fn finish_body(&self) -> Body {
        let is_held = Rc::weak_count(&self.wire) > 0;
        let mut wire = self.wire.borrow_mut();
        if is_held { wire.body() } else { wire.finish_body() }
    }

    /// Writes the output, and behind it the body.
    async fn write_body(&mut self, body: BoxBody, leave_out: bool) -> io::Result<()> {
        let mut waits = None;
        if leave_out || matches!(body.size(), BodySize::None | BodySize::Sized(0)) {
            return self.flush(Bytes::new(), &mut waits).await;
        }
        match body.try_into_bytes() {
            Ok(bytes) => {
                let rest = self.wire.borrow_mut().put_if_short(bytes);
                self.flush(rest, &mut waits).await
            }
            Err(body) => self.write_parts(body, &mut waits).await,
        }
    }

    /// Writes a body that comes in parts. It is dropped when all of it was written, in case it counts what is not.
    async fn write_parts(&mut self, body: BoxBody, waits: &mut Option<Instant>) -> io::Result<()> {
        let mut left = if let BodySize::Sized(length) = body.size() { Some(length) } else { None };
        let mut body = pin!(body);
        loop {
            let part = tokio::select! {
                biased;
                part = self.part(body.as_mut(), waits) => part?,
                () = self.reset() => return Err(io::ErrorKind::ConnectionReset.into()),
            };
            let Some(part) = part else { break };
            consume_budget().await; // a body that always has more, and a client that takes it, must not keep others from the thread
            let Some(left) = &mut left else {
                self.wire.borrow_mut().put_chunk(Some(part))?;
                self.flush(Bytes::new(), waits).await?;
                continue;
            };
            let part = part.slice(..part.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
            *left -= part.len() as u64;
            self.flush(part, waits).await?;
        }
        match left {
            Some(0) => return Ok(()),
            Some(_) => return Err(io::Error::other("the body of a response ended before its length")),
            None => self.wire.borrow_mut().put_chunk(None)?,
        }
        self.flush(Bytes::new(), waits).await
    }

    /// Ends when the client resets the connection. Otherwise nobody would see it while the body has nothing to write.
    async fn reset(&self) {
        if self.connection.stream().ready(Interest::ERROR).await.is_err() {
            std::future::pending::<()>().await; // the runtime is ending: it drops this future anyway
        }
    }

    /// The next part of a body. What is in the output goes out meanwhile; if all of it did, it is the body that waits, and not its reader.
    async fn part(&self, mut body: Pin<&mut BoxBody>, waits: &mut Option<Instant>) -> io::Result<Option<Bytes>> {
        poll_fn(|context| match body.as_mut().poll_next(context) {
            Poll::Ready(part) => Poll::Ready(part.transpose().map_err(|error| io::Error::other(error.to_string()))),
            Poll::Pending => {
                let mut wire = self.wire.borrow_mut();
                if let Poll::Ready(outcome) = wire.poll_flush(context, &mut Bytes::new()) {
                    outcome?;
                    *waits = None;
                    wire.restart_count();
                }
                Poll::Pending
            }
        })
        .await
    }

    /// Writes the output and this part of a body. `waits` says since when the response waits for its reader.
    #[expect(clippy::disallowed_methods, reason = "the user sets how long a client may take")]
    async fn flush(&mut self, mut part: Bytes, waits: &mut Option<Instant>) -> io::Result<()> {
        let Self { connection, wire, alarm, settings } = self;
        poll_fn(|context| {
            let mut wire = wire.borrow_mut();
            if let Poll::Ready(outcome) = wire.poll_flush(context, &mut part) {
                return Poll::Ready(outcome);
            }
            let since = *waits.get_or_insert_with(|| {
                end_without_progress(connection, settings.write);
                Instant::now()
            });
            let late = alarm.poll(context, later(since, settings.time_for(wire.taken())));
            late.map(|()| Err(give_up(connection)))
        })
        .await
    }
}

/// Lets the system end the connection if the peer acknowledges nothing for this long. Only the system sees this: it accepts bytes from us in
/// large steps, long after the peer has acknowledged some.
fn end_without_progress(connection: &Connection, time: Duration) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // The system takes no number that is negative as an `int`.
        let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        _ = sockopt::set_tcp_user_timeout(connection.stream(), milliseconds.unsigned_abs());
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (connection, time);
}

/// Lets the system discard what the peer has not taken, when the connection closes.
fn give_up(connection: &Connection) -> io::Error {
    _ = sockopt::set_socket_linger(connection.stream(), Some(Duration::ZERO));
    io::Error::new(io::ErrorKind::TimedOut, "its client reads too slowly")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{connections::Connections, server::settings::Settings};
    use actix_http::ServiceConfig;
    use actix_web::body::BodyStream;
    use futures_util::{StreamExt, stream};
    use tokio::net::TcpStream;

    /// A client is not late when it is the application that has nothing to write.
    #[actix_web::test]
    async fn r68_the_time_of_a_reader_begins_anew_when_all_is_written() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let connection = Connection::served(&Connections::default(), stream);
        let channel = Channel::new(connection, ServiceConfig::default(), Settings::default());
        let later = stream::once(tokio::task::yield_now()).map(|()| Ok::<_, io::Error>(Bytes::from_static(b"x")));
        let mut body = pin!(BoxBody::new(BodyStream::new(Box::pin(later))));
        #[expect(clippy::disallowed_methods, reason = "any time will do")]
        let mut waits = Some(Instant::now());
        assert_eq!(channel.part(body.as_mut(), &mut waits).await.unwrap().unwrap(), "x");
        assert_eq!(waits, None);
    }
}
