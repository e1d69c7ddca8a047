//! The API of a server and its settings.

#[cfg(feature = "mcp")]
use super::mcp::{self, Mcp};
use super::{
    body_reader::{self, Limits},
    call_route::CallRoute,
    docs::Docs,
    guard::{self, RequestGuard},
    log_levels::{LogLevels, SharedLogLevels},
    page::Page,
    pools::{DroppedLogLines, Pools},
    routes::{POOLS, Routes, no_route},
    session_sources::SessionSources,
    watch::EventReaders,
};
use crate::body_buffers::Buffers;
use crate::{
    Pool,
    config::{SessionCookie, SessionHeader, Token},
};
use actix_web::{
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use herder_actors::{ErrorDetail, EventLog};
use std::{sync::Arc, time::Duration};

/// Returns a function for `configure` that mounts one pool's routes, `/v1/pools/..`, in a scope.
///
/// Each request is checked for a foreign `Origin` and `Sec-Fetch-Site`. The app checks `Host` and authorizes callers.
/// See [`Api`] for several pools under one prefix, for the error detail and for the probes. With
/// [`Server`](super::Server), the call of a client that closes its connection is cancelled; for an `HttpServer`, add
/// [`Connections`](super::Connections).
///
/// ```no_run
/// use actix_web::{App, web};
/// use herder::http::{Server, routes};
/// # async fn example(pool: herder::Pool) -> std::io::Result<()> {
/// let app = move || App::new().service(web::scope("/herder").configure(routes(&pool)));
/// Server::new(app).listen(std::net::TcpListener::bind("127.0.0.1:8080")?)?.run()?.await
/// # }
/// ```
pub fn routes(pool: &Pool) -> impl FnOnce(&mut ServiceConfig) + use<> {
    Api::new([pool.clone()]).pool_routes()
}

/// The complete API of a server: the routes of its pools and the probes. Every other request is answered with a problem
/// document.
///
/// ```no_run
/// use actix_web::App;
/// use herder::http::{Api, Server};
/// # async fn example(models: herder::Pool, carts: herder::Pool) -> std::io::Result<()> {
/// let api = Api::new([models, carts]).hosts(["herder.example.org"]);
/// let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
/// Server::new(move || App::new().configure(api.routes())).listen(listener)?.run()?.await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Api {
    pools: Arc<Pools>,
    guard: Arc<RequestGuard>,
    limits: Limits,
    session_sources: Arc<SessionSources>,
    dropped_log_lines: DroppedLogLines,
    log_levels: Option<SharedLogLevels>,
    event_readers: EventReaders,
    /// Whether `/openapi.json` and `/docs` exist. `None`: depends on the address that the server listens on.
    docs: Option<bool>,
    /// Whether the live page exists. `None`: depends on the address that the server listens on.
    page: Option<bool>,
    /// Whether `/metrics` exists.
    metrics: bool,
    /// The sessions of MCP clients, if MCP is on.
    #[cfg(feature = "mcp")]
    mcp: Option<Arc<mcp::Sessions>>,
}

impl Api {
    /// Creates an API for these pools.
    ///
    /// Create it outside of the closure of `Server::new` or `HttpServer::new`, because that closure runs once for each
    /// thread. An `Api` of several pools that is created in the closure has a separate
    /// [`buffer_limit`](Self::buffer_limit) in each thread. All `Api`s of one pool share one limit, unless
    /// `buffer_limit` sets another.
    pub fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        let pools = Arc::new(Pools::new(pools));
        let buffers = match pools.0.as_slice() {
            [pool] => pool.buffers().clone(),
            _ => Buffers::new(pools.largest_frame()),
        };
        let limits = Limits { timeout: body_reader::TIMEOUT, buffers };
        Self {
            pools,
            guard: Arc::default(),
            limits,
            session_sources: Arc::default(),
            dropped_log_lines: DroppedLogLines::default(),
            log_levels: None,
            event_readers: EventReaders::default(),
            docs: None,
            page: None,
            metrics: true,
            #[cfg(feature = "mcp")]
            mcp: None,
        }
    }

    /// Requires `Authorization: Bearer` with this token, or with the [`call_token`](Self::call_token), for everything
    /// except the probes. The sender of this token is an administrator, and may use every route.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        Arc::make_mut(&mut self.guard).tokens.admin = Some(token);
        self
    }

    /// Sets a second token, whose senders may only call commands and read their descriptions. Other routes answer them
    /// with 403. Without a [`token`](Self::token), nobody may use the other routes.
    #[must_use]
    pub fn call_token(mut self, token: Token) -> Self {
        Arc::make_mut(&mut self.guard).tokens.call = Some(token);
        self
    }

    /// Sets a third token, whose senders may only read `/metrics`, as the administrators may. Other routes answer them with 403.
    /// Set it together with a [`token`](Self::token) or [`call_token`](Self::call_token): without these, nobody may use the other
    /// routes.
    #[must_use]
    pub fn metrics_token(mut self, token: Token) -> Self {
        Arc::make_mut(&mut self.guard).tokens.metrics = Some(token);
        self
    }

    /// Refuses requests with a foreign `Host`. Allowed are loopback names (`localhost`, `127.0.0.1`, `[::1]`) at any
    /// port, the address that the server listens on, the local address of the connection
    /// ([`Connections`](super::Connections)), and the given names (`name` or `name:port`). `/healthz` and `/readyz`
    /// accept any `Host`. By default, `Host` is not checked.
    #[must_use]
    pub fn hosts<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        Arc::make_mut(&mut self.guard).hosts = Some(more.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how much detail of an error everyone sees. Default: full if the server listens on loopback and the request is
    /// one of an administrator (of anyone, without a [`token`](Self::token)), otherwise brief.
    #[must_use]
    pub fn errors(mut self, detail: ErrorDetail) -> Self {
        Arc::make_mut(&mut self.guard).errors = Some(detail);
        self
    }

    /// Sets the headers from which the session of a call is read. Default: `Herder-Session`. If it is not among them, it is
    /// refused like any unknown `Herder-` header. A call is refused with 400 if two headers name different sessions.
    ///
    /// A pool without session affinity reads only `Herder-Session`.
    #[must_use]
    pub fn session_headers(mut self, names: impl IntoIterator<Item = SessionHeader>) -> Self {
        Arc::make_mut(&mut self.session_sources).set_headers(names);
        self
    }

    /// Sets the cookie from which the session of a call is read as well, in pools with session affinity. By default no
    /// cookie is read. A browser sends a cookie with every request, also with one that a page of another site caused:
    /// such requests are refused by their `Origin` or `Sec-Fetch-Site`. A cookie is no authorization.
    #[must_use]
    pub fn session_cookie(mut self, name: SessionCookie) -> Self {
        Arc::make_mut(&mut self.session_sources).set_cookie(name);
        self
    }

    /// Sets how long the next 64 KiB of a call's body, or its end, may take to arrive. Default: 30 s. A slower body is
    /// refused with 408, and the connection closes. The whole body must arrive within the call's deadline.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// Sets how many bytes of bodies are held at once: arguments from their arrival until their call is settled, and
    /// results over 64 KiB until they are written. Default: 256 MiB, or twice the largest `max_frame` of the pools if
    /// that is larger. A body or result without space is answered with 503. A sixteenth of the limit is reserved for
    /// bodies of up to 64 KiB; a body that is longer than the rest is refused with 413.
    ///
    /// Calls that do not use HTTP ([`Pool::call`]) are not counted.
    #[must_use]
    pub fn buffer_limit(mut self, bytes: usize) -> Self {
        self.limits.buffers = Buffers::with_limit(bytes, self.pools.largest_frame());
        self
    }

    /// Adds the field `dropped_log_lines` to `GET /v1/pools`: the number of log lines that the application has lost,
    /// such as the error counter of a non-blocking writer. By default, there is no such field.
    #[must_use]
    pub fn dropped_log_lines(mut self, count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.dropped_log_lines = DroppedLogLines(Some(Arc::new(count)));
        self
    }

    /// Adds `GET` and `PUT /v1/pools/{pool}/log-level`, which read and change the levels of pools in the application's log. By
    /// default, there is no such route.
    #[must_use]
    pub fn log_levels(mut self, levels: impl LogLevels) -> Self {
        self.log_levels = Some(SharedLogLevels::new(levels, &self.pools));
        self
    }

    /// Sets whether the commands are tools of the Model Context Protocol: at `/mcp` those of all pools, which only
    /// [`routes`](Self::routes) mounts, and at `/v1/pools/{pool}/mcp` those of one pool. Off by default.
    ///
    /// Like [`buffer_limit`](Self::buffer_limit), the sessions of MCP clients belong to this `Api` and its clones.
    #[cfg(feature = "mcp")]
    #[must_use]
    pub fn mcp(mut self, on: bool) -> Self {
        self.mcp = on.then(|| Mcp::new_sessions(&self.pools));
        self
    }

    /// Returns the endpoints of MCP, if they are on.
    #[cfg(feature = "mcp")]
    fn mcp_endpoints(&self) -> Option<web::Data<Mcp>> {
        let sessions = self.mcp.clone()?;
        Some(web::Data::new(Mcp::new(&self.pools, self.guard.clone(), self.limits.clone(), sessions)))
    }

    /// Sets whether [`routes`](Self::routes) has `/openapi.json`, the OpenAPI document of the pools, and `/docs`, a page that
    /// shows and calls their commands. [`pool_routes`](Self::pool_routes) has the document of its routes at
    /// `/v1/pools/openapi.json`, and no page. Default: yes if the server listens on loopback.
    ///
    /// The document needs the token, if there is one. The page needs none: it holds no data, and asks for the token.
    #[must_use]
    pub fn docs(mut self, enabled: bool) -> Self {
        self.docs = Some(enabled);
        self
    }

    /// Sets whether [`routes`](Self::routes) has `/metrics`: what the pools have counted, as Prometheus or OpenMetrics text. It
    /// needs the token of administrators or the [`metrics_token`](Self::metrics_token), if there is one. On by default.
    #[must_use]
    pub fn metrics(mut self, enabled: bool) -> Self {
        self.metrics = enabled;
        self
    }

    /// Sets whether each request is logged: as an event with the level INFO and the target `herder::access`. It is emitted shortly after
    /// the head of the response is ready, on a thread of Herder, so that no request waits for the subscriber: the current one of this
    /// thread, or else that of the process. While 8,192 events wait, further ones are dropped and counted. A program that ends waits
    /// for the last ones by [`access_log_emitted`](super::access_log_emitted). Off by default.
    #[must_use]
    pub fn access_log(mut self, enabled: bool) -> Self {
        Arc::make_mut(&mut self.guard).access_log = enabled.then(EventLog::of_no_pool);
        self
    }

    /// Sets whether [`routes`](Self::routes) has the live page at `/`, which shows the pools, their workers, sessions and events. Default:
    /// yes if the server listens on loopback.
    ///
    /// The page needs no token: it holds no data, and asks for the token.
    #[must_use]
    pub fn page(mut self, enabled: bool) -> Self {
        self.page = Some(enabled);
        self
    }

    /// Returns the settings of the OpenAPI document.
    fn documented(&self, is_mounted: bool) -> Docs {
        Docs {
            enabled: self.docs,
            needs_token: self.guard.tokens.are_required(),
            has_log_levels: self.log_levels.is_some(),
            has_metrics: self.metrics,
            #[cfg(feature = "mcp")]
            has_mcp: self.mcp.is_some(),
            is_mounted,
        }
    }

    /// Returns a function for `App::configure` that mounts everything. Its paths are those of a root: in a scope, the probes and
    /// the pages need the token, and the links of the pages do not work. [`pool_routes`](Self::pool_routes) is for scopes.
    pub fn routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let Self {
            pools, guard, limits, session_sources, dropped_log_lines, log_levels, event_readers, metrics, ..
        } = self.clone();
        let docs = self.documented(false);
        let page = Page { enabled: self.page, docs_enabled: self.docs };
        let calls = CallRoute::new(POOLS, pools.clone(), limits.clone(), session_sources.clone());
        #[cfg(feature = "mcp")]
        let mcp = self.mcp_endpoints();
        move |config| {
            let of_pools =
                Routes::of_pools(pools.clone(), guard.clone(), limits.clone(), session_sources.clone(), None)
                    .with_log_levels(log_levels);
            #[cfg(feature = "mcp")]
            let of_pools = of_pools.with_mcp_of_pools(mcp.clone());
            let all = Routes::of_server(guard.clone(), event_readers).with_metrics(metrics, limits);
            #[cfg(feature = "mcp")]
            let all = all.with_mcp(mcp);
            let all = all
                .into_scope()
                .app_data(web::Data::from(pools))
                .app_data(web::Data::new(guard.tokens.clone()))
                .app_data(dropped_log_lines)
                .app_data(web::Data::new(docs))
                .app_data(web::Data::new(page))
                .app_data(web::Data::from(session_sources))
                .service(of_pools.into_scope())
                .default_service(web::to(no_route))
                .wrap(from_fn({
                    let guard = guard.clone();
                    move |request, next| guard::check(guard.clone(), Some(calls.clone()), request, next)
                }));
            // The target of `OPTIONS *` is not a path: it matches no scope, not even the empty one. The request still
            // has to pass the guard.
            let no_path =
                web::to(no_route).wrap(from_fn(move |request, next| guard::check(guard.clone(), None, request, next)));
            config.service(all).default_service(no_path);
        }
    }

    /// Returns a function for `configure` that mounts `/v1/pools/..` in a scope, with the checks of each request. Like
    /// [`routes`], but for several pools and with these settings. The probes, `/metrics`, `/v1/events`, `/v1/whoami` and the pages
    /// are not mounted, and the OpenAPI document is at `/v1/pools/openapi.json`, with the path of the scope ([`docs`](Self::docs)).
    ///
    /// ```no_run
    /// use actix_web::{App, web};
    /// use herder::{error::ErrorDetail, http::Api};
    /// # fn example(carts: herder::Pool) {
    /// let api = Api::new([carts]).errors(ErrorDetail::Brief);
    /// let app = App::new().service(web::scope("/herder").configure(api.pool_routes()));
    /// # }
    /// ```
    pub fn pool_routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let Self { pools, guard, limits, session_sources, dropped_log_lines, log_levels, .. } = self.clone();
        let calls = CallRoute::new("", pools.clone(), limits.clone(), session_sources.clone());
        let docs = Some(self.documented(true));
        let routes = Routes::of_pools(pools, guard.clone(), limits, session_sources, docs).with_log_levels(log_levels);
        #[cfg(feature = "mcp")]
        let routes = routes.with_mcp_of_pools(self.mcp_endpoints());
        let scope = routes.into_scope().app_data(dropped_log_lines);
        let check = move |request, next| guard::check(guard.clone(), Some(calls.clone()), request, next);
        move |config| _ = config.service(scope.wrap(from_fn(check)))
    }
}
