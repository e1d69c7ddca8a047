//! The queue of a pool (R36): it is fair between sessions, and it refuses calls that cannot start in time.

use crate::pools::steps::{answer, queue_is};
use futures_util::future::join_all;
use herder::{
    Call,
    config::Queue,
    testing::{TestPool, pool, wait_until},
};
use serde_json::{Value, json};
use std::{fs, future::poll_fn, pin::Pin, task::Poll, time::Duration};

/// Starts a pool of one worker with this queue.
async fn pool_with(hint: &str, queue: Queue) -> TestPool {
    pool(hint, |context| {
        context.file("app.py", include_str!("resilience.py"));
        context.enhanced().app("app.py:app").pool_size(1).queue(queue).build()
    })
    .await
}

fn slow(pool: &TestPool, ms: u64) -> Call<Value> {
    pool.call("slow", &json!({ "ms": ms }))
}

/// R36: the calls of two strict sessions on one worker alternate, although one session had 20 waiting calls before the other's
/// first.
#[tokio::test]
async fn r36_long_queue_of_one_session_does_not_delay_others() {
    let pool = pool_with("fair", Queue::new()).await;
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
    // Sort by the timestamps of the worker: the order in which this test receives the answers proves nothing.
    let mut started: Vec<_> = join_all(replies).await;
    started.sort_by_key(|(_, reply)| reply.as_ref().unwrap().stamps.started);
    let order: Vec<_> = started.iter().map(|(session, _)| *session).collect();
    let last = order.iter().rposition(|session| *session == "modest").unwrap();
    assert!(last < 8, "the calls of the sessions alternate: {order:?}");
    pool.shutdown_and_check().await;
}

/// R36: when the pool has measured the duration of calls, it refuses at once those whose estimated wait is too long, with a
/// time to retry. The calls before them wait.
#[tokio::test]
async fn r36_calls_that_would_wait_too_long_are_refused() {
    let pool = pool_with("shed", Queue::new().timeout(Duration::from_secs(1))).await;
    for _ in 0..32 {
        answer(slow(&pool, 20).reply()).await.unwrap();
    }
    let gate = pool.dir().join("gate");
    let first = pool.call::<Value>("wait_for", &json!({ "path": gate })).reply();
    queue_is(&pool, 1, 0).await;
    let mut replies: Vec<_> = (0..300).map(|_| slow(&pool, 20).reply()).collect();
    wait_until("all calls were submitted", async || pool.status().await.unwrap().counters.submitted == 333).await;
    let status = pool.status().await.unwrap();
    assert!(status.counters.shed > 0 && status.queue.load.is_some_and(|load| load > 1.0), "{:?}", status.queue);
    let last = poll_fn(|context| Poll::Ready(Pin::new(&mut replies[299]).poll(context))).await;
    let Poll::Ready(Err(error)) = last else { panic!("the last one waits") };
    assert_eq!((error.slug(), error.http_status(), error.may_have_run()), ("overloaded", 429, false), "{error}");
    assert!(error.retry_after().is_some() && error.is_retryable(), "{error:?}");
    fs::write(&gate, "").unwrap();
    answer(first).await.unwrap();
    drop(replies);
    pool.shutdown_and_check().await;
}
