//! Overflow workers (R12): they start when calls have waited, stop after `overflow_idle_timeout`, and get no session
//! while a base worker runs.

use crate::pools::steps::{answer, answers, count, place, process, queue_is, sleep_for_ever, submitted};
use herder::{
    status::{EventFeed, PoolEventKind, WorkerId},
    testing::{TestPool, log_lines_of, pool, wait_until},
};
use serde_json::json;
use std::time::Duration;

/// Starts a pool of one base worker with this overflow.
async fn small_pool(overflow: usize, idle_timeout: Duration) -> TestPool {
    let build = |context: &herder::testing::TestContext| {
        context
            .enhanced()
            .app("herder.demo:app")
            .pool_size(1)
            .overflow(overflow)
            .overflow_idle_timeout(idle_timeout)
            .build()
    };
    pool("overflow", build).await
}

async fn overflow_workers(pool: &TestPool) -> usize {
    pool.workers().await.unwrap().iter().filter(|worker| worker.overflow).count()
}

const LONG: Duration = Duration::from_secs(3600);

/// R12: a call that waits and could run on an overflow worker starts one, which runs the call and stops when it is idle.
#[tokio::test]
async fn r12_overflow_worker_starts_when_all_are_busy_and_stops_when_idle() {
    let pool = small_pool(1, Duration::from_millis(200)).await;
    assert_eq!(overflow_workers(&pool).await, 0);
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    let reply = answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    assert_eq!(place(&reply), process(2, 1));
    wait_until("the idle overflow worker stops", async || overflow_workers(&pool).await == 0).await;
    let reply = answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    assert_eq!(place(&reply), process(2, 2), "another process of the slot");
    let events = EventFeed::read(&[pool.events().await.unwrap()], 0).events;
    let of_overflow = events.iter().filter(|event| event.worker == Some(WorkerId(2)));
    let kinds: Vec<_> = of_overflow.map(|event| (event.generation.unwrap().0, event.kind)).collect();
    let (started, stopped) = (PoolEventKind::WorkerReady, PoolEventKind::WorkerStopped);
    assert_eq!(kinds, [(1, started), (1, stopped), (2, started)], "{events:?}");
    let lines = log_lines_of(pool.name().as_str());
    let logged = lines.iter().filter(|line| ["worker ready", "worker stopped"].contains(&line.message.as_str()));
    let logged: Vec<_> = logged.map(|line| (line.message.as_str(), line.all.contains("w2.1"))).collect();
    let expected = [("worker ready", true), ("worker stopped", true), ("worker ready", false)];
    assert_eq!(logged, expected, "the base worker, the first of its slot, is not logged: {lines:?}");
    drop(sleeper);
    queue_is(&pool, 0, 0).await;
    pool.shutdown_and_check().await;
}

/// R12: there are never more overflow workers than configured, and an idle one is used again instead of a new process.
#[tokio::test]
async fn r12_overflow_is_bounded_and_stays_until_its_idle_timeout() {
    let pool = small_pool(2, LONG).await;
    let sleepers = submitted(&pool, (0..5).map(|_| sleep_for_ever(&pool)), 3, 2).await;
    assert_eq!(overflow_workers(&pool).await, 2);
    drop(sleepers);
    queue_is(&pool, 0, 0).await;
    let again = submitted(&pool, (0..3).map(|_| sleep_for_ever(&pool)), 3, 0).await;
    drop(again);
    queue_is(&pool, 0, 0).await;
    let status = pool.status().await.unwrap();
    assert_eq!((status.counters.starts, status.counters.exits), (3, 0));
    pool.shutdown_and_check().await;
}

/// R12: a new session waits for a base worker, although an overflow worker is free.
#[tokio::test]
async fn r12_overflow_gets_no_new_session_while_a_base_worker_runs() {
    let pool = small_pool(1, LONG).await;
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    // The overflow worker is idle now. The call of the new session must nevertheless stay in the queue.
    let session = submitted(&pool, [count(&pool, "ann")], 1, 1).await;
    assert_eq!(place(&answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap()), process(2, 1));
    queue_is(&pool, 1, 1).await;
    drop(sleeper);
    let [reply] = answers(session).await.try_into().unwrap();
    assert_eq!(place(&reply.unwrap()), process(1, 1));
    pool.shutdown_and_check().await;
}
