//! Workers that break the protocol after they were ready: what they write on the descriptor can't be trusted any more, so the
//! process ends and another starts (R41).

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Harness, LossReport, assert_lost, assert_tail};
use herder::Cancel;
use serde_json::json;
use std::time::Duration;

async fn breaks(hint: &str, fault: &'static str, data: &str, then: &str, says: &[&str]) {
    let harness = Harness::new(hint).await;
    let error = harness.call("raw", json!({ "data": data, "then": then })).await.unwrap_err();
    assert_lost(&error, harness.victim, says);
    harness.died(fault, &error, LossReport::NotYet).await;
}

#[tokio::test]
async fn garbage() {
    let text: String = b"Hello, this is no frame at all.".iter().map(|byte| format!("{byte:02x}")).collect();
    let says = ["reserved_bytes", "broke the protocol"];
    breaks("garbage", "garbage on the descriptor", &text, "silence", &says).await;
}

#[tokio::test]
async fn garbage_and_then_an_answer() {
    breaks("garbage2", "garbage on the descriptor, then an answer", &"ff".repeat(64), "answer", &["protocol"]).await;
}

#[tokio::test]
async fn half_a_frame_then_exit() {
    let says = ["truncated_header", "exit status 0"];
    breaks("half_exit", "half a header, then the process exits", "1700000004", "exit", &says).await;
}

#[tokio::test]
async fn half_a_frame_then_closed() {
    let says = ["truncated_body", "broke the protocol"];
    let half = "17000000040000000700000000000000aabb";
    breaks("half_close", "half a frame, then the descriptor is closed", half, "close", &says).await;
}

#[tokio::test]
async fn a_frame_of_one_gib() {
    let says = ["oversize", "1073741824"];
    breaks("gib", "a frame length of 1 GiB", "00000040040000000700000000000000", "silence", &says).await;
}

#[tokio::test]
async fn an_unknown_kind() {
    breaks("kind", "a frame of an unknown kind", "00000000ff0000000000000000000000", "silence", &["unknown_kind"])
        .await;
}

#[tokio::test]
async fn a_second_ready() {
    let ready = b"{\"commands\":[]}";
    let header = format!("{:02x}0000000200{}", ready.len(), "00".repeat(10));
    let frame: String = header + &ready.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let says = ["a hello, a ready or a pong among its answers"];
    breaks("ready2", "a frame at the wrong time", &frame, "silence", &says).await;
}

#[tokio::test]
async fn a_closed_descriptor() {
    breaks("closed", "a closed descriptor, and the process lives on", "", "close", &["the end of its stream"]).await;
}

/// The worker can't answer then, and says so on standard error when it ends.
#[tokio::test]
async fn a_descriptor_closed_by_a_handler() {
    let harness = Harness::new("closed_by").await;
    let error = harness.call("raw", json!({ "data": "", "then": "close and return" })).await.unwrap_err();
    assert_lost(&error, harness.victim, &["exit status 1"]);
    assert_tail(&error, "Bad file descriptor");
    harness.died("a closed descriptor, and the handler returns", &error, LossReport::NotYet).await;
}

/// A final frame for a call nobody knows is dropped by name; nothing else happens.
#[tokio::test]
async fn an_answer_to_an_unknown_call() {
    let harness = Harness::new("unknown_call").await;
    let frame = "1400000004000000ffff000000000000000000000000000000000000000000006e756c6c";
    harness.call("raw", json!({ "data": frame, "then": "answer" })).await.unwrap();
    assert_eq!(harness.pool.status().await.unwrap().counters.unknown_frames, 1);
    harness
        .survived_fine("an answer to a call that nobody made", "its own; the other is dropped, with a line in the log")
        .await;
}

/// What never comes can't be told from what is slow: the deadline ends the wait, and `cancel`'s patience the worker.
#[tokio::test]
async fn half_a_frame_then_silence() {
    let soon = Duration::from_millis(100);
    let harness = Harness::with("half", |builder| builder.cancel(Cancel::new().interrupt(soon).kill(soon))).await;
    let arguments =
        json!({ "data": "17000000040000000700000000000000aabb", "then": "silence", "path": harness.path("running") });
    let error = harness.out_of_time("raw", arguments, None).await;
    harness.died("half a frame, then silence", &error, LossReport::NotYet).await;
}
