//! What the metrics of a server follow from, at the time of a request.

use crate::{Pool, config::StartMethod};
use herder_actors::Measurements;

/// What the metrics of a server follow from.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) pools: Vec<SnapshotOfPool>,
    pub(super) buffered_bytes: usize,
    pub(super) buffer_limit: usize,
    pub(super) dropped_log_lines: Option<u64>,
    /// `None` if no traces are exported.
    pub(super) dropped_spans: Option<u64>,
}

#[derive(Debug)]
pub(super) struct SnapshotOfPool {
    pub(super) name: String,
    pub(super) worker_type: &'static str,
    pub(super) is_lazy: bool,
    pub(super) has_template: bool,
    /// `None` if the pool did not answer.
    pub(super) measured: Option<Box<Measurements>>,
}

impl SnapshotOfPool {
    pub(super) async fn of(pool: &Pool) -> Self {
        let config = pool.config();
        let worker_type = config.worker_type().name();
        let (is_lazy, has_template) = (config.settings().lazy, config.start() == StartMethod::Template);
        let measured = pool.measure().await.ok();
        Self { name: pool.name().to_string(), worker_type, is_lazy, has_template, measured }
    }
}
