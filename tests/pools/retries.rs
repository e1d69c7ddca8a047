//! Calls that are sent again, and payloads that must not be: with processes that really end (R33, R37).

use crate::pools::steps::{Outcome, answer};
use herder::testing::{TestPool, pool, wait_until, with_timeout};
use herder::{Backoff, Error, Poison, Pool, PoolBuilder, Retry};
use serde_json::{Value, json};
use std::{fs, time::Duration};

const SOURCE: &str = include_str!("resilience.py");

async fn with(hint: &str, settings: impl FnOnce(PoolBuilder<herder::Basic>) -> PoolBuilder<herder::Basic>) -> TestPool {
    pool(hint, |context| {
        context.file("app.py", SOURCE);
        settings(context.basic().app("app.py:app")).build()
    })
    .await
}

/// At once, so that tests wait for nothing but processes.
fn at_once() -> Retry {
    Retry::new().backoff(Backoff::Custom(vec![Duration::ZERO]))
}

async fn call(pool: &Pool, command: &str, arguments: Value) -> Outcome {
    answer(pool.call::<Value>(command, &arguments).reply()).await
}

fn runs(pool: &TestPool, file: &str) -> usize {
    fs::read(pool.dir().join(file)).map_or(0, |runs| runs.len())
}

fn path(pool: &TestPool, file: &str) -> String {
    pool.dir().join(file).to_str().unwrap().into()
}

/// R33: an idempotent call whose worker dies runs again elsewhere, by the backoff that is set, and says how often it was sent.
#[tokio::test]
async fn r33_an_idempotent_call_survives_the_death_of_its_worker() {
    for backoff in [Backoff::Exponential, Backoff::Linear, Backoff::Fibonacci, Backoff::Decorrelated] {
        let quick = Retry::new().backoff(backoff).base(Duration::from_millis(1)).max(Duration::from_millis(5));
        let pool = with("retries", |builder| builder.retry(quick)).await;
        let reply = call(&pool, "fragile", json!({ "path": path(&pool, "runs"), "deaths": 2 })).await.unwrap();
        assert_eq!((reply.attempts, runs(&pool, "runs")), (3, 3));
        assert_eq!(pool.status().await.unwrap().counters.retries, 2);
        pool.end().await;
    }
}

/// R33, R38: no more often than it may; the error is the last loss, and has the others with it.
#[tokio::test]
async fn r33_exhausted_retries_list_all_attempts() {
    let pool = with("attempts", |builder| builder.retry(at_once().attempts(2))).await;
    let error = call(&pool, "fragile", json!({ "path": path(&pool, "runs"), "deaths": 9 })).await.unwrap_err();
    assert!(matches!(&error, Error::WorkerLost { .. }) && error.may_have_run(), "{error:?}");
    assert_eq!((error.attempts().len(), runs(&pool, "runs")), (1, 2));
    assert!(error.attempts()[0].reason.contains("SIGKILL"), "{error:?}");
    pool.end().await;
}

/// R33: a call that is not idempotent is never sent twice, whatever the settings.
#[tokio::test]
async fn r33_a_call_that_is_not_idempotent_runs_once() {
    let pool = with("once", |builder| builder.retry(at_once().attempts(100))).await;
    let call = pool.call::<Value>("fragile", &json!({ "path": path(&pool, "runs"), "deaths": 9 })).idempotent(false);
    let error = answer(call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    assert_eq!(runs(&pool, "runs"), 1);
    pool.end().await;
}

/// R33: the deadline is the whole: a retry that could only come after it is not waited for.
#[tokio::test]
async fn r33_a_retry_never_passes_the_deadline() {
    let late = Retry::new().backoff(Backoff::Custom(vec![Duration::from_secs(3600)])).max(Duration::from_secs(3600));
    let pool = with("deadline", |builder| builder.retry(late)).await;
    let error = call(&pool, "fragile", json!({ "path": path(&pool, "runs"), "deaths": 9 })).await.unwrap_err();
    assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    assert_eq!(runs(&pool, "runs"), 1);
    pool.end().await;
}

/// R33, R35: a caller may leave between two attempts: then there is no second.
#[tokio::test]
async fn r33_a_caller_that_leaves_between_two_attempts_ends_them() {
    let late = Retry::new().backoff(Backoff::Custom(vec![Duration::from_secs(60)])).max(Duration::from_secs(60));
    let pool = with("leaves", |builder| builder.retry(late)).await;
    let arguments = json!({ "path": path(&pool, "runs"), "deaths": 9 });
    let reply = pool.call::<Value>("fragile", &arguments).reply();
    wait_until("it waits for its next attempt", async || pool.status().await.unwrap().queue.waiting == 1).await;
    drop(reply);
    wait_until("it is gone", async || pool.status().await.unwrap().queue.waiting == 0).await;
    assert_eq!((pool.status().await.unwrap().counters.abandoned, runs(&pool, "runs")), (1, 1));
    pool.end().await;
}

/// R37: three deaths in a row, and its calls are refused: at once, by name; others go on; it is listed, and released by hand.
#[tokio::test]
async fn r37_a_payload_that_ends_its_workers_is_quarantined() {
    let pool = with("poison", |builder| builder.retry(at_once().attempts(1))).await;
    let arguments = json!({ "path": path(&pool, "runs") });
    for _ in 0..3 {
        let error = call(&pool, "poison", arguments.clone()).await.unwrap_err();
        assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    }
    let error = call(&pool, "poison", arguments.clone()).await.unwrap_err();
    assert_eq!((error.slug(), error.http_status(), error.may_have_run()), ("poison-call", 422, false), "{error}");
    assert!(error.to_string().contains("3 workers"), "{error}");
    assert_eq!(runs(&pool, "runs"), 3);
    with_timeout("another call", pool.call::<Value>("pid", &json!({}))).await.unwrap();
    let other = call(&pool, "poison", json!({ "path": path(&pool, "other") })).await.unwrap_err();
    assert!(matches!(other, Error::WorkerLost { .. }), "other arguments: {other:?}");
    let watched = pool.quarantine().await.unwrap();
    let found = watched.iter().find(|entry| entry.quarantined).unwrap();
    assert_eq!((&*found.command, found.deaths, watched.len()), ("poison", 3, 2));
    assert_eq!(pool.status().await.unwrap().quarantined, 1);
    assert!(pool.release_payload(found.fingerprint).await.unwrap());
    let error = call(&pool, "poison", arguments).await.unwrap_err();
    assert!(matches!(error, Error::WorkerLost { .. }), "it is let go: {error:?}");
    pool.end().await;
}

/// R37: an idempotent one ends as poison in the middle of its attempts, with all of them in the error.
#[tokio::test]
async fn r37_a_poisoned_call_is_not_retried_for_ever() {
    let pool = with("forever", |builder| builder.retry(at_once().attempts(100))).await;
    let error = call(&pool, "poison", json!({ "path": path(&pool, "runs") })).await.unwrap_err();
    assert!(matches!(&error, Error::PoisonCall { deaths: 3, .. }), "{error:?}");
    assert_eq!((error.attempts().len(), runs(&pool, "runs")), (3, 3));
    assert!(error.may_have_run(), "it ran three times");
    pool.end().await;
}

/// R37: a call that hangs until its worker is killed for it is one that ends workers.
#[tokio::test]
async fn r37_a_call_that_hangs_until_the_kill_is_suspected() {
    let impatient = herder::Cancel::new().interrupt(Duration::from_millis(1)).kill(Duration::from_millis(2));
    let pool = with("hangs", |builder| builder.cancel(impatient)).await;
    let hung = pool.call::<Value>("hang", &json!({})).timeout(Duration::from_millis(100)).reply();
    let error = answer(hung).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    wait_until("its worker was killed for it", async || pool.status().await.unwrap().counters.exits == 1).await;
    let watched = pool.quarantine().await.unwrap();
    assert_eq!(watched.iter().map(|entry| &*entry.command).collect::<Vec<_>>(), ["hang"]);
    pool.end().await;
}

/// R37: with `poison.enabled = false` nothing is watched.
#[tokio::test]
async fn r37_disabled_quarantine_watches_nothing() {
    let pool =
        with("unwatched", |builder| builder.retry(at_once().attempts(1)).poison(Poison::new().enabled(false))).await;
    for _ in 0..4 {
        let error = call(&pool, "poison", json!({ "path": path(&pool, "runs") })).await.unwrap_err();
        assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    }
    assert!(pool.quarantine().await.unwrap().is_empty());
    pool.end().await;
}
