//! The route for the level of a pool's events in the application's log. Holds nothing: the levels are the application's.

use super::{
    actions,
    alarm::later,
    body_reader::{BodyReader, Failed, Limits},
    pools::Pools,
    refusal::Refusal,
    unread,
};
use crate::Pool;
use actix_web::{HttpRequest, HttpResponse, dev::Payload, rt::spawn, web};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;

/// The levels that can be set.
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];
/// The maximum length of the body of a request in bytes.
const MAX_BODY: usize = 1024;
const ALLOWED: &str = r#"{"level": ".."} with off, error, warn, info, debug, trace or null"#;

/// Changes which events of a pool the log of the application shows, for [`Api::log_levels`](super::Api::log_levels).
///
/// Events of a pool have the field `pool`. A subscriber that is filtered by it must tell `tracing` about each change:
/// [`rebuild_interest_cache`](tracing::callsite::rebuild_interest_cache).
pub trait LogLevels: Send + Sync + 'static {
    /// Returns the level that was set for this pool. `None`: the filter of the application applies.
    fn level(&self, pool: &str) -> Option<LevelFilter>;

    /// Sets the most detailed level of this pool's events that the log shows. `None`: the filter of the application applies.
    fn set_level(&self, pool: &str, level: Option<LevelFilter>);

    /// Returns the most detailed level that the log shows of pools for which none was set. Python workers of such pools then send
    /// nothing more detailed. `None` (the default): they send what `tracing` lets pass for any pool, so one pool at DEBUG makes the
    /// workers of all others that start later send their DEBUG records in vain.
    fn default_level(&self) -> Option<LevelFilter> {
        None
    }
}

/// The levels of the application.
#[derive(Clone)]
pub(super) struct SharedLogLevels(pub(super) Arc<dyn LogLevels>);

impl fmt::Debug for SharedLogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedLogLevels(..)")
    }
}

/// The body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    level: Option<String>,
}

/// The level of a pool. Null: none was set.
#[derive(Serialize)]
struct Answer<'a> {
    pool: &'a str,
    level: Option<String>,
}

impl<'a> Answer<'a> {
    fn response(pool: &'a str, level: Option<LevelFilter>) -> HttpResponse {
        HttpResponse::Ok().json(Answer { pool, level: level.map(|level| level.to_string()) })
    }
}

/// `GET /v1/pools/{pool}/log-level`.
pub(super) async fn get(
    name: web::Path<String>,
    pools: web::Data<Pools>,
    levels: web::Data<SharedLogLevels>,
) -> actix_web::Result<HttpResponse> {
    let pool = pools.find(&name)?.name();
    Ok(Answer::response(pool.as_str(), levels.0.level(pool.as_str())))
}

/// `PUT /v1/pools/{pool}/log-level`.
pub(super) async fn set(
    request: HttpRequest,
    name: web::Path<String>,
    pools: web::Data<Pools>,
    levels: web::Data<SharedLogLevels>,
    limits: web::Data<Limits>,
    body: web::Payload,
) -> actix_web::Result<HttpResponse> {
    let body = read(&request, &limits, body.into_inner()).await?;
    let found = pools.find(&name)?;
    let pool = found.name();
    let level = wanted(&body).map_err(|message| Refusal::BadBody { message })?;
    levels.0.set_level(pool.as_str(), level);
    let shown = level.map_or("default".to_owned(), |level| level.to_string());
    let (role, action) = (actions::role(&request), format!("set the log level to {shown}"));
    let (all, changed, levels) = (pools.clone(), found.clone(), levels.clone());
    // A task of its own: the change is logged and all pools are told, also if the client goes away.
    let _ = spawn(async move {
        actions::note_as(role, &changed, &action).await;
        tell_workers(&all, &changed, &*levels.0).await;
    })
    .await;
    Ok(Answer::response(pool.as_str(), level))
}

/// Tells the workers of all pools which log records to send: a level of one pool changes what `tracing` lets pass for the others.
async fn tell_workers(pools: &Pools, changed: &Pool, levels: &dyn LogLevels) {
    let default = levels.default_level();
    for pool in &pools.0 {
        let level = levels.level(pool.name().as_str()).or(default);
        if level.is_some() || pool.name() == changed.name() {
            let _ = pool.set_worker_log_level(level).await; // a pool that has ended has no workers
        }
    }
}

/// Receives the body of a request within the time for bodies.
#[expect(clippy::disallowed_methods, reason = "the user sets how long a body may take")]
async fn read(request: &HttpRequest, limits: &Limits, mut body: Payload) -> Result<Bytes, Refusal> {
    let began = Instant::now();
    let reader = BodyReader { limits, max_frame: MAX_BODY, began, deadline: later(began, Duration::MAX) };
    let received = reader.body(request, &mut body).await;
    received.map_err(|failed| {
        unread::keep(request, body);
        match failed {
            Failed::Request(refusal) => refusal,
            // There is no deadline, so the body is too long.
            Failed::Call(_) => {
                Refusal::BadBody { message: format!("it is longer than {MAX_BODY} bytes; allowed: {ALLOWED}") }
            }
        }
    })
}

/// Returns the level that a request asks for.
fn wanted(body: &[u8]) -> Result<Option<LevelFilter>, String> {
    let Wanted { level } = serde_json::from_slice(body).map_err(|error| format!("{error}; allowed: {ALLOWED}"))?;
    let Some(name) = level else { return Ok(None) };
    let level = LEVELS.into_iter().find(|level| level.to_string() == name);
    level.map(Some).ok_or_else(|| format!("`level` is {name:?}; allowed: {ALLOWED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_name_or_null() {
        assert_eq!(wanted(br#"{"level": "debug"}"#), Ok(Some(LevelFilter::DEBUG)));
        assert_eq!(wanted(br#"{"level": "off"}"#), Ok(Some(LevelFilter::OFF)));
        assert_eq!(wanted(br#"{"level": null}"#), Ok(None));
        for bad in ["", "{", "{\"level\": \"loud\"}", "{\"level\": \"3\"}", "{\"level\": 3}", "{\"levels\": \"info\"}"]
        {
            assert!(wanted(bad.as_bytes()).unwrap_err().ends_with(&format!("; allowed: {ALLOWED}")), "{bad}");
        }
    }
}
