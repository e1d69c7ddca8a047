//! `GET /openapi.json`, and the page `GET /docs` with its two files. The document has the names, texts and types of commands,
//! so it needs the server's token. The page and its files hold no data, and need none: a browser cannot send a token with
//! the address of a page, so the page asks for it. Its script uses some files of the live page. Holds only its settings.

use super::{
    openapi::{self, About, PoolEntry},
    page_file::{self, answer},
    pools::Pools,
    refusal::Refusal,
    session_sources::SessionSources,
};
use actix_web::{HttpRequest, HttpResponse, Result, web};

/// The paths of the page and its files, which need no token.
pub(super) const PAGES: [&str; 3] = ["/docs", "/docs/page.css", "/docs/page.js"];

/// The settings of these routes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Docs {
    /// Whether the routes exist. `None`: if the server listens on loopback.
    pub(super) enabled: Option<bool>,
    /// Whether the server has a token.
    pub(super) needs_token: bool,
    /// Whether the route of log levels exists.
    pub(super) has_log_levels: bool,
    /// Whether `/metrics` exists.
    pub(super) has_metrics: bool,
    /// Whether the endpoints for MCP exist.
    #[cfg(feature = "mcp")]
    pub(super) has_mcp: bool,
    /// Whether only the routes of pools exist, at any path of an app.
    pub(super) is_mounted: bool,
}

/// The path of the document of mounted routes, below their path.
pub(super) const MOUNTED: &str = "/v1/pools/openapi.json";

impl Docs {
    /// Refuses a request if these routes are off.
    fn check(self, request: &HttpRequest) -> Result<(), Refusal> {
        match page_file::is_enabled(self.enabled, request) {
            true => Ok(()),
            // An application has other settings than the server.
            false if self.is_mounted => Err(page_file::no_route(request)),
            false => Err(Refusal::PageOff { page: "the documentation of commands", option: "docs" }),
        }
    }
}

/// `GET /openapi.json`, and `GET /v1/pools/openapi.json` where only the routes of pools are mounted. A pool without a ready worker so far has no commands in it.
pub(super) async fn document(
    request: HttpRequest,
    pools: web::Data<Pools>,
    docs: web::Data<Docs>,
    sessions: web::Data<SessionSources>,
) -> Result<HttpResponse> {
    docs.check(&request)?;
    let mut described = Vec::with_capacity(pools.0.len());
    for pool in &pools.0 {
        described.push((pool, pool.commands().await.unwrap_or_default()));
    }
    let entries: Vec<_> = described.iter().map(|(pool, commands)| PoolEntry::new(pool, commands)).collect();
    let about = About {
        session_header: sessions.first_header(),
        needs_token: docs.needs_token,
        has_log_levels: docs.has_log_levels,
        has_metrics: docs.has_metrics,
        #[cfg(feature = "mcp")]
        has_mcp: docs.has_mcp,
        mounted_at: docs.is_mounted.then(|| request.path().strip_suffix(MOUNTED).unwrap_or_default()),
    };
    let text = openapi::document(&entries, about)?;
    Ok(answer("application/json", text))
}

/// `GET /docs`.
pub(super) async fn page(request: HttpRequest, docs: web::Data<Docs>) -> Result<HttpResponse, Refusal> {
    docs.check(&request)?;
    Ok(answer("text/html; charset=utf-8", include_str!("page.html")))
}

/// `GET /docs/page.css`.
pub(super) async fn style(request: HttpRequest, docs: web::Data<Docs>) -> Result<HttpResponse, Refusal> {
    docs.check(&request)?;
    Ok(answer("text/css; charset=utf-8", include_str!("page.css")))
}

/// `GET /docs/page.js`.
pub(super) async fn script(request: HttpRequest, docs: web::Data<Docs>) -> Result<HttpResponse, Refusal> {
    docs.check(&request)?;
    Ok(answer("text/javascript; charset=utf-8", include_str!("page.js")))
}
