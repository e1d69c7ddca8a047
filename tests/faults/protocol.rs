//! Workers that violate the protocol after they became ready. The rest of their stream cannot be trusted, so the pool kills the
//! process and starts another (R41).

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Harness, LossReport, assert_lost, assert_stderr_tail};
use herder::config::Cancel;
use serde_json::json;
use std::time::Duration;

/// Checks a worker that writes `data` on its calls descriptor and then does `then`.
async fn check_violation(hint: &str, fault: &'static str, data: &str, then: &str, contains: &[&str]) {
    let harness = Harness::new(hint).await;
    let error = harness.call("raw", json!({ "data": data, "then": then })).await.unwrap_err();
    assert_lost(&error, harness.victim, contains);
    harness.assert_replaced(fault, &error, LossReport::NotYet).await;
}

#[tokio::test]
async fn garbage_on_the_descriptor() {
    let text: String = b"Hello, this is no frame at all.".iter().map(|byte| format!("{byte:02x}")).collect();
    let contains = ["reserved_bytes", "protocol violation"];
    check_violation("garbage", "garbage on the descriptor", &text, "silence", &contains).await;
}

#[tokio::test]
async fn garbage_on_the_descriptor_then_an_answer() {
    check_violation("garbage2", "garbage on the descriptor, then an answer", &"ff".repeat(64), "answer", &["protocol"])
        .await;
}

#[tokio::test]
async fn half_a_header_then_exit() {
    let contains = ["truncated_header", "exit status 0"];
    check_violation("half_exit", "half a header, then the process exits", "1700000004", "exit", &contains).await;
}

#[tokio::test]
async fn half_a_frame_then_closed() {
    let contains = ["truncated_body", "protocol violation"];
    let half = "17000000040000000700000000000000aabb";
    check_violation("half_close", "half a frame, then the descriptor is closed", half, "close", &contains).await;
}

#[tokio::test]
async fn a_frame_of_one_gib() {
    let contains = ["oversize", "1073741824"];
    check_violation("gib", "a frame length of 1 GiB", "00000040040000000700000000000000", "silence", &contains).await;
}

#[tokio::test]
async fn a_frame_of_an_unknown_kind() {
    check_violation(
        "kind",
        "a frame of an unknown kind",
        "00000000ff0000000000000000000000",
        "silence",
        &["unknown_kind"],
    )
    .await;
}

#[tokio::test]
async fn a_second_ready() {
    let ready = b"{\"commands\":[]}";
    let header = format!("{:02x}0000000200{}", ready.len(), "00".repeat(10));
    let frame: String = header + &ready.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let contains = ["a hello, a ready or a pong on the calls descriptor after its ready"];
    check_violation("ready2", "a second ready", &frame, "silence", &contains).await;
}

#[tokio::test]
async fn a_descriptor_closed_without_exiting() {
    check_violation(
        "closed",
        "a descriptor closed by a process that does not exit",
        "",
        "close",
        &["closed its socket without exiting"],
    )
    .await;
}

/// The worker cannot answer the call. It logs the failure on standard error and exits.
#[tokio::test]
async fn a_descriptor_closed_by_a_handler_that_returns() {
    let harness = Harness::new("closed_by").await;
    let error = harness.call("raw", json!({ "data": "", "then": "close and return" })).await.unwrap_err();
    assert_lost(&error, harness.victim, &["exit status 1"]);
    assert_stderr_tail(&error, "Bad file descriptor");
    harness.assert_replaced("a descriptor closed by a handler that returns", &error, LossReport::NotYet).await;
}

/// The host drops an answer with an unknown wire id, counts it and logs it. Nothing else happens.
#[tokio::test]
async fn an_answer_to_an_unknown_call() {
    let harness = Harness::new("unknown_call").await;
    let frame = "1400000004000000ffff000000000000000000000000000000000000000000006e756c6c";
    harness.call("raw", json!({ "data": frame, "then": "answer" })).await.unwrap();
    assert_eq!(harness.pool.status().await.unwrap().counters.unknown_frames, 1);
    harness
        .assert_survived_with_result(
            "an answer to an unknown call",
            "unaffected; the other answer is dropped and logged",
        )
        .await;
}

/// The host cannot distinguish a frame that is never completed from a slow one. The deadline ends the wait of the caller; the
/// worker is killed after `cancel.kill`.
#[tokio::test]
async fn half_a_frame_then_silence() {
    let soon = Duration::from_millis(100);
    let harness =
        Harness::with_settings("half", |builder| builder.cancel(Cancel::new().interrupt(soon).kill(soon))).await;
    let arguments =
        json!({ "data": "17000000040000000700000000000000aabb", "then": "silence", "path": harness.path("running") });
    let error = harness.exceed_deadline("raw", arguments, None).await;
    harness.assert_replaced("half a frame, then silence", &error, LossReport::NotYet).await;
}
