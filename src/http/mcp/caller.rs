//! What a request to an endpoint needs: the pools, the limits and the sessions of the API, and what its headers say.

use super::{
    rpc::RpcError,
    sessions::{Kind, SessionRef, Sessions},
    tools::{Endpoint, McpPool},
    versions,
};
use crate::Pool;
use crate::http::{
    alarm::later,
    body_reader::{BodyReader, Limits},
    guard::RequestGuard,
    headers::Options,
    pools::Pools,
};
use actix_web::HttpRequest;
use herder_actors::{Error, ErrorDetail};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The endpoints of an API.
#[derive(Debug)]
pub(in crate::http) struct Mcp {
    /// The endpoint of all pools.
    pub(super) all: Endpoint,
    pub(super) limits: Limits,
    pub(super) sessions: Arc<Sessions>,
    guard: Arc<RequestGuard>,
}

/// A request, and the endpoint that received it.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    pub(super) request: &'a HttpRequest,
    pub(super) mcp: &'a Mcp,
    pub(super) endpoint: &'a Endpoint,
    options: Options,
    /// The time at which the head of the request was complete.
    began: Instant,
}

impl Mcp {
    pub(in crate::http) fn new(
        pools: &Pools,
        guard: Arc<RequestGuard>,
        limits: Limits,
        sessions: Arc<Sessions>,
    ) -> Self {
        let pool = |pool: &Pool| McpPool { pool: pool.clone(), affinity: pool.config().session_affinity() };
        let all = Endpoint { name: None, pools: pools.0.iter().map(pool).collect() };
        Self { all, limits, sessions, guard }
    }

    /// Creates the table for the sessions of clients of these pools.
    pub(in crate::http) fn new_sessions(pools: &Pools) -> Arc<Sessions> {
        let timeouts = pools.0.iter().map(|pool| pool.config().settings().sessions.timeout);
        Sessions::new(timeouts.max().unwrap_or_default())
    }

    /// Returns the endpoint of one pool.
    pub(super) fn endpoint(&self, name: &str) -> Result<Endpoint, Error> {
        let found = self.all.pools.iter().find(|pool| pool.pool.name().as_str() == name);
        match found {
            Some(pool) => Ok(Endpoint { name: Some(name.into()), pools: vec![pool.clone()] }),
            None => Err(Error::UnknownPool { pool: name.into(), hint: "`GET /v1/pools` lists the pools".into() }),
        }
    }
}

impl<'a> Caller<'a> {
    #[expect(clippy::disallowed_methods, reason = "the deadline of a call counts from the head of its request")]
    pub(super) fn new(request: &'a HttpRequest, mcp: &'a Mcp, endpoint: &'a Endpoint, options: Options) -> Self {
        Self { request, mcp, endpoint, options, began: Instant::now() }
    }

    /// Returns the limits for the body: those of the pool that allows most. The pool that is called checks its own.
    pub(super) fn body_reader(&self) -> BodyReader<'a> {
        let configs = || self.endpoint.pools.iter().map(|pool| pool.pool.config());
        let longest = configs().map(|config| config.timeout()).max().unwrap_or(Duration::ZERO);
        let max_frame = configs().map(|config| config.max_frame()).max().unwrap_or_default();
        let max_frame = usize::try_from(max_frame).unwrap_or(usize::MAX);
        let deadline = later(self.began, self.options.timeout().unwrap_or(longest));
        BodyReader { limits: &self.mcp.limits, max_frame, began: self.began, deadline }
    }

    /// Returns the options of a call, and the time until its deadline.
    pub(super) fn options(&self, pool: &Pool) -> (Options, Duration) {
        let deadline = later(self.began, self.options.timeout().unwrap_or(pool.config().timeout()));
        let reader = BodyReader { deadline, ..self.body_reader() };
        (self.options.clone(), reader.time_left())
    }

    /// Returns how much detail of an error the request may see.
    pub(super) fn detail(&self) -> ErrorDetail {
        self.mcp.guard.detail(self.request)
    }

    /// Returns the session that the header names. It must exist.
    pub(super) fn header_session(&self) -> Result<SessionRef<'a>, RpcError> {
        let missing = || RpcError::invalid_request("the header `Mcp-Session-Id` is missing; send `initialize` first");
        let id = versions::session(self.request.headers())?.ok_or_else(missing)?;
        let session = SessionRef { id, kind: Kind::Header, endpoint: self.endpoint.name.as_deref() };
        if self.mcp.sessions.touch(&session) { Ok(session) } else { Err(RpcError::no_session()) }
    }

    /// Returns the session of a handle, which may not exist.
    pub(super) fn handle<'b>(&'b self, id: &'b str) -> SessionRef<'b> {
        SessionRef { id, kind: Kind::Handle, endpoint: self.endpoint.name.as_deref() }
    }

    /// Ends a session, here and in the pools. Returns false if it does not exist.
    pub(super) async fn end_session(&self, session: &SessionRef<'_>) -> bool {
        let ended = self.mcp.sessions.end(session);
        for pool in self.endpoint.pools.iter().filter(|pool| ended && pool.affinity) {
            // Not an error: the pool has no call of the session, or has ended.
            _ = pool.pool.end_session(session.id).await;
        }
        ended
    }
}
