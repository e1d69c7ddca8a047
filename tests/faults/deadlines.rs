//! Calls whose time is over while they run: the caller is answered at once, then the worker is asked, interrupted, and killed, each
//! with its own patience (R35).

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::scene::{Scene, Told};
use herder::testing::{HANG_TIMEOUT, wait_until, with_timeout};
use herder::{Cancel, Error};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(100);

async fn patient(hint: &str) -> Scene {
    Scene::with(hint, |builder| builder.cancel(Cancel::new().interrupt(SOON).kill(HANG_TIMEOUT))).await
}

async fn impatient(hint: &str) -> Scene {
    Scene::with(hint, |builder| builder.cancel(Cancel::new().interrupt(SOON).kill(4 * SOON))).await
}

/// The answer comes when the deadline passes, whatever the handler does.
async fn passes(scene: &Scene, command: &str) -> Error {
    scene.out_of_time(command, json!({ "path": scene.path("running") }), None).await
}

async fn is_idle(scene: &Scene) {
    wait_until("the call is over", async || scene.pool.worker(scene.victim).await.unwrap().in_flight == 0).await;
}

#[tokio::test]
async fn while_python_computes() {
    let scene = patient("compute").await;
    let error = passes(&scene, "compute").await;
    is_idle(&scene).await;
    assert_eq!(scene.pool.status().await.unwrap().counters.late_answers, 1, "the interrupted call's, dropped");
    scene.survived("a deadline that passes while Python computes", &error).await;
}

#[tokio::test]
async fn while_python_waits() {
    let scene = patient("blocked").await;
    let error = passes(&scene, "wait").await;
    is_idle(&scene).await;
    scene.survived("a deadline that passes while Python waits in a system call", &error).await;
}

/// It is interrupted when it is back from C.
#[tokio::test]
async fn while_c_runs_without_the_gil() {
    let scene = patient("digest").await;
    let error = passes(&scene, "digest").await;
    is_idle(&scene).await;
    scene.survived("a deadline that passes while C code runs without the GIL", &error).await;
}

#[tokio::test]
async fn while_c_holds_the_gil() {
    let scene = impatient("gil").await;
    let error = passes(&scene, "hold_the_gil").await;
    scene.died("a deadline that passes while C code holds the GIL", &error, Told::NotYet).await;
}

#[tokio::test]
async fn a_handler_that_never_returns() {
    let scene = impatient("never").await;
    let error = passes(&scene, "never").await;
    scene.died("a deadline of a handler that never returns and ignores interrupts", &error, Told::NotYet).await;
}

/// In its own session: answered `DeadlineExceeded` at the deadline. When the worker is killed for it, the session is told of the
/// loss with its next call.
#[tokio::test]
async fn a_sessions_call_that_never_returns() {
    let scene = impatient("never_session").await;
    let error = scene.out_of_time("never", json!({ "path": scene.path("running") }), Some("victim")).await;
    scene.died("a session's call that never returns and ignores interrupts", &error, Told::NotYet).await;
}

/// A caller that goes away cancels its call.
#[tokio::test]
async fn a_caller_that_leaves() {
    let scene = patient("leaves").await;
    let call = scene.running("compute").await;
    call.abort();
    assert!(with_timeout("the caller", call).await.unwrap_err().is_cancelled());
    is_idle(&scene).await;
    let counters = scene.pool.status().await.unwrap().counters;
    assert_eq!((counters.abandoned, counters.late_answers), (1, 1));
    scene.survived_nobody("a caller that goes away", "nothing: nobody waits; the code that runs is interrupted").await;
}
