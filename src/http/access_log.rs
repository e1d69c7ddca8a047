//! The access log: one event for each request, with the target `herder::access`. Holds nothing: the queue of the events is that of
//! the caller. The events have the level INFO, and whether they exist is a setting: at DEBUG, a log of all requests would make DEBUG
//! the most detailed level of the process, so that each call was prepared for the log as well.

use super::headers::TRACE_PARENT;
use actix_web::{HttpMessage, HttpRequest, dev::ServiceResponse};
use herder_actors::{ErrorId, EventLog, TraceParent};
use std::{num::NonZeroU128, time::Instant};
use tracing::Level;

/// The target of the events.
const TARGET: &str = "herder::access";

/// Waits until the requests that were answered so far are logged ([`Api::access_log`](super::Api::access_log)), at most one second,
/// since a subscriber may block. For the end of a program: call it when the server has stopped. Cancel safe.
pub async fn access_log_emitted() {
    herder_actors::wait_emitted().await;
}

/// A request that will be logged.
#[derive(Clone, Debug)]
pub(super) struct AccessEntry {
    log: EventLog,
    began: Instant,
}

/// The trace of the call of a request, in its extensions.
struct BegunTrace(NonZeroU128);

impl AccessEntry {
    /// Returns the entry of a request that has just arrived.
    #[expect(clippy::disallowed_methods, reason = "the time that a request takes is logged, and decides nothing")]
    pub(super) fn begin(log: EventLog) -> Self {
        Self { log, began: Instant::now() }
    }

    /// Logs the request, whose response is about to be sent. `failed`: the id of the call that failed, if one did. Does not wait for
    /// the log.
    pub(super) fn log<B>(self, response: &ServiceResponse<B>, failed: Option<ErrorId>) {
        let request = response.request();
        let begun = || request.extensions().get::<BegunTrace>().map(|begun| begun.0);
        let trace = trace_parent(request).map(|parent| parent.trace).or_else(begun);
        let duration = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        // The query is left out: it may contain secrets. The path is copied: the buffer that it was read into may be large.
        let (method, path) = (request.method().clone(), Box::<str>::from(request.path()));
        let (status, peer) = (response.status().as_u16(), request.peer_addr());
        self.log.queue(Level::INFO, move || {
            tracing::info!(
                target: TARGET,
                method = method.as_str(),
                path = &*path,
                status,
                duration_us = duration,
                peer = peer.map(tracing::field::display),
                error_id = failed.map(tracing::field::display),
                trace_id = trace.map(|trace| format!("{trace:032x}")),
                "request"
            );
        });
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
