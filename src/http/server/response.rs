//! Writes responses to a connection, each within its timeout, without copying large bodies. Holds nothing.

use super::{channel::Channel, wire::Body};
use crate::http::{alarm::later, connections::Connection, refusal::Refusal};
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

/// The properties of a request that its response depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestInfo {
    pub(super) version: Version,
    /// The response has a head but no body.
    pub(super) is_head: bool,
    /// No further request follows.
    pub(super) is_last: bool,
}

impl Channel {
    /// Writes the response to an invalid or unsupported request. The connection must be closed after it.
    pub(super) async fn refuse(&mut self, refusal: &Refusal) -> io::Result<()> {
        let (head, body) = Response::from(refusal.error_response()).into_parts();
        self.wire.borrow_mut().put_last_head(head, body.size())?;
        self.write_body(body, false).await
    }

    /// Writes the response to the current request.
    pub(super) async fn answer<B>(&mut self, response: Response<B>, to: RequestInfo) -> io::Result<()>
    where
        B: MessageBody + 'static,
    {
        let (mut head, body) = response.into_parts();
        let status = head.status();
        // HTTP/1.0 has no chunks: a body of unknown length ends with the connection.
        let has_no_end = to.version == Version::HTTP_10 && body.size() == BodySize::Stream;
        if has_no_end {
            head.head_mut().no_chunking(true);
        }
        // The application switches to another protocol. The connection must not announce `close` then.
        let has_switched = head.upgrade();
        let is_last = to.is_last || has_no_end;
        if !has_switched && (is_last || self.finish_body() != Body::Complete || self.connection.is_draining()) {
            head.head_mut().set_connection_type(ConnectionType::Close);
        }
        self.wire.borrow_mut().put_head(head, body.size())?;
        let has_none = to.is_head || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        self.write_body(body.boxed(), has_none).await
    }

    /// Discards the rest of the request's body, unless the application still holds the body and may read it: the body
    /// of the response can depend on it, as in an echo.
    fn finish_body(&self) -> Body {
        let is_held = Rc::weak_count(&self.wire) > 0;
        let mut wire = self.wire.borrow_mut();
        if is_held { wire.body() } else { wire.finish_body() }
    }

    /// Writes the output buffer, followed by the body.
    async fn write_body(&mut self, body: BoxBody, leave_out: bool) -> io::Result<()> {
        let mut waiting_since = None;
        if leave_out || matches!(body.size(), BodySize::None | BodySize::Sized(0)) {
            return self.flush(Bytes::new(), &mut waiting_since).await;
        }
        match body.try_into_bytes() {
            Ok(bytes) => {
                let rest = self.wire.borrow_mut().put_if_short(bytes);
                self.flush(rest, &mut waiting_since).await
            }
            Err(body) => {
                let connection = self.connection.clone();
                tokio::select! {
                    // The body comes first: what can be written at once is written.
                    biased;
                    outcome = self.write_parts(body, &mut waiting_since) => outcome,
                    () = connection.must_end() => Err(reset_on_close(&connection, "the server drains")),
                }
            }
        }
    }

    /// Writes a body that is produced in parts. The body is dropped after its last byte has been written, because it
    /// may hold a reservation of buffer space.
    async fn write_parts(&mut self, body: BoxBody, waiting_since: &mut Option<Instant>) -> io::Result<()> {
        let mut remaining = if let BodySize::Sized(length) = body.size() { Some(length) } else { None };
        let mut body = pin!(body);
        loop {
            let part = tokio::select! {
                biased;
                part = self.part(body.as_mut(), waiting_since) => part?,
                () = self.reset() => return Err(io::ErrorKind::ConnectionReset.into()),
                () = self.client_closed(), if !self.connection.is_client_closed() => {
                    // The body decides what that means, as the handler does before the response.
                    self.connection.mark_client_closed();
                    continue;
                }
            };
            let Some(part) = part else { break };
            // The body may always have a next part, and the client may always accept it. Without this, such a response
            // could occupy the thread.
            consume_budget().await;
            let Some(remaining) = &mut remaining else {
                self.wire.borrow_mut().put_chunk(Some(part))?;
                self.flush(Bytes::new(), waiting_since).await?;
                continue;
            };
            let part = part.slice(..part.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX)));
            *remaining -= part.len() as u64;
            self.flush(part, waiting_since).await?;
        }
        match remaining {
            Some(0) => return Ok(()),
            Some(_) => return Err(io::Error::other("the body of a response ended before its length")),
            None => self.wire.borrow_mut().put_chunk(None)?,
        }
        self.flush(Bytes::new(), waiting_since).await
    }

    /// Waits until the client resets the connection. While the body has nothing to write, no write would fail, so the
    /// reset would go unnoticed.
    async fn reset(&self) {
        if self.connection.stream().ready(Interest::ERROR).await.is_err() {
            // The runtime is ending, and drops this future.
            std::future::pending::<()>().await;
        }
    }

    /// Returns the next part of a body. While the body is pending, the output buffer is written. Once that is empty,
    /// the response waits for the application and not for the client: the write timeout ends.
    async fn part(
        &self,
        mut body: Pin<&mut BoxBody>,
        waiting_since: &mut Option<Instant>,
    ) -> io::Result<Option<Bytes>> {
        poll_fn(|context| match body.as_mut().poll_next(context) {
            Poll::Ready(part) => Poll::Ready(part.transpose().map_err(|error| io::Error::other(error.to_string()))),
            Poll::Pending => {
                let mut wire = self.wire.borrow_mut();
                if let Poll::Ready(outcome) = wire.poll_flush(context, &mut Bytes::new()) {
                    outcome?;
                    *waiting_since = None;
                    wire.restart_count();
                }
                Poll::Pending
            }
        })
        .await
    }

    /// Writes the output buffer and this part of a body. `waiting_since` is the time since which the response waits for
    /// its client to read.
    #[expect(clippy::disallowed_methods, reason = "the user sets how long a client may take")]
    async fn flush(&mut self, mut part: Bytes, waiting_since: &mut Option<Instant>) -> io::Result<()> {
        let Self { connection, wire, alarm, settings } = self;
        poll_fn(|context| {
            let mut wire = wire.borrow_mut();
            if let Poll::Ready(outcome) = wire.poll_flush(context, &mut part) {
                return Poll::Ready(outcome);
            }
            let since = *waiting_since.get_or_insert_with(|| {
                set_progress_timeout(connection, settings.write);
                Instant::now()
            });
            let late = alarm.poll(context, later(since, settings.time_for(wire.taken())));
            late.map(|()| Err(reset_on_close(connection, "the client reads the response too slowly")))
        })
        .await
    }
}

/// Sets how long the system keeps the connection if the peer acknowledges nothing. Only the system can see whether the
/// peer makes progress: it accepts bytes from this process in large steps, long after the peer has acknowledged some.
fn set_progress_timeout(connection: &Connection, time: Duration) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // The system reads the value as an `int`, and refuses a negative one.
        let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        _ = sockopt::set_tcp_user_timeout(connection.stream(), milliseconds.unsigned_abs());
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (connection, time);
}

/// Makes the system discard unsent bytes when the connection closes, and returns the error.
fn reset_on_close(connection: &Connection, reason: &'static str) -> io::Error {
    _ = sockopt::set_socket_linger(connection.stream(), Some(Duration::ZERO));
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{connections::Connections, server::settings::Settings};
    use actix_http::ServiceConfig;
    use actix_web::body::BodyStream;
    use futures_util::{StreamExt, stream};
    use tokio::net::TcpStream;

    /// The write timeout does not run while the application has nothing to write.
    #[actix_web::test]
    async fn r68_the_write_timeout_ends_when_all_is_written() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let connection = Connection::served(&Connections::default(), stream);
        let channel = Channel::new(connection, ServiceConfig::default(), Settings::default());
        let later = stream::once(tokio::task::yield_now()).map(|()| Ok::<_, io::Error>(Bytes::from_static(b"x")));
        let mut body = pin!(BoxBody::new(BodyStream::new(Box::pin(later))));
        #[expect(clippy::disallowed_methods, reason = "any time will do")]
        let mut waiting_since = Some(Instant::now());
        assert_eq!(channel.part(body.as_mut(), &mut waiting_since).await.unwrap().unwrap(), "x");
        assert_eq!(waiting_since, None);
    }
}
