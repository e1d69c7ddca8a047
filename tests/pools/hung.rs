//! A worker that hangs affects only its own callers; the pool and its other workers continue (R26).

use crate::pools::steps::{answer, bind, count, process};
use herder::{
    config::Health,
    status::WorkerState,
    testing::{Signal, log_lines_of, pool, signal, wait_until},
};
use std::time::Duration;

/// R26: while a stopped process leaves several pings unanswered, all other calls and all requests to the pool are answered.
/// When the process resumes, its call is answered.
#[tokio::test]
async fn r26_a_hung_worker_never_stalls_the_pool() {
    let pool = pool("hung", |context| {
        let often = Duration::from_millis(200);
        let health = Health::new().interval(often).timeout(often).failures(1000);
        context.enhanced().app("herder.demo:app").health(health).build()
    })
    .await;
    bind(&pool, "ann", 1).await;
    bind(&pool, "bob", 2).await;
    let pid = pool.pid(process(1, 1)).await;
    signal(pid, Signal::STOP).unwrap();
    let degraded =
        async || pool.worker(process(1, 1)).await.is_some_and(|worker| worker.state == WorkerState::Degraded);
    wait_until("a missed ping is noticed", degraded).await;
    let hanging = count(&pool, "ann").reply();
    let missed = || log_lines_of(pool.name().as_str()).iter().any(|line| line.all.contains("missed_pings=5 "));
    for expected in 1.. {
        assert_eq!(answer(count(&pool, "bob").reply()).await.unwrap().decode::<u64>().unwrap(), expected);
        assert!(pool.status().await.is_ok() && pool.health().await.is_ok());
        if expected >= 50 && missed() {
            break;
        }
    }
    assert!(degraded().await, "the worker hung during all these calls");
    signal(pid, Signal::CONT).unwrap();
    assert_eq!(answer(hanging).await.unwrap().decode::<u64>().unwrap(), 1);
    pool.shutdown_and_check().await;
}
