//! The three affinity modes (R19).

use crate::pools::steps::{
    FOR_EVER_MS, affinity_of, answer, answers, bind, count, place, process, queue_is, submitted,
};
use herder::{
    Call, Error,
    config::Sessions,
    messages::GetWorker,
    session::{Affinity, RebindReason, Routing},
    testing::pool,
};
use serde_json::{Value, json};

/// Cancels sleeping calls by dropping them, and waits until they have finished.
async fn release(pool: &herder::testing::TestPool, sleepers: Vec<herder::pool::PendingReply>) {
    drop(sleepers);
    queue_is(pool, 0, 0).await;
}

fn sleep(pool: &herder::testing::TestPool, session: &str) -> Call<Value> {
    pool.call("sleep", &json!({ "ms": FOR_EVER_MS })).session(session)
}

/// R19: by default the calls of a session wait for their worker in the order in which they were submitted, although another
/// worker is free.
#[tokio::test]
async fn r19_strict_queue_waits_for_the_sessions_own_worker_in_order() {
    let pool = pool("queue", |context| context.enhanced().app("herder.demo:app").build()).await;
    bind(&pool, "ann", 1).await;
    bind(&pool, "bob", 1).await;
    let sleeper = submitted(&pool, [sleep(&pool, "ann")], 1, 0).await;
    let waiting = submitted(&pool, (0..5).map(|_| count(&pool, "ann")), 1, 5).await;
    let neighbour = submitted(&pool, [count(&pool, "bob")], 1, 6).await;
    assert!(pool.call::<u32>("pid", &json!({})).await.is_ok(), "the other worker is free");
    drop(sleeper);
    let counted: Vec<u64> = answers(waiting).await.into_iter().map(|reply| reply.unwrap().decode().unwrap()).collect();
    assert_eq!(counted, [1, 2, 3, 4, 5]);
    let [neighbour] = answers(neighbour).await.try_into().unwrap();
    assert_eq!(place(&neighbour.unwrap()), process(1, 1));
    pool.shutdown_and_check().await;
}

/// R19: with `strict_fail_fast` a call gets `WorkerBusy` at once, whichever session keeps the worker busy.
#[tokio::test]
async fn r19_strict_fail_fast_refuses_calls_while_the_worker_is_busy() {
    let sessions = Sessions::new().affinity(Affinity::StrictFailFast);
    let pool = pool("fast", |context| context.enhanced().app("herder.demo:app").sessions(sessions).build()).await;
    bind(&pool, "ann", 1).await;
    bind(&pool, "bob", 1).await;
    let sleeper = submitted(&pool, [sleep(&pool, "ann")], 1, 0).await;
    for session in ["ann", "bob"] {
        let refused = answer(count(&pool, session).reply()).await;
        assert!(matches!(&refused, Err(Error::WorkerBusy { worker }) if worker.0 == 1), "{session}: {refused:?}");
    }
    let queued = submitted(&pool, [count(&pool, "ann").affinity(Affinity::StrictQueue)], 1, 1).await;
    drop(sleeper);
    let [queued] = answers(queued).await.try_into().unwrap();
    assert_eq!(queued.unwrap().decode::<u64>().unwrap(), 1, "the refused calls did not run");
    assert_eq!(count(&pool, "bob").await.unwrap(), 1);
    pool.shutdown_and_check().await;
}

/// R19: with `hint` a call prefers the worker of its session and runs on another one when that is busy. The binding does not
/// change.
#[tokio::test]
async fn r19_hint_falls_back_when_its_worker_is_busy_and_keeps_its_binding() {
    let sessions = Sessions::new().affinity(Affinity::Hint);
    let pool = pool("hint", |context| context.enhanced().app("herder.demo:app").sessions(sessions).build()).await;
    bind(&pool, "ann", 1).await;
    let preferred = count(&pool, "ann").reply().await.unwrap();
    assert_eq!((place(&preferred), preferred.routing), (process(1, 1), Routing::Hit));
    let sleeper = submitted(&pool, [sleep(&pool, "ann")], 1, 0).await;
    let elsewhere = answer(count(&pool, "ann").reply()).await.unwrap();
    assert_eq!((place(&elsewhere), elsewhere.routing), (process(2, 1), Routing::Rebound(RebindReason::Busy)));
    assert_eq!(elsewhere.decode::<u64>().unwrap(), 1, "the other worker has no state of the session");
    let bound = affinity_of(&pool).send(GetWorker::new("ann")).await.unwrap().unwrap();
    assert_eq!(bound, process(1, 1));
    release(&pool, sleeper).await;
    let back = count(&pool, "ann").reply().await.unwrap();
    assert_eq!((place(&back), back.routing, back.decode::<u64>().unwrap()), (process(1, 1), Routing::Hit, 2));
    pool.shutdown_and_check().await;
}

/// R20: a `hint` session whose worker died is bound to another worker at once, without a loss report.
#[tokio::test]
async fn r20_hint_rebinds_at_once_when_its_worker_dies() {
    let sessions = Sessions::new().affinity(Affinity::Hint);
    let pool = pool("hintdies", |context| context.enhanced().app("herder.demo:app").sessions(sessions).build()).await;
    bind(&pool, "ann", 1).await;
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    pool.kill_worker(process(1, 1)).await.unwrap();
    let reply = answer(count(&pool, "ann").reply()).await.unwrap();
    assert_eq!(reply.routing, Routing::Rebound(RebindReason::WorkerLost));
    assert_ne!(place(&reply), process(1, 1));
    assert_eq!(reply.decode::<u64>().unwrap(), 1);
    pool.shutdown_and_check().await;
}
