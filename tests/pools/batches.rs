//! Batches of real workers: which calls run together, and what each caller gets.

use crate::pools::steps::{Outcome, answer, answers, process, queue_is, status, submitted};
use herder::{
    Error,
    messages::BatchSettings,
    testing::{Signal, TestPool, pool, signal, wait_until},
};
use herder_actors::{GetMetrics, InjectPanic};
use serde_json::{Value, json};
use std::{fs, num::NonZeroU32, time::Duration};

const APP: &str = "
import os, pathlib, time, herder
app = herder.App()

@app.batch(max_batch_size=4, max_wait=60)
def double(items: list[dict]) -> list:
    return [herder.Rejected('odd', code='odd') if item['x'] % 2 else [2 * item['x'], len(items)] for item in items]

@app.batch(max_batch_size=8, max_wait=0)
def hold(items):
    pathlib.Path(f'held-{len(items)}').touch()
    while not pathlib.Path('go').exists():
        time.sleep(0.002)
    return [len(items)] * len(items)

@app.batch(max_batch_size=3, max_wait=60, idempotent=True)
async def alone(items):
    if len(items) > 1:
        pathlib.Path('together').touch()
        while True:
            time.sleep(0.002)
    return [len(items)] * len(items)

@app.batch(max_batch_size=2, max_wait=60)
def count(items):
    found = []
    for call in herder.current_call().calls:
        state = call.session.state
        state['n'] = state.get('n', 0) + 1
        found.append([state['n'], len(items), os.getpid()])
    return found

@app.batch(max_batch_size=2, max_wait=60)
def reverse(items):
    return [[bytes(item['x'])[::-1], len(items)] for item in items]

@app.command
def pid() -> int:
    return os.getpid()
";

/// Starts an enhanced pool of one worker.
async fn batching(size: usize) -> TestPool {
    pool("batches", |context| {
        context.file("app.py", APP);
        context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(size).build()
    })
    .await
}

fn value(outcome: &Outcome) -> Value {
    outcome.as_ref().unwrap().decode().unwrap()
}

/// Each caller gets its own result or error, and the status has the sizes and waits.
#[tokio::test]
async fn each_caller_of_a_batch_gets_its_own_answer() {
    let pool = batching(1).await;
    let calls = [2, 3, 4, 6].map(|x| pool.call::<Value>("double", &json!({ "x": x })));
    let outcomes = answers(calls.into_iter().map(herder::Call::reply).collect()).await;
    let Err(Error::Rejected { code, .. }) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(code.as_deref(), Some("odd"));
    assert_eq!([0, 2, 3].map(|call| value(&outcomes[call])), [[4, 4], [8, 4], [12, 4]].map(|result| json!(result)));
    let found = &status(&pool).await["batches"]["double"];
    let numbers = ["max_batch_size", "max_wait_us", "waiting", "batches", "calls", "largest"].map(|key| &found[key]);
    assert_eq!(json!(numbers), json!([4, 60_000_000, 0, 1, 4, 4]));
    pool.shutdown_and_check().await;
}

/// R50: what metrics have counted of batches never decreases, also if the core begins to count anew.
#[tokio::test]
async fn r50_counted_batches_survive_a_rebuild_of_the_state() {
    let pool = batching(1).await;
    for round in 1..=2 {
        let calls = [2, 4, 6, 8].map(|x| pool.call::<Value>("double", &json!({ "x": x })).reply());
        assert!(answers(calls.into()).await.iter().all(Result::is_ok));
        let measured = pool.supervisor().send(GetMetrics).await.unwrap().unwrap();
        let double = measured.metrics.commands().find(|command| command.name() == "double").unwrap();
        let earlier =
            double.feature_use().map_or((0, 0), |earlier| (earlier.earlier_batches, earlier.earlier_batched_calls));
        let since = measured.status.batches["double"];
        assert_eq!((earlier.0 + since.batches, earlier.1 + since.calls), (round, 4 * round));
        pool.supervisor().send(InjectPanic::Step).await.unwrap().unwrap_err();
        pool.ready().await.unwrap();
    }
    pool.shutdown_and_check().await;
}

/// R43: calls with buffers join batches, whether their bytes are in shared memory or in the frame.
#[tokio::test]
async fn r43_calls_with_buffers_are_batched() {
    let pool = batching(1).await;
    for _ in 0..2 {
        let data = [1_u8, 2].map(|start| (start..200).cycle().take(100_000).collect::<Vec<_>>());
        let call = |x: &[u8]| pool.call::<Value>("reverse", &json!({})).attach("x", x.to_vec()).take_buffers();
        for (x, outcome) in data.iter().zip(answers(data.iter().map(|x| call(x).reply()).collect()).await) {
            let reply = outcome.unwrap();
            assert_eq!((reply.json(), reply.buffers().len()), (&"[null,2]".into(), 1));
            assert!(reply.buffers()[0].bytes().iter().rev().eq(x));
        }
    }
    pool.shutdown_and_check().await;
}

/// A call that waits because no worker is free joins a larger batch.
#[tokio::test]
async fn calls_gather_while_the_worker_is_busy() {
    let pool = batching(1).await;
    let hold = || pool.call::<usize>("hold", &json!({}));
    let mut replies = submitted(&pool, [hold()], 1, 0).await;
    replies.extend(submitted(&pool, (0..5).map(|_| hold()), 1, 5).await);
    fs::write(pool.dir().join("go"), "").unwrap();
    let sizes: Vec<Value> = answers(replies).await.iter().map(value).collect();
    assert_eq!(json!(sizes), json!([1, 5, 5, 5, 5, 5]));
    pool.shutdown_and_check().await;
}

#[tokio::test]
async fn limits_are_changed_while_calls_wait() {
    let pool = batching(1).await;
    let double = || pool.call::<Value>("double", &json!({ "x": 2 }));
    let waiting = submitted(&pool, [double(), double()], 0, 2).await;
    let settings = BatchSettings { max_batch_size: NonZeroU32::new(2), max_wait: None };
    let changed = pool.set_batch("double", settings).await.unwrap();
    assert_eq!((changed.max_batch_size, changed.max_wait_us), (2, 60_000_000));
    assert!(answers(waiting).await.iter().all(|outcome| value(outcome) == json!([4, 2])));
    let settings = BatchSettings { max_batch_size: None, max_wait: Some(Duration::ZERO) };
    pool.set_batch("double", settings).await.unwrap();
    assert_eq!(value(&answer(double().reply()).await), json!([4, 1]));
    for (settings, expected) in [
        (
            BatchSettings { max_batch_size: NonZeroU32::new(65_537), ..settings },
            "`max_batch_size` is 65537; allowed: 1 to 65536",
        ),
        (BatchSettings { max_wait: Some(Duration::from_secs(61)), ..settings }, "`max_wait` is 61s; allowed: 0s to 1m"),
    ] {
        assert_eq!(pool.set_batch("double", settings).await.unwrap_err().to_string(), expected);
    }
    let error = pool.set_batch("pid", settings).await.unwrap_err();
    assert!(error.to_string().contains("commands that run in batches: double"), "{error}");
    pool.shutdown_and_check().await;
}

/// R35: a caller that goes away does not disturb the others; after the last one, the handler is interrupted.
#[tokio::test]
async fn handler_is_interrupted_after_its_last_caller_has_gone() {
    let pool = batching(1).await;
    let settings = BatchSettings { max_batch_size: NonZeroU32::new(3), max_wait: Some(Duration::from_secs(60)) };
    pool.set_batch("hold", settings).await.unwrap();
    let pid = pool.pid(process(1, 1)).await;
    let mut replies = submitted(&pool, (0..3).map(|_| pool.call::<usize>("hold", &json!({}))), 1, 0).await;
    let held = pool.dir().join("held-3");
    wait_until("the batch runs", async || held.exists()).await;
    drop(replies.pop());
    wait_until("one call is abandoned", async || pool.status().await.unwrap().counters.abandoned == 1).await;
    drop(replies);
    queue_is(&pool, 0, 0).await;
    assert_eq!(pool.call::<u32>("pid", &json!({})).await.unwrap(), pid, "the same process");
    pool.shutdown_and_check().await;
}

/// R33: idempotent calls whose worker dies in a batch are sent again, each alone.
#[tokio::test]
async fn calls_of_a_killed_batch_are_retried_alone() {
    let pool = batching(1).await;
    let calls = (0..3).map(|_| pool.call::<usize>("alone", &json!({})).reply()).collect();
    let together = pool.dir().join("together");
    wait_until("the batch runs", async || together.exists()).await;
    signal(pool.pid(process(1, 1)).await, Signal::KILL).unwrap();
    let outcomes = answers(calls).await;
    assert!(outcomes.iter().all(|outcome| value(outcome) == json!(1)), "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().attempts == 2), "{outcomes:?}");
    pool.shutdown_and_check().await;
}

/// R14: a batch has one call of a session; the calls of a session run in their order, on its worker.
#[tokio::test]
async fn calls_of_sessions_run_in_order_and_on_their_worker() {
    let pool = batching(2).await;
    let call = |session: &str| pool.call::<Value>("count", &json!({})).session(session).reply();
    let outcomes = answers(["ann", "ann", "ben", "ben"].map(call).into()).await;
    let found: Vec<Value> = outcomes.iter().map(value).collect();
    assert_eq!(found.iter().map(|found| found[0].clone()).collect::<Vec<_>>(), [1, 2, 1, 2]);
    assert!(found.iter().all(|each| each[1] == json!(2) && each[2] == found[0][2]), "{found:?}");
    pool.shutdown_and_check().await;
}
