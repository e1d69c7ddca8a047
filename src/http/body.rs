//! The bodies of a call and of its reply: checked to be JSON before the worker or the caller gets them. Never decoded, and never
//! changed, except that a byte order mark is removed.

use super::refusal::Refusal;
use crate::Error;
use actix_web::{HttpRequest, http::header, web};
use bytes::Bytes;
use herder_actors::{PayloadError, check_json_object, without_byte_order_mark};

/// From this size on a check runs on another thread: on the one that serves connections it would block all others.
const LONG: usize = 256 * 1024;

/// The arguments of a call. No body at all stands for `{}`.
pub(super) async fn arguments(request: &HttpRequest, body: web::Payload, limit: usize) -> actix_web::Result<Bytes> {
    let too_large = || {
        let message = format!("the arguments are longer than {limit} bytes (`max_frame`)");
        Error::TooLarge { message, may_have_run: false, at: None }
    };
    if announced(request).is_some_and(|length| length > limit as u64) {
        return Err(too_large().into());
    }
    let read = body.to_bytes_limited(limit).await.map_err(|_| too_large())?;
    let body = read.map_err(|error| Refusal::BadBody { message: error.to_string() })?;
    if body.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    checked(&body, check_json_object).await?.map_err(Error::malformed)?;
    let mark = body.len() - without_byte_order_mark(&body).len();
    Ok(body.slice(mark..))
}

/// Checks JSON, on another thread if it is long.
pub(super) async fn checked(
    json: &Bytes,
    check: fn(&[u8]) -> Result<(), PayloadError>,
) -> actix_web::Result<Result<(), PayloadError>> {
    if json.len() < LONG {
        return Ok(check(json));
    }
    let json = json.clone();
    Ok(web::block(move || check(&json)).await?)
}

fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
