//! An HTTP/1.1 server over TCP for actix-web applications. It serves one request at a time on each connection, and
//! limits the time of everything that a client can delay, except for request bodies, which the application reads. Holds
//! only its configuration; each connection holds its own state.

mod channel;
mod dispatch;
mod head;
mod local;
#[cfg(test)]
mod local_tests;
mod response;
mod settings;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
mod wire;

pub use local::{LocalServer, LocalServerHandle};

use super::connections::Connections;
use actix_http::{Request, Response, ServiceConfig, body::MessageBody};
use actix_server::{GracefulShutdownSignal, ServerBuilder};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, fn_service};
use actix_web::{
    Error,
    dev::{self, AppConfig},
};
use dispatch::{ThreadState, serve};
use local::{Acceptor, Listener, StopRequests, StopSignals};
use settings::Settings;
use std::{
    convert::Infallible,
    fmt, io,
    marker::PhantomData,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    time::Duration,
};
use tokio::net::TcpStream;

/// The default backlog. The system has another limit (`net.core.somaxconn` on Linux).
const BACKLOG: u32 = 4096;
/// The default limit of connections on the current arbiter: that of a thread of `actix-server`.
const MAX_CONNECTIONS: usize = 25_600;

/// A server for an actix-web [`App`](actix_web::App), to be used instead of [`HttpServer`](actix_web::HttpServer).
/// `herder serve` uses it.
///
/// Differences to `HttpServer`:
/// - It reads the next request of a connection only after it has written the previous response. `HttpServer` decodes
///   pipelined requests ahead, and can then build a response with the method, the version and the connection type of a
///   later request.
/// - Malformed, too large and too slow requests are refused with problem documents ([`Refusal`](super::Refusal)).
/// - If the client does not read a response, the connection is reset after [`write_timeout`](Self::write_timeout).
/// - `100 Continue` is sent when the handler reads the body, not before.
/// - [`Connections`] are built in: if a client closes its connection, its call is cancelled. A connection takes one
///   descriptor instead of two.
///
/// Request bodies have no timeout: a handler that reads one waits until the client sends more or closes the connection.
/// Herder's routes have a [`body_timeout`](super::Api::body_timeout).
///
/// The server supports plain TCP and HTTP/1 only. Connection data (`HttpServer::on_connect`, `HttpRequest::conn_data`)
/// is not supported.
///
/// ```no_run
/// use actix_web::App;
/// use herder::http::{Api, Server};
/// # async fn example(pool: herder::Pool) -> std::io::Result<()> {
/// let api = Api::new([pool]);
/// let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
/// Server::new(move || App::new().configure(api.routes())).listen(listener)?.run()?.await
/// # }
/// ```
#[must_use]
pub struct Server<F> {
    factory: F,
    workers: Option<usize>,
    backlog: u32,
    max_connections: Option<usize>,
    shutdown_timeout: Duration,
    signals: bool,
    settings: Settings,
    connections: Connections,
    listeners: Vec<TcpListener>,
}

impl<F> fmt::Debug for Server<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, listeners, .. } = self;
        f.debug_struct("Server").field("settings", settings).field("listeners", listeners).finish_non_exhaustive()
    }
}

impl<F> Server<F> {
    /// Creates a server. `factory` is called once in each thread and returns the application.
    pub fn new(factory: F) -> Self {
        Self {
            factory,
            workers: None,
            backlog: BACKLOG,
            max_connections: None,
            shutdown_timeout: Duration::from_secs(30),
            signals: true,
            settings: Settings::default(),
            connections: Connections::default(),
            listeners: Vec::new(),
        }
    }

    /// Sets the number of server threads, from 1 to 512. Default: the number of cores.
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = Some(threads.clamp(1, 512));
        self
    }

    /// Sets how many clients may wait to be accepted at each listener that is added after this call. Default: 4096. The
    /// system may limit it further (`net.core.somaxconn` on Linux).
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = clients;
        self
    }

    /// Sets how many connections each thread may have open at once, like `HttpServer::max_connections`. Default:
    /// 25,600. Further clients wait to be accepted.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets how long an idle connection stays open for its next request. With 0, each connection closes after its
    /// response. Default: 75 s.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.settings.keep_alive = time;
        self
    }

    /// Sets how long the head of a request may take from its first to its last byte, and how long a new connection may
    /// take to its first byte. Default: 5 s. A slower head is refused with 408; a new connection that sends nothing is
    /// closed.
    pub fn head_timeout(mut self, time: Duration) -> Self {
        self.settings.head = time;
        self
    }

    /// Sets how long a response may wait for a client that does not read. Default: 30 s. After this time, the
    /// connection is reset. It is also reset after this time if the client has read less than 8 KiB per second on
    /// average.
    pub fn write_timeout(mut self, time: Duration) -> Self {
        self.settings.write = time;
        self
    }

    /// Sets how long requests may take to finish at a graceful stop. Rounded up to seconds. Default: 30 s.
    pub fn shutdown_timeout(mut self, time: Duration) -> Self {
        self.shutdown_timeout = time;
        self
    }

    /// Disables signal handling. By default, SIGTERM stops the server gracefully, and SIGINT and SIGQUIT stop it
    /// immediately.
    pub fn disable_signals(mut self) -> Self {
        self.signals = false;
        self
    }

    /// Returns the connections of this server, to count the open ones or to drain them before the server stops.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Adds a listener, and sets its backlog.
    ///
    /// # Errors
    /// Fails if the system refuses the backlog.
    pub fn listen(mut self, listener: TcpListener) -> io::Result<Self> {
        // `listen` on a socket that already listens changes only its backlog.
        rustix::net::listen(&listener, i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        self.listeners.push(listener);
        Ok(self)
    }

    /// Starts the server. `ServerHandle::stop` or a signal stops it; dropping the returned `Server` does not.
    ///
    /// # Errors
    /// Fails if there is no listener, or if the system refuses one.
    pub fn run<I, S, B>(self) -> io::Result<dev::Server>
    where
        F: Fn() -> I + Clone + Send + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error>,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        self.check_listeners()?;
        let mut builder = self.threads();
        for listener in self.listeners {
            let address = listener.local_addr()?;
            let setup = ThreadSetup {
                factory: self.factory.clone(),
                address,
                settings: self.settings,
                connections: self.connections.clone(),
                stopped: builder.graceful_shutdown_signal(),
            };
            builder = builder.listen(format!("herder {address}"), listener, move || {
                let setup = setup.clone();
                fn_factory(move || connections_of(setup.clone()))
            })?;
        }
        Ok(builder.run())
    }

    /// Creates a server that runs on the current arbiter, without threads of its own: for pools on the same arbiter
    /// (`Pool::start(config).on_current_arbiter()`), whose calls then pass through one thread. The
    /// returned server must be polled on the thread of that arbiter, for example with `.await`.
    ///
    /// `factory` is called once for each listener. A handler that blocks the thread stops all connections, and all pools
    /// on that arbiter. [`workers`](Self::workers) has no effect, and [`max_connections`](Self::max_connections) limits
    /// all connections. A signal ends the returned future, but not the actix `System`.
    ///
    /// # Errors
    /// Fails if there is no listener. The returned future fails if the system refuses a listener or the handling of
    /// signals, or if the application cannot be initialized.
    ///
    /// ```no_run
    /// use actix_web::App;
    /// use herder::{Pool, http::{Api, Server}};
    /// # async fn example(config: herder::PoolConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::start(config).on_current_arbiter().await?;
    /// let api = Api::new([pool.clone()]);
    /// let server = Server::new(move || App::new().configure(api.routes()));
    /// server.listen(std::net::TcpListener::bind("127.0.0.1:8080")?)?.run_on_current_arbiter()?.await?;
    /// pool.shutdown(std::time::Duration::from_secs(10)).await?; // after the requests have finished
    /// # Ok(()) }
    /// ```
    pub fn run_on_current_arbiter<I, S, B>(self) -> io::Result<LocalServer>
    where
        F: Fn() -> I + 'static,
        I: IntoServiceFactory<S, Request> + 'static,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error>,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>>,
        B: MessageBody + 'static,
    {
        self.check_listeners()?;
        Ok(LocalServer::new(move |requests| async move {
            self.acceptor(requests).await?.run().await;
            Ok(())
        }))
    }

    /// Creates the application of each listener, and registers the listeners with the current runtime.
    async fn acceptor<I, S, B>(self, requests: StopRequests) -> io::Result<Acceptor<S::Service, B>>
    where
        F: Fn() -> I,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig>,
        S::InitError: fmt::Debug,
    {
        let signals = if self.signals { StopSignals::handle()? } else { StopSignals::none() };
        let mut listeners = Vec::with_capacity(self.listeners.len());
        for listener in self.listeners {
            let address = listener.local_addr()?;
            listener.set_nonblocking(true)?;
            let socket = tokio::net::TcpListener::from_std(listener)?;
            let state = thread_state(&self.factory, address, self.settings, self.connections.clone()).await?;
            listeners.push(Listener { socket, state });
        }
        Ok(Acceptor {
            listeners,
            max_connections: self.max_connections.unwrap_or(MAX_CONNECTIONS).max(1),
            shutdown_timeout: self.shutdown_timeout,
            connections: self.connections,
            requests,
            signals,
        })
    }

    fn check_listeners(&self) -> io::Result<()> {
        if self.listeners.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the server has no listener; call `listen` first"));
        }
        Ok(())
    }

    fn threads(&self) -> ServerBuilder {
        let mut builder = dev::Server::build();
        if let Some(workers) = self.workers {
            builder = builder.workers(workers);
        }
        if let Some(connections) = self.max_connections {
            builder = builder.max_concurrent_connections(connections.max(1));
        }
        if !self.signals {
            builder = builder.disable_signals();
        }
        let rest = u64::from(self.shutdown_timeout.subsec_nanos() > 0);
        builder.shutdown_timeout(self.shutdown_timeout.as_secs().saturating_add(rest))
    }
}

/// The inputs from which each thread creates its [`ThreadState`].
#[derive(Clone)]
struct ThreadSetup<F> {
    factory: F,
    address: SocketAddr,
    settings: Settings,
    connections: Connections,
    stopped: GracefulShutdownSignal,
}

/// Creates the service that handles the connections of a thread.
async fn connections_of<F, I, S, B>(
    setup: ThreadSetup<F>,
) -> Result<impl Service<TcpStream, Response = (), Error = Infallible>, ()>
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig>,
    S::Error: Into<Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let ThreadSetup { factory, address, settings, connections, stopped } = setup;
    let state = thread_state(&factory, address, settings, connections.clone()).await.map_err(drop)?;
    actix_rt::spawn(async move {
        stopped.notified().await;
        connections.drain();
    });
    Ok(fn_service(move |stream: TcpStream| {
        let state = state.clone();
        async move {
            serve(state, stream).await;
            Ok(())
        }
    }))
}

/// Creates the application of a thread, or of a listener on the current arbiter.
async fn thread_state<F, I, S, B>(
    factory: &F,
    address: SocketAddr,
    settings: Settings,
    connections: Connections,
) -> io::Result<Rc<ThreadState<S::Service, B>>>
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig>,
    S::InitError: fmt::Debug,
{
    // actix-web has no public constructor for `AppConfig`; actix-test uses this one, too.
    let config = AppConfig::__priv_test_new(false, address.to_string(), address);
    let service = factory().into_factory().new_service(config).await.map_err(|error| {
        tracing::error!(?error, "the application could not be initialized");
        io::Error::other("the application could not be initialized")
    })?;
    let config = ServiceConfig::new(settings.keep_alive.into(), settings.head, Duration::ZERO, false, Some(address));
    Ok(Rc::new(ThreadState { service, body: PhantomData, config, settings, connections }))
}
