//! The bodies of a call and of its reply. Both are checked to be valid JSON before the worker or the caller gets them.
//! They are neither decoded nor changed, except that a byte order mark is removed.

use super::{
    body_reader::{BodyReader, Failed},
    surrogates,
};
use actix_web::{HttpRequest, dev::Payload, error::BlockingError, web};
use bytes::Bytes;
use herder_actors::{Error, PayloadError, check_json_object, without_byte_order_mark};

/// Bodies of this size or more are checked on another thread: the check would block all connections of the server
/// thread.
pub(super) const LONG: usize = 256 * 1024;

/// Reads and checks the arguments of a call. An empty body stands for `{}`.
pub(super) async fn arguments(
    request: &HttpRequest,
    body: &mut Payload,
    reader: BodyReader<'_>,
) -> actix_web::Result<Result<Bytes, Failed>> {
    let body = match reader.body(request, body).await {
        Ok(body) if body.is_empty() => return Ok(Ok(Bytes::from_static(b"{}"))),
        Ok(body) => body,
        Err(failed) => return Ok(Err(failed)),
    };
    if let Err(error) = checked(&body, check).await? {
        return Ok(Err(Failed::Call(Error::malformed(error))));
    }
    let mark = body.len() - without_byte_order_mark(&body).len();
    Ok(Ok(body.slice(mark..)))
}

/// Checks the arguments of a call.
pub(super) fn check(json: &[u8]) -> Result<(), PayloadError> {
    check_json_object(json).and_then(|()| surrogates::check(json))
}

/// Checks JSON; on another thread if it is long.
pub(super) async fn checked(
    json: &Bytes,
    check: fn(&[u8]) -> Result<(), PayloadError>,
) -> Result<Result<(), PayloadError>, BlockingError> {
    if json.len() < LONG {
        return Ok(check(json));
    }
    let json = json.clone();
    web::block(move || check(&json)).await
}
