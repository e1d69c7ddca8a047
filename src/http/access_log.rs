//! The access log: one event for each request, with the target `herder::access`. Holds nothing. The events have the level INFO, and
//! whether they exist is a setting: at DEBUG, a log of all requests would make DEBUG the most detailed level of the process, so that
//! each call was prepared for the log as well.

use super::headers::TRACE_PARENT;
use actix_web::{HttpMessage, HttpRequest, dev::ServiceResponse};
use herder_actors::{ErrorId, TraceParent};
use std::{num::NonZeroU128, time::Instant};
use tracing::Level;

/// The target of the events.
const TARGET: &str = "herder::access";

/// A request that will be logged.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessEntry {
    began: Instant,
}

/// The trace of the call of a request, in its extensions.
struct BegunTrace(NonZeroU128);

impl AccessEntry {
    /// Returns the entry of a request that has just arrived; `None` if the log does not show it.
    #[expect(clippy::disallowed_methods, reason = "the time that a request takes is logged, and decides nothing")]
    pub(super) fn begin(is_logged: bool) -> Option<Self> {
        (is_logged && tracing::enabled!(target: TARGET, Level::INFO)).then(|| Self { began: Instant::now() })
    }

    /// Logs the request, whose response is about to be sent. `failed`: the id of the call that failed, if one did.
    pub(super) fn log<B>(self, response: &ServiceResponse<B>, failed: Option<ErrorId>) {
        let request = response.request();
        let begun = || request.extensions().get::<BegunTrace>().map(|begun| begun.0);
        let trace = trace_parent(request).map(|parent| parent.trace).or_else(begun);
        let duration = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        // The query is left out: it may contain secrets.
        tracing::info!(
            target: TARGET,
            method = request.method().as_str(),
            path = request.path(),
            status = response.status().as_u16(),
            duration_us = duration,
            peer = request.peer_addr().map(tracing::field::display),
            error_id = failed.map(tracing::field::display),
            trace_id = trace.map(|trace| format!("{trace:032x}")),
            "request"
        );
    }
}

/// Keeps the trace of the call of a request for the log.
pub(super) fn note_trace(request: &HttpRequest, trace: Option<NonZeroU128>) {
    if let Some(trace) = trace {
        request.extensions_mut().insert(BegunTrace(trace));
    }
}

/// Returns the trace that a request belongs to, if it has a valid header.
fn trace_parent(request: &HttpRequest) -> Option<TraceParent> {
    request.headers().get(TRACE_PARENT)?.to_str().ok()?.parse().ok()
}
