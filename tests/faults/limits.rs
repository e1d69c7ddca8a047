//! Limits that are reached: the queue, the queue of one session, the wait, the number of sessions. The pool stays healthy.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, assert_error};
use herder::{
    Error,
    config::{Queue, Sessions},
    error::Category,
    pool::PendingReply,
    session::Affinity,
    testing::{HANG_TIMEOUT, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::task::JoinHandle;

/// Starts a call that keeps the victim busy until `release` is called.
async fn keep_busy(harness: &Harness) -> JoinHandle<herder::Result<herder::Reply>> {
    let call =
        harness.pool.call::<Value>("gate", &json!({ "path": harness.path("release") })).session("victim").reply();
    let call = tokio::spawn(call);
    wait_until("the victim is busy", async || harness.pool.worker(harness.victim).await.unwrap().in_flight == 1).await;
    call
}

/// Submits a call that has to wait.
fn submit(harness: &Harness, session: Option<&str>) -> PendingReply {
    let call = harness.pool.call::<Value>("ok", &json!({}));
    match session {
        Some(session) => call.session(session).reply(),
        None => call.reply(),
    }
}

/// Waits until this number of calls is in the queue.
async fn wait_for_queue(harness: &Harness, calls: usize) {
    wait_until("the calls wait", async || harness.pool.status().await.unwrap().queue.waiting == calls).await;
}

/// Releases the victim and asserts that every admitted call succeeds.
async fn release(harness: &Harness, calls: Vec<JoinHandle<herder::Result<herder::Reply>>>) {
    fs::write(harness.path("release"), "").unwrap();
    for call in calls {
        with_timeout("an admitted call", call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_queue() {
    let harness =
        Harness::with_settings("queue", |builder| builder.queue(Queue::new().limit(2).timeout(HANG_TIMEOUT))).await;
    let mut calls = vec![keep_busy(&harness).await];
    calls.extend((0..2).map(|_| tokio::spawn(submit(&harness, None))));
    wait_for_queue(&harness, 2).await;
    let error = with_timeout("a call", submit(&harness, None)).await.unwrap_err();
    assert!(matches!(error, Error::QueueFull { limit: 2 }));
    assert_error(&error, &Expected { category: Category::Resource, status: 429, contains: &["limit: 2"] });
    assert!(error.is_retryable() && !error.may_have_run() && error.retry_after().is_some());
    release(&harness, calls).await;
    harness.assert_survived("a full queue", &error).await;
}

#[tokio::test]
async fn a_full_queue_of_a_session() {
    let harness = Harness::with_settings("squeue", |builder| {
        builder.queue(Queue::new().limit(8).per_session(1).timeout(HANG_TIMEOUT))
    })
    .await;
    let mut calls = vec![keep_busy(&harness).await, tokio::spawn(submit(&harness, Some("victim")))];
    wait_for_queue(&harness, 1).await;
    let error = with_timeout("a call", submit(&harness, Some("victim"))).await.unwrap_err();
    assert!(matches!(error, Error::SessionQueueFull { limit: 1 }));
    assert_error(&error, &Expected { category: Category::Resource, status: 429, contains: &["session", "limit: 1"] });
    calls.push(tokio::spawn(submit(&harness, None)));
    wait_for_queue(&harness, 2).await;
    release(&harness, calls).await;
    harness.assert_survived("a full queue of a session", &error).await;
}

#[tokio::test]
async fn no_free_worker_within_the_queue_timeout() {
    let harness =
        Harness::with_settings("wait", |builder| builder.queue(Queue::new().timeout(Duration::from_millis(50)))).await;
    let calls = vec![keep_busy(&harness).await];
    let error = with_timeout("a call", submit(&harness, None)).await.unwrap_err();
    assert!(matches!(error, Error::QueueTimeout { .. }));
    assert_error(
        &error,
        &Expected { category: Category::Timeout, status: 503, contains: &["no worker was free within 50ms"] },
    );
    assert!(error.is_retryable() && !error.may_have_run());
    release(&harness, calls).await;
    harness.assert_survived("no free worker within the queue timeout", &error).await;
}

/// R35: the error guarantees that the call did not run.
#[tokio::test]
async fn a_deadline_that_passes_in_the_queue() {
    // A call that was sent in advance may have begun, as long as a busy machine delays the worker's answer that it has not.
    let harness = Harness::with_settings("queued", |builder| builder.pipeline(1)).await;
    let calls = vec![keep_busy(&harness).await];
    let call = harness.pool.call::<Value>("ok", &json!({})).timeout(Duration::from_millis(50));
    let error = with_timeout("a call", call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { may_have_run: false, .. }), "{error:?}");
    assert_error(&error, &Expected { category: Category::Timeout, status: 504, contains: &["did not run"] });
    release(&harness, calls).await;
    harness.assert_survived("a deadline that passes in the queue", &error).await;
}

#[tokio::test]
async fn more_sessions_than_the_limit() {
    let harness = Harness::with_settings("quota", |builder| builder.sessions(Sessions::new().max(2))).await;
    let error = with_timeout("a call", submit(&harness, Some("third"))).await.unwrap_err();
    assert!(matches!(error, Error::SessionQuota { max: 2 }));
    assert_error(
        &error,
        &Expected { category: Category::Resource, status: 429, contains: &["2 sessions", "sessions.max"] },
    );
    assert!(harness.pool.end_session("third").await.is_ok_and(|ended| !ended), "the refused call created no session");
    harness.assert_survived("more sessions than `sessions.max`", &error).await;
}

#[tokio::test]
async fn a_busy_worker_with_strict_fail_fast() {
    let harness = Harness::new("failfast").await;
    let calls = vec![keep_busy(&harness).await];
    let call = harness.pool.call::<Value>("ok", &json!({})).session("victim").affinity(Affinity::StrictFailFast);
    let error = with_timeout("a call", call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::WorkerBusy { worker } if worker == harness.victim.id));
    assert_error(&error, &Expected { category: Category::Resource, status: 409, contains: &["w1", "busy"] });
    release(&harness, calls).await;
    harness.assert_survived("a busy worker, with `strict_fail_fast`", &error).await;
}
