//! The queue of a whole pool (R36): fair between sessions, and honest about what can't be reached in time.

use crate::pools::steps::{answer, queue_is};
use futures_util::future::join_all;
use herder::testing::{TestPool, pool, wait_until};
use herder::{Call, Queue};
use serde_json::{Value, json};
use std::{fs, future::poll_fn, pin::Pin, task::Poll, time::Duration};

async fn with(hint: &str, queue: Queue) -> TestPool {
    pool(hint, |context| {
        context.file("app.py", include_str!("resilience.py"));
        context.enhanced().app("app.py:app").pool_size(1).queue(queue).build()
    })
    .await
}

fn slow(pool: &TestPool, ms: u64) -> Call<Value> {
    pool.call("slow", &json!({ "ms": ms }))
}

/// R36: two strict sessions of one worker take turns, though one of them has a line of twenty before the other's first call.
#[tokio::test]
async fn r36_long_queue_of_one_session_does_not_delay_others() {
    let pool = with("fair", Queue::new()).await;
    let gate = pool.dir().join("gate");
    let first = pool.call::<Value>("wait_for", &json!({ "path": gate })).session("greedy").reply();
    queue_is(&pool, 1, 0).await;
    let mut replies = Vec::new();
    for (session, calls) in [("greedy", 20), ("modest", 3)] {
        for _ in 0..calls {
            let reply = slow(&pool, 0).session(session).reply();
            replies.push(async move { (session, reply.await) });
        }
    }
    queue_is(&pool, 1, 23).await;
    fs::write(&gate, "").unwrap();
    answer(first).await.unwrap();
    // By the worker's own stamps: a test that is late finds many answers there, in no order.
    let mut begun: Vec<_> = join_all(replies).await;
    begun.sort_by_key(|(_, reply)| reply.as_ref().unwrap().stamps.started);
    let order: Vec<_> = begun.iter().map(|(session, _)| *session).collect();
    let last = order.iter().rposition(|session| *session == "modest").unwrap();
    assert!(last < 8, "one of the others between each of its three, and not twenty: {order:?}");
    pool.end().await;
}

/// R36: once it is known what calls take, those whose turn can't come in time are told at once, and when to come again; those
/// before them wait.
#[tokio::test]
async fn r36_calls_that_would_wait_too_long_are_refused() {
    let pool = with("shed", Queue::new().timeout(Duration::from_secs(1))).await;
    for _ in 0..32 {
        answer(slow(&pool, 20).reply()).await.unwrap();
    }
    let gate = pool.dir().join("gate");
    let first = pool.call::<Value>("wait_for", &json!({ "path": gate })).reply();
    queue_is(&pool, 1, 0).await;
    let mut replies: Vec<_> = (0..300).map(|_| slow(&pool, 20).reply()).collect();
    wait_until("all were looked at", async || pool.status().await.unwrap().counters.submitted == 333).await;
    let status = pool.status().await.unwrap();
    assert!(status.counters.shed > 0 && status.queue.load.is_some_and(|load| load > 1.0), "{:?}", status.queue);
    let last = poll_fn(|context| Poll::Ready(Pin::new(&mut replies[299]).poll(context))).await;
    let Poll::Ready(Err(error)) = last else { panic!("the last one waits") };
    assert_eq!((error.slug(), error.http_status(), error.may_have_run()), ("overloaded", 429, false), "{error}");
    assert!(error.retry_after().is_some() && error.is_retryable(), "{error:?}");
    fs::write(&gate, "").unwrap();
    answer(first).await.unwrap();
    drop(replies);
    pool.end().await;
}
