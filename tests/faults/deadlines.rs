//! Calls whose deadline passes while they run (R35). The caller gets its error at once. The worker is asked to cancel the call;
//! then the handler is interrupted after `cancel.interrupt`, and the worker is killed after `cancel.kill`.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Harness, LossReport};
use herder::{
    Error,
    config::Cancel,
    testing::{HANG_TIMEOUT, wait_until, with_timeout},
};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(100);

/// Creates a pool that interrupts handlers and practically never kills their workers.
async fn with_interrupt(hint: &str) -> Harness {
    Harness::with_settings(hint, |builder| builder.cancel(Cancel::new().interrupt(SOON).kill(HANG_TIMEOUT))).await
}

/// Creates a pool that kills a worker soon after the interrupt.
async fn with_kill(hint: &str) -> Harness {
    Harness::with_settings(hint, |builder| builder.cancel(Cancel::new().interrupt(SOON).kill(4 * SOON))).await
}

/// Returns the error of a call whose deadline passes while its handler runs.
async fn exceed_deadline(harness: &Harness, command: &str) -> Error {
    harness.exceed_deadline(command, json!({ "path": harness.path("running") }), None).await
}

async fn wait_until_idle(harness: &Harness) {
    wait_until("the call has finished", async || harness.pool.worker(harness.victim).await.unwrap().in_flight == 0)
        .await;
}

#[tokio::test]
async fn a_deadline_while_python_computes() {
    let harness = with_interrupt("compute").await;
    let error = exceed_deadline(&harness, "compute").await;
    wait_until_idle(&harness).await;
    assert_eq!(
        harness.pool.status().await.unwrap().counters.late_answers,
        1,
        "the answer of the interrupted call, which is dropped"
    );
    harness.assert_survived("a deadline that passes while Python computes", &error).await;
}

#[tokio::test]
async fn a_deadline_while_python_waits_in_a_system_call() {
    let harness = with_interrupt("blocked").await;
    let error = exceed_deadline(&harness, "wait").await;
    wait_until_idle(&harness).await;
    harness.assert_survived("a deadline that passes while Python waits in a system call", &error).await;
}

/// The interrupt takes effect when the C function returns.
#[tokio::test]
async fn a_deadline_while_c_runs_without_the_gil() {
    let harness = with_interrupt("digest").await;
    let error = exceed_deadline(&harness, "digest").await;
    wait_until_idle(&harness).await;
    harness.assert_survived("a deadline that passes while C code runs without the GIL", &error).await;
}

#[tokio::test]
async fn a_deadline_while_c_holds_the_gil() {
    let harness = with_kill("gil").await;
    let error = exceed_deadline(&harness, "hold_the_gil").await;
    harness.assert_replaced("a deadline that passes while C code holds the GIL", &error, LossReport::NotYet).await;
}

#[tokio::test]
async fn a_deadline_of_a_handler_that_ignores_interrupts() {
    let harness = with_kill("never").await;
    let error = exceed_deadline(&harness, "never").await;
    harness
        .assert_replaced(
            "a deadline in a handler that never returns and ignores interrupts",
            &error,
            LossReport::NotYet,
        )
        .await;
}

/// R20, R35: the call gets `DeadlineExceeded` at its deadline. The worker is killed later, so the loss report goes to the
/// session's next call.
#[tokio::test]
async fn a_deadline_of_a_sessions_call_that_ignores_interrupts() {
    let harness = with_kill("never_session").await;
    let error = harness.exceed_deadline("never", json!({ "path": harness.path("running") }), Some("victim")).await;
    harness
        .assert_replaced("a session's call that never returns and ignores interrupts", &error, LossReport::NotYet)
        .await;
}

/// R35: abandoning a call cancels it.
#[tokio::test]
async fn a_caller_that_abandons_its_running_call() {
    let harness = with_interrupt("abandons").await;
    let call = harness.start_call("compute").await;
    call.abort();
    assert!(with_timeout("the caller", call).await.unwrap_err().is_cancelled());
    wait_until_idle(&harness).await;
    let counters = harness.pool.status().await.unwrap().counters;
    assert_eq!((counters.abandoned, counters.late_answers), (1, 1));
    harness
        .assert_survived_without_caller(
            "a caller that abandons its running call",
            "none: no caller waits; the handler is interrupted",
        )
        .await;
}
