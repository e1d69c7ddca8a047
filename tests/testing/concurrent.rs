//! `assert_concurrent!` (R46): it passes when operations overlapped, and fails with the reason and the intervals when they did
//! not.

use herder::{
    efficiency::{
        concurrency::{Evidence, Interval, InvalidOperation, Operation},
        operation,
    },
    pool::Timestamp,
    testing::{Script, TestContext, assert_concurrent, scripted, wait_until},
};
use serde_json::{Value, json};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio::sync::{Barrier, Semaphore};

fn ms(spans: &[(u64, u64)]) -> Vec<Interval> {
    spans.iter().map(|(from, to)| Interval::new(from * 1_000_000, to * 1_000_000).unwrap()).collect()
}

/// Returns the message of a failed assertion.
fn failure(assertion: impl FnOnce() -> Evidence) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

/// R46: the verdict depends on overlap and not on durations. These are the two cases that DSPex's check by durations judged
/// wrong.
#[test]
fn r46_the_two_counterexamples_are_judged_by_overlap() {
    let serial = failure(|| assert_concurrent!(ms(&[(5, 15), (15, 25), (25, 35)])));
    let lines: Vec<&str> = serial.lines().collect();
    assert_eq!(lines[0], "operations appear serialized: no two of the 3 operations overlapped");
    assert_eq!(lines[1..], ["  0ns to 10ms", "  10ms to 20ms", "  20ms to 30ms"]);
    let straggler = assert_concurrent!(ms(&[(0, 10), (0, 10), (0, 100)]));
    assert_eq!(straggler.peak, 3);
}

/// R46: fewer than two operations that took time are a failure, because they prove nothing.
#[test]
fn r46_too_few_operations_prove_nothing() {
    assert!(failure(|| assert_concurrent!(ms(&[(0, 10)]))).contains("too few operations to compare"));
    assert!(failure(|| assert_concurrent!(&ms(&[])[..])).contains("too few operations to compare"));
}

/// R46: replies can be judged directly: two calls that wait for each other overlap, two calls one after the other do not.
#[tokio::test]
async fn r46_replies_show_whether_calls_overlapped() {
    let both = Arc::new(Barrier::new(2));
    let script = Script::new()
        .command("meet", async move |_| {
            both.wait().await;
            Ok(Value::Null)
        })
        .command("alone", async |_| Ok(Value::Null));
    let pool = scripted("overlap", script.clone(), |context| context.basic().app("app:app").build()).await;
    let call = |command: &str| pool.call::<Value>(command, &json!({})).reply();
    let (one, other) = tokio::join!(call("meet"), call("meet"));
    assert_eq!(assert_concurrent!([one.unwrap(), other.unwrap()]).peak, 2);
    let apart = [call("alone").await.unwrap(), call("alone").await.unwrap()];
    assert!(failure(|| assert_concurrent!(apart)).contains("operations appear serialized: no two of the 2 operations"));
    pool.shutdown_and_check().await;
}

/// R46: a reply has the timestamps of its call, here of one that waited in the queue. Timestamps that are missing or from
/// another clock are refused.
#[tokio::test]
async fn r46_reply_has_the_timestamps_of_its_call() {
    let open = Arc::new(Semaphore::new(0));
    let gate = open.clone();
    let script = Script::new().command("wait", async move |_| {
        gate.acquire().await.unwrap().forget();
        Ok(Value::Null)
    });
    let build = |context: &TestContext| context.basic().pool_size(1).app("app:app").build();
    let pool = scripted("moments", script, build).await;
    let call = || pool.call::<Value>("wait", &json!({})).reply();
    let (first, second) = (call(), call());
    wait_until("the second call waits", async || pool.status().await.unwrap().queue.waiting == 1).await;
    open.add_permits(2);
    first.await.unwrap();
    let mut reply = second.await.unwrap();
    assert!(!reply.queued.is_zero() && !reply.ran.is_zero());
    let Operation { worker: process, queued, sent, started, ended, answered } = operation(&reply).unwrap();
    assert_eq!((process.id, process.generation, queued), (reply.worker, reply.generation, reply.admitted));
    assert_eq!((started, ended), (reply.stamps.started, reply.stamps.ended));
    assert_eq!((sent - queued, answered - sent), (reply.queued, reply.ran));
    reply.stamps.started = Timestamp(1);
    assert!(matches!(operation(&reply), Err(InvalidOperation::OtherClock { .. })));
    (reply.stamps.started, reply.stamps.ended) = (Timestamp(0), Timestamp(0));
    assert_eq!(operation(&reply), Err(InvalidOperation::NotRun(process)));
    pool.shutdown_and_check().await;
}
