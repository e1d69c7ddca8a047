//! `POST /v1/pools/{pool}/call/{command}`: a call, and its reply with its circumstances. The result's bytes pass through as the
//! worker sent them, after a check that they are JSON: other text could end the body around it early, or forge the fields after it.

use super::{backlog, body, connections::while_connected, headers::Options, pools::Pools};
use crate::{Error, ErrorDetail, ErrorId, Pool, Reply};
use actix_web::{
    HttpRequest, HttpResponse, ResponseError, Result,
    http::{StatusCode, header},
    web,
};
use bytes::{BufMut, Bytes, BytesMut};
use herder_actors::check_json;
use serde::de::IgnoredAny;
use std::time::Duration;

/// The client closed its request: nobody reads this answer (nginx's number for it).
const CLIENT_GONE: u16 = 499;

/// A call that failed, the id under which the log has it, and when to come again, if that is better known here than by the error.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct CallFailure {
    error: Error,
    id: ErrorId,
    wait: Option<Duration>,
}

impl CallFailure {
    pub(super) fn response(&self, detail: ErrorDetail) -> HttpResponse {
        let mut response = self.error.to_response(detail, Some(self.id));
        if let Some(wait) = self.wait {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}

impl ResponseError for CallFailure {
    fn status_code(&self) -> StatusCode {
        self.error.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.response(ErrorDetail::Brief)
    }
}

/// Runs a command. The call is cancelled when its client goes away.
pub(super) async fn call(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
    body: web::Payload,
) -> Result<HttpResponse> {
    let (pool, command) = path.into_inner();
    let pool = pools.find(&pool)?;
    let options = Options::read(request.headers())?;
    let limit = usize::try_from(pool.config().max_frame()).unwrap_or(usize::MAX);
    let arguments = match body::arguments(&request, body, limit).await {
        Ok(arguments) => arguments,
        Err(refusal) => return Err(refused(pool, &command, refusal)),
    };
    let reply = options.apply(pool.call_json::<IgnoredAny>(&command, arguments)).reply();
    let id = reply.error_id();
    let Some(reply) = while_connected(&request, reply).await else {
        return Ok(HttpResponse::new(StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST)));
    };
    let reply = reply.map_err(|error| CallFailure { wait: backlog::wait(&pools, pool, &error), error, id })?;
    match body::checked(reply.json(), check_json).await? {
        Ok(()) => answer(&reply),
        Err(error) => Err(logged(pool, &command, Error::decode(error)).into()),
    }
}

/// Arguments that are refused here never come to the pool: the log hears of that call as of any other.
fn refused(pool: &Pool, command: &str, refusal: actix_web::Error) -> actix_web::Error {
    match refusal.as_error::<Error>().cloned() {
        Some(error) => logged(pool, command, error).into(),
        None => refusal,
    }
}

/// Logs an error that the pool has not seen.
fn logged(pool: &Pool, command: &str, error: Error) -> CallFailure {
    CallFailure { id: pool.log_refusal(command, &error), error, wait: None }
}

fn answer(reply: &Reply) -> Result<HttpResponse> {
    let meta = serde_json::to_vec(&reply.meta())?;
    Ok(HttpResponse::Ok().content_type("application/json").body(envelope(reply.json(), &meta)))
}

fn envelope(result: &[u8], meta: &[u8]) -> Bytes {
    let parts: [&[u8]; 5] = [b"{\"result\":", result, b",\"meta\":", meta, b"}"];
    let mut text = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.put_slice(part));
    text.freeze()
}

#[cfg(test)]
mod tests {
    use super::envelope;

    /// Spaces, key order, and numbers that no double holds stay as the worker wrote them.
    #[test]
    fn a_result_passes_through_untouched() {
        let result = br#"{"b": 12345678901234567890.10, "a":"\u00e4"}"#;
        let text = envelope(result, br#"{"worker":"w1"}"#);
        assert_eq!(text, &br#"{"result":{"b": 12345678901234567890.10, "a":"\u00e4"},"meta":{"worker":"w1"}}"#[..]);
    }
}
