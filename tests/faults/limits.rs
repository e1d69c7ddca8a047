//! Limits that are reached: the queue, a session's share of it, the wait, the number of sessions. The pool itself is well all the time.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, assert_error};
use herder::testing::{HANG_TIMEOUT, wait_until, with_timeout};
use herder::{Affinity, Category, Error, PendingReply, Queue, Sessions};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::task::JoinHandle;

/// A call that keeps the victim busy until the file is there.
async fn busy(harness: &Harness) -> JoinHandle<herder::Result<herder::Reply>> {
    let call = harness.pool.call::<Value>("gate", &json!({ "path": harness.path("enough") })).session("victim").reply();
    let call = tokio::spawn(call);
    wait_until("the victim is busy", async || harness.pool.worker(harness.victim).await.unwrap().in_flight == 1).await;
    call
}

fn waiting(harness: &Harness, session: Option<&str>) -> PendingReply {
    let call = harness.pool.call::<Value>("ok", &json!({}));
    match session {
        Some(session) => call.session(session).reply(),
        None => call.reply(),
    }
}

async fn waits(harness: &Harness, calls: usize) {
    wait_until("they wait", async || harness.pool.status().await.unwrap().queue.waiting == calls).await;
}

/// The calls that were admitted are answered all the same.
async fn released(harness: &Harness, calls: Vec<JoinHandle<herder::Result<herder::Reply>>>) {
    fs::write(harness.path("enough"), "").unwrap();
    for call in calls {
        with_timeout("an admitted call", call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_queue() {
    let harness = Harness::with("queue", |builder| builder.queue(Queue::new().limit(2).timeout(HANG_TIMEOUT))).await;
    let mut calls = vec![busy(&harness).await];
    calls.extend((0..2).map(|_| tokio::spawn(waiting(&harness, None))));
    waits(&harness, 2).await;
    let error = with_timeout("a call", waiting(&harness, None)).await.unwrap_err();
    assert!(matches!(error, Error::QueueFull { limit: 2 }));
    assert_error(&error, &Expected { category: Category::Resource, status: 429, says: &["2 calls wait"] });
    assert!(error.is_retryable() && !error.may_have_run() && error.retry_after().is_some());
    released(&harness, calls).await;
    harness.survived("a full queue", &error).await;
}

#[tokio::test]
async fn a_full_queue_of_a_session() {
    let harness =
        Harness::with("squeue", |builder| builder.queue(Queue::new().limit(8).per_session(1).timeout(HANG_TIMEOUT)))
            .await;
    let mut calls = vec![busy(&harness).await, tokio::spawn(waiting(&harness, Some("victim")))];
    waits(&harness, 1).await;
    let error = with_timeout("a call", waiting(&harness, Some("victim"))).await.unwrap_err();
    assert!(matches!(error, Error::SessionQueueFull { limit: 1 }));
    assert_error(
        &error,
        &Expected { category: Category::Resource, status: 429, says: &["session", "1 of its calls wait"] },
    );
    calls.push(tokio::spawn(waiting(&harness, None)));
    waits(&harness, 2).await;
    released(&harness, calls).await;
    harness.survived("a session's share of the queue is full", &error).await;
}

#[tokio::test]
async fn no_worker_in_time() {
    let harness = Harness::with("wait", |builder| builder.queue(Queue::new().timeout(Duration::from_millis(50)))).await;
    let calls = vec![busy(&harness).await];
    let error = with_timeout("a call", waiting(&harness, None)).await.unwrap_err();
    assert!(matches!(error, Error::QueueTimeout { .. }));
    assert_error(
        &error,
        &Expected { category: Category::Timeout, status: 503, says: &["no worker was free within 50ms"] },
    );
    assert!(error.is_retryable() && !error.may_have_run());
    released(&harness, calls).await;
    harness.survived("no worker is free within the queue's timeout", &error).await;
}

/// A deadline that passes in the queue: the call did not run, and that is a promise.
#[tokio::test]
async fn a_deadline_in_the_queue() {
    let harness = Harness::new("queued").await;
    let calls = vec![busy(&harness).await];
    let call = harness.pool.call::<Value>("ok", &json!({})).timeout(Duration::from_millis(50));
    let error = with_timeout("a call", call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { may_have_run: false, .. }));
    assert_error(&error, &Expected { category: Category::Timeout, status: 504, says: &["did not run"] });
    released(&harness, calls).await;
    harness.survived("a deadline that passes in the queue", &error).await;
}

#[tokio::test]
async fn too_many_sessions() {
    let harness = Harness::with("quota", |builder| builder.sessions(Sessions::new().max(2))).await;
    let error = with_timeout("a call", waiting(&harness, Some("third"))).await.unwrap_err();
    assert!(matches!(error, Error::SessionQuota { max: 2 }));
    assert_error(
        &error,
        &Expected { category: Category::Resource, status: 429, says: &["2 sessions", "sessions.max"] },
    );
    assert!(harness.pool.end_session("third").await.is_ok_and(|ended| !ended), "it never was one");
    harness.survived("more sessions than `sessions.max`", &error).await;
}

#[tokio::test]
async fn a_busy_worker_of_a_session_that_does_not_wait() {
    let harness = Harness::new("failfast").await;
    let calls = vec![busy(&harness).await];
    let call = harness.pool.call::<Value>("ok", &json!({})).session("victim").affinity(Affinity::StrictFailFast);
    let error = with_timeout("a call", call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::WorkerBusy { worker } if worker == harness.victim.id));
    assert_error(&error, &Expected { category: Category::Resource, status: 409, says: &["w1", "busy"] });
    released(&harness, calls).await;
    harness.survived("a busy worker, with `strict_fail_fast`", &error).await;
}
