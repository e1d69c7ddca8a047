//! `tools/call`: runs the command of a tool, in the session that the client names. Holds nothing.

use super::{
    caller::Caller,
    message::Request,
    outcome::{Form, unknown_tool},
    rpc::RpcError,
    sessions::{Kind, RunningCall, SessionRef},
    tools::{CREATE_SESSION, END_SESSION, HANDLE, McpPool, take_handle},
};
use crate::body_buffers::Room;
use crate::http::{access_log::note_trace, body_check, connections::while_connected, headers::forward};
use actix_web::{HttpRequest, HttpResponse, Result, http::StatusCode, web};
use bytes::Bytes;
use herder_actors::{Error, IfAbsent, PendingReply, Reply};
use serde::de::IgnoredAny;
use serde_json::json;
use std::future::pending;

/// The status of a response to a client that has closed its connection. No client reads it.
const CLIENT_GONE: u16 = 499;
const UNKNOWN_HANDLE: &str = "the session of `herder_session` does not exist or has expired, and its state is lost; begin a new one with \
     `herder_create_session`";

/// A call of a tool.
#[derive(Debug)]
pub(super) struct ToolCall<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) message: &'a Request,
    /// The session of the header, in revisions that have one.
    pub(super) session: Option<(SessionRef<'a>, RunningCall)>,
}

/// The command of a tool.
#[derive(Clone, Copy)]
struct Command<'a> {
    pool: &'a McpPool,
    name: &'a str,
    tool: &'a str,
}

/// The end of a call that was submitted.
enum End {
    Answered(std::result::Result<Reply, Error>),
    Cancelled,
    ClientGone,
}

impl ToolCall<'_> {
    /// Runs the call and returns its response.
    pub(super) async fn run(self) -> Result<HttpResponse> {
        let form = Form { id: &self.message.id, is_stateless: self.session.is_none() };
        let outcome = self.checked(form).await;
        outcome.unwrap_or_else(|error| Ok(error.response(Some(form.id))))
    }

    async fn checked(self, form: Form<'_>) -> std::result::Result<Result<HttpResponse>, RpcError> {
        let params = &self.message.params;
        let tool = params.name.as_deref().ok_or_else(|| RpcError::invalid_params("`name` is missing"))?;
        let arguments = params.arguments.clone().unwrap_or_else(|| Bytes::from_static(b"{}"));
        let takes_handles = form.is_stateless && self.caller.endpoint.has_sessions();
        if takes_handles && [CREATE_SESSION, END_SESSION].contains(&tool) {
            return session_tool(&self.caller, tool, &arguments, form).await.map(Ok);
        }
        let (pool, name) = self.caller.endpoint.find(tool).ok_or_else(|| unknown_tool(tool))?;
        let command = Command { pool, name, tool };
        if let Err(error) = body_check::checked(&arguments, body_check::check).await.map_err(RpcError::internal)? {
            return Err(RpcError::invalid_params(format_args!("`arguments`: {error}")));
        }
        if !(takes_handles && pool.affinity) {
            return Ok(self.submit(form, command, arguments, None).await);
        }
        let taken = handle_of(arguments.clone()).await;
        // The pool is asked only if the argument is there.
        let is_own = !matches!(taken, Ok(None)) && pool.has_own_handle(name).await;
        let Some((rest, id)) = (if is_own { None } else { taken? }) else {
            return Ok(self.submit(form, command, arguments, None).await);
        };
        if !self.caller.mcp.sessions.touch(&self.caller.handle(&id)) {
            return Ok(Ok(form.refused(UNKNOWN_HANDLE)));
        }
        drop(arguments);
        // The arguments without the handle are a copy, which counts like a body.
        let mut room = Room::none(&self.caller.mcp.limits.buffers);
        if let Err(full) = room.grow_to(rest.len()) {
            return Ok(Err(full.refusal(false).into()));
        }
        Ok(self.submit(form, command, room.hold(rest), Some(&id)).await)
    }

    async fn submit(
        self,
        form: Form<'_>,
        command: Command<'_>,
        arguments: Bytes,
        handle: Option<&str>,
    ) -> Result<HttpResponse> {
        let Self { caller, session, .. } = self;
        let (header, mut running) = session.unzip();
        let handle = handle.map(|id| caller.handle(id));
        let (pool, sessions) = (&command.pool.pool, &caller.mcp.sessions);
        let (options, time_left) = caller.options(pool);
        let mut call =
            pool.call_json::<IgnoredAny>(command.name, arguments).timeout(time_left).served_since(herder_actors::now());
        // Calls of a pool without affinity have no session.
        if let Some(session) = header.as_ref().or(handle.as_ref()).filter(|_| command.pool.affinity) {
            call = call.session(session.id);
        }
        // A session that has expired in the pool must not silently begin again: the model would assume its state.
        if handle.as_ref().is_some_and(|handle| sessions.has_begun(handle, pool.name().as_str())) {
            call = call.if_absent(IfAbsent::Reject);
        }
        let reply = forward(caller.request.headers(), pool, options.apply(call)).reply();
        note_trace(caller.request, reply.trace_id());
        let id = reply.error_id();
        match end(caller.request, reply, running.as_mut()).await {
            End::Answered(Ok(reply)) => {
                handle.iter().for_each(|handle| sessions.record_begun(handle, pool.name().as_str()));
                answered(&caller, form, command, &reply).await
            }
            End::Answered(Err(error)) => Ok(form.failed(command.tool, &error, caller.detail(), id)),
            End::Cancelled => Ok(RpcError::internal("the client has cancelled the request").response(Some(form.id))),
            End::ClientGone => Ok(client_gone()),
        }
    }
}

/// Takes the handle out of the arguments; on another thread if they are long.
async fn handle_of(arguments: Bytes) -> std::result::Result<Option<(Vec<u8>, String)>, RpcError> {
    if arguments.len() < body_check::LONG {
        return take_handle(&arguments);
    }
    web::block(move || take_handle(&arguments)).await.map_err(RpcError::internal)?
}

/// Waits for the reply, unless the client cancels the call or closes its connection. Dropping the reply cancels the call.
async fn end(request: &HttpRequest, reply: PendingReply, running: Option<&mut RunningCall>) -> End {
    let cancelled = async {
        match running {
            Some(running) => running.cancelled().await,
            None => pending().await,
        }
    };
    let work = async {
        tokio::select! {
            // If both are ready, the outcome counts: the call has run.
            biased;
            outcome = reply => End::Answered(outcome),
            () = cancelled => End::Cancelled,
        }
    };
    while_connected(request, work).await.unwrap_or(End::ClientGone)
}

async fn answered(caller: &Caller<'_>, form: Form<'_>, command: Command<'_>, reply: &Reply) -> Result<HttpResponse> {
    match form.result(reply, &caller.mcp.limits).await? {
        Ok(response) => Ok(response),
        Err(error) => {
            let error = Error::decode(error);
            let id = command.pool.pool.log_refusal(command.name, &error);
            Ok(form.failed(command.tool, &error, caller.detail(), id))
        }
    }
}

/// Runs one of the two tools for sessions.
async fn session_tool(
    caller: &Caller<'_>,
    tool: &str,
    arguments: &[u8],
    form: Form<'_>,
) -> std::result::Result<HttpResponse, RpcError> {
    if tool == CREATE_SESSION {
        let id = caller.mcp.sessions.begin(Kind::Handle, caller.endpoint.name.as_deref())?;
        return Ok(form.own(&json!({ HANDLE: id })));
    }
    let handle = take_handle(arguments)?;
    let (_, id) = handle.ok_or_else(|| RpcError::invalid_params(format_args!("`{HANDLE}` is missing")))?;
    match caller.end_session(&caller.handle(&id)).await {
        true => Ok(form.own(&json!({ "ended": true }))),
        false => Ok(form.refused(UNKNOWN_HANDLE)),
    }
}

pub(super) fn client_gone() -> HttpResponse {
    HttpResponse::new(StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST))
}
