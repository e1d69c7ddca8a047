//! The bodies of a call and of its reply: checked to be JSON before the worker or the caller gets them. Never decoded, and never
//! changed, except that a byte order mark is removed.

use super::{refusal::Refusal, surrogates};
use crate::Error;
use actix_web::{
    HttpMessage, HttpRequest,
    body::{BodyStream, MessageBody},
    error::PayloadError as BodyError,
    http::header,
    web,
};
use bytes::{Bytes, BytesMut};
use herder_actors::{PayloadError, check_json_object, without_byte_order_mark};
use std::{
    future::poll_fn,
    pin::{Pin, pin},
};

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
    let read = if ends_with_the_connection(request) {
        first(body, announced(request).unwrap_or_default()).await.map_err(actix_web::Error::from)
    } else {
        body.to_bytes_limited(limit).await.map_err(|_| too_large())?
    };
    let body = read.map_err(|error| Refusal::BadBody { message: cut_off(request, &error) })?;
    if body.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    checked(&body, check).await?.map_err(Error::malformed)?;
    let mark = body.len() - without_byte_order_mark(&body).len();
    Ok(body.slice(mark..))
}

fn check(json: &[u8]) -> Result<(), PayloadError> {
    check_json_object(json).and_then(|()| surrogates::check(json))
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

/// Why a body did not arrive whole. Of one in chunks actix-http does not tell a wrong chunk from the connection's end.
fn cut_off(request: &HttpRequest, error: &actix_web::Error) -> String {
    let in_chunks = request.chunked().unwrap_or(false);
    match error.as_error::<BodyError>() {
        Some(BodyError::Incomplete(_) | BodyError::EncodingCorrupted) if in_chunks => {
            "the size or the end of a chunk is wrong, or the connection ended before the last chunk".into()
        }
        Some(BodyError::Incomplete(_)) => "the connection ended before all of `Content-Length` had arrived".into(),
        _ => error.to_string(),
    }
}

/// Whether actix-http takes all that follows the head for the body, whatever `Content-Length` says: it does so for requests that offer a
/// websocket. The client waits for the answer then, and the connection does not end.
fn ends_with_the_connection(request: &HttpRequest) -> bool {
    let offer = request.headers().get(header::UPGRADE).map(|offer| offer.as_bytes().trim_ascii());
    offer.is_some_and(|offer| offer.eq_ignore_ascii_case(b"websocket")) && !request.chunked().unwrap_or(false)
}

/// The first `length` bytes of a body.
async fn first(body: web::Payload, length: u64) -> Result<Bytes, BodyError> {
    let length = usize::try_from(length).map_err(|_| BodyError::Overflow)?;
    let (mut stream, mut bytes) = (pin!(BodyStream::new(body)), BytesMut::new());
    while bytes.len() < length {
        match poll_fn(|context| Pin::as_mut(&mut stream).poll_next(context)).await {
            Some(chunk) => bytes.extend_from_slice(&chunk?),
            None => return Err(BodyError::Incomplete(None)),
        }
    }
    bytes.truncate(length);
    Ok(bytes.freeze())
}

fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
