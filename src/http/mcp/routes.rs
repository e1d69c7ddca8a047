//! The handlers of the endpoints: receive a message, find out its revision of the protocol, and answer it.

use super::{
    caller::{Caller, Mcp},
    calls::{ToolCall, client_gone},
    message::{self, Message, Request},
    rpc::{self, Cacheable, Id, RpcError},
    sessions::Kind,
    tools::{CREATE_SESSION, Endpoint, HANDLE, Page},
    versions,
};
use crate::http::{
    body_check::LONG, body_reader::Failed, connections::while_connected, headers::Options, refusal::Refusal,
    session_sources::SessionSources, unread,
};
use actix_web::{
    HttpRequest, HttpResponse, Result,
    dev::Payload,
    http::{StatusCode, header::HeaderValue},
    web,
};
use bytes::Bytes;
use serde_json::{Value, json};

/// How long a client may keep a list of tools. The list changes when workers with other commands start.
const TTL_MS: u32 = 5_000;

/// `POST /mcp`.
pub(in crate::http) async fn post(
    request: HttpRequest,
    mcp: web::Data<Mcp>,
    body: web::Payload,
) -> Result<HttpResponse> {
    receive(&request, &mcp, &mcp.all, body.into_inner()).await
}

/// `POST /v1/pools/{pool}/mcp`.
pub(in crate::http) async fn post_of_pool(
    request: HttpRequest,
    pool: web::Path<String>,
    mcp: web::Data<Mcp>,
    body: web::Payload,
) -> Result<HttpResponse> {
    receive(&request, &mcp, &mcp.endpoint(&pool)?, body.into_inner()).await
}

/// `DELETE /mcp`.
pub(in crate::http) async fn delete(request: HttpRequest, mcp: web::Data<Mcp>) -> Result<HttpResponse> {
    end_session(&request, &mcp, &mcp.all).await
}

/// `DELETE /v1/pools/{pool}/mcp`.
pub(in crate::http) async fn delete_of_pool(
    request: HttpRequest,
    pool: web::Path<String>,
    mcp: web::Data<Mcp>,
) -> Result<HttpResponse> {
    end_session(&request, &mcp, &mcp.endpoint(&pool)?).await
}

async fn end_session(request: &HttpRequest, mcp: &Mcp, endpoint: &Endpoint) -> Result<HttpResponse> {
    let caller = Caller::new(request, mcp, endpoint, Options::default());
    Ok(match caller.header_session() {
        Ok(session) => {
            caller.end_session(&session).await;
            HttpResponse::NoContent().finish()
        }
        Err(error) => error.response(None),
    })
}

/// Receives a message and answers it.
async fn receive(request: &HttpRequest, mcp: &Mcp, endpoint: &Endpoint, mut body: Payload) -> Result<HttpResponse> {
    let caller = Caller::new(request, mcp, endpoint, options(request)?);
    let bytes = match caller.body_reader().body(request, &mut body).await {
        Ok(bytes) => bytes,
        Err(failed) => {
            unread::keep(request, body);
            return Err(match failed {
                Failed::Call(error) => error.into(),
                Failed::Request(refusal) => refusal.into(),
            });
        }
    };
    match read(bytes).await? {
        Ok(Message::Request(message)) => answer(caller, message).await,
        Ok(Message::Notification { method, params }) => {
            let accepted = notified(&caller, &method, params.request_id.as_ref());
            Ok(accepted.map_or_else(|error| error.response(None), |()| HttpResponse::new(StatusCode::ACCEPTED)))
        }
        Err((id, error)) => Ok(error.response(id.as_ref())),
    }
}

/// Reads the headers. The session of an MCP client comes from its protocol, so no other header or cookie names one.
fn options(request: &HttpRequest) -> Result<Options, Refusal> {
    let read = |sources: &SessionSources| Options::read(request.headers(), sources, false);
    match request.app_data::<web::Data<SessionSources>>() {
        Some(sources) => read(sources),
        None => read(&SessionSources::default()),
    }
}

/// Reads a message; on another thread if it is long.
async fn read(bytes: Bytes) -> Result<Result<Message, (Option<Id>, RpcError)>> {
    if bytes.len() < LONG {
        return Ok(message::read(&bytes));
    }
    Ok(web::block(move || message::read(&bytes)).await?)
}

/// Accepts a notification. Only that of a cancellation has an effect.
fn notified(caller: &Caller<'_>, method: &str, request: Option<&Id>) -> Result<(), RpcError> {
    if versions::header_is_stateless(caller.request.headers())? {
        return Ok(());
    }
    let session = caller.header_session()?;
    if let ("notifications/cancelled", Some(id)) = (method, request) {
        caller.mcp.sessions.cancel(&session, id);
    }
    Ok(())
}

/// Answers a request.
async fn answer(caller: Caller<'_>, message: Request) -> Result<HttpResponse> {
    let outcome = match versions::is_stateless(caller.request.headers(), &message) {
        Ok(true) => stateless(caller, &message).await,
        Ok(false) if message.method == "initialize" => initialize(&caller, &message).map(Ok),
        Ok(false) => in_session(caller, &message).await,
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| Ok(error.response(Some(&message.id))))
}

/// Answers a request of the revision without sessions.
async fn stateless(caller: Caller<'_>, message: &Request) -> Result<Result<HttpResponse>, RpcError> {
    Ok(match message.method.as_str() {
        "server/discover" => {
            let result = json!({
                "supportedVersions": versions::SUPPORTED,
                "capabilities": capabilities(),
                "instructions": instructions(caller.endpoint, true),
            });
            Ok(rpc::success(&message.id, &cacheable(result)))
        }
        "tools/list" => Ok(match list(&caller, message, true).await? {
            Some(page) => rpc::success(&message.id, &cacheable(page)),
            None => client_gone(),
        }),
        "tools/call" => ToolCall { caller, message, session: None }.run().await,
        other => return Err(RpcError::unknown_method(other, StatusCode::NOT_FOUND)),
    })
}

fn cacheable<R>(result: R) -> Cacheable<R> {
    let meta = json!({ "io.modelcontextprotocol/serverInfo": server_info() });
    Cacheable { result_type: "complete", ttl_ms: TTL_MS, cache_scope: "private", meta, result }
}

/// Begins a session.
fn initialize(caller: &Caller<'_>, message: &Request) -> Result<HttpResponse, RpcError> {
    if versions::session(caller.request.headers())?.is_some() {
        return Err(RpcError::invalid_request("`initialize` begins a new session; send it without `Mcp-Session-Id`"));
    }
    let version = versions::negotiate(message.params.version.as_deref());
    let session = caller.mcp.sessions.begin(Kind::Header, caller.endpoint.name.as_deref())?;
    let result = json!({
        "protocolVersion": version,
        "capabilities": capabilities(),
        "serverInfo": server_info(),
        "instructions": instructions(caller.endpoint, false),
    });
    let mut response = rpc::success(&message.id, &result);
    let session = HeaderValue::from_str(&session).map_err(RpcError::internal)?;
    response.headers_mut().insert(versions::SESSION, session);
    Ok(response)
}

/// Answers a request of a session.
async fn in_session(caller: Caller<'_>, message: &Request) -> Result<Result<HttpResponse>, RpcError> {
    let session = caller.header_session()?;
    Ok(match message.method.as_str() {
        "ping" => Ok(rpc::success(&message.id, &json!({}))),
        "tools/list" => Ok(match list(&caller, message, false).await? {
            Some(page) => rpc::success(&message.id, &page),
            None => client_gone(),
        }),
        "tools/call" => {
            let running = caller.mcp.sessions.run(&session, &message.id)?;
            ToolCall { caller, message, session: Some((session, running)) }.run().await
        }
        other => return Err(RpcError::unknown_method(other, StatusCode::OK)),
    })
}

/// Returns a page of the tools; `None` if the client has closed its connection.
async fn list(caller: &Caller<'_>, message: &Request, handles: bool) -> Result<Option<Page>, RpcError> {
    let page = caller.endpoint.page(message.params.cursor.as_deref(), handles, caller.detail());
    while_connected(caller.request, page).await.transpose()
}

fn capabilities() -> Value {
    json!({ "tools": {} })
}

fn server_info() -> Value {
    json!({ "name": "herder", "version": env!("CARGO_PKG_VERSION") })
}

/// Returns the text that clients may show to a model.
fn instructions(endpoint: &Endpoint, handles: bool) -> String {
    let names: Vec<_> = endpoint.pools.iter().map(|pool| format!("`{}`", pool.pool.name())).collect();
    let tools = format!("Each tool is a command of a pool of worker processes. Pools: {}.", names.join(", "));
    match (endpoint.has_sessions(), handles) {
        (false, _) => tools,
        (true, false) => format!("{tools} Commands with state keep it for this session until it expires."),
        (true, true) => format!(
            "{tools} To keep state between calls, begin a session with `{CREATE_SESSION}` and pass its `{HANDLE}` to the \
             other tools."
        ),
    }
}
