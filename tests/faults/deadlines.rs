//! Calls whose time is over while they run: the caller is answered at once, then the worker is asked, interrupted, and killed, each
//! with its own patience (R35).

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Harness, LossReport};
use herder::testing::{HANG_TIMEOUT, wait_until, with_timeout};
use herder::{Cancel, Error};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(100);

async fn patient(hint: &str) -> Harness {
    Harness::with(hint, |builder| builder.cancel(Cancel::new().interrupt(SOON).kill(HANG_TIMEOUT))).await
}

async fn impatient(hint: &str) -> Harness {
    Harness::with(hint, |builder| builder.cancel(Cancel::new().interrupt(SOON).kill(4 * SOON))).await
}

/// The answer comes when the deadline passes, whatever the handler does.
async fn passes(harness: &Harness, command: &str) -> Error {
    harness.out_of_time(command, json!({ "path": harness.path("running") }), None).await
}

async fn is_idle(harness: &Harness) {
    wait_until("the call is over", async || harness.pool.worker(harness.victim).await.unwrap().in_flight == 0).await;
}

#[tokio::test]
async fn while_python_computes() {
    let harness = patient("compute").await;
    let error = passes(&harness, "compute").await;
    is_idle(&harness).await;
    assert_eq!(harness.pool.status().await.unwrap().counters.late_answers, 1, "the interrupted call's, dropped");
    harness.survived("a deadline that passes while Python computes", &error).await;
}

#[tokio::test]
async fn while_python_waits() {
    let harness = patient("blocked").await;
    let error = passes(&harness, "wait").await;
    is_idle(&harness).await;
    harness.survived("a deadline that passes while Python waits in a system call", &error).await;
}

/// It is interrupted when it is back from C.
#[tokio::test]
async fn while_c_runs_without_the_gil() {
    let harness = patient("digest").await;
    let error = passes(&harness, "digest").await;
    is_idle(&harness).await;
    harness.survived("a deadline that passes while C code runs without the GIL", &error).await;
}

#[tokio::test]
async fn while_c_holds_the_gil() {
    let harness = impatient("gil").await;
    let error = passes(&harness, "hold_the_gil").await;
    harness.died("a deadline that passes while C code holds the GIL", &error, LossReport::NotYet).await;
}

#[tokio::test]
async fn a_handler_that_never_returns() {
    let harness = impatient("never").await;
    let error = passes(&harness, "never").await;
    harness.died("a deadline of a handler that never returns and ignores interrupts", &error, LossReport::NotYet).await;
}

/// In its own session: answered `DeadlineExceeded` at the deadline. When the worker is killed for it, the session is told of the
/// loss with its next call.
#[tokio::test]
async fn a_sessions_call_that_never_returns() {
    let harness = impatient("never_session").await;
    let error = harness.out_of_time("never", json!({ "path": harness.path("running") }), Some("victim")).await;
    harness.died("a session's call that never returns and ignores interrupts", &error, LossReport::NotYet).await;
}

/// A caller that goes away cancels its call.
#[tokio::test]
async fn a_caller_that_leaves() {
    let harness = patient("leaves").await;
    let call = harness.running("compute").await;
    call.abort();
    assert!(with_timeout("the caller", call).await.unwrap_err().is_cancelled());
    is_idle(&harness).await;
    let counters = harness.pool.status().await.unwrap().counters;
    assert_eq!((counters.abandoned, counters.late_answers), (1, 1));
    harness
        .survived_nobody("a caller that goes away", "nothing: nobody waits; the code that runs is interrupted")
        .await;
}
