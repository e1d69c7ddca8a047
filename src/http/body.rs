//! A call's body: read up to the pool's limit, and checked to be a JSON object before a worker sees it. Never decoded, never changed.

use super::refusal::Refusal;
use crate::Error;
use actix_web::{HttpRequest, http::header, web};
use bytes::Bytes;
use herder_actors::check_json_object;

/// From here on the check leaves the thread that serves connections: it would hold up all others.
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
    let check = |body: &Bytes| check_json_object(body).map_err(Error::malformed);
    if body.len() < LONG {
        check(&body)?;
    } else {
        let copy = body.clone();
        web::block(move || check(&copy)).await??;
    }
    Ok(body)
}

fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
