//! The revisions of the protocol, and what their requests must have. Pure.
//!
//! Since 2026-07-28 the protocol has no sessions: each request has its version in `_meta`. Earlier revisions begin with
//! `initialize`, and have the header `Mcp-Session-Id`.

use super::{message::Request, rpc::RpcError};
use actix_web::http::header::{HeaderMap, HeaderName};

/// The revision without sessions.
pub(super) const STATELESS: &str = "2026-07-28";
/// The revisions with `initialize`, the latest first. Earlier ones require batches, which the endpoint does not have.
const WITH_SESSIONS: [&str; 2] = ["2025-11-25", "2025-06-18"];
/// All revisions, the latest first.
pub(super) const SUPPORTED: [&str; 3] = [STATELESS, WITH_SESSIONS[0], WITH_SESSIONS[1]];

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const ENCODED: (&str, &str) = ("=?base64?", "?=");

/// Returns the version of a session: that of the client if it is supported, or else the latest.
pub(super) fn negotiate(requested: Option<&str>) -> &'static str {
    let same = WITH_SESSIONS.into_iter().find(|version| Some(*version) == requested);
    same.unwrap_or(WITH_SESSIONS[0])
}

/// Returns whether a request is one of the revision without sessions. Checks its headers and its `_meta` if so, and the
/// version in the header if not.
pub(super) fn is_stateless(headers: &HeaderMap, request: &Request) -> Result<bool, RpcError> {
    let version = single(headers, &VERSION)?;
    match (request.params.meta_version.as_deref(), version) {
        (Some(meta), _) => check_stateless(headers, request, meta).map(|()| true),
        (None, Some(STATELESS)) if request.method != "initialize" => {
            let message = "`_meta` has no `io.modelcontextprotocol/protocolVersion`";
            Err(RpcError::invalid_params(message).refused())
        }
        // `initialize` itself negotiates the version.
        (None, Some(version)) if request.method != "initialize" && !SUPPORTED.contains(&version) => {
            Err(RpcError::unsupported_version(version, &SUPPORTED))
        }
        (None, _) => Ok(false),
    }
}

/// Returns whether the header has the version without sessions. Notifications have no `_meta`.
pub(super) fn header_is_stateless(headers: &HeaderMap) -> Result<bool, RpcError> {
    Ok(single(headers, &VERSION)? == Some(STATELESS))
}

fn check_stateless(headers: &HeaderMap, request: &Request, meta: &str) -> Result<(), RpcError> {
    must_match(headers, &VERSION, meta)?;
    if meta != STATELESS {
        return Err(RpcError::unsupported_version(meta, &SUPPORTED));
    }
    must_match(headers, &METHOD, &request.method)?;
    if let ("tools/call", Some(name)) = (request.method.as_str(), &request.params.name) {
        must_match(headers, &NAME, name)?;
    }
    if !request.params.has_capabilities {
        let message = "`_meta` has no `io.modelcontextprotocol/clientCapabilities`";
        return Err(RpcError::invalid_params(message).refused());
    }
    Ok(())
}

/// Checks that the header has the value of the body. Otherwise a proxy that decides by the header could be deceived.
fn must_match(headers: &HeaderMap, name: &HeaderName, value: &str) -> Result<(), RpcError> {
    let Some(given) = single(headers, name)? else {
        return Err(RpcError::header_mismatch(format_args!("the header `{name}` is missing")));
    };
    let encoded = given.strip_prefix(ENCODED.0).and_then(|rest| rest.strip_suffix(ENCODED.1));
    let matches = match encoded {
        // Base64 has one form for each text, so the text of the body can be encoded instead.
        Some(encoded) if *name == NAME => encoded == base64(value.as_bytes()),
        _ => given == value,
    };
    match matches {
        true => Ok(()),
        false => Err(RpcError::header_mismatch(format_args!("the header `{name}` differs from the body"))),
    }
}

/// Returns the value of a header that may occur once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, RpcError> {
    let mut all = headers.get_all(name);
    let (first, second) = (all.next(), all.next());
    let value = first.map(|value| value.to_str()).transpose();
    match (value, second) {
        (Ok(value), None) => Ok(value),
        _ => Err(RpcError::header_mismatch(format_args!("the header `{name}` must be one value in visible ASCII"))),
    }
}

/// Returns the session of the header, if there is one.
pub(super) fn session(headers: &HeaderMap) -> Result<Option<&str>, RpcError> {
    single(headers, &SESSION).map_err(|_| RpcError::no_session())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |index: usize| u32::from(part.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > part.len() { '=' } else { char::from(DIGITS[index as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{message::Params, rpc::Id};
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(all: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.append((*name).clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn request(version: Option<&str>, name: &str) -> Request {
        let params = Params {
            meta_version: version.map(Into::into),
            has_capabilities: true,
            name: Some(name.into()),
            ..Params::default()
        };
        Request { id: Id::Number(1), method: "tools/call".into(), params }
    }

    fn code(headers: &HeaderMap, request: &Request) -> Result<bool, i32> {
        is_stateless(headers, request).map_err(|error| error.code())
    }

    #[test]
    fn headers_must_equal_the_body() {
        let all = |name| headers(&[(&VERSION, STATELESS), (&METHOD, "tools/call"), (&NAME, name)]);
        assert_eq!(code(&all("a b"), &request(Some(STATELESS), "a b")), Ok(true));
        for (plain, encoded) in [
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(code(&all(encoded), &request(Some(STATELESS), plain)), Ok(true), "{plain}");
            assert_eq!(code(&all(plain), &request(Some(STATELESS), encoded)), Err(-32020), "{plain}");
        }
        assert_eq!(code(&all("other"), &request(Some(STATELESS), "a")), Err(-32020));
        assert_eq!(code(&headers(&[(&VERSION, STATELESS)]), &request(Some(STATELESS), "a")), Err(-32020));
        assert_eq!(code(&headers(&[]), &request(Some(STATELESS), "a")), Err(-32020));
        let twice = headers(&[(&VERSION, STATELESS), (&VERSION, STATELESS)]);
        assert_eq!(code(&twice, &request(Some(STATELESS), "a")), Err(-32020));
    }

    #[test]
    fn unknown_versions_are_refused() {
        let version = |version| headers(&[(&VERSION, version)]);
        assert_eq!(code(&version("1900-01-01"), &request(Some("1900-01-01"), "a")), Err(-32022));
        assert_eq!(code(&version("1900-01-01"), &request(None, "a")), Err(-32022));
        assert_eq!(code(&version(STATELESS), &request(None, "a")), Err(-32602));
        assert_eq!(code(&version("2025-11-25"), &request(None, "a")), Ok(false));
        assert_eq!(negotiate(Some("2025-06-18")), "2025-06-18");
        for other in [Some("2024-11-05"), Some(STATELESS), None] {
            assert_eq!(negotiate(other), "2025-11-25");
        }
    }
}
