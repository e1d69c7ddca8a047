//! A session that keeps its worker busy (R19): which calls wait for it, how many of its calls may wait, and how one call can
//! override the pool's affinity mode. The tests compare counts, so no result depends on time.

use crate::pools::steps::{affinity_of, answer, answers, bind, count, place, process, queue_is, submitted};
use futures_util::future::join_all;
use herder::{
    Call, Error,
    config::Queue,
    messages::GetWorker,
    pool::PendingReply,
    session::{Affinity, RebindReason, Routing},
    testing::{HANG_TIMEOUT, TestPool, pool},
};
use serde_json::json;
use std::fs;

/// `hold` keeps its worker busy until the test opens the gate, and then counts as `count` does.
const GATED: &str = "
import pathlib, time, herder
app = herder.App()

@app.command
def count(session: herder.Session) -> int:
    session.state['n'] = session.state.get('n', 0) + 1
    return session.state['n']

@app.command
def hold(session: herder.Session) -> int:
    while not pathlib.Path('open').exists():
        time.sleep(0.005)
    return count(session)
";

/// Starts a pool of two workers: ann and bob are bound to the first, eve to the second.
async fn gated_pool(queue: Queue) -> TestPool {
    let pool = pool("gated", |context| {
        context.file("app.py", GATED);
        context.enhanced().app("app.py:app").cwd(context.dir()).queue(queue.timeout(HANG_TIMEOUT)).build()
    })
    .await;
    for (session, worker) in [("ann", 1), ("bob", 1), ("eve", 2)] {
        bind(&pool, session, worker).await;
    }
    pool
}

fn hold(pool: &TestPool, session: &str) -> Call<u64> {
    pool.call("hold", &json!({})).session(session)
}

fn open(pool: &TestPool) {
    fs::write(pool.dir().join("open"), "").unwrap();
}

/// Returns the counts of all calls, which must succeed.
async fn counts(replies: Vec<PendingReply>) -> Vec<u64> {
    answers(replies).await.into_iter().map(|reply| reply.unwrap().decode().unwrap()).collect()
}

/// Asserts that the next call is refused because the queue of its session is full.
async fn assert_session_queue_full(pool: &TestPool, session: &str, limit: usize) {
    let error = answer(count(pool, session).reply()).await.unwrap_err();
    assert!(matches!(error, Error::SessionQueueFull { limit: shown } if shown == limit), "{error:?}");
    assert_eq!((error.http_status(), error.slug()), (429, "session-queue-full"));
}

/// R19, R36: a busy session can fill its own part of the queue, which is a quarter by default. Calls of the other worker run
/// without delay. Calls of other sessions on the same worker wait in the rest of the queue. When the busy call ends, all
/// waiting calls run in order.
#[tokio::test]
async fn r19_busy_session_neither_delays_other_workers_nor_fills_the_queue() {
    let pool = gated_pool(Queue::new().limit(20)).await;
    let mut ann = submitted(&pool, [hold(&pool, "ann")], 1, 0).await;
    ann.extend(submitted(&pool, (0..5).map(|_| count(&pool, "ann")), 1, 5).await);
    assert_session_queue_full(&pool, "ann", 5).await;
    let visits = (0..10).map(async |number| {
        let session = format!("of-2-{number}");
        bind(&pool, &session, 2).await;
        for expected in 1..=50 {
            assert_eq!(count(&pool, &session).await.unwrap(), expected, "{session}");
        }
    });
    join_all(visits).await;
    queue_is(&pool, 1, 5).await;
    let neighbours: Vec<String> = (0..15).map(|number| format!("of-1-{number}")).collect();
    for session in &neighbours {
        bind(&pool, session, 1).await;
    }
    let waiting = submitted(&pool, neighbours.iter().map(|session| count(&pool, session)), 1, 20).await;
    let refused = answer(count(&pool, "bob").reply()).await;
    assert!(matches!(&refused, Err(Error::QueueFull { limit: 20 })), "{refused:?}");
    assert_eq!(count(&pool, "eve").await.unwrap(), 1, "a call that need not wait runs although the queue is full");
    open(&pool);
    assert_eq!(counts(ann).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(counts(waiting).await, [1; 15]);
    assert_eq!(count(&pool, "ann").await.unwrap(), 7, "the refused call did not run");
    let counters = pool.shutdown_and_check().await.counters;
    assert_eq!((counters.ok, counters.refused), (500 + 6 + 15 + 2, 2));
}

/// R19: `queue.per_session` counts the calls behind the session's first call, whether the first call runs or waits. An
/// abandoned call frees its place.
#[tokio::test]
async fn r19_per_session_limit_excludes_the_sessions_first_call() {
    let pool = gated_pool(Queue::new().limit(20).per_session(2)).await;
    let bob = submitted(&pool, [hold(&pool, "bob")], 1, 0).await;
    let mut ann = submitted(&pool, (0..3).map(|_| count(&pool, "ann")), 1, 3).await;
    assert_session_queue_full(&pool, "ann", 2).await;
    drop(ann.pop());
    queue_is(&pool, 1, 2).await;
    ann.extend(submitted(&pool, [count(&pool, "ann")], 1, 3).await);
    assert_session_queue_full(&pool, "ann", 2).await;
    let behind = submitted(&pool, (0..2).map(|_| count(&pool, "bob")), 1, 5).await;
    assert_session_queue_full(&pool, "bob", 2).await;
    open(&pool);
    assert_eq!(counts(ann).await, [1, 2, 3]);
    assert_eq!((counts(bob).await, counts(behind).await), (vec![1], vec![2, 3]));
    pool.shutdown_and_check().await;
}

/// R19: in a pool with `strict_queue` a single call can ask for `strict_fail_fast`: it gets `WorkerBusy` at once, whichever
/// session keeps the worker busy. A call of an unbound session waits as usual.
#[tokio::test]
async fn r19_fail_fast_call_is_refused_in_a_queueing_pool() {
    let pool = gated_pool(Queue::new()).await;
    let fast = |session| count(&pool, session).affinity(Affinity::StrictFailFast);
    let mut held = submitted(&pool, [hold(&pool, "ann"), hold(&pool, "eve")], 2, 0).await;
    for (session, number) in [("ann", 1), ("bob", 1), ("eve", 2)] {
        let refused = answer(fast(session).reply()).await;
        assert!(matches!(&refused, Err(Error::WorkerBusy { worker }) if worker.0 == number), "{session}: {refused:?}");
    }
    held.extend(submitted(&pool, [fast("dan"), count(&pool, "bob")], 2, 2).await);
    open(&pool);
    assert_eq!(counts(held).await, [1, 1, 1, 1], "the refused calls did not run");
    for session in ["ann", "bob", "eve", "dan"] {
        let idle = answer(fast(session).reply()).await.unwrap();
        assert_eq!((idle.routing, idle.decode::<u64>().unwrap()), (Routing::Hit, 2), "{session}");
    }
    pool.shutdown_and_check().await;
}

/// R19: in a strict pool a single call can ask for `hint`: it runs on another worker when its own is busy, although the
/// session's queue is full. It changes neither the binding nor the order nor the state of the strict calls.
#[tokio::test]
async fn r19_hint_call_runs_on_another_worker_in_a_strict_pool() {
    let pool = gated_pool(Queue::new().per_session(1)).await;
    let hint = || count(&pool, "ann").affinity(Affinity::Hint);
    let first = answer(hint().reply()).await.unwrap();
    assert_eq!((place(&first), first.routing, first.decode::<u64>().unwrap()), (process(1, 1), Routing::Hit, 1));
    let mut strict = submitted(&pool, [hold(&pool, "ann")], 1, 0).await;
    strict.extend(submitted(&pool, [count(&pool, "ann")], 1, 1).await);
    assert_session_queue_full(&pool, "ann", 1).await;
    for expected in 1..=3 {
        let elsewhere = answer(hint().reply()).await.unwrap();
        assert_eq!((place(&elsewhere), elsewhere.routing), (process(2, 1), Routing::Rebound(RebindReason::Busy)));
        assert_eq!(elsewhere.decode::<u64>().unwrap(), expected, "the other worker has a state of its own");
    }
    let bound = affinity_of(&pool).send(GetWorker::new("ann")).await.unwrap().unwrap();
    assert_eq!(bound, process(1, 1));
    queue_is(&pool, 1, 1).await;
    open(&pool);
    assert_eq!(counts(strict).await, [2, 3]);
    assert_eq!(answer(hint().reply()).await.unwrap().decode::<u64>().unwrap(), 4, "on its own worker again");
    pool.shutdown_and_check().await;
}
