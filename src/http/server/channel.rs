//! A connection as a sequence of requests, each with its timeouts. Holds the connection's buffers and its timer.

use super::{
    head,
    settings::Settings,
    wire::{Body, Wire},
};
use crate::http::{
    alarm::{Alarm, later},
    connections::Connection,
    refusal::Refusal,
};
use actix_http::{Request, ServiceConfig, h1::MessageType};
use rustix::net::{Shutdown, shutdown};
use std::{cell::RefCell, future::poll_fn, io, rc::Rc, sync::Arc, task::Poll, time::Duration};
use tokio::{io::Interest, time::Instant};

/// How long input is discarded after the last response, before the connection closes. If the socket were closed with
/// unread input, the system would reset the connection, and a client that is still sending could lose the response.
const LINGER: Duration = Duration::from_secs(1);

/// The next event on a connection.
pub(super) enum Next {
    /// A request, and whether it has a body.
    Request(Request, MessageType),
    /// Bytes that are not a valid request.
    Refused(Refusal),
    /// The client closed the connection, or sent nothing for too long.
    End,
}

/// A connection with its buffers, timer and settings.
pub(super) struct Channel {
    pub(super) connection: Arc<Connection>,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) alarm: Alarm,
    pub(super) settings: Settings,
}

impl Drop for Channel {
    /// Shuts the socket down. Dropping the descriptor is not enough: requests that the application keeps also hold the
    /// connection, and would keep the socket open.
    fn drop(&mut self) {
        if let Ok(mut wire) = self.wire.try_borrow_mut() {
            wire.abandon_body();
        }
        _ = shutdown(self.connection.stream(), Shutdown::Both);
    }
}

impl Channel {
    pub(super) fn new(connection: Arc<Connection>, config: ServiceConfig, settings: Settings) -> Self {
        let wire = Rc::new(RefCell::new(Wire::new(connection.clone(), config)));
        Self { connection, wire, alarm: Alarm::default(), settings }
    }

    /// Returns whether another request may follow the last response.
    pub(super) fn keeps_alive(&self) -> bool {
        self.wire.borrow().keeps_alive() && !self.connection.is_draining() && !self.connection.is_client_closed()
    }

    /// Waits for the next request: for at most `idle` until its first byte, and then for at most the head timeout until
    /// the end of its head.
    pub(super) async fn next(&mut self, idle: Duration) -> io::Result<Next> {
        let (mut deadline, mut begun, mut examined) = (None, false, 0);
        loop {
            if let Some(next) = self.decode_head(&mut examined) {
                return Ok(next);
            }
            // The first bytes have arrived. The deadline for the idle connection ends, and that for the head begins.
            if !begun && examined > 0 {
                (begun, deadline) = (true, None);
            }
            let time = if begun { self.settings.head } else { idle };
            match self.fill(&mut deadline, time).await {
                Ok(0) => return Ok(Next::End),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut && begun => {
                    return Ok(Next::Refused(Refusal::HeadTimeout { limit: self.settings.head }));
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Next::End),
                Err(error) => return Err(error),
            }
        }
    }

    /// Decodes a request from the received bytes. Returns a refusal if they are not a valid request, and `None` if the
    /// head is incomplete. `examined` is the number of bytes that were examined without a result.
    fn decode_head(&self, examined: &mut usize) -> Option<Next> {
        let mut wire = self.wire.borrow_mut();
        match wire.try_decode_head(examined) {
            Ok(found) => found.map(|(request, kind)| Next::Request(request, kind)),
            Err(error) => {
                // actix-http consumes the head before it checks its headers. So if bytes are missing, the lines were
                // valid.
                let is_read = wire.received().len() < *examined;
                Some(Next::Refused(head::refusal(&error, wire.received(), is_read)))
            }
        }
    }

    /// Reads once. Waits for at most `time`, counted from the first call with this `deadline`.
    #[expect(clippy::disallowed_methods, reason = "the user sets how long a client may take")]
    async fn fill(&mut self, deadline: &mut Option<Instant>, time: Duration) -> io::Result<usize> {
        let Self { wire, alarm, .. } = self;
        poll_fn(|context| {
            if let Poll::Ready(outcome) = wire.borrow_mut().poll_fill(context) {
                return Poll::Ready(outcome);
            }
            let deadline = *deadline.get_or_insert_with(|| later(Instant::now(), time));
            alarm.poll(context, deadline).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// Waits until the client has closed the connection, or at least its sending side. Bytes that it sends meanwhile
    /// stay unread.
    pub(super) async fn client_closed(&self) {
        while let Ok(ready) = self.connection.stream().ready(Interest::READABLE).await {
            if ready.is_read_closed() && !self.connection.is_shut() {
                return;
            }
            if ready.is_read_closed() {
                // The drain has closed the reading side: the socket cannot show any more what the client does.
                break;
            }
            // Clears the readiness, so that `ready` waits for a new event instead of returning this one again. The
            // bytes are still in the socket, so the next read of `wire` must try the socket before it waits for readiness.
            self.wire.borrow_mut().leave_unread();
        }
        // Also reached if the runtime is ending, which drops this future.
        std::future::pending::<()>().await;
    }

    /// Closes the connection in a way that lets the last response arrive.
    pub(super) async fn linger(&mut self) -> io::Result<()> {
        let has_more = {
            let mut wire = self.wire.borrow_mut();
            wire.abandon_body() != Body::Complete
                || !wire.received().is_empty()
                || matches!(wire.fill_now(), Ok(Some(1..)))
        };
        if !has_more {
            return Ok(());
        }
        // Close the sending side, so that the client sees the end of the response, and then discard what it still
        // sends.
        shutdown(self.connection.stream(), Shutdown::Write)?;
        let mut deadline = None;
        loop {
            self.wire.borrow_mut().discard();
            match self.fill(&mut deadline, LINGER).await {
                Ok(1..) => {}
                _ => return Ok(()),
            }
        }
    }
}
