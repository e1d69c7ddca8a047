//! The route of calls, `/{pool}/call/{command}`, by comparisons of strings. Holds the pools of an API and their limits.
//!
//! actix-web's router compiles a path with parameters to a regular expression, and tries the routes of a scope one after
//! the other. For a small call that was more than half of the instructions of the server's thread.

use super::{
    body_reader::Limits,
    call::{self, CallServer},
    pools::Pools,
    session_sources::SessionSources,
};
use actix_web::{
    HttpResponse,
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
};
use std::sync::Arc;

/// The calls that need no router: a POST to a path without escapes. The router has the same route for everything else:
/// names with escapes, and other methods, which it refuses.
#[derive(Debug)]
pub(super) struct CallRoute {
    /// The path above the pools, as far as no scope has matched it.
    prefix: &'static str,
    pools: Arc<Pools>,
    limits: Limits,
    sessions: Arc<SessionSources>,
}

impl CallRoute {
    pub(super) fn new(
        prefix: &'static str,
        pools: Arc<Pools>,
        limits: Limits,
        sessions: Arc<SessionSources>,
    ) -> Arc<Self> {
        Arc::new(Self { prefix, pools, limits, sessions })
    }

    /// Returns whether [`run`](Self::run) accepts the request.
    pub(super) fn matches(&self, request: &ServiceRequest) -> bool {
        let path = request.match_info();
        // In a scope with parameters, the router would refuse the call: its handler expects two parameters.
        request.method() == Method::POST && path.is_empty() && self.names(path.unprocessed()).is_some()
    }

    /// Runs the call of a request that [`matches`](Self::matches).
    pub(super) async fn run(&self, request: ServiceRequest) -> ServiceResponse {
        let (request, body) = request.into_parts();
        let names = self.names(request.match_info().unprocessed()).unwrap_or_default();
        let server = CallServer { pools: &self.pools, limits: &self.limits, sessions: &self.sessions };
        let outcome = call::run(&request, names, server, body).await;
        ServiceResponse::new(request, outcome.unwrap_or_else(HttpResponse::from_error))
    }

    /// Returns the names of the pool and of the command. actix-web has already decoded the path except for `%25`, `%2B`
    /// and `%2F`, which it decodes in parameters. A name that still has a `%` is left to the router.
    fn names<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let (pool, rest) = path.strip_prefix(self.prefix)?.strip_prefix('/')?.split_once('/')?;
        let command = rest.strip_prefix("call/")?;
        let is_name = |text: &str| !text.is_empty() && !text.contains(['/', '%']);
        (is_name(pool) && is_name(command)).then_some((pool, command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body_buffers::Buffers;
    use actix_web::dev::{Path, ResourceDef};
    use proptest::prelude::*;
    use std::time::Duration;

    fn route(prefix: &'static str) -> Arc<CallRoute> {
        let limits = Limits { timeout: Duration::ZERO, buffers: Buffers::new(0) };
        CallRoute::new(prefix, Arc::new(Pools::new([])), limits, Arc::default())
    }

    #[test]
    fn only_the_path_of_a_call_matches() {
        let (api, mounted) = (route("/v1/pools"), route(""));
        assert_eq!(api.names("/v1/pools/one/call/echo"), Some(("one", "echo")));
        assert_eq!(mounted.names("/one/call/ä b"), Some(("one", "ä b")));
        for path in
            ["one/call/x", "/one/call/", "//call/x", "/one/call/x/", "/one/call//x", "/one/calls/x", "/one/call"]
        {
            assert_eq!(mounted.names(path), None, "{path}");
        }
        for path in ["/v1/poolsone/call/x", "/v1/pools//one/call/x", "/one/call/x", "*", ""] {
            assert_eq!(api.names(path), None, "{path}");
        }
    }

    proptest! {
        /// The route and the router find the same names in paths without escapes.
        #[test]
        fn the_router_finds_the_same_names(path in r"(/|call|one|%2F|%|\.|\?|\n|ä|/one/call|/call/){0,8}") {
            let mut routed = Path::new(path.as_str());
            let is_routed = ResourceDef::new("/{pool}/call/{command}").capture_match_info(&mut routed);
            let by_router = is_routed.then(|| (&routed["pool"], &routed["command"]));
            let expected = by_router.filter(|(pool, command)| !pool.contains('%') && !command.contains('%'));
            prop_assert_eq!(route("").names(&path), expected);
        }
    }
}
