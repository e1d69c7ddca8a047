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
use herder_actors::PoolName;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};
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
pub(super) struct SharedLogLevels {
    levels: Arc<dyn LogLevels>,
    /// For each pool, in their order: held while its level is set and its workers are told. Several threads serve requests, and the
    /// workers must get the levels in the same order as the log.
    turns: Arc<[Mutex<()>]>,
}

impl SharedLogLevels {
    pub(super) fn new(levels: impl LogLevels, pools: &Pools) -> Self {
        Self { levels: Arc::new(levels), turns: pools.0.iter().map(|_| Mutex::default()).collect() }
    }

    /// Sets the level of a pool for an administrator with this role. Then tells the workers of all pools which log records to send: a
    /// level of one pool changes what `tracing` lets pass for the others.
    async fn set(&self, pools: &Pools, name: &PoolName, level: Option<LevelFilter>, role: &'static str) {
        let shown = level.map_or("default".to_owned(), |level| level.to_string());
        let all = pools.0.iter().zip(&*self.turns);
        let (changed, others): (Vec<_>, Vec<_>) = all.partition(|(pool, _)| pool.name() == name);
        for (pool, turn) in changed {
            let _turn = turn.lock().await;
            self.levels.set_level(name.as_str(), level);
            actions::note_as(role, pool, &format!("set the log level to {shown}")).await;
            self.tell_workers(pool, true).await;
        }
        for (pool, turn) in others {
            let _turn = turn.lock().await;
            self.tell_workers(pool, false).await;
        }
    }

    async fn tell_workers(&self, pool: &Pool, is_changed: bool) {
        let level = self.levels.level(pool.name().as_str()).or(self.levels.default_level());
        if level.is_some() || is_changed {
            let _ = pool.set_worker_log_level(level).await; // a pool that has ended has no workers
        }
    }
}

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
    Ok(Answer::response(pool.as_str(), levels.levels.level(pool.as_str())))
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
    let pool = pools.find(&name)?.name().clone();
    let level = wanted(&body).map_err(|message| Refusal::BadBody { message })?;
    let (role, changed) = (actions::role(&request), pool.clone());
    // A task of its own: once it is there, the level is set and all workers are told, also if the client goes away.
    let _ = spawn(async move { levels.set(&pools, &changed, level, role).await }).await;
    Ok(Answer::response(pool.as_str(), level))
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
    use crate::{
        http::Api,
        testing::{
            FakeWorker, FakeWorkers, TestPool, hello, pool_config, ready,
            wire::{HostMessage, WorkerHello, WorkerMessage},
        },
    };
    use actix_web::{
        App,
        dev::Service,
        test::{TestRequest, init_service},
    };
    use futures_util::future::join;
    use herder_actors::{PoolClient, PoolSupervisor};
    use std::task::{Context, Waker};

    /// The levels of an application that notes what happens to them.
    #[derive(Clone, Default)]
    struct Noted(Arc<std::sync::Mutex<(Option<LevelFilter>, Vec<String>)>>);

    impl LogLevels for Noted {
        fn level(&self, _: &str) -> Option<LevelFilter> {
            let (level, steps) = &mut *self.0.lock().unwrap();
            steps.push("told".into());
            *level
        }

        fn set_level(&self, _: &str, new: Option<LevelFilter>) {
            let (level, steps) = &mut *self.0.lock().unwrap();
            *level = new;
            steps.push(format!("set {new:?}"));
        }
    }

    /// Returns the next level that the worker is told.
    async fn told(worker: &mut FakeWorker) -> String {
        loop {
            match worker.control.next().await {
                Some(HostMessage::LogLevel(level)) => return format!("{level:?}"),
                message => assert!(message.is_some(), "the pool has closed the descriptor"),
            }
        }
    }

    /// R50: levels of one pool that are set at the same time reach the log and the workers in one order, and also if the client of
    /// one has gone away.
    #[actix_web::test]
    async fn r50_log_levels_are_set_one_after_another() {
        let (config, context) =
            pool_config("turns", |context| context.basic().command(["fake"]).pool_size(1).overflow(0).build());
        let (fake_workers, mut launches) = FakeWorkers::new();
        // On this thread, so that nothing is answered between two polls.
        let client = PoolClient::start(PoolSupervisor::with_launcher(config.clone(), fake_workers));
        let pool = TestPool::new(Pool::new(client, config), context);
        let mut worker = launches.next().await;
        worker.handshake_with(WorkerHello { log_level: true, ..hello() }).await;
        worker.calls.send(&WorkerMessage::Ready(ready())).await;
        pool.ready().await.unwrap();
        let levels = Noted::default();
        let api = Api::new([(*pool).clone()]).log_levels(levels.clone());
        let app = init_service(App::new().configure(api.routes())).await;
        let put = |level: &str| {
            let request = TestRequest::put().uri(&format!("/v1/pools/{}/log-level", pool.name()));
            Box::pin(app.call(request.set_payload(format!(r#"{{"level": "{level}"}}"#)).to_request()))
        };
        let mut gone = put("debug");
        assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(gone);
        let (first, second) = join(put("warn"), put("error")).await;
        assert_eq!([first, second].map(|answer| answer.unwrap().status().as_u16()), [200; 2]);
        let steps = std::mem::take(&mut levels.0.lock().unwrap().1);
        assert_eq!(steps.chunks(2).map(|pair| pair[1].as_str()).collect::<Vec<_>>(), ["told"; 3], "{steps:?}");
        assert_eq!(steps[0], "set Some(LevelFilter::DEBUG)");
        let told = [told(&mut worker).await, told(&mut worker).await, told(&mut worker).await];
        let set = steps.iter().step_by(2).map(|step| step.to_ascii_lowercase());
        assert!(told.iter().zip(set).all(|(told, set)| set.contains(&told.to_ascii_lowercase())), "{steps:?} {told:?}");
        drop(app);
        worker.serve();
        pool.shutdown_and_check().await;
    }

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
