//! A connection as requests that come in one after the other, each with its time. Holds the connection's wire and its timer.

use super::{
    alarm::Alarm,
    head,
    settings::Settings,
    wire::{Body, Wire},
};
use crate::http::{connections::Connection, receive::later, refusal::Refusal};
use actix_http::{Request, ServiceConfig, h1::MessageType};
use rustix::net::{Shutdown, shutdown};
use std::{cell::RefCell, future::poll_fn, io, rc::Rc, sync::Arc, task::Poll, time::Duration};
use tokio::{io::Interest, time::Instant};

/// How long the rest of what a client sends is discarded after the last response. To close before would reset the connection, and a client that
/// still sends would lose the response.
const LINGER: Duration = Duration::from_secs(1);

/// What comes next on a connection.
pub(super) enum Next {
    /// A request, and whether it has a body.
    Request(Request, MessageType),
    /// Something that is no request.
    Refused(Refusal),
    /// The client closed, or was idle for too long.
    End,
}

/// A connection.
pub(super) struct Channel {
    pub(super) connection: Arc<Connection>,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) alarm: Alarm,
    pub(super) settings: Settings,
}

impl Drop for Channel {
    /// Requests that the application keeps have the connection, and would keep it open.
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

    /// Whether another request may follow the response that was written last.
    pub(super) fn keeps_alive(&self) -> bool {
        self.wire.borrow().keeps_alive() && !self.connection.is_draining() && !self.connection.has_departed()
    }

    /// Waits for the next request: `idle` for its first byte, and then the time for heads for the rest of its head.
    pub(super) async fn next(&mut self, idle: Duration) -> io::Result<Next> {
        let (mut deadline, mut begun, mut looked_at) = (None, false, 0);
        loop {
            if let Some(next) = self.decode_head(&mut looked_at) {
                return Ok(next);
            }
            if !begun && looked_at > 0 {
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

    /// Decodes a request from the received bytes, or says why they are not one; `looked_at` counts the bytes that were examined without a result.
    fn decode_head(&self, looked_at: &mut usize) -> Option<Next> {
        let mut wire = self.wire.borrow_mut();
        match wire.look_for_head(looked_at) {
            Ok(found) => found.map(|(request, kind)| Next::Request(request, kind)),
            Err(error) => {
                let is_read = wire.received().len() < *looked_at;
                Some(Next::Refused(head::refusal(&error, wire.received(), is_read)))
            }
        }
    }

    /// Reads once. `deadline` is set when it is needed, this time from now.
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

    /// Ends when the client closed, or at least sends no more. What it sends meanwhile stays unread.
    pub(super) async fn departure(&self) {
        while let Ok(ready) = self.connection.stream().ready(Interest::READABLE).await {
            if ready.is_read_closed() && !self.connection.is_shut() {
                return;
            }
            if ready.is_read_closed() {
                break; // by the drain: nothing tells any more what the client does
            }
            // The event is dealt with for the runtime, and not for the wire: the bytes are still there.
            self.wire.borrow_mut().leave_unread();
        }
        std::future::pending::<()>().await; // or the runtime is ending: it drops this future anyway
    }

    /// Ends the connection so that its last response arrives.
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
