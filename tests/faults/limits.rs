//! Limits that are reached: the queue, a session's share of it, the wait, the number of sessions. The pool itself is well all the time.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::scene::{Expected, Scene, assert_error};
use herder::testing::{HANG_TIMEOUT, wait_until, with_timeout};
use herder::{Affinity, Category, Error, PendingReply, Queue, Sessions};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::task::JoinHandle;

/// A call that keeps the victim busy until the file is there.
async fn busy(scene: &Scene) -> JoinHandle<herder::Result<herder::Reply>> {
    let call = scene.pool.call::<Value>("gate", &json!({ "path": scene.path("enough") })).session("victim").reply();
    let call = tokio::spawn(call);
    wait_until("the victim is busy", async || scene.pool.worker(scene.victim).await.unwrap().in_flight == 1).await;
    call
}

fn waiting(scene: &Scene, session: Option<&str>) -> PendingReply {
    let call = scene.pool.call::<Value>("ok", &json!({}));
    match session {
        Some(session) => call.session(session).reply(),
        None => call.reply(),
    }
}

async fn waits(scene: &Scene, calls: usize) {
    wait_until("they wait", async || scene.pool.status().await.unwrap().queue.waiting == calls).await;
}

/// The calls that were admitted are answered all the same.
async fn released(scene: &Scene, calls: Vec<JoinHandle<herder::Result<herder::Reply>>>) {
    fs::write(scene.path("enough"), "").unwrap();
    for call in calls {
        with_timeout("an admitted call", call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_queue() {
    let scene = Scene::with("queue", |builder| builder.queue(Queue::new().limit(2).timeout(HANG_TIMEOUT))).await;
    let mut calls = vec![busy(&scene).await];
    calls.extend((0..2).map(|_| tokio::spawn(waiting(&scene, None))));
    waits(&scene, 2).await;
    let error = with_timeout("a call", waiting(&scene, None)).await.unwrap_err();
    assert!(matches!(error, Error::QueueFull { limit: 2 }));
    assert_error(&error, &Expected { category: Category::Resource, status: 429, says: &["2 calls wait"] });
    assert!(error.is_retryable() && !error.may_have_run() && error.retry_after().is_some());
    released(&scene, calls).await;
    scene.survived("a full queue", &error).await;
}

#[tokio::test]
async fn a_full_queue_of_a_session() {
    let scene =
        Scene::with("squeue", |builder| builder.queue(Queue::new().limit(8).per_session(1).timeout(HANG_TIMEOUT)))
            .await;
    let mut calls = vec![busy(&scene).await, tokio::spawn(waiting(&scene, Some("victim")))];
    waits(&scene, 1).await;
    let error = with_timeout("a call", waiting(&scene, Some("victim"))).await.unwrap_err();
    assert!(matches!(error, Error::SessionQueueFull { limit: 1 }));
    assert_error(
        &error,
        &Expected { category: Category::Resource, status: 429, says: &["session", "1 of its calls wait"] },
    );
    calls.push(tokio::spawn(waiting(&scene, None)));
    waits(&scene, 2).await;
    released(&scene, calls).await;
    scene.survived("a session's share of the queue is full", &error).await;
}

#[tokio::test]
async fn no_worker_in_time() {
    let scene = Scene::with("wait", |builder| builder.queue(Queue::new().timeout(Duration::from_millis(50)))).await;
    let calls = vec![busy(&scene).await];
    let error = with_timeout("a call", waiting(&scene, None)).await.unwrap_err();
    assert!(matches!(error, Error::QueueTimeout { .. }));
    assert_error(
        &error,
        &Expected { category: Category::Timeout, status: 503, says: &["no worker was free within 50ms"] },
    );
    assert!(error.is_retryable() && !error.may_have_run());
    released(&scene, calls).await;
    scene.survived("no worker is free within the queue's timeout", &error).await;
}

/// A deadline that passes in the queue: the call did not run, and that is a promise.
#[tokio::test]
async fn a_deadline_in_the_queue() {
    let scene = Scene::new("queued").await;
    let calls = vec![busy(&scene).await];
    let call = scene.pool.call::<Value>("ok", &json!({})).timeout(Duration::from_millis(50));
    let error = with_timeout("a call", call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { may_have_run: false, .. }));
    assert_error(&error, &Expected { category: Category::Timeout, status: 504, says: &["did not run"] });
    released(&scene, calls).await;
    scene.survived("a deadline that passes in the queue", &error).await;
}

#[tokio::test]
async fn too_many_sessions() {
    let scene = Scene::with("quota", |builder| builder.sessions(Sessions::new().max(2))).await;
    let error = with_timeout("a call", waiting(&scene, Some("third"))).await.unwrap_err();
    assert!(matches!(error, Error::SessionQuota { max: 2 }));
    assert_error(
        &error,
        &Expected { category: Category::Resource, status: 429, says: &["2 sessions", "sessions.max"] },
    );
    assert!(scene.pool.end_session("third").await.is_ok_and(|ended| !ended), "it never was one");
    scene.survived("more sessions than `sessions.max`", &error).await;
}

#[tokio::test]
async fn a_busy_worker_of_a_session_that_does_not_wait() {
    let scene = Scene::new("failfast").await;
    let calls = vec![busy(&scene).await];
    let call = scene.pool.call::<Value>("ok", &json!({})).session("victim").affinity(Affinity::StrictFailFast);
    let error = with_timeout("a call", call.reply()).await.unwrap_err();
    assert!(matches!(error, Error::WorkerBusy { worker } if worker == scene.victim.worker));
    assert_error(&error, &Expected { category: Category::Resource, status: 409, says: &["w1", "busy"] });
    released(&scene, calls).await;
    scene.survived("a busy worker, with `strict_fail_fast`", &error).await;
}
