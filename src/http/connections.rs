//! The connections of a server: when a client goes away, and which connections are idle when the server drains. Of connections of an
//! `HttpServer` it holds a second descriptor, since actix-web shares none; those of our own [`Server`](super::Server) are told when their client
//! goes away. Holds nothing of requests.
//!
//! Why: over HTTP/1 actix-web runs a handler to its end after its client closed (actix-web#3462), so nothing tells a handler that
//! nobody waits for it. And a drain would wait for idle connections that a client keeps open.

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

/// Watches the connections of an `HttpServer`, so that a call is cancelled when its client closes the connection. [`Server`](super::Server) watches its
/// connections by itself, without another descriptor.
///
/// A client that closes only its sending side counts as gone. Each connection costs one more descriptor. Connections that are not
/// plain TCP (TLS, Unix sockets) are not watched.
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
    count: AtomicU64,
    open: Mutex<HashMap<u64, Weak<Connection>>>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    local: Option<SocketAddr>,
    requests: AtomicUsize,
    /// The drain has closed the reading side.
    shut: AtomicBool,
    stream: TcpStream,
    departure: Option<Departure>,
    all: Arc<Shared>,
}

/// Whether the client went away, as the connection's own task has seen it. Nobody else may wait for its socket: who waits for the next event
/// declares the last one dealt with, and the task would wait for bytes that came before.
#[derive(Debug, Default)]
struct Departure {
    seen: AtomicBool,
    told: Notify,
}

impl Connections {
    /// For `HttpServer::on_connect`.
    pub fn on_connect(&self) -> impl Fn(&dyn Any, &mut Extensions) + Clone + Send + Sync + 'static + use<> {
        let all = self.0.clone();
        move |stream, data| {
            let Some(stream) = stream.downcast_ref::<TcpStream>() else { return };
            match Connection::duplicate(&all, stream) {
                Ok(connection) => _ = data.insert(connection),
                Err(error) => {
                    tracing::warn!(%error, "cannot watch a connection; its calls are not cancelled when it closes")
                }
            }
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.lock().len()
    }

    /// Closes idle connections, and lets each other one close after its answer. Does not wait.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
        let all: Vec<_> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        for connection in all.iter().filter(|connection| connection.requests.load(Ordering::SeqCst) == 0) {
            // Only the reading side: an answer on its way still goes out. Told before: a request that has just come is not one whose client left.
            connection.shut.store(true, Ordering::SeqCst);
            _ = shutdown(&connection.stream, Shutdown::Read);
        }
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

    /// A connection of our own server, whose task says when the client goes away.
    pub(super) fn served(all: &Connections, stream: TcpStream) -> Arc<Self> {
        Self::new(&all.0, stream, Some(Departure::default()))
    }

    fn new(all: &Arc<Shared>, stream: TcpStream, departure: Option<Departure>) -> Arc<Self> {
        let (number, local) = (all.count.fetch_add(1, Ordering::Relaxed), stream.local_addr().ok());
        let (requests, shut) = (AtomicUsize::new(0), AtomicBool::new(false));
        let connection = Arc::new(Self { number, local, requests, shut, stream, departure, all: all.clone() });
        all.lock().insert(number, Arc::downgrade(&connection));
        connection
    }

    /// The connection a request came by, if it is watched.
    pub(super) fn of(request: &HttpRequest) -> Option<Arc<Self>> {
        // An `HttpServer` keeps it with the connection; nobody else can put something there, so our server puts it on each request.
        let kept = request.conn_data::<Arc<Self>>().cloned();
        kept.or_else(|| request.extensions().get::<Arc<Self>>().cloned())
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the server ends: no connection takes another request.
    pub(super) fn is_draining(&self) -> bool {
        self.all.draining.load(Ordering::SeqCst)
    }

    /// Whether the end of what the client sends is the drain's doing.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    /// Whether the server that has it discards what is left of a request's body by itself.
    pub(super) fn discards_bodies(&self) -> bool {
        self.departure.is_some()
    }

    /// The client went away.
    pub(super) fn depart(&self) {
        if let Some(departure) = &self.departure {
            departure.seen.store(true, Ordering::SeqCst);
            departure.told.notify_waiters();
        }
    }

    /// Whether the client was seen to go away.
    pub(super) fn has_departed(&self) -> bool {
        self.departure.as_ref().is_some_and(|departure| departure.seen.load(Ordering::SeqCst))
    }

    /// Ends when the client closed, or at least sends no more. What it sends meanwhile stays unread.
    async fn gone(&self) {
        if let Some(departure) = &self.departure {
            let mut told = pin!(departure.told.notified());
            told.as_mut().enable(); // before the look: what happens between the two is told
            if !departure.seen.load(Ordering::SeqCst) {
                told.await;
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
            // Waits for the next event instead of looking at this one again.
            _ = self.stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        std::future::pending::<()>().await; // the runtime is ending: it drops this future anyway
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

/// The work's outcome, or `None` if the client went away before; the work is dropped then.
pub(super) async fn while_connected<W: Future>(request: &HttpRequest, work: W) -> Option<W::Output> {
    let Some(connection) = Connection::of(request) else { return Some(work.await) };
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = connection.gone() => None,
    }
}

/// The address the connection came in at.
pub(super) fn local_address(request: &HttpRequest) -> Option<SocketAddr> {
    Connection::of(request)?.local
}

/// A request under way: its connection is not idle.
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

/// The request was answered. The connection closes if the server drains or if the client offered an upgrade: actix-http
/// takes no further request from such a connection, and without this would announce `connection: upgrade`.
///
/// The count goes down before the flag is read, while `drain` sets the flag before it reads the count: one of them sees the other.
pub(super) fn end<B>(busy: ActiveRequest, response: &mut ServiceResponse<B>) {
    let all = busy.0.as_ref().map(|connection| connection.all.clone());
    drop(busy);
    let drains = all.is_some_and(|all| all.draining.load(Ordering::SeqCst));
    if drains || response.request().head().upgrade() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
}
