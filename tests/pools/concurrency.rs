//! Which calls overlap, proven by timestamps (R42, R46); deadlines and abandoned calls (R35). Handlers wait for each other or
//! for a file, so no result depends on a duration.

use crate::pools::steps::{
    FOR_EVER_MS, Outcome, answer, answers, count, place, process, queue_is, sleep_for_ever, submitted,
};
use herder::{
    Error, Reply,
    config::Cancel,
    efficiency::concurrency::{Evidence, Interval, Serialized, verify_concurrent_execution},
    testing::{HANG_TIMEOUT, TestPool, pool, wait_until},
};
use serde_json::{Value, json};
use std::{fs, time::Duration};

const APP: &str = "
import asyncio, os, pathlib, re, time, herder
app = herder.App()
here = 0

@app.command
async def meet(wanted: int) -> int:
    global here
    here += 1
    while here < wanted:
        await asyncio.sleep(0.002)
    return os.getpid()

@app.command
def gather(wanted: int) -> int:
    pathlib.Path(f'here-{os.getpid()}').touch()
    while len(list(pathlib.Path().glob('here-*'))) < wanted:
        time.sleep(0.002)
    return os.getpid()
";

const SYNC: &str = "
import os, pathlib, re, time, herder
app = herder.App()

@app.command
def ignore_interrupts(session: herder.Session) -> None:
    while True:
        try:
            while not pathlib.Path('go').exists():
                time.sleep(0.002)
            break
        except herder.Interrupted:
            pathlib.Path('interrupted').touch()
    session.state['over'] = True

@app.command
def is_over(session: herder.Session) -> bool:
    return session.state.get('over', False)

@app.command
def stuck() -> None:
    pathlib.Path('stuck').touch()
    re.match(r'(a+)+$', 'a' * 64 + 'b')

@app.command
def pid() -> int:
    return os.getpid()
";

/// Starts a pool of this app, concurrency and size.
async fn pool_with(app: &'static str, concurrency: usize, size: usize) -> TestPool {
    pool("together", |context| {
        context.file("app.py", app);
        context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(size).concurrency(concurrency).build()
    })
    .await
}

/// Judges by the workers' timestamps whether the calls overlapped.
fn verdict(outcomes: &[Outcome]) -> Result<Evidence, Serialized> {
    let interval = |reply: &Reply| Interval::new(reply.stamps.started.0, reply.stamps.ended.0).unwrap();
    let intervals: Vec<Interval> = outcomes.iter().map(|outcome| interval(outcome.as_ref().unwrap())).collect();
    verify_concurrent_execution(&intervals)
}

/// R42, R46: four async calls run at the same time on one worker, and their timestamps prove it.
#[tokio::test]
async fn r42_async_handlers_of_one_worker_overlap() {
    let pool = pool_with(APP, 4, 1).await;
    let calls = (0..4).map(|_| pool.call::<u32>("meet", &json!({ "wanted": 4 })).reply()).collect();
    let replies = answers(calls).await;
    assert_eq!(verdict(&replies).unwrap().peak, 4);
    let status = serde_json::to_value(pool.status().await.unwrap()).unwrap();
    assert_eq!(status["workers"][0]["window"], 4);
    pool.shutdown_and_check().await;
}

/// R46: two workers run sync handlers at the same time.
#[tokio::test]
async fn r46_sync_handlers_of_two_workers_overlap() {
    let pool = pool_with(APP, 1, 2).await;
    let calls = (0..2).map(|_| pool.call::<u32>("gather", &json!({ "wanted": 2 })).reply()).collect();
    let replies = answers(calls).await;
    assert_eq!(verdict(&replies).unwrap().peak, 2);
    pool.shutdown_and_check().await;
}

/// R46: one worker runs sync calls one after the other, and the same check reports this.
#[tokio::test]
async fn r46_calls_of_one_worker_do_not_overlap() {
    let pool = pool("serial", |context| context.basic().app("herder.demo:app").pool_size(1).build()).await;
    let calls = (0..6).map(|_| pool.call::<Value>("sleep", &json!({ "ms": 10 })).reply()).collect();
    assert_eq!(verdict(&answers(calls).await), Err(Serialized::NoOverlap { operations: 6 }));
    pool.shutdown_and_check().await;
}

/// I3: calls of one session never overlap, although its worker could run four calls at the same time.
#[tokio::test]
async fn i3_calls_of_one_session_do_not_overlap_in_a_concurrent_worker() {
    let app = "import asyncio, herder\napp = herder.App()\n\
               @app.command\nasync def nap(session: herder.Session) -> None:\n    await asyncio.sleep(0.01)\n";
    let pool = pool("turns", |context| {
        context.file("app.py", app);
        context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1).concurrency(4).build()
    })
    .await;
    let calls = (0..6).map(|_| pool.call::<Value>("nap", &json!({})).session("ann").reply()).collect();
    assert_eq!(verdict(&answers(calls).await), Err(Serialized::NoOverlap { operations: 6 }));
    pool.shutdown_and_check().await;
}

/// R35: dropping the future of a call interrupts its handler, and the same process runs the next call.
#[tokio::test]
async fn r35_dropping_the_future_interrupts_the_call() {
    let pool = pool("leave", |context| {
        let cancel = Cancel::new().interrupt(Duration::from_millis(10)).kill(HANG_TIMEOUT);
        context.enhanced().app("herder.demo:app").pool_size(1).cancel(cancel).build()
    })
    .await;
    let before = pool.pid(process(1, 1)).await;
    let calls = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    drop(calls);
    queue_is(&pool, 0, 0).await;
    assert_eq!(pool.call::<u32>("pid", &json!({})).await.unwrap(), before);
    // Dropping the request of a call by message must have the same effect.
    let message = herder::messages::Execute::new("sleep", &json!({ "ms": FOR_EVER_MS }));
    let request = pool.supervisor().send(message);
    tokio::select! {
        outcome = request => panic!("{outcome:?}"),
        () = queue_is(&pool, 1, 0) => {}
    }
    queue_is(&pool, 0, 0).await;
    assert_eq!(pool.call::<u32>("pid", &json!({})).await.unwrap(), before);
    assert_eq!(pool.status().await.unwrap().counters.abandoned, 2);
    pool.shutdown_and_check().await;
}

/// R35: an abandoned call that waits is removed from the queue and never runs.
#[tokio::test]
async fn r35_abandoned_waiting_call_never_runs() {
    let pool = pool("leaveq", |context| context.enhanced().app("herder.demo:app").pool_size(1).build()).await;
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    let waiting = submitted(&pool, [count(&pool, "ann"), count(&pool, "ann")], 1, 2).await;
    let [first, second] = waiting.try_into().unwrap();
    drop(first);
    queue_is(&pool, 1, 1).await;
    drop(sleeper);
    assert_eq!(answer(second).await.unwrap().decode::<u64>().unwrap(), 1);
    pool.shutdown_and_check().await;
}

/// R35: a handler that no interrupt can reach, because C code holds the GIL, is killed with its worker. The next process
/// serves.
#[tokio::test]
async fn r35_worker_is_killed_for_a_call_that_cannot_be_interrupted() {
    let pool = pool("stuck", |context| {
        context.file("app.py", SYNC);
        let step = Duration::from_millis(20);
        let builder = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1);
        builder.cancel(Cancel::new().interrupt(step).kill(2 * step)).build()
    })
    .await;
    let calls = submitted(&pool, [pool.call::<Value>("stuck", &json!({}))], 1, 0).await;
    wait_until("the handler runs C code", async || pool.dir().join("stuck").exists()).await;
    drop(calls);
    let reply = answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    assert_eq!(place(&reply), process(1, 2));
    pool.shutdown_and_check().await;
}

/// R35, I3: a call that still runs after its deadline blocks the next call of its session until it has finished.
#[tokio::test]
async fn r35_after_a_deadline_the_sessions_next_call_does_not_overlap() {
    let pool = pool("deadline", |context| {
        context.file("app.py", SYNC);
        let cancel = Cancel::new().interrupt(Duration::from_millis(10)).kill(HANG_TIMEOUT);
        context.enhanced().app("app.py:app").cwd(context.dir()).cancel(cancel).build()
    })
    .await;
    let call =
        pool.call::<Value>("ignore_interrupts", &json!({})).session("ann").timeout(Duration::from_secs(2)).reply();
    let late = answer(call).await;
    assert!(matches!(&late, Err(Error::DeadlineExceeded { may_have_run: true, .. })), "{late:?}");
    wait_until("the handler was interrupted and continues", async || pool.dir().join("interrupted").exists()).await;
    let next = submitted(&pool, [pool.call::<bool>("is_over", &json!({})).session("ann")], 1, 1).await;
    fs::write(pool.dir().join("go"), "").unwrap();
    let [next] = answers(next).await.try_into().unwrap();
    assert!(next.unwrap().decode::<bool>().unwrap(), "the next call began after the one before had ended");
    assert_eq!(pool.status().await.unwrap().counters.late_answers, 1);
    pool.shutdown_and_check().await;
}

/// R35: the deadline also limits the wait in the queue. The error states that the call did not run.
#[tokio::test]
async fn r35_deadline_in_the_queue_reports_that_the_call_did_not_run() {
    let pool = pool("queued", |context| context.enhanced().app("herder.demo:app").pool_size(1).build()).await;
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    let late = answer(count(&pool, "ann").timeout(Duration::from_millis(50)).reply()).await;
    assert!(matches!(&late, Err(Error::DeadlineExceeded { may_have_run: false, .. })), "{late:?}");
    drop(sleeper);
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    pool.shutdown_and_check().await;
}
