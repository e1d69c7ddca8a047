//! The routes for the list of pools, a pool's status, its workers, its circuit breaker and its quarantine. Holds only
//! handles of pools and the cache of their estimated waits.

use super::{
    actions,
    backlog::BacklogCache,
    body_reader::Limits,
    query::Query,
    refusal::Refusal,
    roles::{Role, Tokens},
};
use crate::Pool;
use actix_web::{HttpRequest, HttpResponse, web};
use herder_actors::{
    BatchSettings, CommandDescription, Error, Fingerprint, Generation, InvalidFingerprint, InvalidWorkerId, PoolHealth,
    PoolName, Result, WorkerId, WorkerType,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{fmt, num::NonZeroU32, sync::Arc};

/// The pools of an API, in the given order, and their last known waits.
#[derive(Debug)]
pub(super) struct Pools(pub(super) Vec<Pool>, pub(super) Arc<BacklogCache>);

impl Pools {
    pub(super) fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        Self(pools.into_iter().collect(), Arc::default())
    }

    /// Returns the largest `max_frame` of the pools.
    pub(super) fn largest_frame(&self) -> usize {
        let frames = self.0.iter().map(|pool| pool.config().max_frame());
        frames.max().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Returns the pool with this name.
    pub(super) fn find(&self, name: &str) -> Result<&Pool> {
        let pool = self.0.iter().find(|pool| pool.name().as_str() == name);
        pool.ok_or_else(|| Error::UnknownPool { pool: name.into(), hint: self.names() })
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|pool| format!("`{}`", pool.name())).collect();
        format!("available pools: {}", names.join(", "))
    }
}

/// Counts the log lines that the application has lost, if it provides a counter.
#[derive(Clone, Default)]
pub(super) struct DroppedLogLines(pub(super) Option<Arc<dyn Fn() -> u64 + Send + Sync>>);

impl fmt::Debug for DroppedLogLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DroppedLogLines").field(&self.count()).finish()
    }
}

impl DroppedLogLines {
    pub(super) fn count(&self) -> Option<u64> {
        self.0.as_ref().map(|count| count())
    }
}

/// A pool in the list.
#[derive(Serialize)]
struct PoolListEntry {
    pool: PoolName,
    worker_type: WorkerType,
    /// Only if the pool did not answer: its health contains the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_size: Option<u32>,
    #[serde(flatten)]
    health: Option<PoolHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The answer to `GET /v1/pools`.
#[derive(Serialize)]
struct PoolList {
    pools: Vec<PoolListEntry>,
    buffered_bytes: usize,
    buffer_limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_log_lines: Option<u64>,
}

/// `GET /v1/pools`. The list includes pools that cannot answer. Only administrators see why workers did not start.
pub(super) async fn list(
    request: HttpRequest,
    pools: web::Data<Pools>,
    limits: web::Data<Limits>,
    tokens: web::Data<Tokens>,
) -> HttpResponse {
    let is_admin = tokens.role(request.headers()).is_ok_and(|role| role == Role::Admin);
    let mut entries = Vec::with_capacity(pools.0.len());
    for pool in &pools.0 {
        let (health, error) = match pool.health().await {
            Ok(mut health) => {
                health.last_start_error.take_if(|_| !is_admin);
                (Some(health), None)
            }
            Err(error) if is_admin => (None, Some(error.to_string())),
            Err(_) => (None, Some("no answer".into())),
        };
        let worker_type = pool.config().worker_type();
        let pool_size = health.is_none().then(|| pool.config().pool_size());
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

/// The answer to `GET /v1/pools/{pool}/commands`.
#[derive(Serialize)]
struct CommandList<'a> {
    pool: &'a PoolName,
    commands: &'a [CommandDescription],
}

/// `GET /v1/pools/{pool}/commands`.
pub(super) async fn commands(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let pool = pools.find(&name)?;
    let commands = pool.commands().await?;
    Ok(HttpResponse::Ok().json(CommandList { pool: pool.name(), commands: &commands }))
}

/// The query of the limits of batches. What is left out stays as it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchQuery {
    max_batch_size: Option<NonZeroU32>,
    max_wait: Option<String>,
}

/// `PATCH /v1/pools/{pool}/commands/{command}`.
pub(super) async fn set_batch(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
) -> actix_web::Result<HttpResponse> {
    let (pool, command) = path.into_inner();
    let pool = pools.find(&pool)?;
    let query =
        Query::of(&request, "max_batch_size=N (1 to 65536), max_wait=DURATION (at most 1m), such as 500us or 2ms");
    let BatchQuery { max_batch_size, max_wait } = query.parse()?;
    let max_wait = max_wait.as_deref().map(humantime::parse_duration).transpose();
    let max_wait = max_wait.map_err(|error| query.refuse(format_args!("max_wait: {error}")))?;
    let settings = BatchSettings { max_batch_size, max_wait };
    settings.check().map_err(|error| query.refuse(error))?;
    let batch = pool.set_batch(&command, settings).await?;
    actions::note(&request, pool, &format!("set the batches of {command}: {}", query.text())).await;
    Ok(HttpResponse::Ok().json(json!({ "command": command, "batch": batch })))
}

/// Parses the name of a worker.
pub(super) fn worker_id(text: &str) -> Result<WorkerId> {
    text.parse().map_err(|error: InvalidWorkerId| Error::NoSuchWorker { message: error.to_string() })
}

/// The query of the recorder: the generation of the process.
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
    let worker = worker_id(&worker)?;
    let RecorderQuery { generation } = Query::of(&request, "generation=N").parse()?;
    Ok(HttpResponse::Ok().json(pool.recorder(worker, generation.map(Generation)).await?))
}

/// `GET /v1/pools/{pool}/breaker`. The value is null for a pool without a breaker.
pub(super) async fn breaker(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let breaker = pools.find(&name)?.breaker().await?;
    Ok(HttpResponse::Ok().json(json!({ "breaker": breaker })))
}

/// `POST /v1/pools/{pool}/breaker/reset`. The value is false for a pool without a breaker.
pub(super) async fn reset_breaker(
    request: HttpRequest,
    name: web::Path<String>,
    pools: web::Data<Pools>,
) -> Result<HttpResponse> {
    let pool = pools.find(&name)?;
    let reset = pool.reset_breaker().await?;
    if reset {
        actions::note(&request, pool, "reset the breaker").await;
    }
    Ok(HttpResponse::Ok().json(json!({ "reset": reset })))
}

/// `GET /v1/pools/{pool}/quarantine`.
pub(super) async fn quarantine(name: web::Path<String>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let watched = pools.find(&name)?.quarantine().await?;
    Ok(HttpResponse::Ok().json(json!({ "quarantine": watched })))
}

/// `DELETE /v1/pools/{pool}/quarantine/{fingerprint}`.
pub(super) async fn release_from_quarantine(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
) -> actix_web::Result<HttpResponse> {
    let (name, fingerprint) = path.into_inner();
    let pool = pools.find(&name)?;
    let invalid = |error: InvalidFingerprint| Refusal::NotQuarantined { message: error.to_string() };
    let fingerprint: Fingerprint = fingerprint.parse().map_err(invalid)?;
    if pool.release_from_quarantine(fingerprint).await? {
        actions::note(&request, pool, &format!("release {fingerprint} from quarantine")).await;
        return Ok(HttpResponse::NoContent().finish());
    }
    let message = format!("no call with the fingerprint `{fingerprint}` is quarantined or suspected");
    Err(Refusal::NotQuarantined { message }.into())
}
