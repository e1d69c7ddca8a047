//! What callers get wrong: commands, arguments, payloads, sizes.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, assert_error};
use bytes::Bytes;
use herder::testing::with_timeout;
use herder::{Category, Error};
use serde_json::{Value, json};

const PYTHON: Category = Category::Python;

#[tokio::test]
async fn an_unknown_command() {
    let harness = Harness::new("unknown").await;
    let error = harness.call("cuont", json!({})).await.unwrap_err();
    assert!(matches!(&error, Error::UnknownCommand { command, .. } if command == "cuont"));
    assert_error(&error, &Expected { category: PYTHON, status: 404, says: &["`cuont`", "count", "ok"] });
    assert!(!error.may_have_run());
    harness.survived("unknown command", &error).await;
}

async fn wrong_arguments(hint: &str, fault: &'static str, arguments: Value, says: &[&str]) {
    let harness = Harness::new(hint).await;
    let error = harness.call("add", arguments).await.unwrap_err();
    assert!(matches!(error, Error::BadArguments { .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 422, says });
    assert!(!error.may_have_run() && !error.is_retryable());
    harness.survived(fault, &error).await;
}

#[tokio::test]
async fn a_wrong_argument_name() {
    wrong_arguments("argname", "wrong argument name", json!({ "left": 1, "rihgt": 2 }), &["'rihgt'", "left", "right"])
        .await;
}

#[tokio::test]
async fn a_missing_argument() {
    wrong_arguments("argmissing", "missing argument", json!({ "right": 2 }), &["'left'"]).await;
}

#[tokio::test]
async fn a_wrong_argument_type() {
    wrong_arguments("argtype", "wrong argument type", json!({ "left": "one" }), &["'left'", "string"]).await;
}

#[tokio::test]
async fn a_session_that_is_missing() {
    let harness = Harness::new("nosession").await;
    let error = harness.call("count", json!({})).await.unwrap_err();
    assert!(matches!(error, Error::BadArguments { .. }));
    assert_error(&error, &Expected { category: PYTHON, status: 422, says: &["count", "Herder-Session"] });
    harness.survived("a handler that needs a session, called without one", &error).await;
}

/// Arguments as JSON text that nobody looked at on the way: the worker does.
async fn malformed(hint: &str, fault: &'static str, text: impl Into<Bytes>, says: &[&str]) {
    let harness = Harness::new(hint).await;
    let call = harness.pool.call_json::<Value>("ok", text.into()).reply();
    let error = with_timeout("a malformed call", call).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. } | Error::BadArguments { .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 400, says });
    assert!(!error.may_have_run());
    harness.survived(fault, &error).await;
}

#[tokio::test]
async fn arguments_that_are_no_object() {
    malformed("array", "arguments that are no object", "[1, 2]", &["object"]).await;
}

#[tokio::test]
async fn typed_arguments_that_are_no_object() {
    let harness = Harness::new("typed").await;
    let error = harness.call("ok", json!([1, 2])).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }));
    assert_error(&error, &Expected { category: PYTHON, status: 400, says: &["object"] });
    harness.survived("typed arguments that are no object", &error).await;
}

#[tokio::test]
async fn malformed_json() {
    malformed("malformed", "malformed JSON", "{\"left\": 1,}", &["JSON"]).await;
}

#[tokio::test]
async fn truncated_json() {
    malformed("truncated", "JSON cut off in the middle", "{\"left\": [1, 2", &["JSON"]).await;
}

#[tokio::test]
async fn json_with_nan() {
    malformed("argnan", "NaN in the arguments", "{\"left\": NaN}", &["NaN"]).await;
}

/// R39: it would be infinite.
#[tokio::test]
async fn r39_a_number_beyond_a_double() {
    malformed("beyond", "a number beyond a double, such as `1e400`", "{\"left\": 1e400}", &["1e400", "double"]).await;
}

#[tokio::test]
async fn json_that_is_no_utf8() {
    malformed("utf8", "arguments that are no UTF-8", Bytes::from_static(b"{\"left\": \"\xff\"}"), &["utf-8"]).await;
}

#[tokio::test]
async fn deep_json() {
    let deep = format!("{{\"left\": {}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    malformed("deep", "JSON nested 200,000 levels deep", deep, &["deep"]).await;
}

#[tokio::test]
async fn arguments_larger_than_a_frame() {
    let harness = Harness::with("largearg", |builder| builder.max_frame(64 * 1024)).await;
    let error = harness.call("add", json!({ "left": "x".repeat(64 * 1024) })).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { may_have_run: false, .. }), "{error:?}");
    assert_error(&error, &Expected { category: PYTHON, status: 413, says: &["65536"] });
    harness.survived("arguments larger than `max_frame`", &error).await;
}

#[tokio::test]
async fn a_session_id_that_can_not_be_one() {
    let harness = Harness::new("sessionid").await;
    let call = harness.pool.call::<Value>("count", &json!({})).session("a\nb").reply();
    let error = with_timeout("a call", call).await.unwrap_err();
    assert!(matches!(error, Error::InvalidSession { .. }));
    assert_error(&error, &Expected { category: Category::Session, status: 400, says: &["control"] });
    harness.survived("a session id with a line break", &error).await;
}

#[tokio::test]
async fn a_reply_that_is_not_what_was_asked_for() {
    let harness = Harness::new("decode").await;
    let error =
        with_timeout("a call", harness.pool.call::<Vec<String>>("add", &json!({ "left": 3 }))).await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }));
    assert_error(&error, &Expected { category: PYTHON, status: 500, says: &["sequence"] });
    harness.survived("a result of another type than its caller asked for", &error).await;
}
