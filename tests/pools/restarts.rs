//! Starts that fail and workers that keep dying: the others serve, the pool says why, and it is whole again by itself (R13, R27, R28).

use crate::pools::steps::{answer, answers};
use herder::testing::{TestPool, pool, starting_pool, wait_until};
use herder::{Error, PoolState, Restart};
use serde_json::json;
use std::{fs, time::Duration};

/// The first process to come claims the misfortune; its slot's next processes are unfortunate as long as there is nobody to
/// fix it: another one that holds a worker's place by then never asks.
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
const MENDED: &str =
    "import os, herder\napp = herder.App()\n\n@app.command\ndef pid() -> int:\n    return os.getpid()\n";

/// R13: one worker that fails to start does not stop the other; the pool says why, and is whole once it can be.
#[tokio::test]
async fn r13_a_worker_that_can_not_start_does_not_stop_the_others() {
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
    assert_eq!((health.ready_workers, health.wanted_workers), (1, 2));
    let status = pool.status().await.unwrap();
    assert!(status.last_start_error.is_some_and(|text| text.contains("the only licence")));
    fs::write(pool.dir().join("fixed"), "").unwrap();
    pool.wait_healthy("pid").await;
    assert_eq!(pool.status().await.unwrap().last_start_error, None);
    pool.end().await;
}

async fn state(pool: &TestPool) -> PoolState {
    pool.health().await.unwrap().state
}

/// R28: workers that can't start make the pool fail after so many tries; every answer has the last start error; a probe finds
/// out when it is mended.
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
    fs::write(pool.dir().join("app.py"), MENDED).unwrap();
    pool.wait_healthy("pid").await;
    pool.end().await;
}

/// One worker; a third counted event fails the pool.
async fn frail(name: &str) -> TestPool {
    pool(name, |context| {
        let quick = Duration::from_millis(5);
        let restart = Restart::new().max(2).backoff(quick).max_backoff(quick).cooldown(Duration::from_secs(1));
        context.basic().app("herder.demo:app").pool_size(1).overflow(0).restart(restart).build()
    })
    .await
}

/// R28: calls that end their workers are no reason to fail the pool, however many they are: others are answered between them.
#[tokio::test]
async fn r28_calls_that_end_their_workers_never_fail_the_pool() {
    let pool = frail("crashing").await;
    for code in 1..=6 {
        let error = answer(pool.call::<()>("exit", &json!({ "code": code })).reply()).await.unwrap_err();
        assert!(matches!(&error, Error::WorkerLost { .. }), "{error:?}");
        assert_eq!(error.report().unwrap().exit_status, Some(code));
        assert_ne!(state(&pool).await, PoolState::Failed);
        answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    }
    assert_eq!(pool.status().await.unwrap().counters.starts, 7);
    pool.end().await;
}

/// R28: failing ends when the first worker is back, and workers that die young without a call count as failed starts do.
#[tokio::test]
async fn r28_workers_that_die_young_fail_the_pool_too_and_it_recovers() {
    let pool = frail("young").await;
    for deaths in 1..=3 {
        let victim = pool.base_workers().await[0].process();
        assert!(pool.kill(victim).await);
        wait_until("the death is noticed", async || pool.status().await.unwrap().counters.exits == deaths).await;
        if deaths < 3 {
            pool.wait_healthy("pid").await;
        }
    }
    let starts = pool.status().await.unwrap().counters.starts;
    assert_eq!(starts, 3, "no fourth before the probe");
    assert!(matches!(state(&pool).await, PoolState::Failed));
    pool.wait_healthy("pid").await;
    pool.end().await;
}

/// R13: a pool of which no worker starts does not start, says why, and leaves nothing.
#[tokio::test]
async fn r13_a_pool_without_any_worker_is_a_start_error() {
    let (config, context) = herder::testing::pool_config("none", |context| {
        context.file("app.py", BROKEN);
        context.basic().app("app.py:app").cwd(context.dir()).build()
    });
    let error = herder::Pool::start(config).await.unwrap_err();
    assert!(matches!(&error, Error::StartFailed { .. }), "{error:?}");
    assert!(error.to_string().contains("no such model: llama-0"), "{error}");
    herder::testing::PoolProcesses::new(context.name()).nothing_left().await;
}
