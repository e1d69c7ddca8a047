//! Answers with a file of a page: the headers that every file of `/docs` and of the live page has. Holds nothing.

use super::refusal::Refusal;
use actix_web::{
    HttpRequest, HttpResponse,
    body::MessageBody,
    http::header::{self, HeaderName, HeaderValue},
};

/// A page may load its own files and send requests to its own server, and nothing else; no other page may contain it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

/// Returns the answer with this content.
pub(super) fn answer(content_type: &'static str, body: impl MessageBody + 'static) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(body);
    let headers = [
        (header::CONTENT_TYPE, content_type),
        // Another version of the server has other files at the same address.
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Returns whether a page exists that is on or off, or by default exists if the server listens on loopback.
pub(super) fn is_enabled(setting: Option<bool>, request: &HttpRequest) -> bool {
    setting.unwrap_or_else(|| request.app_config().local_addr().ip().to_canonical().is_loopback())
}

/// Answers like a path without a route.
pub(super) fn no_route(request: &HttpRequest) -> Refusal {
    Refusal::NoRoute { path: request.path().into() }
}
