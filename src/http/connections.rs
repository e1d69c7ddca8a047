//! The connections of a server: detects that a client closes its connection, and which connections are idle when the
//! server drains. Holds a second descriptor for each connection of an `HttpServer`, because actix-web does not share
//! its own. For a connection of [`Server`](super::Server), the task of the connection reports the disconnect. Holds
//! nothing about requests.
//!
//! This is needed because actix-web runs an HTTP/1 handler to its end after its client has disconnected
//! (actix-web#3462), without a notification to the handler. A drain would also wait for idle connections that clients
//! keep open.

use actix_web::{
    HttpMessage, HttpRequest,
    dev::{Extensions, ServiceResponse},
    http::ConnectionType,
};
use rustix::net::{Shutdown, shutdown};
use std::{
    any::Any,
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::{io::Interest, net::TcpStream, sync::Notify};

/// Watches the connections of an `HttpServer`, so that a call is cancelled when its client closes the connection.
/// [`Server`](super::Server) watches its connections without this, and without a second descriptor.
///
/// A client that closes only its sending side counts as disconnected. Each connection takes one more descriptor.
/// Connections that are not plain TCP (TLS, Unix sockets) are not watched.
///
/// ```no_run
/// use actix_web::{App, HttpServer, web};
/// use herder::{Pool, http::{Connections, routes}};
/// # async fn example(pool: Pool) -> std::io::Result<()> {
/// let server = HttpServer::new(move || App::new().service(web::scope("/herder").configure(routes(&pool))))
///     .on_connect(Connections::default().on_connect());
/// # server.bind("127.0.0.1:8080")?.run().await }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    draining: AtomicBool,
    /// Notified when the drain begins.
    drain_begins: Notify,
    count: AtomicU64,
    open: Mutex<HashMap<u64, Weak<Connection>>>,
}

/// A watched connection.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    local: Option<SocketAddr>,
    requests: AtomicUsize,
    /// Whether the drain has closed the reading side.
    shut: AtomicBool,
    /// Whether the response that is being written ends when the drain begins.
    ends_with_drain: AtomicBool,
    stream: TcpStream,
    client_close: Option<ClientClose>,
    all: Arc<Shared>,
}

/// Records that the client has closed the connection, as observed by the connection's task.
///
/// No other task may wait for readiness of that socket. A task that waits for the next event must first clear the last
/// one; the connection's task would then wait for bytes that have already arrived.
#[derive(Debug, Default)]
struct ClientClose {
    seen: AtomicBool,
    notify: Notify,
}

impl Connections {
    /// Returns a function for `HttpServer::on_connect`.
    pub fn on_connect(&self) -> impl Fn(&dyn Any, &mut Extensions) + Clone + Send + Sync + 'static + use<> {
        let all = self.0.clone();
        move |stream, data| {
            let Some(stream) = stream.downcast_ref::<TcpStream>() else { return };
            match Connection::duplicate(&all, stream) {
                Ok(connection) => _ = data.insert(connection),
                Err(error) => {
                    tracing::warn!(%error, "cannot watch a connection; its calls are not cancelled when it closes");
                }
            }
        }
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        self.0.lock().len()
    }

    /// Closes idle connections, and lets every other connection close after its response. Does not wait.
    pub fn drain(&self) {
        // The flag is set before the counts are read; `end` lowers the count before it reads the flag. So for each
        // request that ends now, either this loop finds its connection idle, or `end` finds the flag set.
        self.0.draining.store(true, Ordering::SeqCst);
        self.0.drain_begins.notify_waiters();
        let all: Vec<_> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|connection| connection.close_if_idle());
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn duplicate(all: &Arc<Shared>, stream: &TcpStream) -> io::Result<Arc<Self>> {
        let copy = stream.as_fd().try_clone_to_owned()?;
        Ok(Self::new(all, TcpStream::from_std(copy.into())?, None))
    }

    /// Creates the connection of a [`Server`](super::Server), whose task reports when the client closes it.
    pub(super) fn served(all: &Connections, stream: TcpStream) -> Arc<Self> {
        Self::new(&all.0, stream, Some(ClientClose::default()))
    }

    fn new(all: &Arc<Shared>, stream: TcpStream, client_close: Option<ClientClose>) -> Arc<Self> {
        let (number, local) = (all.count.fetch_add(1, Ordering::Relaxed), stream.local_addr().ok());
        let (requests, shut) = (AtomicUsize::new(0), AtomicBool::new(false));
        let ends_with_drain = AtomicBool::new(false);
        let connection =
            Arc::new(Self { number, local, requests, shut, ends_with_drain, stream, client_close, all: all.clone() });
        all.lock().insert(number, Arc::downgrade(&connection));
        // A connection that was accepted before a drain may get here after it. Either `drain` finds it in the list, or it
        // finds the flag set.
        if connection.is_draining() {
            connection.close_if_idle();
        }
        connection
    }

    /// Closes the reading side if no request is being served. Requests that have already arrived are still served.
    fn close_if_idle(&self) {
        if self.requests.load(Ordering::SeqCst) == 0 {
            // Only the reading side, so that a response that is being written still arrives. `shut` is set first: the end
            // of the input must not look like a disconnect to a request that has just arrived.
            self.shut.store(true, Ordering::SeqCst);
            _ = shutdown(&self.stream, Shutdown::Read);
        }
    }

    /// Returns the connection of a request, if it is watched.
    pub(super) fn of(request: &HttpRequest) -> Option<Arc<Self>> {
        // An `HttpServer` keeps it with the connection. Other servers cannot store anything there, so `Server` puts it
        // into the extensions of each request.
        let kept = request.conn_data::<Arc<Self>>().cloned();
        kept.or_else(|| request.extensions().get::<Arc<Self>>().cloned())
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns whether the server is draining. If so, no connection accepts another request.
    pub(super) fn is_draining(&self) -> bool {
        self.all.draining.load(Ordering::SeqCst)
    }

    /// Waits until the server drains.
    pub(super) async fn drain_begins(&self) {
        let mut notified = pin!(self.all.drain_begins.notified());
        // As in `disconnected`: the waiter is created before the flag is read.
        notified.as_mut().enable();
        if !self.is_draining() {
            notified.await;
        }
    }

    /// Waits until the response that is being written must end, because the server drains and a drain need not wait for it.
    pub(super) async fn must_end(&self) {
        match self.ends_with_drain.load(Ordering::SeqCst) {
            true => self.drain_begins().await,
            false => std::future::pending().await,
        }
    }

    /// Returns whether the end of the input was caused by the drain and not by the client.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    /// Returns whether the server of this connection discards the unread rest of a request body.
    pub(super) fn discards_bodies(&self) -> bool {
        self.client_close.is_some()
    }

    /// Records that the client has closed the connection, and wakes the tasks that wait for it.
    pub(super) fn mark_client_closed(&self) {
        if let Some(client_close) = &self.client_close {
            client_close.seen.store(true, Ordering::SeqCst);
            client_close.notify.notify_waiters();
        }
    }

    /// Returns whether the client has closed the connection.
    pub(super) fn is_client_closed(&self) -> bool {
        self.client_close.as_ref().is_some_and(|client_close| client_close.seen.load(Ordering::SeqCst))
    }

    /// Waits until the client has closed the connection, or at least its sending side. Bytes that it sends meanwhile
    /// stay unread.
    pub(super) async fn disconnected(&self) {
        if let Some(client_close) = &self.client_close {
            let mut notified = pin!(client_close.notify.notified());
            // Create the waiter before reading the flag. `notify_waiters` does not wake later waiters: a disconnect in
            // between would be missed, and the call would run on.
            notified.as_mut().enable();
            if !client_close.seen.load(Ordering::SeqCst) {
                notified.await;
            }
            return;
        }
        while let Ok(ready) = self.stream.ready(Interest::READABLE).await {
            if ready.is_read_closed() && self.is_shut() {
                break;
            }
            if ready.is_read_closed() {
                return;
            }
            // Clears the readiness although nothing was read: otherwise `ready` would return at once with the same
            // event, again and again, as long as the client's bytes stay unread.
            _ = self.stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        // The runtime is ending, and drops this future.
        std::future::pending::<()>().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

/// Runs `work` until it ends or the client closes the connection. Returns `None` in the second case; `work` is dropped
/// then.
pub(super) async fn while_connected<W: Future>(request: &HttpRequest, work: W) -> Option<W::Output> {
    let Some(connection) = Connection::of(request) else { return Some(work.await) };
    tokio::select! {
        // If both are ready, the outcome counts: the work has run, and dropping its result would hide that.
        biased;
        outcome = work => Some(outcome),
        () = connection.disconnected() => None,
    }
}

/// Returns the local address of the connection.
pub(super) fn local_address(request: &HttpRequest) -> Option<SocketAddr> {
    Connection::of(request)?.local
}

/// A response that has no end of its own and carries nothing that a drain must wait for. While this exists, [`Server`](super::Server)
/// closes the connection when the drain begins, if the end of the response cannot be written at once.
#[derive(Debug)]
pub(super) struct EndsWithDrain(Option<Arc<Connection>>);

impl EndsWithDrain {
    pub(super) fn begin(connection: Option<Arc<Connection>>) -> Self {
        if let Some(connection) = &connection {
            connection.ends_with_drain.store(true, Ordering::SeqCst);
        }
        Self(connection)
    }

    /// Returns whether the server drains, if it is known.
    pub(super) fn is_draining(&self) -> bool {
        self.0.as_ref().is_some_and(|connection| connection.is_draining())
    }

    /// Waits until the client has closed its connection, or the server drains; forever if neither is known.
    pub(super) async fn is_over(&self) {
        let Some(connection) = &self.0 else { return std::future::pending().await };
        tokio::select! {
            () = connection.disconnected() => {}
            () = connection.drain_begins() => {}
        }
    }
}

impl Drop for EndsWithDrain {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.ends_with_drain.store(false, Ordering::SeqCst);
        }
    }
}

/// A request that is being served. Its connection is not idle.
#[derive(Debug)]
pub(super) struct ActiveRequest(Option<Arc<Connection>>);

impl ActiveRequest {
    pub(super) fn begin(request: &HttpRequest) -> Self {
        Self::on(Connection::of(request))
    }

    pub(super) fn on(connection: Option<Arc<Connection>>) -> Self {
        if let Some(connection) = &connection {
            connection.requests.fetch_add(1, Ordering::SeqCst);
        }
        Self(connection)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.requests.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Ends a request. The connection closes after the response if the server drains, or if the client offered an upgrade:
/// actix-http reads no further request from such a connection, and would otherwise announce `connection: upgrade`.
pub(super) fn end<B>(busy: ActiveRequest, response: &mut ServiceResponse<B>) {
    let all = busy.0.as_ref().map(|connection| connection.all.clone());
    // The count is lowered before the flag is read, while `drain` sets the flag before it reads the count. So at least
    // one of the two closes the connection. In the other order, a drain in between would leave an idle connection open
    // until the shutdown times out.
    drop(busy);
    let drains = all.is_some_and(|all| all.draining.load(Ordering::SeqCst));
    if drains || response.request().head().upgrade() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A connection that was accepted just before a drain, and is registered after it, is closed like the idle ones.
    #[tokio::test]
    async fn connection_that_a_drain_did_not_find_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::default();
        for drains_first in [false, true] {
            let _client = TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            if drains_first {
                connections.drain();
            }
            let connection = Connection::served(&connections, stream);
            assert_eq!(connection.is_shut(), drains_first);
        }
    }
}
