//! `assert_concurrent!`: green when operations overlapped, red with the reason and the intervals when not (R46).

use herder::{
    assert_concurrent,
    concurrency::{Evidence, Interval},
    testing::{Script, scripted},
};
use serde_json::{Value, json};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio::sync::Barrier;

fn ms(spans: &[(u64, u64)]) -> Vec<Interval> {
    spans.iter().map(|(from, to)| Interval::new(from * 1_000_000, to * 1_000_000).unwrap()).collect()
}

/// What a failed assertion says.
fn said(assertion: impl FnOnce() -> Evidence) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

/// R46: by overlap, not by durations: the original's two counterexamples.
#[test]
fn r46_the_two_counterexamples_are_judged_by_overlap() {
    let serial = said(|| assert_concurrent!(ms(&[(5, 15), (15, 25), (25, 35)])));
    let lines: Vec<&str> = serial.lines().collect();
    assert!(lines[0].starts_with("operations appear serialized: 3 operations"), "{serial}");
    assert_eq!(lines[1..], ["  0ns to 10ms", "  10ms to 20ms", "  20ms to 30ms"]);
    let straggler = assert_concurrent!(ms(&[(0, 10), (0, 10), (0, 100)]));
    assert_eq!(straggler.peak, 3);
}

#[test]
fn r46_too_few_operations_prove_nothing() {
    assert!(said(|| assert_concurrent!(ms(&[(0, 10)]))).contains("nothing to compare"));
    assert!(said(|| assert_concurrent!(&ms(&[])[..])).contains("nothing to compare"));
}

/// R46: from the replies of calls: two that meet, and two that a pool with one worker runs one after the other.
#[tokio::test]
async fn r46_replies_tell_whether_calls_overlapped() {
    let both = Arc::new(Barrier::new(2));
    let script = Script::new()
        .command("meet", async move |_| {
            both.wait().await;
            Ok(Value::Null)
        })
        .command("alone", async |_| Ok(Value::Null));
    let pool = scripted("overlap", script.clone(), |fresh| fresh.basic().app("app:app").build()).await;
    let call = |command: &str| pool.call::<Value>(command, &json!({})).reply();
    let (one, other) = tokio::join!(call("meet"), call("meet"));
    assert_eq!(assert_concurrent!([one.unwrap(), other.unwrap()]).peak, 2);
    let apart = [call("alone").await.unwrap(), call("alone").await.unwrap()];
    assert!(said(|| assert_concurrent!(apart)).contains("operations appear serialized: 2 operations"));
    pool.end().await;
}
