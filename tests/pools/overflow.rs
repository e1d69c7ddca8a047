//! Overflow workers: they come when all are busy, linger, go, and take no session while a base worker lives (R12).

use crate::pools::steps::{answer, answers, count, place, process, queue_is, sleep_for_ever, submitted};
use herder::testing::{TestPool, pool, wait_until};
use serde_json::json;
use std::time::Duration;

async fn small(overflow: usize, linger: Duration) -> TestPool {
    let build = |context: &herder::testing::TestContext| {
        context.enhanced().app("herder.demo:app").pool_size(1).overflow(overflow).overflow_idle_timeout(linger).build()
    };
    pool("overflow", build).await
}

async fn overflow_workers(pool: &TestPool) -> usize {
    pool.workers().await.unwrap().iter().filter(|worker| worker.overflow).count()
}

const LONG: Duration = Duration::from_secs(3600);

/// R12: a waiting call that could run there brings one, which answers it, lingers for the next, and goes when idle.
#[tokio::test]
async fn r12_an_overflow_worker_comes_when_all_are_busy_and_goes_when_idle() {
    let pool = small(1, Duration::from_millis(200)).await;
    assert_eq!(overflow_workers(&pool).await, 0);
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    let reply = answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    assert_eq!(place(&reply), process(2, 1));
    wait_until("it goes when idle", async || overflow_workers(&pool).await == 0).await;
    let reply = answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    assert_eq!(place(&reply), process(2, 2), "another process of the slot");
    drop(sleeper);
    queue_is(&pool, 0, 0).await;
    pool.end().await;
}

/// R12: there are never more than configured, and one that lingers is used again: no churn.
#[tokio::test]
async fn r12_overflow_is_bounded_and_stays_until_its_idle_timeout() {
    let pool = small(2, LONG).await;
    let sleepers = submitted(&pool, (0..5).map(|_| sleep_for_ever(&pool)), 3, 2).await;
    assert_eq!(overflow_workers(&pool).await, 2);
    drop(sleepers);
    queue_is(&pool, 0, 0).await;
    let again = submitted(&pool, (0..3).map(|_| sleep_for_ever(&pool)), 3, 0).await;
    drop(again);
    queue_is(&pool, 0, 0).await;
    let status = pool.status().await.unwrap();
    assert_eq!((status.counters.starts, status.counters.exits), (3, 0));
    pool.end().await;
}

/// R12: a new session waits for a base worker, though one of the overflow is free.
#[tokio::test]
async fn r12_overflow_takes_no_new_session_while_a_base_worker_lives() {
    let pool = small(1, LONG).await;
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    let session = submitted(&pool, [count(&pool, "ann")], 1, 1).await;
    assert_eq!(place(&answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap()), process(2, 1));
    queue_is(&pool, 1, 1).await;
    drop(sleeper);
    let [reply] = answers(session).await.try_into().unwrap();
    assert_eq!(place(&reply.unwrap()), process(1, 1));
    pool.end().await;
}
