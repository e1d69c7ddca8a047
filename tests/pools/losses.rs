//! Loss reports (R20, R21): when a worker dies, each session bound to it gets exactly one, no other session gets one, and no
//! later process answers with the lost state.

use crate::pools::steps::{FOR_EVER_MS, Outcome, affinity_of, answer, answers, bind, count, place, process, submitted};
use herder::{
    Error,
    messages::GetWorker,
    session::{Affinity, RebindReason, Routing},
    testing::pool,
};
use serde_json::{Value, json};

/// Returns the worker, the generation and `may_have_run` of a loss report.
fn loss(outcome: &Outcome) -> Option<(u32, u32, bool)> {
    match outcome {
        Err(Error::SessionWorkerLost { worker, generation, may_have_run, .. }) => {
            Some((worker.0, generation.0, *may_have_run))
        }
        _ => None,
    }
}

/// R20: every pending call of the lost epoch gets the loss report, whether it ran or waited and even if it is idempotent. The
/// next call gets a new state.
#[tokio::test]
async fn r20_pending_calls_get_the_loss_and_the_next_starts_a_new_state() {
    let pool = pool("pending", |context| context.enhanced().app("herder.demo:app").build()).await;
    bind(&pool, "ann", 1).await;
    bind(&pool, "bob", 2).await;
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    assert_eq!(count(&pool, "bob").await.unwrap(), 1);
    let sleep = pool.call::<Value>("sleep", &json!({ "ms": FOR_EVER_MS })).session("ann").idempotent(true);
    let mut calls = submitted(&pool, [sleep], 1, 0).await;
    calls.extend(submitted(&pool, (0..3).map(|_| count(&pool, "ann").idempotent(true)), 1, 3).await);
    pool.kill_worker(process(1, 1)).await.unwrap();
    let outcomes = answers(calls).await;
    let waited = Some((1, 1, false));
    assert_eq!(outcomes.iter().map(loss).collect::<Vec<_>>(), [Some((1, 1, true)), waited, waited, waited]);
    let error = outcomes[0].as_ref().unwrap_err();
    assert!(error.to_string().contains("signal 9 (SIGKILL)"), "{error}");
    assert_eq!(error.report().unwrap().signal, Some(9));

    let next = answer(count(&pool, "ann").reply()).await.unwrap();
    assert_eq!(next.routing, Routing::Rebound(RebindReason::WorkerLost));
    assert_ne!(place(&next), process(1, 1));
    assert_eq!(next.decode::<u64>().unwrap(), 1, "a new state");
    assert_eq!(count(&pool, "ann").await.unwrap(), 2);
    assert_eq!(count(&pool, "bob").await.unwrap(), 2, "the session of the other worker is not affected");
    pool.shutdown_and_check().await;
}

/// R20: each session without a pending call gets the loss report with its next call, exactly once.
#[tokio::test]
async fn r20_idle_session_gets_the_loss_with_its_next_call() {
    let pool = pool("next", |context| context.enhanced().app("herder.demo:app").build()).await;
    for session in ["ann", "bob"] {
        bind(&pool, session, 1).await;
        assert_eq!(count(&pool, session).await.unwrap(), 1);
    }
    pool.kill_worker(process(1, 1)).await.unwrap();
    for session in ["ann", "bob"] {
        let outcome = answer(count(&pool, session).reply()).await;
        assert_eq!(loss(&outcome), Some((1, 1, false)), "{session}: {outcome:?}");
        assert!(outcome.unwrap_err().to_string().contains("SIGKILL"));
        let next = answer(count(&pool, session).reply()).await.unwrap();
        assert_eq!(next.decode::<u64>().unwrap(), 1, "{session}");
    }
    pool.shutdown_and_check().await;
}

/// R20: `strict_fail_fast` is a strict mode: its calls get the loss report and are not rebound silently.
#[tokio::test]
async fn r20_fail_fast_calls_get_the_loss() {
    let pool = pool("fastdies", |context| context.enhanced().app("herder.demo:app").build()).await;
    bind(&pool, "ann", 1).await;
    let sleep = pool.call::<Value>("sleep", &json!({ "ms": FOR_EVER_MS })).session("ann");
    let calls = submitted(&pool, [sleep.affinity(Affinity::StrictFailFast)], 1, 0).await;
    pool.kill_worker(process(1, 1)).await.unwrap();
    assert_eq!(loss(&answers(calls).await[0]), Some((1, 1, true)));
    pool.shutdown_and_check().await;
}

/// R21: the next process in a slot never answers for a session of the process before, although the pool has no other slot.
#[tokio::test]
async fn r21_restarted_worker_does_not_serve_the_old_binding() {
    let pool = pool("slot", |context| context.enhanced().app("herder.demo:app").pool_size(1).build()).await;
    assert_eq!(count(&pool, "bob").await.unwrap(), 1);
    for generation in 1..=4 {
        let first = answer(count(&pool, "ann").reply()).await.unwrap();
        assert_eq!((place(&first), first.decode::<u64>().unwrap()), (process(1, generation), 1));
        assert_eq!(count(&pool, "ann").await.unwrap(), 2);
        pool.kill_worker(process(1, generation)).await.unwrap();
        pool.wait_healthy("pid").await;
        let lookup = affinity_of(&pool).send(GetWorker::new("ann")).await.unwrap();
        assert!(
            matches!(&lookup, Err(Error::SessionNotFound { .. })),
            "the binding is void even before the loss report: {lookup:?}"
        );
        let outcome = answer(count(&pool, "ann").reply()).await;
        assert_eq!(loss(&outcome), Some((1, generation, false)), "{outcome:?}");
    }
    let outcome = answer(count(&pool, "bob").reply()).await;
    assert_eq!(loss(&outcome), Some((1, 1, false)), "{outcome:?}");
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("killed on request"), "the reason of the first death, not of the last: {error}");
    let stale = pool.kill_worker(process(1, 1)).await;
    assert!(matches!(&stale, Err(Error::NoSuchWorker { .. })), "{stale:?}");
    pool.shutdown_and_check().await;
}

/// R33: a call without a session whose worker dies is retried only if it is idempotent.
#[tokio::test]
async fn r33_lost_call_is_retried_only_if_it_is_idempotent() {
    let app = "import os, time, pathlib, herder\napp = herder.App()\n\
               @app.command\ndef first_sleeps() -> int:\n    try:\n        open('ran', 'x').close()\n    except FileExistsError:\n        return os.getpid()\n    time.sleep(3600)\n";
    for idempotent in [true, false] {
        let pool = pool("repeat", |context| {
            context.file("app.py", app);
            context.enhanced().app("app.py:app").cwd(context.dir()).build()
        })
        .await;
        let call = pool.call::<u32>("first_sleeps", &json!({})).idempotent(idempotent);
        let calls = submitted(&pool, [call], 1, 0).await;
        herder::testing::wait_until("the handler runs", async || pool.dir().join("ran").exists()).await;
        let busy = pool.base_workers().await.into_iter().find(|worker| worker.in_flight == 1).unwrap().process();
        pool.kill_worker(busy).await.unwrap();
        let [outcome] = answers(calls).await.try_into().unwrap();
        if idempotent {
            let reply = outcome.unwrap();
            assert_eq!(reply.attempts, 2);
            assert_ne!(place(&reply), busy);
        } else {
            let lost = matches!(&outcome, Err(Error::WorkerLost { may_have_run: true, .. }));
            assert!(lost, "{outcome:?}");
        }
        pool.shutdown_and_check().await;
    }
}
