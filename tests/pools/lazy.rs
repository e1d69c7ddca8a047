//! Pools with `lazy = true`: the first call starts the workers (R11).

use herder::{
    config::StartMethod,
    status::{PoolState, TemplateStatus},
    testing::{pool, wait_until, with_timeout},
};
use serde_json::json;

/// R11: a lazy pool is ready at once and has no process. Its first call starts all base workers, and is answered.
#[tokio::test]
async fn r11_a_lazy_pool_starts_with_its_first_call() {
    let pool = pool("lazy", |context| context.basic().app("herder.demo:app").pool_size(2).lazy(true).build()).await;
    let (status, health) = (pool.status().await.unwrap(), pool.health().await.unwrap());
    assert_eq!((status.state, status.counters.starts, pool.processes().processes().len()), (PoolState::Idle, 0, 0));
    assert!(health.healthy && health.ready_workers == 0, "{health:?}");
    assert_eq!(with_timeout("the reload", pool.reload()).await.unwrap().workers, 0);
    let pid = with_timeout("the first call", pool.call::<u32>("pid", &json!({}))).await.unwrap();
    pool.wait_healthy("pid").await;
    let workers = pool.base_workers().await;
    assert!(workers.len() == 2 && workers.iter().any(|worker| worker.pid == Some(pid)), "{workers:?}");
    assert!(pool.shutdown_and_check().await.still_running.is_empty());
}

/// R11: the template of a lazy pool is prepared at the start, and no worker.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r11_a_lazy_pool_prepares_its_template() {
    let pool = pool("prepared", |context| {
        context.basic().app("herder.demo:app").pool_size(1).lazy(true).start(StartMethod::Template).build()
    })
    .await;
    wait_until("the template is ready", async || {
        matches!(pool.status().await.unwrap().template, Some(TemplateStatus::Ready { .. }))
    })
    .await;
    assert_eq!(pool.status().await.unwrap().counters.starts, 0);
    with_timeout("the first call", pool.call::<u32>("pid", &json!({}))).await.unwrap();
    pool.shutdown_and_check().await;
}

/// R11: a pool that was never called can be shut down.
#[tokio::test]
async fn r11_a_lazy_pool_that_was_not_called_stops() {
    let pool = pool("uncalled", |context| context.basic().app("herder.demo:app").lazy(true).build()).await;
    assert_eq!(pool.shutdown_and_check().await.counters.starts, 0);
}

/// R11, R30: a shutdown kills a template that still imports the app.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r11_a_shutdown_ends_the_import_of_a_template() {
    let pool = pool("importing", |context| {
        context.file("app.py", "import time\ntime.sleep(3600)\n");
        context.basic().app("app.py:app").lazy(true).start(StartMethod::Template).build()
    })
    .await;
    wait_until("the template imports", async || pool.processes().processes().len() == 1).await;
    assert_eq!(pool.status().await.unwrap().template, Some(TemplateStatus::Preparing));
    pool.shutdown_and_check().await;
}
