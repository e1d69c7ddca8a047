//! What runs side by side and what does not, proven by stamps (R42, R46); deadlines and callers that leave (R35). Handlers meet
//! each other, or wait for a file: no result depends on how long anything took.

use crate::pools::steps::{
    FOR_EVER_MS, Outcome, answer, answers, count, place, process, queue_is, sleep_for_ever, submitted,
};
use herder::testing::{HANG_TIMEOUT, TestPool, pool, wait_until};
use herder::{
    Cancel, Error, Reply,
    concurrency::{Evidence, Interval, Serialized, verify_concurrent_execution},
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
def deaf(session: herder.Session) -> None:
    while True:
        try:
            while not pathlib.Path('go').exists():
                time.sleep(0.002)
            break
        except herder.Interrupted:
            pathlib.Path('heard').touch()
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

async fn with(app: &'static str, concurrency: usize, size: usize) -> TestPool {
    pool("together", |context| {
        context.file("app.py", app);
        context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(size).concurrency(concurrency).build()
    })
    .await
}

fn verdict(outcomes: &[Outcome]) -> Result<Evidence, Serialized> {
    let interval = |reply: &Reply| Interval::new(reply.stamps.started.0, reply.stamps.ended.0).unwrap();
    let intervals: Vec<Interval> = outcomes.iter().map(|outcome| interval(outcome.as_ref().unwrap())).collect();
    verify_concurrent_execution(&intervals)
}

/// R42, R46: four async calls of one worker meet each other, and their stamps prove it.
#[tokio::test]
async fn r42_async_handlers_of_one_worker_overlap() {
    let pool = with(APP, 4, 1).await;
    let calls = (0..4).map(|_| pool.call::<u32>("meet", &json!({ "wanted": 4 })).reply()).collect();
    let replies = answers(calls).await;
    assert_eq!(verdict(&replies).unwrap().peak, 4);
    let status = serde_json::to_value(pool.status().await.unwrap()).unwrap();
    assert_eq!(status["workers"][0]["window"], 4);
    pool.end().await;
}

/// R46: two workers run sync handlers side by side.
#[tokio::test]
async fn r46_sync_handlers_of_two_workers_overlap() {
    let pool = with(APP, 1, 2).await;
    let calls = (0..2).map(|_| pool.call::<u32>("gather", &json!({ "wanted": 2 })).reply()).collect();
    let replies = answers(calls).await;
    assert_eq!(verdict(&replies).unwrap().peak, 2);
    pool.end().await;
}

/// R46: one worker runs them one after the other, and the same check says so.
#[tokio::test]
async fn r46_calls_of_one_worker_do_not_overlap() {
    let pool = pool("serial", |context| context.basic().app("herder.demo:app").pool_size(1).build()).await;
    let calls = (0..6).map(|_| pool.call::<Value>("sleep", &json!({ "ms": 10 })).reply()).collect();
    assert_eq!(verdict(&answers(calls).await), Err(Serialized::NoOverlap { operations: 6 }));
    pool.end().await;
}

/// I3: calls of one session never overlap, though its worker could run four at once.
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
    pool.end().await;
}

/// R35: dropping the future interrupts the handler, and the same process serves again.
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
    // The same for a call by message, whose caller drops the request.
    let message = herder::Execute::new("sleep", &json!({ "ms": FOR_EVER_MS }));
    let request = pool.supervisor().send(message);
    tokio::select! {
        outcome = request => panic!("{outcome:?}"),
        () = queue_is(&pool, 1, 0) => {}
    }
    queue_is(&pool, 0, 0).await;
    assert_eq!(pool.call::<u32>("pid", &json!({})).await.unwrap(), before);
    assert_eq!(pool.status().await.unwrap().counters.abandoned, 2);
    pool.end().await;
}

/// R35: a call that waits is just taken out when its caller leaves; it never runs.
#[tokio::test]
async fn r35_a_call_that_waits_never_runs_when_its_caller_leaves() {
    let pool = pool("leaveq", |context| context.enhanced().app("herder.demo:app").pool_size(1).build()).await;
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    let waiting = submitted(&pool, [count(&pool, "ann"), count(&pool, "ann")], 1, 2).await;
    let [first, second] = waiting.try_into().unwrap();
    drop(first);
    queue_is(&pool, 1, 1).await;
    drop(sleeper);
    assert_eq!(answer(second).await.unwrap().decode::<u64>().unwrap(), 1);
    pool.end().await;
}

/// R35: what no interrupt reaches, C code that holds the GIL, is killed; the next process serves.
#[tokio::test]
async fn r35_a_call_that_can_not_be_interrupted_costs_its_worker() {
    let pool = pool("stuck", |context| {
        context.file("app.py", SYNC);
        let step = Duration::from_millis(20);
        let builder = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1);
        builder.cancel(Cancel::new().interrupt(step).kill(2 * step)).build()
    })
    .await;
    let calls = submitted(&pool, [pool.call::<Value>("stuck", &json!({}))], 1, 0).await;
    wait_until("it is in C", async || pool.dir().join("stuck").exists()).await;
    drop(calls);
    let reply = answer(pool.call::<u32>("pid", &json!({})).reply()).await.unwrap();
    assert_eq!(place(&reply), process(1, 2));
    pool.end().await;
}

/// R35, I3: after a deadline the call still runs, and holds its session's turn until it is really over.
#[tokio::test]
async fn r35_after_a_deadline_the_sessions_next_call_does_not_overlap() {
    let pool = pool("deadline", |context| {
        context.file("app.py", SYNC);
        let cancel = Cancel::new().interrupt(Duration::from_millis(10)).kill(HANG_TIMEOUT);
        context.enhanced().app("app.py:app").cwd(context.dir()).cancel(cancel).build()
    })
    .await;
    let call = pool.call::<Value>("deaf", &json!({})).session("ann").timeout(Duration::from_secs(2)).reply();
    let late = answer(call).await;
    assert!(matches!(&late, Err(Error::DeadlineExceeded { may_have_run: true, .. })), "{late:?}");
    wait_until("it was interrupted, and goes on", async || pool.dir().join("heard").exists()).await;
    let next = submitted(&pool, [pool.call::<bool>("is_over", &json!({})).session("ann")], 1, 1).await;
    fs::write(pool.dir().join("go"), "").unwrap();
    let [next] = answers(next).await.try_into().unwrap();
    assert!(next.unwrap().decode::<bool>().unwrap(), "it began after the one before it had ended");
    assert_eq!(pool.status().await.unwrap().counters.late_answers, 1);
    pool.end().await;
}

/// R35: the deadline holds for the wait, too; such a call has not run.
#[tokio::test]
async fn r35_a_deadline_in_the_queue_says_that_nothing_ran() {
    let pool = pool("queued", |context| context.enhanced().app("herder.demo:app").pool_size(1).build()).await;
    let sleeper = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    let late = answer(count(&pool, "ann").timeout(Duration::from_millis(50)).reply()).await;
    assert!(matches!(&late, Err(Error::DeadlineExceeded { may_have_run: false, .. })), "{late:?}");
    drop(sleeper);
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    pool.end().await;
}
