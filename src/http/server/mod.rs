//! A server for actix-web applications: HTTP/1.1 over TCP, one request at a time on each connection, with a time for everything that a client
//! can delay, except for bodies of requests, whose time is the application's affair. Holds no state beyond its configuration; connections hold their own.

mod alarm;
mod channel;
mod dispatch;
mod head;
mod payload;
mod response;
mod settings;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
mod wire;

use super::connections::Connections;
use actix_http::{Request, Response, ServiceConfig, body::MessageBody};
use actix_server::{GracefulShutdownSignal, ServerBuilder};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, fn_service};
use actix_web::{
    Error,
    dev::{self, AppConfig},
};
use dispatch::{Site, serve};
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

/// How many clients may wait to be accepted. The system has a limit of its own (`net.core.somaxconn` on Linux).
const BACKLOG: u32 = 4096;

/// Serves an actix-web [`App`](actix_web::App), in place of [`HttpServer`](actix_web::HttpServer). `herder serve` is built on it.
///
/// What it does differently:
/// - It reads the next request of a connection after it has written the previous response. `HttpServer` decodes pipelined requests ahead, and then
///   builds a response from the method, the version and the connection type of a later request.
/// - Requests that are malformed, too large or too slow are refused with problem documents ([`Refusal`](super::Refusal)).
/// - If the client does not read a response, the connection is reset after [`write_timeout`](Self::write_timeout).
/// - `100 Continue` is sent when the handler asks for the body, not before.
/// - The call of a client that closes its connection is cancelled ([`Connections`] are built in). A connection takes one descriptor instead of two.
///
/// The body of a request has no time of its own: a handler that reads one waits until the client sends more or closes. Herder's routes have
/// [`body_timeout`](super::Api::body_timeout).
///
/// It serves plain TCP and HTTP/1 only. Connection data (`HttpServer::on_connect`, `HttpRequest::conn_data`) is not supported.
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

    /// Sets the number of threads that serve, 1 to 512; as many as there are cores unless set.
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = Some(threads.clamp(1, 512));
        self
    }

    /// Sets how many clients may wait to be accepted at each listener that is added after it; 4096 unless set. The system limits it
    /// further (`net.core.somaxconn` on Linux).
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = clients;
        self
    }

    /// Sets how many connections each thread may have open at once, as `HttpServer` does; 25,600 unless set. Further clients wait to be
    /// accepted.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets how long an idle connection stays open for its next request; 75 s unless set. With 0 each connection closes after its response.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.settings.keep_alive = time;
        self
    }

    /// Sets how long the head of a request may take from its first byte to its end, and a new connection to its first byte; 5 s unless
    /// set. A head that takes longer is refused with 408; a new connection that sends nothing is closed.
    pub fn head_timeout(mut self, time: Duration) -> Self {
        self.settings.head = time;
        self
    }

    /// Sets how long a response may wait for a client that reads nothing of it; 30 s unless set. After that the connection is reset. It is also
    /// reset if the client has read less than 8 KiB a second on average by then or later.
    pub fn write_timeout(mut self, time: Duration) -> Self {
        self.settings.write = time;
        self
    }

    /// Sets how long requests may take to finish at a graceful stop; 30 s unless set. Rounded up to seconds.
    pub fn shutdown_timeout(mut self, time: Duration) -> Self {
        self.shutdown_timeout = time;
        self
    }

    /// Leaves signals to the application. Unless called, SIGTERM stops the server gracefully, and SIGINT and SIGQUIT stop it at once.
    pub fn disable_signals(mut self) -> Self {
        self.signals = false;
        self
    }

    /// Returns the connections of this server, to count the open ones or to drain them before the server stops.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Adds a listener. Its backlog is set.
    ///
    /// # Errors
    /// If the system refuses the backlog.
    pub fn listen(mut self, listener: TcpListener) -> io::Result<Self> {
        // On a socket that listens already this changes the backlog alone.
        rustix::net::listen(&listener, i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        self.listeners.push(listener);
        Ok(self)
    }

    /// Starts to serve. `ServerHandle::stop` or a signal ends the server; dropping the returned `Server` does not.
    ///
    /// # Errors
    /// If there is no listener, or the system refuses one.
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
        if self.listeners.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the server has no listener"));
        }
        let mut builder = self.threads();
        for listener in self.listeners {
            let address = listener.local_addr()?;
            let site = Blueprint {
                factory: self.factory.clone(),
                address,
                settings: self.settings,
                connections: self.connections.clone(),
                stopped: builder.graceful_shutdown_signal(),
            };
            builder = builder.listen(format!("herder {address}"), listener, move || {
                let site = site.clone();
                fn_factory(move || connections_of(site.clone()))
            })?;
        }
        Ok(builder.run())
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

/// What each thread makes its [`Site`] of.
#[derive(Clone)]
struct Blueprint<F> {
    factory: F,
    address: SocketAddr,
    settings: Settings,
    connections: Connections,
    stopped: GracefulShutdownSignal,
}

/// The service that a thread gives its connections to.
async fn connections_of<F, I, S, B>(
    blueprint: Blueprint<F>,
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
    let Blueprint { factory, address, settings, connections, stopped } = blueprint;
    // There is no other constructor; actix-test uses this one too.
    let config = AppConfig::__priv_test_new(false, address.to_string(), address);
    let service = factory().into_factory().new_service(config).await;
    let service = service.map_err(|error| tracing::error!(?error, "the application could not be initialized"))?;
    let config = ServiceConfig::new(settings.keep_alive.into(), settings.head, Duration::ZERO, false, Some(address));
    actix_rt::spawn({
        let connections = connections.clone();
        async move {
            stopped.notified().await;
            connections.drain();
        }
    });
    let site = Rc::new(Site { service, body: PhantomData, config, settings, connections });
    Ok(fn_service(move |stream: TcpStream| {
        let site = site.clone();
        async move {
            serve(site, stream).await;
            Ok(())
        }
    }))
}
