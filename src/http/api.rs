//! Which paths there are, who answers them, and what answers everything else.

use super::{
    breaker,
    buffers::Buffers,
    call,
    guard::{self, RequestGuard},
    pools::{self, DroppedLogLines, Pools},
    probes,
    receive::{self, Limits},
    refusal::Refusal,
    sessions,
};
use crate::{ErrorDetail, Pool, config::Token};
use actix_web::{
    FromRequest, Handler, HttpRequest, Resource, Responder, Route, guard as when,
    http::Method,
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use std::{sync::Arc, time::Duration};

/// Mounts one pool's routes: `/v1/pools/..`, below the scope that is configured with it.
///
/// Checks `Origin` and `Sec-Fetch-Site`; `Host` and who may call are left to the app. For several pools under one prefix, for what
/// errors show, and for the probes, see [`Api`]. Let the server watch its [`Connections`](super::Connections) too ([`Server`](super::Server) does so by itself): then the call of a client that closes its connection is cancelled.
///
/// ```no_run
/// use actix_web::{App, HttpServer, web};
/// # async fn example(pool: herder::Pool) -> std::io::Result<()> {
/// HttpServer::new(move || App::new().service(web::scope("/herder").configure(herder::http::routes(&pool))))
/// # .bind("127.0.0.1:8080")?.run().await }
/// ```
pub fn routes(pool: &Pool) -> impl FnOnce(&mut ServiceConfig) + use<> {
    Api::new([pool.clone()]).pool_routes()
}

/// All that a server of its own answers: the routes of its pools and the probes; problems for everything else.
///
/// ```no_run
/// use actix_web::{App, HttpServer};
/// use herder::http::{Api, Connections};
/// # async fn example(models: herder::Pool, carts: herder::Pool) -> std::io::Result<()> {
/// let api = Api::new([models, carts]).hosts(["herder.example.org"]);
/// HttpServer::new(move || App::new().configure(api.routes()))
///     .on_connect(Connections::default().on_connect())
/// # .bind("127.0.0.1:8080")?.run().await }
/// ```
#[derive(Clone, Debug)]
pub struct Api {
    pools: Arc<Pools>,
    guard: Arc<RequestGuard>,
    limits: Limits,
    dropped_log_lines: DroppedLogLines,
}

impl Api {
    /// For these pools.
    ///
    /// Create it outside of the closure of `Server::new` or `HttpServer::new`, which runs once for each thread: an `Api` of several pools that is
    /// created there has a [`buffer_limit`](Self::buffer_limit) of its own in each thread. All `Api`s of one pool share one limit, unless
    /// `buffer_limit` sets another.
    pub fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        let pools = Arc::new(Pools::new(pools));
        let buffers = match pools.0.as_slice() {
            [pool] => pool.buffers().clone(),
            _ => Buffers::new(pools.largest_frame()),
        };
        let limits = Limits { timeout: receive::TIMEOUT, buffers };
        Self { pools, guard: Arc::default(), limits, dropped_log_lines: DroppedLogLines::default() }
    }

    /// Lets everything but the probes need `Authorization: Bearer` with this token.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        Arc::make_mut(&mut self.guard).token = Some(token);
        self
    }

    /// Answers only to loopback names (`localhost`, `127.0.0.1`, `[::1]`) at any port, to the address it listens on, to the address the connection
    /// came in at ([`Connections`](super::Connections)), and to these: `name` or `name:port`. `/healthz` and `/readyz` are answered whatever the `Host`.
    /// Unless called, `Host` is not looked at.
    #[must_use]
    pub fn hosts<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        Arc::make_mut(&mut self.guard).hosts = Some(more.into_iter().map(Into::into).collect());
        self
    }

    /// How much of an error callers are shown. Unless called: full where the server listens on loopback, else brief.
    #[must_use]
    pub fn errors(mut self, detail: ErrorDetail) -> Self {
        Arc::make_mut(&mut self.guard).errors = Some(detail);
        self
    }

    /// Sets how long the next 64 KiB of a call's body, or its end, may take to arrive; 30 s unless called. If they take longer, the call is
    /// answered with 408, and its connection closes. The call's deadline limits the whole body.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// Sets how many bytes of bodies are held at once: arguments from their arrival until their call is settled, and results over 64 KiB until
    /// they are written. 256 MiB unless called, or twice the largest `max_frame` of the pools if that is more. Bodies and results without room are
    /// answered with 503. A sixteenth of the limit is reserved for bodies of up to 64 KiB; a body that is longer than the other fifteen is refused with 413.
    ///
    /// Calls that do not come over HTTP ([`Pool::call`]) are not counted.
    #[must_use]
    pub fn buffer_limit(mut self, bytes: usize) -> Self {
        self.limits.buffers = Buffers::with_limit(bytes, self.pools.largest_frame());
        self
    }

    /// Shows in `GET /v1/pools`, as `dropped_log_lines`, how many lines of its log the application has lost: what the error counter
    /// of a non-blocking writer says. Unless called, the key is not there.
    #[must_use]
    pub fn dropped_log_lines(mut self, count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.dropped_log_lines = DroppedLogLines(Some(Arc::new(count)));
        self
    }

    /// Everything, for `App::configure`.
    pub fn routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let Self { pools, guard, limits, dropped_log_lines } = self.clone();
        move |config| {
            let all = web::scope("")
                .app_data(web::Data::from(pools.clone()))
                .app_data(dropped_log_lines)
                .service(read("/healthz", probes::healthz))
                .service(read("/readyz", probes::readyz))
                .service(tree(pools, limits))
                .default_service(web::to(no_route))
                .wrap(from_fn({
                    let guard = guard.clone();
                    move |request, next| guard::check(guard.clone(), request, next)
                }));
            // `OPTIONS *` has no path: it is for the server as a whole.
            let no_path =
                web::to(no_route).wrap(from_fn(move |request, next| guard::check(guard.clone(), request, next)));
            config.service(all).default_service(no_path);
        }
    }

    /// Returns a function for `configure` that mounts `/v1/pools/..` in a scope, with the checks of each request: as [`routes`] does, for
    /// several pools and with these settings. The probes are not mounted.
    ///
    /// ```no_run
    /// use actix_web::{App, web};
    /// use herder::{ErrorDetail, http::Api};
    /// # fn example(carts: herder::Pool) {
    /// let api = Api::new([carts]).errors(ErrorDetail::Brief);
    /// let app = App::new().service(web::scope("/herder").configure(api.pool_routes()));
    /// # }
    /// ```
    pub fn pool_routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let Self { pools, guard, limits, dropped_log_lines } = self.clone();
        let tree = tree(pools, limits).app_data(dropped_log_lines);
        move |config| {
            _ = config.service(tree.wrap(from_fn(move |request, next| guard::check(guard.clone(), request, next))));
        }
    }
}

fn tree(pools: Arc<Pools>, limits: Limits) -> actix_web::Scope {
    web::scope("/v1/pools")
        .app_data(web::Data::from(pools))
        .app_data(web::Data::new(limits))
        .service(read("", pools::list))
        .service(read("/{pool}", pools::status))
        .service(read("/{pool}/workers", pools::workers))
        .service(read("/{pool}/workers/{id}/recorder", pools::recorder))
        .service(read("/{pool}/sessions", sessions::list))
        .service(
            web::resource("/{pool}/sessions/{id}")
                .route(reads().to(sessions::one))
                .route(web::delete().to(sessions::end))
                .default_service(web::to(|request| wrong_method(request, "GET, HEAD, DELETE"))),
        )
        .service(read("/{pool}/sessions/{id}/why", sessions::why))
        .service(read("/{pool}/breaker", breaker::breaker))
        .service(
            web::resource("/{pool}/breaker/reset")
                .route(web::post().to(breaker::reset))
                .default_service(web::to(|request| wrong_method(request, "POST"))),
        )
        .service(read("/{pool}/quarantine", breaker::quarantine))
        .service(
            web::resource("/{pool}/quarantine/{fingerprint}")
                .route(web::delete().to(breaker::release))
                .default_service(web::to(|request| wrong_method(request, "DELETE"))),
        )
        .service(
            web::resource("/{pool}/call/{command}")
                .route(web::post().to(call::call))
                .default_service(web::to(|request| wrong_method(request, "POST"))),
        )
        .default_service(web::to(no_route))
}

/// A path that is only read.
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let other = web::to(|request| wrong_method(request, "GET, HEAD"));
    web::resource(path).route(reads().to(handler)).default_service(other)
}

fn reads() -> Route {
    web::route().guard(when::Any(when::Get()).or(when::Method(Method::HEAD)))
}

async fn wrong_method(request: HttpRequest, allowed: &'static str) -> Result<&'static str, Refusal> {
    Err(Refusal::WrongMethod { method: request.method().to_string(), path: request.path().into(), allowed })
}

async fn no_route(request: HttpRequest) -> Result<&'static str, Refusal> {
    Err(Refusal::NoRoute { path: request.path().into() })
}
