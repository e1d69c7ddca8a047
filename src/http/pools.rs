//! The pools an API is for, and what it tells of them: the list, a status, the workers. Handles only.

use super::{backlog::BacklogCache, receive::Limits, refusal::Refusal};
use crate::{Error, Generation, Pool, PoolHealth, PoolName, Result, WorkerId, WorkerType};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{fmt, sync::Arc};

/// The pools, in the order they were given, and what is known of their backlogs.
#[derive(Debug)]
pub(super) struct Pools(pub(super) Vec<Pool>, pub(super) BacklogCache);

impl Pools {
    pub(super) fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        Self(pools.into_iter().collect(), BacklogCache::default())
    }

    /// The largest `max_frame`.
    pub(super) fn largest_frame(&self) -> usize {
        let frames = self.0.iter().map(|pool| pool.config().max_frame());
        frames.max().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// The pool of this name.
    pub(super) fn find(&self, name: &str) -> Result<&Pool> {
        let found = self.0.iter().find(|pool| pool.name().as_str() == name);
        found.ok_or_else(|| Error::UnknownPool { pool: name.into(), hint: self.names() })
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|pool| format!("`{}`", pool.name())).collect();
        format!("available pools: {}", names.join(", "))
    }
}

/// How many lines of its log the application has lost, if it says so.
#[derive(Clone, Default)]
pub(super) struct DroppedLogLines(pub(super) Option<Arc<dyn Fn() -> u64 + Send + Sync>>);

impl fmt::Debug for DroppedLogLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DroppedLogLines").field(&self.count()).finish()
    }
}

impl DroppedLogLines {
    fn count(&self) -> Option<u64> {
        self.0.as_ref().map(|count| count())
    }
}

/// One pool in the list.
#[derive(Serialize)]
struct PoolListEntry {
    pool: PoolName,
    worker_type: WorkerType,
    pool_size: u32,
    #[serde(flatten)]
    health: Option<PoolHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The list.
#[derive(Serialize)]
struct PoolList {
    pools: Vec<PoolListEntry>,
    buffered_bytes: usize,
    buffer_limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_log_lines: Option<u64>,
}

/// `GET /v1/pools`: also tells of pools that can't answer.
pub(super) async fn list(request: HttpRequest, pools: web::Data<Pools>, limits: web::Data<Limits>) -> HttpResponse {
    let mut entries = Vec::with_capacity(pools.0.len());
    for pool in &pools.0 {
        let (health, error) = match pool.health().await {
            Ok(health) => (Some(health), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (worker_type, pool_size) = (pool.config().worker_type(), pool.config().pool_size());
        entries.push(PoolListEntry { pool: pool.name().clone(), worker_type, pool_size, health, error });
    }
    let dropped_log_lines = request.app_data::<DroppedLogLines>().and_then(DroppedLogLines::count);
    let (buffered_bytes, buffer_limit) = (limits.buffers.used(), limits.buffers.limit());
    HttpResponse::Ok().json(PoolList { pools: entries, buffered_bytes, buffer_limit, dropped_log_lines })
}

/// `GET /v1/pools/{pool}`.
pub(super) async fn status(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(pools.find(&name)?.status().await?))
}

/// `GET /v1/pools/{pool}/workers`.
pub(super) async fn workers(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let workers = pools.find(&name)?.workers().await?;
    Ok(HttpResponse::Ok().json(json!({ "workers": workers })))
}

/// Which process of a worker.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecorderQuery {
    generation: Option<u32>,
}

/// `GET /v1/pools/{pool}/workers/{id}/recorder`.
pub(super) async fn recorder(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
) -> actix_web::Result<HttpResponse> {
    let (pool, worker) = path.into_inner();
    let pool = pools.find(&pool)?;
    let worker = worker.parse::<WorkerId>().map_err(|error| Error::NoSuchWorker { message: error.to_string() })?;
    let query = request.query_string();
    let wrong = |error| Refusal::BadQuery { query: query.into(), message: format!("{error}; allowed: generation=N") };
    let which = web::Query::<RecorderQuery>::from_query(query).map_err(wrong)?;
    Ok(HttpResponse::Ok().json(pool.recorder(worker, which.generation.map(Generation)).await?))
}
