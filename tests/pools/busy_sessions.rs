//! A session that keeps its worker busy: whom it holds up, whom it does not, how many of its calls may wait, and what a call
//! says for itself (R19). Shown by counts: nothing here depends on how long anything took.

use crate::pools::steps::{affinity_of, answer, answers, bind, count, place, process, queue_is, submitted};
use futures_util::future::join_all;
use herder::testing::{HANG_TIMEOUT, TestPool, pool};
use herder::{Affinity, Call, Error, GetWorker, PendingReply, Queue, RebindReason, Routing};
use serde_json::json;
use std::fs;

/// `hold` keeps its worker until the test opens the gate, and then counts, as `count` does.
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

/// Two workers: ann and bob are bound to the first, eve to the second.
async fn gated(queue: Queue) -> TestPool {
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

async fn counted(replies: Vec<PendingReply>) -> Vec<u64> {
    answers(replies).await.into_iter().map(|reply| reply.unwrap().decode().unwrap()).collect()
}

/// Refused because too many of the session's calls wait, as HTTP tells it too.
async fn is_full(pool: &TestPool, session: &str, limit: usize) {
    let error = answer(count(pool, session).reply()).await.unwrap_err();
    assert!(matches!(error, Error::SessionQueueFull { limit: told } if told == limit), "{error:?}");
    assert_eq!((error.http_status(), error.slug()), (429, "session-queue-full"));
}

/// R19, R36: a busy session fills its own share of the queue, a quarter unless set, and no more. Sessions of the other worker
/// run on as if it were not there; its neighbours on the same worker wait, with room of their own. When it is over, all that
/// waited run, in order.
#[tokio::test]
async fn r19_a_busy_session_holds_up_no_other_worker_and_can_not_fill_the_queue() {
    let pool = gated(Queue::new().limit(20)).await;
    let mut ann = submitted(&pool, [hold(&pool, "ann")], 1, 0).await;
    ann.extend(submitted(&pool, (0..5).map(|_| count(&pool, "ann")), 1, 5).await);
    is_full(&pool, "ann", 5).await;
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
    assert_eq!(count(&pool, "eve").await.unwrap(), 1, "it need not wait: a full queue is nothing to it");
    open(&pool);
    assert_eq!(counted(ann).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(counted(waiting).await, [1; 15]);
    assert_eq!(count(&pool, "ann").await.unwrap(), 7, "what was refused did not run");
    let counters = pool.end().await.counters;
    assert_eq!((counters.ok, counters.refused), (500 + 6 + 15 + 2, 2));
}

/// R19: `queue.per_session` counts those behind a session's first call, whether that runs or waits itself; who leaves makes
/// room.
#[tokio::test]
async fn r19_a_sessions_share_counts_those_behind_its_first() {
    let pool = gated(Queue::new().limit(20).per_session(2)).await;
    let bob = submitted(&pool, [hold(&pool, "bob")], 1, 0).await;
    let mut ann = submitted(&pool, (0..3).map(|_| count(&pool, "ann")), 1, 3).await;
    is_full(&pool, "ann", 2).await;
    drop(ann.pop());
    queue_is(&pool, 1, 2).await;
    ann.extend(submitted(&pool, [count(&pool, "ann")], 1, 3).await);
    is_full(&pool, "ann", 2).await;
    let behind = submitted(&pool, (0..2).map(|_| count(&pool, "bob")), 1, 5).await;
    is_full(&pool, "bob", 2).await;
    open(&pool);
    assert_eq!(counted(ann).await, [1, 2, 3]);
    assert_eq!((counted(bob).await, counted(behind).await), (vec![1], vec![2, 3]));
    pool.end().await;
}

/// R19: one call may be stricter about waiting than its pool: `WorkerBusy` at once, whoever is busy there; bound nowhere, it
/// waits like any other.
#[tokio::test]
async fn r19_a_call_may_fail_fast_where_the_pool_queues() {
    let pool = gated(Queue::new()).await;
    let fast = |session| count(&pool, session).affinity(Affinity::StrictFailFast);
    let mut held = submitted(&pool, [hold(&pool, "ann"), hold(&pool, "eve")], 2, 0).await;
    for (session, worker_ref) in [("ann", 1), ("bob", 1), ("eve", 2)] {
        let refused = answer(fast(session).reply()).await;
        assert!(
            matches!(&refused, Err(Error::WorkerBusy { worker }) if worker.0 == worker_ref),
            "{session}: {refused:?}"
        );
    }
    held.extend(submitted(&pool, [fast("dan"), count(&pool, "bob")], 2, 2).await);
    open(&pool);
    assert_eq!(counted(held).await, [1, 1, 1, 1], "what was refused did not run");
    for session in ["ann", "bob", "eve", "dan"] {
        let idle = answer(fast(session).reply()).await.unwrap();
        assert_eq!((idle.routing, idle.decode::<u64>().unwrap()), (Routing::Hit, 2), "{session}");
    }
    pool.end().await;
}

/// R19: one call may be only a hint where the pool is strict: it runs elsewhere when its worker is busy, though the session's
/// share of the queue is full; binding, turn and state of the strict calls are as if it had not been.
#[tokio::test]
async fn r19_a_call_may_be_a_hint_where_the_pool_is_strict() {
    let pool = gated(Queue::new().per_session(1)).await;
    let hint = || count(&pool, "ann").affinity(Affinity::Hint);
    let first = answer(hint().reply()).await.unwrap();
    assert_eq!((place(&first), first.routing, first.decode::<u64>().unwrap()), (process(1, 1), Routing::Hit, 1));
    let mut strict = submitted(&pool, [hold(&pool, "ann")], 1, 0).await;
    strict.extend(submitted(&pool, [count(&pool, "ann")], 1, 1).await);
    is_full(&pool, "ann", 1).await;
    for expected in 1..=3 {
        let astray = answer(hint().reply()).await.unwrap();
        assert_eq!((place(&astray), astray.routing), (process(2, 1), Routing::Rebound(RebindReason::Busy)));
        assert_eq!(astray.decode::<u64>().unwrap(), expected, "another state than the strict calls have");
    }
    let bound = affinity_of(&pool).send(GetWorker::of("ann")).await.unwrap().unwrap();
    assert_eq!(bound, process(1, 1));
    queue_is(&pool, 1, 1).await;
    open(&pool);
    assert_eq!(counted(strict).await, [2, 3]);
    assert_eq!(answer(hint().reply()).await.unwrap().decode::<u64>().unwrap(), 4, "at home again");
    pool.end().await;
}
