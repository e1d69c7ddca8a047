//! Checks every request before any route, in this order: `Host`, `Origin` and `Sec-Fetch-Site`, the token. Then the routes
//! for administrators check the role. Holds only its configuration.

use super::{
    access_log::AccessEntry,
    call_error::CallErrorResponse,
    call_route::CallRoute,
    connections::{self, ActiveRequest},
    docs::PAGES,
    hosts::{Host, is_common_loopback},
    page,
    refusal::Refusal,
    roles::{Role, Tokens},
    streams::DetailOfStream,
    unread,
};
use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap, HeaderName},
    middleware::Next,
};
use herder_actors::{ErrorDetail, ErrorId, EventLog};
use std::sync::Arc;

/// The checks that every request must pass.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestGuard {
    /// The tokens that callers must send.
    pub(super) tokens: Tokens,
    /// The allowed hosts besides the server's own. `None`: `Host` is not checked.
    pub(super) hosts: Option<Vec<String>>,
    /// How much detail of an error is shown. `None`: depends on the address that the server listens on, and on the role of the
    /// sender.
    pub(super) errors: Option<ErrorDetail>,
    /// The log of all requests.
    pub(super) access_log: Option<EventLog>,
}

/// A marker in the extensions of a request that sent the token of administrators.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trusted;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The paths that need no token and accept any `Host`: orchestrators have no secret, and use any address or name of the
/// server. Without the token, the answers only reveal that the server runs, and how many workers of each pool are ready.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The middleware that checks a request, and runs it if it matches `calls`.
pub(super) async fn check(
    guard: Arc<RequestGuard>,
    calls: Option<Arc<CallRoute>>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let (busy, detail) = (ActiveRequest::begin(request.request()), guard.detail(request.request()));
    let entry = guard.access_log.clone().map(AccessEntry::begin);
    let admitted = guard.admit(request.request());
    let (mut response, failed) = match admitted {
        Ok(()) => {
            let (response, failed) = match calls.filter(|calls| calls.matches(&request)) {
                // actix-web allocates the future of this function for each request. With the call inside it took 2152 bytes:
                // glibc keeps freed blocks of up to 1032 bytes for the thread, and merges all free blocks for a larger one.
                Some(calls) => with_detail(Box::pin(calls.run(request)).await, detail),
                None => with_detail(next.call(request).await?, detail),
            };
            (unread::hold(response), failed)
        }
        // Do not return early with `?`: `end` must also run for a refusal, so that the connection closes during a
        // drain.
        Err(refusal) => (request.error_response(refusal), None),
    };
    connections::end(busy, &mut response);
    if let Some(entry) = entry {
        entry.log(&response, failed);
    }
    Ok(response)
}

/// The path that the token of metrics opens.
const METRICS: &str = "/metrics";

/// The middleware of the routes for these roles only.
pub(super) async fn only(
    roles: &'static [Role],
    guard: Arc<RequestGuard>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // The role is read again from the request. A mark that `check` leaves could be missing, for example in a route that is
    // mounted without it.
    match guard.tokens.role(request.headers()) {
        Ok(role) if roles.contains(&role) => Ok(next.call(request).await?.map_into_boxed_body()),
        // Not `Err`: `check` would not end the request.
        Ok(role) => Ok(request.error_response(role.refused_by(roles))),
        Err(refusal) => Ok(request.error_response(refusal)),
    }
}

/// Rebuilds the response of a pool error with the detail that this request may see. actix-web creates the first one
/// without access to the request, so it is brief. Also returns the id of the call that failed, if one did.
fn with_detail(
    response: ServiceResponse<impl MessageBody + 'static>,
    detail: ErrorDetail,
) -> (ServiceResponse<BoxBody>, Option<ErrorId>) {
    let again = response.response().error().and_then(|error| {
        let call = error.as_error::<CallErrorResponse>().map(|failure| (failure.response(detail), Some(failure.id)));
        call.or_else(|| {
            let error = error.as_error::<herder_actors::Error>()?;
            Some((error.to_response(detail, None), error.error_id()))
        })
    });
    DetailOfStream::set(response.response(), detail);
    match again {
        Some((again, failed)) => (response.into_response(again), failed),
        None => (response.map_into_boxed_body(), None),
    }
}

impl RequestGuard {
    /// Checks a request.
    pub(super) fn admit(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let is_probe = PROBES.contains(&request.path());
        if let Some(more) = self.hosts.as_ref().filter(|_| !is_probe) {
            check_host(request, more)?;
        }
        check_origin(request.headers())?;
        if !self.tokens.are_required() {
            return Ok(());
        }
        match self.tokens.role(request.headers()) {
            Ok(Role::Admin) => _ = request.extensions_mut().insert(Trusted),
            Ok(Role::Call) => {}
            Ok(Role::Metrics) if request.path() == METRICS => {}
            _ if is_probe || PAGES.contains(&request.path()) || page::is_open(request.path()) => {}
            Ok(role @ Role::Metrics) => return Err(role.refused_by(&[Role::Admin, Role::Call])),
            Err(refusal) => return Err(refusal),
        }
        Ok(())
    }

    /// Returns how much detail of an error this request may see.
    pub(super) fn detail(&self, request: &HttpRequest) -> ErrorDetail {
        let of_request = || {
            let listens_at = request.app_config().local_addr().ip().to_canonical();
            // Texts of workers can contain secrets, which the token of callers must not show. Without any token, everyone is
            // an administrator.
            match self.tokens.role(request.headers()) {
                Ok(Role::Admin) if listens_at.is_loopback() => ErrorDetail::Full,
                _ => ErrorDetail::Brief,
            }
        };
        self.errors.unwrap_or_else(of_request)
    }
}

/// Checks `Host` and the authority of the request target. A request without either is allowed: browsers always send
/// `Host`, and this check protects against web pages.
fn check_host(request: &HttpRequest, more: &[String]) -> Result<(), Refusal> {
    let listen = request.app_config().local_addr();
    let local = connections::local_address(request);
    let named = request.headers().get_all(header::HOST).map(|host| host.as_bytes());
    let named = named.filter(|host| !is_common_loopback(host)).map(String::from_utf8_lossy);
    let asked = request.uri().authority().map(|authority| authority.as_str().into());
    for host in named.chain(asked) {
        if !Host::parse(&host).is_some_and(|host| host.is_allowed(listen, local, more)) {
            return Err(Refusal::ForeignHost { host: host.into_owned() });
        }
    }
    Ok(())
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    for origin in headers.get_all(header::ORIGIN) {
        let host = headers.get(header::HOST).and_then(|host| Host::parse(host.to_str().ok()?));
        let same = origin.to_str().ok().and_then(Host::of_origin).zip(host);
        if !same.is_some_and(|(origin, host)| host.is_of(&origin)) {
            return Err(Refusal::ForeignOrigin { origin: String::from_utf8_lossy(origin.as_bytes()).into_owned() });
        }
    }
    for site in headers.get_all(&SEC_FETCH_SITE) {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return Err(Refusal::ForeignSite { site: String::from_utf8_lossy(site.as_bytes()).into_owned() });
        }
    }
    Ok(())
}
