//! The routes of the API: the path, the methods and the role of each. Everything else gets a 404 or a 405. Holds no state.

#[cfg(feature = "mcp")]
use super::mcp::{self, Mcp};
use super::{
    body_reader::Limits,
    call,
    docs::{self, Docs},
    guard::{self, RequestGuard},
    log_levels::{self, SharedLogLevels},
    metrics, page,
    pools::{self, Pools},
    probes,
    refusal::Refusal,
    roles::Role,
    session_sources::SessionSources,
    sessions,
    watch::{self, EventReaders},
    workers,
};
use actix_web::{
    FromRequest, Handler, HttpRequest, Resource, Responder, Route, Scope, guard as when, http::Method,
    middleware::from_fn, web,
};
use std::sync::Arc;

/// The path below which each pool has its routes.
pub(super) const POOLS: &str = "/v1/pools";

/// The routes of a scope. Each is added with the role that it needs.
pub(super) struct Routes {
    scope: Scope,
    guard: Arc<RequestGuard>,
}

impl Routes {
    /// Returns the probes, the pages, the OpenAPI document and the events of all pools. The caller adds the data of the pages.
    pub(super) fn of_server(guard: Arc<RequestGuard>, readers: EventReaders) -> Self {
        Self::new("", guard)
            .for_callers(read("/healthz", probes::healthz))
            .for_callers(read("/readyz", probes::readyz))
            .for_callers(read("/openapi.json", docs::document))
            .for_callers(read("/", page::index))
            .for_callers(read("/ui/{file}", page::file))
            .for_callers(read("/docs", docs::page))
            .for_callers(read("/docs/page.css", docs::style))
            .for_callers(read("/docs/page.js", docs::script))
            .for_callers(read("/v1/whoami", probes::whoami))
            .for_admins(read("/v1/events", watch::events).app_data(web::Data::new(readers)))
    }

    /// Returns the routes of pools, with their data. `docs`: the settings of the OpenAPI document of these routes, if they have
    /// their own; no pool can have its name.
    pub(super) fn of_pools(
        pools: Arc<Pools>,
        guard: Arc<RequestGuard>,
        limits: Limits,
        sessions: Arc<SessionSources>,
        docs: Option<Docs>,
    ) -> Self {
        let tokens = guard.tokens.clone();
        let mut routes = Self::new(POOLS, guard);
        if let Some(docs) = docs {
            routes = routes.for_callers(read("/openapi.json", docs::document).app_data(web::Data::new(docs)));
        }
        let Self { scope, guard } = routes.with_commands().with_workers().with_sessions().with_protection();
        let scope = scope
            .app_data(web::Data::from(pools))
            .app_data(web::Data::new(tokens))
            .app_data(web::Data::new(limits))
            .app_data(web::Data::from(sessions))
            .default_service(web::to(no_route));
        Self { scope, guard }
    }

    fn with_commands(self) -> Self {
        self.for_callers(read("", pools::list))
            .for_admins(read("/{pool}", pools::status))
            .for_callers(read("/{pool}/commands", pools::commands))
            .for_admins(only("/{pool}/commands/{command}", "PATCH", web::patch().to(pools::set_batch)))
            .for_callers(only("/{pool}/call/{command}", "POST", web::post().to(call::call)))
    }

    fn with_workers(self) -> Self {
        self.for_admins(read("/{pool}/workers", pools::workers))
            .for_admins(read("/{pool}/workers/{id}/recorder", pools::recorder))
            .for_admins(read("/{pool}/workers/{id}/stack", workers::stack))
            .for_admins(only("/{pool}/workers/{id}/kill", "POST", web::post().to(workers::kill)))
            .for_admins(read("/{pool}/timeline", watch::timeline))
    }

    fn with_sessions(self) -> Self {
        let one = web::resource("/{pool}/sessions/{id}")
            .route(reads().to(sessions::one))
            .route(web::delete().to(sessions::end))
            .default_service(web::to(|request| wrong_method(request, "GET, HEAD, DELETE")));
        self.for_admins(read("/{pool}/sessions", sessions::list))
            .for_admins(one)
            .for_admins(read("/{pool}/sessions/{id}/why", sessions::why))
    }

    fn with_protection(self) -> Self {
        let release = web::delete().to(pools::release_from_quarantine);
        self.for_admins(read("/{pool}/breaker", pools::breaker))
            .for_admins(only("/{pool}/breaker/reset", "POST", web::post().to(pools::reset_breaker)))
            .for_admins(read("/{pool}/quarantine", pools::quarantine))
            .for_admins(only("/{pool}/quarantine/{fingerprint}", "DELETE", release))
    }

    /// Adds the levels of the log of each pool, if the application has some.
    pub(super) fn with_log_levels(self, levels: Option<SharedLogLevels>) -> Self {
        let Some(levels) = levels else { return self };
        let level = web::resource("/{pool}/log-level")
            .app_data(web::Data::new(levels))
            .route(reads().to(log_levels::get))
            .route(web::put().to(log_levels::set))
            .default_service(web::to(|request| wrong_method(request, "GET, HEAD, PUT")));
        self.for_admins(level)
    }

    /// Adds the endpoint of MCP for each pool, if it is on.
    #[cfg(feature = "mcp")]
    pub(super) fn with_mcp_of_pools(self, endpoints: Option<web::Data<Mcp>>) -> Self {
        let Some(endpoints) = endpoints else { return self };
        let endpoint = web::resource("/{pool}/mcp")
            .route(web::post().to(mcp::post_of_pool))
            .route(web::delete().to(mcp::delete_of_pool));
        self.for_callers(endpoint.app_data(endpoints).default_service(web::to(not_of_mcp)))
    }

    /// Adds the metrics, if they are on.
    pub(super) fn with_metrics(self, enabled: bool, limits: Limits) -> Self {
        if !enabled {
            return self;
        }
        let metrics = read("/metrics", metrics::metrics).app_data(web::Data::new(limits));
        self.only_for(&[Role::Admin, Role::Metrics], metrics)
    }

    /// Adds the endpoint of MCP for all pools, if it is on.
    #[cfg(feature = "mcp")]
    pub(super) fn with_mcp(self, endpoints: Option<web::Data<Mcp>>) -> Self {
        let Some(endpoints) = endpoints else { return self };
        let endpoint = web::resource("/mcp").route(web::post().to(mcp::post)).route(web::delete().to(mcp::delete));
        self.for_callers(endpoint.app_data(endpoints).default_service(web::to(not_of_mcp)))
    }

    pub(super) fn into_scope(self) -> Scope {
        self.scope
    }

    fn new(path: &str, guard: Arc<RequestGuard>) -> Self {
        Self { scope: web::scope(path), guard }
    }

    /// Adds routes for everyone who has passed the guard: senders of any token, and for some paths everyone.
    fn for_callers(self, resource: Resource) -> Self {
        Self { scope: self.scope.service(resource), ..self }
    }

    /// Adds routes for administrators.
    fn for_admins(self, resource: Resource) -> Self {
        self.only_for(&[Role::Admin], resource)
    }

    /// Adds routes for these roles.
    fn only_for(self, roles: &'static [Role], resource: Resource) -> Self {
        let guard = self.guard.clone();
        let check = move |request, next| guard::only(roles, guard.clone(), request, next);
        Self { scope: self.scope.service(resource.wrap(from_fn(check))), ..self }
    }
}

/// Creates a resource for GET and HEAD.
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    only(path, "GET, HEAD", reads().to(handler))
}

/// Creates a resource with one route. Methods other than the allowed ones, which are those of the route, get a 405.
fn only(path: &str, allowed: &'static str, route: Route) -> Resource {
    web::resource(path).route(route).default_service(web::to(move |request| wrong_method(request, allowed)))
}

fn reads() -> Route {
    web::route().guard(when::Any(when::Get()).or(when::Method(Method::HEAD)))
}

#[cfg(feature = "mcp")]
async fn not_of_mcp(request: HttpRequest) -> Result<&'static str, Refusal> {
    wrong_method(request, "POST, DELETE").await
}

async fn wrong_method(request: HttpRequest, allowed: &'static str) -> Result<&'static str, Refusal> {
    Err(Refusal::WrongMethod { method: request.method().to_string(), path: request.path().into(), allowed })
}

/// Answers a request that matches no route.
pub(super) async fn no_route(request: HttpRequest) -> Result<&'static str, Refusal> {
    Err(Refusal::NoRoute { path: request.path().into() })
}
