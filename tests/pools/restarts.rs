//! Failed starts and workers that die repeatedly (R13, R27, R28): the other workers keep serving, the pool reports the reason,
//! and it recovers by itself.

use crate::pools::steps::{answer, answers};
use herder::{
    Error,
    config::{Queue, Restart},
    status::PoolState,
    testing::{TestPool, pool, starting_pool, wait_until},
};
use serde_json::json;
use std::{fs, time::Duration};

/// The first process creates a file and starts. Every later process finds the file and fails to start, until the test creates
/// `fixed`. So one worker of the pool runs and the other one never does.
const ONE_FAILS: &str = "
import os, pathlib, time, herder
app = herder.App()

@app.on_start
def load() -> None:
    if pathlib.Path('fixed').exists():
        return
    try:
        os.close(os.open(f'serving', os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise RuntimeError('the other one has the only licence') from None

@app.command
def pid() -> int:
    return os.getpid()
";

const BROKEN: &str = "raise RuntimeError('no such model: llama-0')\n";
const REPAIRED: &str =
    "import os, herder\napp = herder.App()\n\n@app.command\ndef pid() -> int:\n    return os.getpid()\n";

/// R13, R27: one worker that fails to start does not affect the other. The pool reports the reason, and starts the worker after
/// the cause is repaired.
#[tokio::test]
async fn r13_failed_start_of_one_worker_does_not_stop_the_others() {
    let pool = pool("licence", |context| {
        context.file("app.py", ONE_FAILS);
        context.basic().app("app.py:app").cwd(context.dir()).build()
    })
    .await;
    assert!(answer(pool.call::<u32>("pid", &json!({})).reply()).await.is_ok());
    let mut unready = Err(Error::QueueFull { limit: 0 });
    wait_until("a start has failed", async || {
        unready = pool.ready().await;
        unready.is_err()
    })
    .await;
    let error = unready.unwrap_err();
    assert!(matches!(&error, Error::StartFailed { .. }), "{error:?}");
    assert!(error.to_string().contains("the only licence"), "{error}");
    assert!(error.report().unwrap().traceback.as_deref().is_some_and(|text| text.contains("in load")), "{error:?}");
    let health = pool.health().await.unwrap();
    assert!(health.healthy);
    assert_eq!((health.ready_workers, health.pool_size), (1, 2));
    let status = pool.status().await.unwrap();
    assert!(status.last_start_error.is_some_and(|text| text.contains("the only licence")));
    fs::write(pool.dir().join("fixed"), "").unwrap();
    pool.wait_healthy("pid").await;
    assert_eq!(pool.status().await.unwrap().last_start_error, None);
    pool.shutdown_and_check().await;
}

async fn state(pool: &TestPool) -> PoolState {
    pool.health().await.unwrap().state
}

/// R28: the pool fails after `restart.max` failed starts, and the error of every call has the reason of the last one. A later
/// start attempt succeeds after the cause is repaired.
#[tokio::test]
async fn r28_a_crash_loop_fails_the_pool_with_its_reason_and_a_probe_recovers_it() {
    let pool = starting_pool("crash", |context| {
        context.file("app.py", BROKEN);
        let quick = Duration::from_millis(5);
        let restart = Restart::new().max(3).backoff(quick).max_backoff(quick).cooldown(Duration::from_millis(300));
        context.basic().app("app.py:app").cwd(context.dir()).restart(restart).build()
    })
    .await;
    let early: Vec<_> = (0..4).map(|_| pool.call::<u32>("pid", &json!({})).reply()).collect();
    for outcome in answers(early).await {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, Error::PoolFailed { .. }), "{error:?}");
        assert!(error.to_string().contains("no such model: llama-0"), "{error}");
    }
    assert_eq!(state(&pool).await, PoolState::Failed);
    for _ in 0..3 {
        let error = pool.call::<u32>("pid", &json!({})).await.unwrap_err();
        assert!(matches!(&error, Error::PoolFailed { .. }), "{error:?}");
        assert!(error.to_string().contains("no such model: llama-0"), "{error}");
    }
    let health = pool.health().await.unwrap();
    assert!(!health.healthy);
    assert!(health.last_start_error.is_some_and(|text| text.contains("no such model: llama-0")));
    fs::write(pool.dir().join("app.py"), REPAIRED).unwrap();
    pool.wait_healthy("pid").await;
    pool.shutdown_and_check().await;
}

/// Starts a pool of one worker that fails at the third counted death or failed start.
async fn low_limit_pool(name: &str) -> TestPool {
    pool(name, |context| {
        let quick = Duration::from_millis(5);
        let restart = Restart::new().max(2).backoff(quick).max_backoff(quick).cooldown(Duration::from_secs(1));
        context.basic().app("herder.demo:app").pool_size(1).overflow(0).restart(restart).build()
    })
    .await
}

/// R28: calls that kill their workers never make the pool fail, however many there are. Other calls are answered between them.
#[tokio::test]
async fn r28_calls_that_kill_their_workers_never_fail_the_pool() {
    let pool = low_limit_pool("crashing").await;
    for code in 1..=6 {
        let error = answer(pool.call::<()>("exit", &json!({ "code": code })).reply()).await.unwrap_err();
        assert!(matches!(&error, Error::WorkerLost { .. }), "{error:?}");
        assert_eq!(error.report().unwrap().exit_status, Some(code));
        assert_ne!(state(&pool).await, PoolState::Failed);
        answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    }
    assert_eq!(pool.status().await.unwrap().counters.starts, 7);
    pool.shutdown_and_check().await;
}

/// R28: deaths without a call before `restart.min_uptime` count as failed starts do. A failed pool recovers with its first
/// worker that is ready.
#[tokio::test]
async fn r28_idle_workers_that_die_young_fail_the_pool_and_it_recovers() {
    let pool = low_limit_pool("young").await;
    for deaths in 1..=3 {
        let victim = pool.base_workers().await[0].process();
        assert!(pool.kill(victim).await);
        assert_eq!(pool.status().await.unwrap().counters.exits, deaths);
        if deaths < 3 {
            pool.wait_healthy("pid").await;
        }
    }
    let starts = pool.status().await.unwrap().counters.starts;
    assert_eq!(starts, 3, "no fourth start before the cooldown");
    assert!(matches!(state(&pool).await, PoolState::Failed));
    pool.wait_healthy("pid").await;
    pool.shutdown_and_check().await;
}

/// R28: an administrator who kills a young worker again and again does not make the pool fail.
#[tokio::test]
async fn r28_requested_kills_never_fail_the_pool() {
    let pool = low_limit_pool("killed").await;
    for kills in 1..=4 {
        let victim = pool.base_workers().await[0].process();
        pool.kill_worker(victim).await.unwrap();
        assert_ne!(state(&pool).await, PoolState::Failed, "after {kills} kills");
        pool.wait_healthy("pid").await;
    }
    pool.shutdown_and_check().await;
}

/// R13: `Pool::start` fails with the reason if no worker starts, and leaves no process.
#[tokio::test]
async fn r13_start_fails_when_no_worker_starts() {
    let (config, context) = herder::testing::pool_config("none", |context| {
        context.file("app.py", BROKEN);
        context.basic().app("app.py:app").cwd(context.dir()).build()
    });
    let error = herder::Pool::start(config).await.unwrap_err();
    assert!(matches!(&error, Error::StartFailed { .. }), "{error:?}");
    assert!(error.to_string().contains("no such model: llama-0"), "{error}");
    herder::testing::PoolProcesses::new(context.name()).nothing_left().await;
}

/// R36: a call that waits while the workers start is told so, with the time.
#[tokio::test]
async fn r36_queue_timeout_names_workers_that_still_start() {
    const SLOW: &str = "
import os, time
import herder
app = herder.App()

@app.on_start
def load() -> None:
    while not os.path.exists('go'): time.sleep(0.01)

@app.command
def pid() -> int:
    return os.getpid()
";
    let pool = starting_pool("slow", |context| {
        context.file("app.py", SLOW);
        let queue = Queue::new().timeout(Duration::from_millis(50));
        context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).queue(queue).build()
    })
    .await;
    let error = answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap_err();
    assert!(matches!(&error, Error::QueueTimeout { starting: Some(_), .. }), "{error:?}");
    assert!(error.to_string().contains("no worker was ready within 50ms: the workers are still starting"), "{error}");
    fs::write(pool.dir().join("go"), "").unwrap();
    pool.wait_healthy("pid").await;
    pool.shutdown_and_check().await;
}
