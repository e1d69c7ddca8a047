//! R35: whatever a handler is in the middle of, whichever way its call is left: by a deadline, by a future that is dropped, by the
//! caller of a message. What can be interrupted is, and its process serves on; the rest is killed, and other sessions are told.

use crate::pools::steps::{Outcome, answer, count, queue_is};
use herder::testing::{HANG_TIMEOUT, TestPool, pool, wait_until, with_timeout};
use herder::{Cancel, Error, Execute, Generation, Routing};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};

/// Sync handlers: each says that it began, and which exception broke it.
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

/// An async handler beside the same sync ones: they run in asyncio's thread then.
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

/// How a call is left while it runs.
#[derive(Clone, Copy, Debug)]
enum Left {
    Deadline,
    DroppedFuture,
    CallerOfAMessage,
}

const WAYS: [Left; 3] = [Left::Deadline, Left::DroppedFuture, Left::CallerOfAMessage];

/// One worker, and a session bound to it, that counted to 1.
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

/// Begins the call, and leaves it once its handler runs.
async fn leave(pool: &TestPool, command: &str, how: Left) {
    let _ = fs::remove_file(file(pool, "begun"));
    let begun = wait_until("the handler runs", async || file(pool, "begun").exists());
    match how {
        Left::Deadline => run_out_of_time(pool, command).await,
        Left::DroppedFuture => {
            let call = pool.call::<Value>(command, &json!({})).reply();
            begun.await;
            drop(call);
        }
        Left::CallerOfAMessage => {
            let request = pool.supervisor().send(Execute::new(command, &json!({})));
            tokio::select! {
                outcome = request => unreachable!("{outcome:?}"),
                () = begun => {}
            }
        }
    }
}

/// The deadline passes after the handler began, however slow the machine is: with each try it lies further away.
async fn run_out_of_time(pool: &TestPool, command: &str) {
    let mut deadline = Duration::from_millis(200);
    while !file(pool, "begun").exists() {
        let outcome: Outcome = answer(pool.call::<Value>(command, &json!({})).timeout(deadline).reply()).await;
        assert!(matches!(outcome, Err(Error::DeadlineExceeded { .. })), "{outcome:?}");
        deadline *= 2;
    }
}

/// Its handler is broken by this exception; the process and its sessions live on.
async fn is_interrupted(app: &str, command: &str, exception: &str) {
    let pool = one_worker_pool(app, HANG_TIMEOUT).await;
    let worker = pool.base_workers().await.remove(0);
    for (before, how) in (1..).zip(WAYS) {
        let _ = fs::remove_file(file(&pool, "ended"));
        leave(&pool, command, how).await;
        queue_is(&pool, 0, 0).await;
        assert_eq!(fs::read_to_string(file(&pool, "ended")).unwrap(), exception, "{command}, left by {how:?}");
        assert_eq!(count(&pool, "other").await.unwrap(), before + 1, "the session goes on");
        assert_eq!(pool.base_workers().await.remove(0).pid, worker.pid, "in the same process");
    }
    pool.end().await;
}

/// Nothing breaks its handler: the process is killed, and the other session hears of it, with the stack of what hung.
async fn is_killed(command: &str) {
    let pool = one_worker_pool(SYNC, Duration::from_millis(200)).await;
    for (generation, how) in (1..).zip(WAYS) {
        leave(&pool, command, how).await;
        let told = with_timeout("the other session is told", count(&pool, "other").reply()).await.unwrap_err();
        let text = format!("{command}, left by {how:?}: {told:?}");
        let Error::SessionWorkerLost { generation: lost, may_have_run: false, report, .. } = &told else {
            unreachable!("{text}")
        };
        assert!(told.to_string().contains("a call that was over did not stop"), "{text}");
        let stack = report.stack.as_deref().unwrap_or_else(|| unreachable!("no stack: {text}"));
        assert!(stack.contains("in deadlock") && stack.contains(&format!("in {command}")), "{stack}");
        assert_eq!((*lost, report.signal), (Generation(generation), Some(9)), "{text}");
        let anew = answer(count(&pool, "other").reply()).await.unwrap();
        assert_eq!(
            (anew.routing, anew.generation),
            (Routing::Rebound(herder::RebindReason::WorkerLost), Generation(generation + 1))
        );
        assert_eq!(anew.decode::<u64>().unwrap(), 1);
    }
    pool.end().await;
}

#[tokio::test]
async fn r35_time_sleep_is_interrupted() {
    is_interrupted(SYNC, "sleep", "Interrupted").await;
}

#[tokio::test]
async fn r35_a_python_loop_is_interrupted() {
    is_interrupted(SYNC, "loop", "Interrupted").await;
}

/// As soon as it comes back from C.
#[tokio::test]
async fn r35_a_c_call_without_the_gil_is_interrupted_when_it_returns() {
    is_interrupted(SYNC, "c_without_gil", "Interrupted").await;
}

#[tokio::test]
async fn r35_an_await_is_cancelled() {
    is_interrupted(&format!("{SYNC}{ASYNC}"), "awaits", "CancelledError").await;
}

/// A sync handler of an app with async ones, too.
#[tokio::test]
async fn r35_a_sync_handler_in_asyncio_is_interrupted() {
    is_interrupted(&format!("{SYNC}{ASYNC}"), "sleep", "Interrupted").await;
}

#[tokio::test]
async fn r35_a_c_call_without_the_gil_that_never_returns_costs_its_worker() {
    is_killed("c_without_gil_for_ever").await;
}

#[tokio::test]
async fn r35_a_c_call_with_the_gil_costs_its_worker() {
    is_killed("c_with_gil").await;
}

/// R35, R36: an abandoned call that waits in its worker behind another one has not begun. Nobody is interrupted or killed for it, however long
/// the other one runs: not after all the time that costs another worker, with a call that does run, its life. Red when each abandoned
/// attempt has its patience at once.
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
    drop(behind); // both leave their places behind the running calls
    drop(stuck);
    wait_until("the worker of the call that runs is killed", async || {
        pool.base_workers().await[1].pid != before[1].pid
    })
    .await;
    fs::write(file(&pool, "release"), "").unwrap();
    let held = with_timeout("the call before it", held).await.unwrap();
    assert_eq!((held.worker, held.generation.0), (before[0].id, 1), "its worker lived on");
    assert_eq!(held.decode::<String>().unwrap(), "held");
    pool.end().await;
}

/// One call that runs until a file is there, one that cannot be broken, and one that is quick.
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
