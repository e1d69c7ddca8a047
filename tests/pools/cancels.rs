//! R35: a call is cancelled while its handler runs, by its deadline, by dropping its future, or by dropping the request of a
//! message. A handler that can be interrupted is, and its process keeps running. Otherwise the process is killed, and its other
//! sessions get loss reports.

use crate::pools::steps::{Outcome, answer, count, queue_is};
use herder::{
    Error,
    config::Cancel,
    messages::Execute,
    session::Routing,
    status::Generation,
    testing::{HANG_TIMEOUT, LogLine, TestPool, log_lines_of, pool, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};
use tracing::Level;

/// Sync handlers. Each creates a file when it begins and writes the name of the exception that ended it.
const SYNC: &str = "
import ctypes, hashlib, os, pathlib, time, herder
app = herder.App()

def run(what):
    pathlib.Path('begun').touch()
    try:
        what()
    except BaseException as error:
        pathlib.Path('ended').write_text(type(error).__name__)
        raise

def spin():
    while True:
        pass

def digest():
    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 1_000_000)
    spin()

def deadlock(library):
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        library.pthread_mutex_lock(mutex)

@app.command
def sleep() -> None: run(lambda: time.sleep(1000))

@app.command
def loop() -> None: run(spin)

@app.command
def c_without_gil() -> None: run(digest)

@app.command
def c_without_gil_for_ever() -> None: run(lambda: deadlock(ctypes.CDLL(None)))

@app.command
def c_with_gil() -> None: run(lambda: deadlock(ctypes.PyDLL(None)))

@app.command
def count(session: herder.Session) -> int:
    session.state['n'] = session.state.get('n', 0) + 1
    return session.state['n']
";

/// An async handler in addition to the sync ones, which then run in the thread of the asyncio loop.
const ASYNC: &str = "
import asyncio

@app.command
async def awaits() -> None:
    pathlib.Path('begun').touch()
    try:
        await asyncio.sleep(1000)
    except BaseException as error:
        pathlib.Path('ended').write_text(type(error).__name__)
        raise
";

/// How a running call is cancelled.
#[derive(Clone, Copy, Debug)]
enum CancelledBy {
    Deadline,
    DroppedFuture,
    DroppedRequest,
}

const WAYS: [CancelledBy; 3] = [CancelledBy::Deadline, CancelledBy::DroppedFuture, CancelledBy::DroppedRequest];

/// Starts a pool of one worker, with a session `other` that has counted to 1.
async fn one_worker_pool(app: &str, kill: Duration) -> TestPool {
    let pool = pool("cancels", |context| {
        context.file("app.py", app);
        let cancel = Cancel::new().interrupt(Duration::from_millis(20)).kill(kill);
        context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1).cancel(cancel).build()
    })
    .await;
    assert_eq!(count(&pool, "other").await.unwrap(), 1);
    pool
}

fn file(pool: &TestPool, name: &str) -> PathBuf {
    pool.dir().join(name)
}

/// Starts a call and cancels it when its handler runs.
async fn cancel(pool: &TestPool, command: &str, how: CancelledBy) {
    let _ = fs::remove_file(file(pool, "begun"));
    let begun = wait_until("the handler runs", async || file(pool, "begun").exists());
    match how {
        CancelledBy::Deadline => exceed_deadline(pool, command).await,
        CancelledBy::DroppedFuture => {
            let call = pool.call::<Value>(command, &json!({})).reply();
            begun.await;
            drop(call);
        }
        CancelledBy::DroppedRequest => {
            let request = pool.supervisor().send(Execute::new(command, &json!({})));
            tokio::select! {
                outcome = request => unreachable!("{outcome:?}"),
                () = begun => {}
            }
        }
    }
}

/// Sends calls whose deadline passes, until one of them has begun. On a slow machine a deadline can pass before the handler
/// begins, so each attempt has twice the deadline.
/// The error of a call that was sent names its worker.
async fn exceed_deadline(pool: &TestPool, command: &str) {
    let (mut deadline, mut worker) = (Duration::from_millis(200), None);
    while !file(pool, "begun").exists() {
        let outcome: Outcome = answer(pool.call::<Value>(command, &json!({})).timeout(deadline).reply()).await;
        let Err(error @ Error::DeadlineExceeded { .. }) = outcome else { unreachable!("{outcome:?}") };
        worker = worker.or(error.worker());
        assert_eq!(error.problem().worker, error.worker().map(|worker| worker.id), "{error:?}");
        deadline *= 2;
    }
    assert!(worker.is_some(), "one of the calls has begun");
}

/// Waits for the log events of a call at its deadline: that it failed, and where its handler was when it was interrupted. Returns
/// the number of events of interrupted handlers.
async fn interruption_is_logged(pool: &TestPool, command: &str) -> usize {
    let lines = |message: &'static str| {
        log_lines_of(pool.name().as_str()).into_iter().filter(move |line| line.message == message).collect::<Vec<_>>()
    };
    wait_until("the interruption is logged", async || !lines("handler interrupted").is_empty()).await;
    let interrupted = lines("handler interrupted");
    for line in &interrupted {
        assert_eq!((line.level, line.target.as_str()), (Level::INFO, "herder::call"), "{line:?}");
        assert!(line.all.contains(&format!("in {command}")) && line.all.contains("worker=w1.1 "), "{line:?}");
        let error_id = line.all.split(' ').find(|field| field.starts_with("error_id=")).unwrap();
        let is_failure = |failed: &LogLine| {
            failed.all.contains(error_id) && failed.all.contains("worker=w1.1 ") && failed.level == Level::WARN
        };
        assert!(lines("call failed").iter().any(is_failure), "{line:?}");
    }
    interrupted.len()
}

/// Asserts that the handler is ended by this exception, and that its process and the other session are not affected.
async fn assert_interrupted(app: &str, command: &str, exception: &str) {
    let pool = one_worker_pool(app, HANG_TIMEOUT).await;
    let worker = pool.base_workers().await.remove(0);
    let mut interruptions = 0;
    for (before, how) in (1..).zip(WAYS) {
        let _ = fs::remove_file(file(&pool, "ended"));
        cancel(&pool, command, how).await;
        queue_is(&pool, 0, 0).await;
        assert_eq!(fs::read_to_string(file(&pool, "ended")).unwrap(), exception, "{command}, cancelled by {how:?}");
        let logged = interruption_is_logged(&pool, command).await;
        if let CancelledBy::Deadline = how {
            interruptions = logged;
        }
        assert_eq!(logged, interruptions, "an abandoned call is not a failure");
        assert_eq!(count(&pool, "other").await.unwrap(), before + 1, "the session keeps its state");
        assert_eq!(pool.base_workers().await.remove(0).pid, worker.pid, "in the same process");
    }
    pool.shutdown_and_check().await;
}

/// Asserts that the process is killed because its handler cannot be interrupted, and that the other session gets one loss
/// report with the Python stack.
async fn assert_killed(command: &str) {
    let pool = one_worker_pool(SYNC, Duration::from_millis(200)).await;
    for (generation, how) in (1..).zip(WAYS) {
        cancel(&pool, command, how).await;
        let error = with_timeout("the other session's call", count(&pool, "other").reply()).await.unwrap_err();
        let text = format!("{command}, cancelled by {how:?}: {error:?}");
        let Error::SessionWorkerLost { generation: lost, may_have_run: false, report, .. } = &error else {
            unreachable!("{text}")
        };
        assert!(error.to_string().contains("a cancelled or expired call did not stop"), "{text}");
        let stack = report.stack.as_deref().unwrap_or_else(|| unreachable!("no stack: {text}"));
        assert!(stack.contains("in deadlock") && stack.contains(&format!("in {command}")), "{stack}");
        assert_eq!((*lost, report.signal), (Generation(generation), Some(9)), "{text}");
        let next = answer(count(&pool, "other").reply()).await.unwrap();
        assert_eq!(
            (next.routing, next.generation),
            (Routing::Rebound(herder::session::RebindReason::WorkerLost), Generation(generation + 1))
        );
        assert_eq!(next.decode::<u64>().unwrap(), 1);
    }
    pool.shutdown_and_check().await;
}

#[tokio::test]
async fn r35_time_sleep_is_interrupted() {
    assert_interrupted(SYNC, "sleep", "Interrupted").await;
}

#[tokio::test]
async fn r35_a_python_loop_is_interrupted() {
    assert_interrupted(SYNC, "loop", "Interrupted").await;
}

/// The interrupt takes effect when the C function returns.
#[tokio::test]
async fn r35_a_c_call_without_the_gil_is_interrupted_when_it_returns() {
    assert_interrupted(SYNC, "c_without_gil", "Interrupted").await;
}

#[tokio::test]
async fn r35_an_await_is_cancelled() {
    assert_interrupted(&format!("{SYNC}{ASYNC}"), "awaits", "CancelledError").await;
}

/// A sync handler of an app that also has async handlers.
#[tokio::test]
async fn r35_a_sync_handler_in_asyncio_is_interrupted() {
    assert_interrupted(&format!("{SYNC}{ASYNC}"), "sleep", "Interrupted").await;
}

#[tokio::test]
async fn r35_worker_is_killed_for_a_c_call_that_never_returns() {
    assert_killed("c_without_gil_for_ever").await;
}

#[tokio::test]
async fn r35_worker_is_killed_for_a_c_call_that_holds_the_gil() {
    assert_killed("c_with_gil").await;
}

/// R35, R36: an abandoned call that waits inside its worker behind another call has not begun, so `cancel.interrupt` and
/// `cancel.kill` do not apply to it yet. Its worker is not killed, however long the other call runs. As a comparison, the
/// second worker is killed for an abandoned call that does run. The test fails if these times start when a call is abandoned
/// instead of when it begins.
#[tokio::test]
async fn r35_abandoned_call_in_the_window_kills_no_worker() {
    let app = format!("{SYNC}{HOLD}");
    let pool = pool("behind", |context| {
        context.file("app.py", &app);
        let cancel = Cancel::new().interrupt(Duration::from_millis(20)).kill(Duration::from_millis(200));
        context.basic().app("app.py:app").cwd(context.dir()).pool_size(2).overflow(0).pipeline(2).cancel(cancel).build()
    })
    .await;
    let before = pool.base_workers().await;
    let held = pool.call::<Value>("hold", &json!({})).reply();
    let stuck = pool.call::<Value>("stuck", &json!({})).reply();
    wait_until("both workers run a call", async || file(&pool, "holds").exists() && file(&pool, "begun").exists())
        .await;
    let behind = [pool.call::<Value>("digit", &json!({})).reply(), pool.call::<Value>("digit", &json!({})).reply()];
    queue_is(&pool, 4, 0).await;
    drop(behind); // these two calls wait inside the workers
    drop(stuck);
    wait_until("the worker of the stuck call is killed", async || pool.base_workers().await[1].pid != before[1].pid)
        .await;
    fs::write(file(&pool, "release"), "").unwrap();
    let held = with_timeout("the running call", held).await.unwrap();
    assert_eq!((held.worker, held.generation.0), (before[0].id, 1), "the worker was not killed");
    assert_eq!(held.decode::<String>().unwrap(), "held");
    pool.shutdown_and_check().await;
}

/// A call that runs until a file exists, a call that cannot be interrupted, and a fast call.
const HOLD: &str = "
@app.command
def hold() -> str:
    pathlib.Path('holds').touch()
    while not pathlib.Path('release').exists():
        time.sleep(0.005)
    return 'held'

@app.command
def stuck() -> None: run(lambda: deadlock(ctypes.PyDLL(None)))

@app.command
def digit() -> int: return 7
";
