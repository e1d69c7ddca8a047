//! The timeline, the events and the log levels of pools of both worker types.

use super::{basic, enhanced};
use crate::pools::steps::pid;
use futures_util::FutureExt;
use herder::{
    status::{EventFeed, PoolEventKind, WorkerInfo, WorkerRef},
    testing::{TestPool, pool, with_timeout},
};
use serde_json::json;
use tracing::level_filters::LevelFilter;

/// Runs a call, kills its worker and runs a call again.
async fn check(pool: TestPool) {
    let feed = pool.events().await.unwrap();
    let begin = EventFeed::read(std::slice::from_ref(&feed), 0);
    assert!(begin.events.iter().any(|event| event.kind == PoolEventKind::WorkerReady), "{begin:?}");
    let first = pid(&pool, "ann").reply().await.unwrap();
    let process = herder::status::WorkerRef { id: first.worker, generation: first.generation };
    pool.kill_worker(process).await.unwrap();
    pool.wait_healthy("pid").await;
    with_timeout("the death is reported", EventFeed::wait(std::slice::from_ref(&feed), begin.next)).await;
    let batch = EventFeed::read(std::slice::from_ref(&feed), begin.next);
    let is_death = |event: &herder::status::PoolEvent| {
        event.kind == PoolEventKind::WorkerKilled
            && event.worker == Some(process.id)
            && event.generation == Some(process.generation)
    };
    assert!(batch.events.iter().any(|event| is_death(event)), "{batch:?}");

    let timeline = pool.timeline(0).await.unwrap();
    let call =
        timeline.calls.iter().find(|call| call.generation == process.generation && call.worker == process.id).unwrap();
    assert_eq!((call.command.as_deref(), call.outcome), (Some("pid"), Some("ok")));
    assert_eq!(call.session.as_ref().map(|session| session.as_str()), Some("ann"));
    let [death] = &timeline.deaths[..] else { panic!("{timeline:?}") };
    assert_eq!((death.worker, death.generation), (process.id, process.generation));
    let seq = timeline.calls.iter().filter_map(|call| call.seq).max();
    assert!(pool.timeline(timeline.next).await.unwrap().calls.iter().all(|call| call.seq >= seq), "only later ones");
    assert!(EventFeed::wait(std::slice::from_ref(&feed), u64::MAX).now_or_never().is_none());
    pool.shutdown_and_check().await;
    assert!(!EventFeed::read(&[feed], 0).events.is_empty(), "the events outlive the pool");
}

/// R9, R50: the timeline and the events are the pool's. They outlive its workers, and no flag of enhanced pools switches them.
#[tokio::test]
async fn timeline_and_events_exist_in_both_worker_types() {
    check(basic().await).await;
    check(enhanced(|builder| builder.session_affinity(false).worker_metrics(false).state_machine(false)).await).await;
}

const LEVELS: &str = "
import logging
import herder
app = herder.App()

@app.command
def enabled():
    return [name for name in ('DEBUG', 'INFO', 'WARNING') if logging.root.isEnabledFor(getattr(logging, name))]
";

/// Waits until the root logger of the worker makes records of these levels.
async fn until_enabled(pool: &TestPool, levels: &[&str]) {
    let enabled = async { while pool.call::<Vec<String>>("enabled", &json!({})).await.unwrap() != levels {} };
    with_timeout(&format!("{levels:?} are enabled"), enabled).await;
}

/// R50: the level of workers that run changes at once, a worker that starts later has it from its first call on, and
/// `HERDER_LOG_LEVEL` in the pool's `env` stays the limit.
#[tokio::test]
async fn log_levels_of_running_workers_exist_in_both_worker_types() {
    for (worker_type, limit, most) in
        [("basic", "trace", &["DEBUG", "INFO", "WARNING"][..]), ("enhanced", "info", &["INFO", "WARNING"])]
    {
        let pool = pool("levels", |context| {
            context.file("app.py", LEVELS);
            let name = "HERDER_LOG_LEVEL";
            if worker_type == "basic" {
                context.basic().app("app.py:app").pool_size(1).overflow(0).env(name, limit).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).overflow(0).env(name, limit).build()
            }
        })
        .await;
        until_enabled(&pool, most).await;
        pool.set_worker_log_level(LevelFilter::WARN).await.unwrap();
        until_enabled(&pool, &["WARNING"]).await;
        let WorkerInfo { id, generation, .. } = pool.base_workers().await[0].clone();
        pool.kill_worker(WorkerRef { id, generation }).await.unwrap();
        pool.ready().await.unwrap();
        until_enabled(&pool, &["WARNING"]).await;
        pool.set_worker_log_level(LevelFilter::TRACE).await.unwrap();
        until_enabled(&pool, most).await;
        pool.shutdown_and_check().await;
    }
}
