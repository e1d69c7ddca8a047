//! `GET /metrics`: what the pools have counted, as Prometheus and OpenMetrics text. Each request measures anew; nothing
//! is held.

mod catalog;
mod encode;
mod samples;
mod snapshot;
#[cfg(all(test, feature = "testing"))]
mod tests;

use super::{
    body_reader::Limits,
    pools::{DroppedLogLines, Pools},
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, Result,
    http::header::{self, Accept},
    web,
};
use encode::Format;
use snapshot::{Snapshot, SnapshotOfPool};

/// `GET /metrics`.
pub(super) async fn metrics(
    request: HttpRequest,
    pools: web::Data<Pools>,
    limits: web::Data<Limits>,
) -> Result<HttpResponse> {
    let mut measured = Vec::with_capacity(pools.0.len());
    for pool in &pools.0 {
        measured.push(SnapshotOfPool::of(pool).await);
    }
    let dropped_log_lines = request.app_data::<DroppedLogLines>().and_then(DroppedLogLines::count);
    let (buffered_bytes, buffer_limit) = (limits.buffers.used(), limits.buffers.limit());
    let dropped_spans = herder_actors::traces::dropped_spans();
    let snapshot = Snapshot { pools: measured, buffered_bytes, buffer_limit, dropped_log_lines, dropped_spans };
    let format = format(&request);
    // The text of 1,024 commands takes milliseconds, and this may be the thread of the pools.
    let text = web::block(move || encode::text(snapshot, format)).await?;
    let text = text.map_err(actix_web::error::ErrorInternalServerError)?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, format.content_type())).body(text))
}

/// Returns the format that the client prefers: OpenMetrics only if it asks for it.
fn format(request: &HttpRequest) -> Format {
    let Some(accept) = request.get_header::<Accept>() else { return Format::Prometheus };
    let known = accept.ranked().into_iter().find_map(|kind| match kind.essence_str() {
        "application/openmetrics-text" => Some(Format::OpenMetrics),
        "text/plain" | "text/*" | "*/*" => Some(Format::Prometheus),
        _ => None,
    });
    known.unwrap_or(Format::Prometheus)
}
