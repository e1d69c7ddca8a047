//! Retries and the quarantine, with real processes that die (R33, R37).

use crate::pools::steps::{Outcome, answer};
use herder::{
    Error, Pool,
    config::{Backoff, Poison, PoolBuilder, Retry},
    testing::{LogLine, TestPool, log_lines_of, pool, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{fs, time::Duration};

const SOURCE: &str = include_str!("resilience.py");

/// Starts a pool with additional settings.
async fn pool_with(
    hint: &str,
    settings: impl FnOnce(PoolBuilder<herder::config::Basic>) -> PoolBuilder<herder::config::Basic>,
) -> TestPool {
    pool(hint, |context| {
        context.file("app.py", SOURCE);
        settings(context.basic().app("app.py:app")).build()
    })
    .await
}

/// Returns a retry policy without backoff, so that the tests wait only for processes.
fn without_backoff() -> Retry {
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

/// R33: an idempotent call whose worker dies is retried after the configured backoff. Its reply has the number of attempts.
#[tokio::test]
async fn r33_idempotent_call_is_retried_when_its_worker_dies() {
    for backoff in [Backoff::Exponential, Backoff::Linear, Backoff::Fibonacci, Backoff::Decorrelated] {
        let quick = Retry::new().backoff(backoff).base(Duration::from_millis(1)).max(Duration::from_millis(5));
        let pool = pool_with("retries", |builder| builder.retry(quick)).await;
        let reply = call(&pool, "fragile", json!({ "path": path(&pool, "runs"), "deaths": 2 })).await.unwrap();
        assert_eq!((reply.attempts, runs(&pool, "runs")), (3, 3));
        assert_eq!(pool.status().await.unwrap().counters.retries, 2);
        pool.shutdown_and_check().await;
    }
}

/// R33, R38: a call is sent at most `retry.attempts` times. The error is the last loss and lists the earlier attempts.
#[tokio::test]
async fn r33_exhausted_retries_list_all_attempts() {
    let pool = pool_with("attempts", |builder| builder.retry(without_backoff().attempts(2))).await;
    let error = call(&pool, "fragile", json!({ "path": path(&pool, "runs"), "deaths": 9 })).await.unwrap_err();
    assert!(matches!(&error, Error::WorkerLost { .. }) && error.may_have_run(), "{error:?}");
    assert_eq!((error.attempts().len(), runs(&pool, "runs")), (1, 2));
    assert!(error.attempts()[0].reason.contains("SIGKILL"), "{error:?}");
    pool.shutdown_and_check().await;
}

/// R33: a call that is not idempotent is never sent twice, whatever the settings are.
#[tokio::test]
async fn r33_call_that_is_not_idempotent_runs_once() {
    let pool = pool_with("once", |builder| builder.retry(without_backoff().attempts(100))).await;
    let call = pool.call::<Value>("fragile", &json!({ "path": path(&pool, "runs"), "deaths": 9 })).idempotent(false);
    let error = answer(call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    assert_eq!(runs(&pool, "runs"), 1);
    pool.shutdown_and_check().await;
}

/// R33: the deadline covers all attempts. A retry that would start after the deadline is not waited for.
#[tokio::test]
async fn r33_a_retry_never_passes_the_deadline() {
    let late = Retry::new().backoff(Backoff::Custom(vec![Duration::from_secs(3600)])).max(Duration::from_secs(3600));
    let pool = pool_with("deadline", |builder| builder.retry(late)).await;
    let error = call(&pool, "fragile", json!({ "path": path(&pool, "runs"), "deaths": 9 })).await.unwrap_err();
    assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    assert_eq!(runs(&pool, "runs"), 1);
    pool.shutdown_and_check().await;
}

/// R33, R35: a call that is abandoned during its backoff has no further attempt.
#[tokio::test]
async fn r33_call_abandoned_between_attempts_is_not_retried() {
    let late = Retry::new().backoff(Backoff::Custom(vec![Duration::from_secs(60)])).max(Duration::from_secs(60));
    let pool = pool_with("abandons", |builder| builder.retry(late)).await;
    let arguments = json!({ "path": path(&pool, "runs"), "deaths": 9 });
    let reply = pool.call::<Value>("fragile", &arguments).reply();
    wait_until("the call waits for its next attempt", async || pool.status().await.unwrap().queue.waiting == 1).await;
    drop(reply);
    wait_until("the call is removed", async || pool.status().await.unwrap().queue.waiting == 0).await;
    assert_eq!((pool.status().await.unwrap().counters.abandoned, runs(&pool, "runs")), (1, 1));
    pool.shutdown_and_check().await;
}

/// R37: after a call has killed three workers in a row, the same call is refused at once. Other calls run. The quarantine lists
/// the call, and a request releases it.
#[tokio::test]
async fn r37_call_that_kills_its_workers_is_quarantined() {
    let pool = pool_with("poison", |builder| builder.retry(without_backoff().attempts(1))).await;
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
    let entries = pool.quarantine().await.unwrap();
    let quarantined = entries.iter().find(|entry| entry.quarantined).unwrap();
    assert_eq!((&*quarantined.command, quarantined.deaths, entries.len()), ("poison", 3, 2));
    assert_eq!(pool.status().await.unwrap().quarantined, 1);
    assert!(pool.release_from_quarantine(quarantined.fingerprint).await.unwrap());
    for text in ["WARN call quarantined: ", "INFO call released from quarantine"] {
        let is_meant = |line: &LogLine| {
            format!("{} {}", line.level, line.message).starts_with(text) && line.all.contains("command=poison")
        };
        wait_until(text, async || log_lines_of(pool.name().as_str()).iter().any(is_meant)).await;
    }
    let error = call(&pool, "poison", arguments).await.unwrap_err();
    assert!(matches!(error, Error::WorkerLost { .. }), "the call was released: {error:?}");
    pool.shutdown_and_check().await;
}

/// R37: an idempotent call is quarantined during its retries. The error lists all attempts.
#[tokio::test]
async fn r37_idempotent_call_is_quarantined_during_its_retries() {
    let pool = pool_with("forever", |builder| builder.retry(without_backoff().attempts(100))).await;
    let error = call(&pool, "poison", json!({ "path": path(&pool, "runs") })).await.unwrap_err();
    assert!(matches!(&error, Error::PoisonCall { deaths: 3, .. }), "{error:?}");
    assert_eq!((error.attempts().len(), runs(&pool, "runs")), (3, 3));
    assert!(error.may_have_run(), "the call ran three times");
    pool.shutdown_and_check().await;
}

/// R37: a call that hangs until its worker is killed counts as one that kills workers.
#[tokio::test]
async fn r37_call_that_hangs_until_its_worker_is_killed_counts_as_a_death() {
    let short = herder::config::Cancel::new().interrupt(Duration::from_millis(1)).kill(Duration::from_millis(2));
    let pool = pool_with("hangs", |builder| builder.cancel(short)).await;
    let hung = pool.call::<Value>("hang", &json!({})).timeout(Duration::from_millis(100)).reply();
    let error = answer(hung).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    wait_until("the worker was killed", async || pool.status().await.unwrap().counters.exits == 1).await;
    let entries = pool.quarantine().await.unwrap();
    assert_eq!(entries.iter().map(|entry| &*entry.command).collect::<Vec<_>>(), ["hang"]);
    pool.shutdown_and_check().await;
}

/// R37: with `poison.enabled = false` no death is counted and no call is quarantined.
#[tokio::test]
async fn r37_disabled_quarantine_watches_nothing() {
    let pool = pool_with("unwatched", |builder| {
        builder.retry(without_backoff().attempts(1)).poison(Poison::new().enabled(false))
    })
    .await;
    for _ in 0..4 {
        let error = call(&pool, "poison", json!({ "path": path(&pool, "runs") })).await.unwrap_err();
        assert!(matches!(error, Error::WorkerLost { .. }), "{error:?}");
    }
    assert!(pool.quarantine().await.unwrap().is_empty());
    pool.shutdown_and_check().await;
}
