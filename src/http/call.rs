//! `POST /v1/pools/{pool}/call/{command}`: runs a call and returns its result with metadata. The bytes of the result
//! are passed on as the worker sent them, after a check that they are JSON: other text could end the surrounding object
//! early, or forge the fields after it.

use super::{
    access_log::note_trace,
    alarm::later,
    backlog,
    binary::{self, Accepted},
    body_check,
    body_reader::{BodyReader, Failed, Limits},
    call_error::CallErrorResponse,
    connections::while_connected,
    envelope, form,
    headers::{Options, forward},
    pools::Pools,
    session_sources::SessionSources,
    streams::{self, StreamFormat},
    unread,
};
use crate::Pool;
use crate::body_buffers::SMALL;
use actix_web::{
    HttpRequest, HttpResponse, Result,
    dev::Payload,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use futures_util::StreamExt;
use herder_actors::{Error, ErrorId, PendingStream, Reply, check_json};
use serde::de::IgnoredAny;
use tokio::time::Instant;

/// The status of a response to a client that has closed its connection. No client reads it; nginx uses the same number.
const CLIENT_GONE: u16 = 499;

/// Runs a command. The call is cancelled if its client closes the connection. The deadline counts from here, because
/// the head of the request has just arrived.
pub(super) async fn call(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
    limits: web::Data<Limits>,
    sessions: web::Data<SessionSources>,
    body: web::Payload,
) -> Result<HttpResponse> {
    let (pool, command) = path.into_inner();
    let server = CallServer { pools: &pools, limits: &limits, sessions: &sessions };
    run(&request, (&pool, &command), server, body.into_inner()).await
}

/// What a call uses of its server.
#[derive(Clone, Copy)]
pub(super) struct CallServer<'a> {
    pub(super) pools: &'a Pools,
    pub(super) limits: &'a Limits,
    pub(super) sessions: &'a SessionSources,
}

/// Runs a command of a pool, both given by name. `body` is the request's.
pub(super) async fn run(
    request: &HttpRequest,
    names: (&str, &str),
    server: CallServer<'_>,
    mut body: Payload,
) -> Result<HttpResponse> {
    let outcome = submit(request, names, server, &mut body).await;
    if outcome.is_err() {
        unread::keep(request, body);
    }
    outcome
}

async fn submit(
    request: &HttpRequest,
    (pool, command): (&str, &str),
    CallServer { pools, limits, sessions }: CallServer<'_>,
    body: &mut Payload,
) -> Result<HttpResponse> {
    let pool = pools.find(pool)?;
    let options = Options::read(request.headers(), sessions, pool.config().session_affinity())?;
    let format = StreamFormat::accepted(request);
    options.check_stream(format.is_some())?;
    let (reader, arrived) = (body_reader(pool, limits, &options), herder_actors::now());
    let form::Arguments { json, buffers, texts } = match form::arguments(request, body, reader).await? {
        Ok(arguments) => arguments,
        Err(Failed::Call(error)) => return Err(logged(pool, command, error).into()),
        Err(Failed::Request(refusal)) => return Err(refusal.into()),
        // The pool gets the time that is left after the body has arrived.
    };
    let mut call = pool.call_json::<IgnoredAny>(command, json).served_since(arrived);
    for (name, buffer) in buffers {
        call = call.attach(&name, buffer);
    }
    if let Some(format) = format {
        let call = if options.limits_all() { call.timeout(reader.time_left()) } else { call };
        let items = forward(request.headers(), pool, options.apply(call)).stream_json();
        note_trace(request, items.trace_id());
        // On the heap, so that the future of other calls does not get larger.
        return Box::pin(stream(request, (pools, pool), limits, format, (items, texts))).await;
    }
    call = call.timeout(reader.time_left());
    let accepted = Accepted::of(request);
    if accepted != Accepted::Json {
        call = call.take_buffers();
    }
    let reply = forward(request.headers(), pool, options.apply(call)).reply();
    note_trace(request, reply.trace_id());
    let id = reply.error_id();
    let Some(reply) = while_connected(request, reply).await else { return Ok(client_gone()) };
    let reply = reply.map_err(|error| failed((pools, pool), texts.explain(error), id))?;
    answer(pool, command, limits, reply, accepted).await
}

/// Answers with a stream. An error before the first item is the response, as for other calls.
async fn stream(
    request: &HttpRequest,
    (pools, pool): (&Pools, &Pool),
    limits: &Limits,
    format: StreamFormat,
    (mut items, texts): (PendingStream, form::JsonTexts),
) -> Result<HttpResponse> {
    let Some(first) = while_connected(request, items.next()).await else { return Ok(client_gone()) };
    let id = items.error_id();
    let first = first.transpose().map_err(|error| failed((pools, pool), texts.explain(error), id))?;
    streams::respond(request, format, limits, items, first).await
}

/// Returns the response to the error of a call.
fn failed((pools, pool): (&Pools, &Pool), error: Error, id: ErrorId) -> CallErrorResponse {
    CallErrorResponse { wait: backlog::wait(&pools.1, pool, &error), error, id }
}

fn client_gone() -> HttpResponse {
    HttpResponse::new(StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST))
}

#[expect(clippy::disallowed_methods, reason = "the deadline of a call counts from the head of its request")]
fn body_reader<'a>(pool: &Pool, limits: &'a Limits, options: &Options) -> BodyReader<'a> {
    let began = Instant::now();
    let deadline = later(began, options.timeout().unwrap_or(pool.config().timeout()));
    let max_frame = usize::try_from(pool.config().max_frame()).unwrap_or(usize::MAX);
    BodyReader { limits, max_frame, began, deadline }
}

/// Logs an error of a call that was not submitted to the pool, in the same form as the errors of other calls.
fn logged(pool: &Pool, command: &str, error: Error) -> CallErrorResponse {
    CallErrorResponse { id: pool.log_refusal(command, &error), error, wait: None }
}

/// Creates the response. A large result is counted until the connection has taken all of it.
async fn answer(pool: &Pool, command: &str, limits: &Limits, reply: Reply, accepted: Accepted) -> Result<HttpResponse> {
    let result = reply.json();
    // The buffers are counted even if the client gets only one of them, or none: all share the memory of the worker's frame.
    let buffers: usize = reply.buffers().iter().map(|buffer| buffer.length()).sum();
    let mut room = match result.len() + buffers {
        0..=SMALL => None,
        length => Some(limits.buffers.hold_result(length).map_err(|full| full.refusal(true))?),
    };
    if let Err(error) = body_check::checked(result, check_json).await? {
        return Err(logged(pool, command, Error::decode(error)).into());
    }
    if let Some(response) = binary::response(&reply, accepted, &mut room)? {
        return Ok(response);
    }
    let mut response = HttpResponse::with_body(StatusCode::OK, envelope::body(result, &reply.metadata(), room)?);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
