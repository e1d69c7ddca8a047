//! Faults of callers: commands, arguments, session ids, sizes.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, assert_error};
use bytes::Bytes;
use herder::{Error, config::Buffers, error::Category, testing::with_timeout};
use serde_json::{Value, json};

const PYTHON: Category = Category::Python;

#[tokio::test]
async fn an_unknown_command() {
    let harness = Harness::new("unknown").await;
    let error = harness.call("cuont", json!({})).await.unwrap_err();
    assert!(matches!(&error, Error::UnknownCommand { command, .. } if command == "cuont"));
    assert_error(&error, &Expected { category: PYTHON, status: 404, contains: &["`cuont`", "count", "ok"] });
    assert!(!error.may_have_run());
    harness.assert_survived("unknown command", &error).await;
}

/// Checks arguments that do not match the parameters of `add`.
async fn check_wrong_arguments(hint: &str, fault: &'static str, arguments: Value, contains: &[&str]) {
    let harness = Harness::new(hint).await;
    let error = harness.call("add", arguments).await.unwrap_err();
    assert!(matches!(error, Error::BadArguments { .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 422, contains });
    assert!(!error.may_have_run() && !error.is_retryable());
    harness.assert_survived(fault, &error).await;
}

#[tokio::test]
async fn a_wrong_argument_name() {
    check_wrong_arguments(
        "argname",
        "wrong argument name",
        json!({ "left": 1, "rihgt": 2 }),
        &["'rihgt'", "left", "right"],
    )
    .await;
}

#[tokio::test]
async fn a_missing_argument() {
    check_wrong_arguments("argmissing", "missing argument", json!({ "right": 2 }), &["'left'"]).await;
}

#[tokio::test]
async fn a_wrong_argument_type() {
    check_wrong_arguments("argtype", "wrong argument type", json!({ "left": "one" }), &["left: Input", "integer"])
        .await;
}

#[tokio::test]
async fn a_handler_that_needs_a_session_called_without_one() {
    let harness = Harness::new("nosession").await;
    let error = harness.call("count", json!({})).await.unwrap_err();
    assert!(matches!(error, Error::BadArguments { .. }));
    assert_error(&error, &Expected { category: PYTHON, status: 422, contains: &["count", "Herder-Session"] });
    harness.assert_survived("a handler that needs a session, called without one", &error).await;
}

/// Checks arguments that are sent as JSON text. The host does not parse this text, so the worker reports the fault.
async fn check_malformed(hint: &str, fault: &'static str, text: impl Into<Bytes>, contains: &[&str]) {
    let harness = Harness::new(hint).await;
    let call = harness.pool.call_json::<Value>("ok", text.into()).reply();
    let error = with_timeout("a malformed call", call).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. } | Error::BadArguments { .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 400, contains });
    assert!(!error.may_have_run());
    harness.assert_survived(fault, &error).await;
}

#[tokio::test]
async fn arguments_that_are_not_an_object() {
    check_malformed("array", "arguments that are not an object", "[1, 2]", &["object"]).await;
}

#[tokio::test]
async fn typed_arguments_that_are_not_an_object() {
    let harness = Harness::new("typed").await;
    let call = harness.pool.call::<Value>("ok", &json!([1, 2])).reply();
    let error = with_timeout("a typed call", call).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }));
    assert_error(&error, &Expected { category: PYTHON, status: 400, contains: &["object"] });
    harness.assert_survived("typed arguments that are not an object", &error).await;
}

#[tokio::test]
async fn malformed_json() {
    check_malformed("malformed", "malformed JSON", "{\"left\": 1,}", &["JSON"]).await;
}

#[tokio::test]
async fn truncated_json() {
    check_malformed("truncated", "truncated JSON", "{\"left\": [1, 2", &["JSON"]).await;
}

#[tokio::test]
async fn nan_in_the_arguments() {
    check_malformed("argnan", "NaN in the arguments", "{\"left\": NaN}", &["NaN"]).await;
}

/// R39: Python's `json` would read the number as infinity.
#[tokio::test]
async fn r39_a_number_too_large_for_a_double() {
    check_malformed(
        "beyond",
        "a number too large for a double, such as `1e400`",
        "{\"left\": 1e400}",
        &["1e400", "64-bit"],
    )
    .await;
}

#[tokio::test]
async fn arguments_that_are_not_utf8() {
    check_malformed("utf8", "arguments that are not UTF-8", Bytes::from_static(b"{\"left\": \"\xff\"}"), &["utf-8"])
        .await;
}

#[tokio::test]
async fn deeply_nested_json() {
    let deep = format!("{{\"left\": {}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    check_malformed("deep", "JSON nested 200,000 levels deep", deep, &["deep"]).await;
}

#[tokio::test]
async fn arguments_larger_than_max_frame() {
    let harness = Harness::with_settings("largearg", |builder| builder.max_frame(64 * 1024)).await;
    let error = harness.call("add", json!({ "left": "x".repeat(64 * 1024) })).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { may_have_run: false, .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 413, contains: &["65536"] });
    harness.assert_survived("arguments larger than `max_frame`", &error).await;
}

#[tokio::test]
async fn a_buffer_larger_than_max_frame() {
    let harness = Harness::with_settings("largebuffer", |builder| builder.max_frame(64 * 1024)).await;
    let call = harness.pool.call::<Value>("add", &json!({})).attach("left", vec![0; 64 * 1024]);
    let error = with_timeout("a call", call).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { may_have_run: false, .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 413, contains: &["65536"] });
    harness.assert_survived("a buffer larger than `max_frame`", &error).await;
}

#[tokio::test]
async fn a_buffer_larger_than_the_shared_memory() {
    let buffers = Buffers::new().max_bytes(1 << 20);
    let harness = Harness::with_settings("capbuffer", |builder| builder.buffers(buffers)).await;
    let call = harness.pool.call::<usize>("length", &json!({})).attach("data", vec![0; 2 << 20]);
    assert_eq!(with_timeout("a call", call).await.unwrap(), 2 << 20);
    let result = "the length; the bytes were sent through the socket";
    harness.assert_survived_with_result("a buffer larger than `buffers.max_bytes`", result).await;
}

#[tokio::test]
async fn a_session_id_with_a_line_break() {
    let harness = Harness::new("sessionid").await;
    let call = harness.pool.call::<Value>("count", &json!({})).session("a\nb").reply();
    let error = with_timeout("a call", call).await.unwrap_err();
    assert!(matches!(error, Error::InvalidSession { .. }));
    assert_error(&error, &Expected { category: Category::Session, status: 400, contains: &["control"] });
    harness.assert_survived("a session id with a line break", &error).await;
}

#[tokio::test]
async fn a_result_of_another_type_than_requested() {
    let harness = Harness::new("decode").await;
    let error =
        with_timeout("a call", harness.pool.call::<Vec<String>>("add", &json!({ "left": 3 }))).await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }));
    assert_error(&error, &Expected { category: PYTHON, status: 500, contains: &["sequence"] });
    harness.assert_survived("a result of another type than the caller requested", &error).await;
}
