//! Refusals for invalid heads of requests. Pure.

use super::super::refusal::Refusal;
use actix_http::{
    RequestHead, Version,
    error::ParseError,
    header::{EXPECT, HeaderValue},
};

/// The limits of actix-http for the head of a request.
const LONGEST: &str = "131072 bytes, and 96 headers";
/// The first bytes of HTTP/2 without an upgrade.
const HTTP_2: &[u8] = b"PRI * HTTP/2";

/// Returns the refusal for bytes that are not a valid request. `is_read`: actix-http parsed the lines of the head, but
/// rejected their content.
pub(super) fn refusal(error: &ParseError, received: &[u8], is_read: bool) -> Refusal {
    let message = match error {
        ParseError::TooLarge => return Refusal::HeadTooLarge { allowed: LONGEST },
        ParseError::Version if received.starts_with(HTTP_2) || names_a_version(received) => {
            return Refusal::WrongVersion;
        }
        ParseError::Version => "the request line does not end with a version of HTTP".into(),
        ParseError::Method => "the request line does not begin with a method".into(),
        ParseError::Uri(error) => format!("the target in the request line is invalid: {error}"),
        ParseError::Header if is_read => {
            "`Host` is missing or repeated, or the length of the body is missing, repeated or invalid: send one \
             `Content-Length` or, in HTTP/1.1, `Transfer-Encoding: chunked`"
                .into()
        }
        _ => "the request line or a header is malformed".into(),
    };
    Refusal::BadRequest { message }
}

/// Returns whether the request line ends with an HTTP version. The version is one that the server does not support.
fn names_a_version(received: &[u8]) -> bool {
    let line = received.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let version = line.rsplit(|byte| *byte == b' ').next().and_then(|last| last.strip_prefix(b"HTTP/"));
    matches!(version, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Refuses a value of `Expect` other than `100-continue`. HTTP/1.0 has no `Expect`, so it is ignored there.
pub(super) fn check_expectations(head: &RequestHead) -> Result<(), Refusal> {
    let met = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').all(|one| one.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
    };
    match head.headers().get_all(EXPECT).find(|value| !met(value)) {
        Some(value) if head.version == Version::HTTP_11 => {
            Err(Refusal::UnmetExpectation { expect: String::from_utf8_lossy(value.as_bytes()).into_owned() })
        }
        _ => Ok(()),
    }
}
