//! Who may ask at all: checked before any route, in this order: `Host`, `Origin` and `Sec-Fetch-Site`, the token. Holds what was
//! configured.

use super::{
    call::CallErrorResponse,
    connections::{self, ActiveRequest},
    hosts::Host,
    refusal::Refusal,
    unread,
};
use crate::{ErrorDetail, config::Token};
use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap, HeaderName},
    middleware::Next,
};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What is asked of every request.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestGuard {
    /// What callers have to show.
    pub(super) token: Option<Token>,
    /// Hosts beside the server's own; `None` leaves `Host` to the app.
    pub(super) hosts: Option<Vec<String>>,
    /// How much of an error is shown; `None`: as much as the address the server listens on allows.
    pub(super) errors: Option<ErrorDetail>,
}

/// In the extensions of a request that showed the token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trusted;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Asked by machines that hold no secret, and name the server by whatever address or name they reach it at. Without the token the probes tell that
/// the server is there, and in numbers which pools are ready.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The middleware.
pub(super) async fn check(
    guard: Arc<RequestGuard>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let (busy, detail) = (ActiveRequest::begin(request.request()), guard.detail(request.request()));
    let admitted = guard.admit(request.request());
    let mut response = match admitted {
        Ok(()) => unread::hold(with_detail(next.call(request).await?, detail)),
        // Not by `?`: a refusal ends its connection as every other answer does.
        Err(refusal) => request.error_response(refusal),
    };
    connections::end(busy, &mut response);
    Ok(response)
}

/// An error of a pool was made into a response without knowing the request: here it gets the detail that this one may see.
fn with_detail(response: ServiceResponse<impl MessageBody + 'static>, detail: ErrorDetail) -> ServiceResponse<BoxBody> {
    let again = response.response().error().and_then(|error| {
        let call = error.as_error::<CallErrorResponse>().map(|failure| failure.response(detail));
        call.or_else(|| Some(error.as_error::<crate::Error>()?.to_response(detail, None)))
    });
    match again {
        Some(again) => response.into_response(again),
        None => response.map_into_boxed_body(),
    }
}

impl RequestGuard {
    /// Whether the request may go on.
    pub(super) fn admit(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let is_probe = PROBES.contains(&request.path());
        if let Some(more) = self.hosts.as_ref().filter(|_| !is_probe) {
            check_host(request, more)?;
        }
        check_origin(request.headers())?;
        let Some(token) = &self.token else { return Ok(()) };
        match check_token(request.headers(), token) {
            Ok(()) => _ = request.extensions_mut().insert(Trusted),
            Err(_) if is_probe => {}
            Err(refusal) => return Err(refusal),
        }
        Ok(())
    }

    /// How much of an error this request may see.
    fn detail(&self, request: &HttpRequest) -> ErrorDetail {
        let listens_at = request.app_config().local_addr().ip().to_canonical();
        let of_address = if listens_at.is_loopback() { ErrorDetail::Full } else { ErrorDetail::Brief };
        self.errors.unwrap_or(of_address)
    }
}

/// No `Host` at all is fine: only programs send none, and what this guards against are pages.
fn check_host(request: &HttpRequest, more: &[String]) -> Result<(), Refusal> {
    let listen = request.app_config().local_addr();
    let local = connections::local_address(request);
    let named =
        request.headers().get_all(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let asked = request.uri().authority().map(|authority| authority.as_str().to_owned());
    for host in named.chain(asked) {
        if !Host::parse(&host).is_some_and(|host| host.is_allowed(listen, local, more)) {
            return Err(Refusal::ForeignHost { host });
        }
    }
    Ok(())
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(header::HOST).and_then(|host| Host::parse(host.to_str().ok()?));
    for origin in headers.get_all(header::ORIGIN) {
        let same = origin.to_str().ok().and_then(Host::of_origin).zip(host.as_ref());
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

/// In constant time, so that answers tell nothing of how much was right.
fn check_token(headers: &HeaderMap, token: &Token) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).ok_or(Refusal::TokenMissing)?.as_bytes();
    let scheme = b"Bearer ";
    let (Some(start), Some(shown)) = (given.get(..scheme.len()), given.get(scheme.len()..)) else {
        return Err(Refusal::TokenMissing);
    };
    if !start.eq_ignore_ascii_case(scheme) {
        return Err(Refusal::TokenMissing);
    }
    let same: bool = shown.trim_ascii().ct_eq(token.expose().as_bytes()).into();
    if same { Ok(()) } else { Err(Refusal::TokenWrong) }
}
