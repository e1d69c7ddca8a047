//! The end of a pool (R30): a graceful shutdown, a shutdown timeout, and the drop of the last handle. Each test checks that no
//! process, no zombie and no call without an answer is left.

use crate::pools::steps::{answer, answers, sleep_for_ever, submitted};
use herder::{
    Error,
    config::Stop,
    status::{Generation, WorkerId},
    testing::{HANG_TIMEOUT, PoolProcesses, pool, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{fs, time::Duration};

/// A command that returns when the test creates a file.
const PATIENT: &str = "
import os, pathlib, time, herder
app = herder.App()

@app.command
def wait() -> int:
    while not pathlib.Path('go').exists():
        time.sleep(0.005)
    return os.getpid()
";

/// A worker that ignores SIGTERM and does not exit when its main thread ends. It has a child in its process group.
const STUBBORN: &str = "
import atexit, os, signal, subprocess, time, herder
app = herder.App()

@app.on_start
def dig_in() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    atexit.register(time.sleep, 3600)
    subprocess.Popen(['sleep', '3600'])

@app.command
def pid() -> int:
    return os.getpid()
";

/// R30: running and waiting calls finish during the drain; new calls are refused.
#[tokio::test]
async fn r30_a_graceful_shutdown_lets_calls_finish() {
    let pool = pool("drain", |context| {
        context.file("app.py", PATIENT);
        context.enhanced().app("app.py:app").cwd(context.dir()).build()
    })
    .await;
    let calls = submitted(&pool, (0..5).map(|_| pool.call::<u32>("wait", &json!({}))), 2, 3).await;
    let handle = (*pool).clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(HANG_TIMEOUT).await });
    wait_until("the pool drains", async || pool.health().await.unwrap().state == herder::status::PoolState::Draining)
        .await;
    let refused = answer(pool.call::<u32>("wait", &json!({})).reply()).await;
    assert!(matches!(&refused, Err(Error::PoolClosed { may_have_run: false, .. })), "{refused:?}");
    fs::write(pool.dir().join("go"), "").unwrap();
    assert!(answers(calls).await.iter().all(Result::is_ok));
    let report = with_timeout("the shutdown", shutdown).await.unwrap().unwrap();
    assert_eq!((report.aborted_calls, report.outcomes.ok, report.outcomes.refused), (0, 5, 1));
    pool.processes().nothing_left().await;
    let late = answer(pool.call::<u32>("wait", &json!({})).reply()).await;
    assert!(matches!(&late, Err(Error::PoolClosed { .. })), "{late:?}");
}

/// R30: at the shutdown timeout, running and waiting calls get `PoolClosed`, which states whether they may have run.
#[tokio::test]
async fn r30_shutdown_timeout_answers_remaining_calls() {
    let pool = pool("cutoff", |context| context.enhanced().app("herder.demo:app").build()).await;
    let calls = submitted(&pool, (0..4).map(|_| sleep_for_ever(&pool)), 2, 2).await;
    pool.processes().record_pipes();
    let report = with_timeout("the shutdown", pool.shutdown(Duration::from_millis(50))).await.unwrap();
    let may_have_run: Vec<bool> = answers(calls)
        .await
        .into_iter()
        .map(|outcome| match outcome {
            Err(Error::PoolClosed { may_have_run, .. }) => may_have_run,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(may_have_run, [true, true, false, false]);
    assert_eq!((report.aborted_calls, report.counters.failed_by_pool), (4, 4));
    pool.processes().nothing_left().await;
}

/// R30: a worker that ignores the shutdown frame and SIGTERM is killed with its process group.
#[tokio::test]
async fn r30_a_worker_that_does_not_stop_is_killed_with_its_group() {
    let pool = pool("stubborn", |context| {
        context.file("app.py", STUBBORN);
        let step = Duration::from_millis(50);
        context.basic().app("app.py:app").cwd(context.dir()).stop(Stop::new().grace(step).term(step)).build()
    })
    .await;
    assert_eq!(pool.processes().processes().len(), 4, "two workers, and a child of each");
    pool.shutdown_and_check().await;
}

/// R30: when a worker dies, the rest of its process group is killed.
#[tokio::test]
async fn r30_a_killed_worker_leaves_no_grandchild() {
    let pool = pool("group", |context| {
        context.file("app.py", STUBBORN);
        let step = Duration::from_millis(50);
        context.basic().app("app.py:app").cwd(context.dir()).stop(Stop::new().grace(step).term(step)).build()
    })
    .await;
    let before = pool.processes().processes();
    for worker in pool.base_workers().await {
        pool.kill_worker(worker.process()).await.unwrap();
    }
    wait_until("no process of either group is left", async || {
        pool.processes().processes().iter().all(|seen| !before.contains(seen))
    })
    .await;
    pool.wait_healthy("pid").await;
    pool.shutdown_and_check().await;
}

/// R30: dropping the last handle ends the pool, and no process is left.
#[tokio::test]
async fn r30_dropping_the_last_handle_ends_the_pool() {
    let (config, context) =
        herder::testing::pool_config("dropped", |context| context.basic().app("herder.demo:app").build());
    let processes = PoolProcesses::new(context.name());
    let pool = with_timeout("the start", herder::Pool::start(config)).await.unwrap();
    let busy = pool.clone();
    let call = tokio::spawn(async move { busy.call::<Value>("sleep", &json!({ "ms": 50 })).await });
    with_timeout("the call", call).await.unwrap().unwrap();
    processes.record_pipes();
    assert!(!processes.processes().is_empty());
    drop(pool);
    processes.nothing_left().await;
}

/// R30: two concurrent calls of `shutdown` get the same report, and the shorter timeout applies.
#[tokio::test]
async fn r30_shorter_shutdown_timeout_wins() {
    let pool = pool("twice", |context| context.basic().app("herder.demo:app").build()).await;
    let calls = submitted(&pool, [sleep_for_ever(&pool)], 1, 0).await;
    let handle = (*pool).clone();
    let first = tokio::spawn(async move { handle.shutdown(HANG_TIMEOUT).await });
    wait_until("the pool drains", async || pool.health().await.unwrap().state == herder::status::PoolState::Draining)
        .await;
    let report = with_timeout("the second shutdown", pool.shutdown(Duration::ZERO)).await.unwrap();
    assert_eq!(with_timeout("the first shutdown", first).await.unwrap().unwrap(), report);
    let outcomes = answers(calls).await;
    assert!(matches!(&outcomes[0], Err(Error::PoolClosed { may_have_run: true, .. })), "{outcomes:?}");
    pool.processes().nothing_left().await;
}

/// R30: dropping the future of a start ends the processes that it started.
#[tokio::test]
async fn r30_abandoned_start_leaves_no_process() {
    let app = "import time\ntime.sleep(3600)\n";
    let (config, context) = herder::testing::pool_config("givenup", |context| {
        context.file("app.py", app);
        context.basic().app("app.py:app").cwd(context.dir()).build()
    });
    let processes = PoolProcesses::new(context.name());
    let start = herder::Pool::start(config);
    // The select drops the future of the start as soon as both processes exist.
    tokio::select! {
        outcome = start.into_future() => panic!("the app never becomes ready: {outcome:?}"),
        () = wait_until("the workers start", async || processes.processes().len() == 2) => {}
    }
    processes.nothing_left().await;
}

/// R30: the thread of a pool ends with the pool.
#[tokio::test]
async fn r30_a_pools_thread_ends_with_the_pool() {
    let pool = pool("t9z", |context| context.basic().app("herder.demo:app").build()).await;
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("herder-t9z")).count()
    };
    assert_eq!(threads(), 1);
    pool.shutdown_and_check().await;
    wait_until("the thread has ended", async || threads() == 0).await;
}

/// R30: a pool on the current arbiter ends when the arbiter's `System` ends, with or without a shutdown before.
#[test]
fn r30_pool_on_the_current_arbiter_ends_with_its_system() {
    for stopped in [true, false] {
        let (config, context) =
            herder::testing::pool_config("system", |context| context.enhanced().app("herder.demo:app").build());
        let processes = PoolProcesses::new(context.name());
        actix::System::new().block_on(async {
            let pool = herder::Pool::start(config).on_current_arbiter().await.unwrap();
            let reply = pool.call::<u64>("count", &json!({})).session("ann").await.unwrap();
            assert_eq!(reply, 1);
            processes.record_pipes();
            if stopped {
                with_timeout("the shutdown", pool.shutdown(HANG_TIMEOUT)).await.unwrap();
                processes.nothing_left().await;
            }
        });
        tokio::runtime::Runtime::new().unwrap().block_on(processes.nothing_left());
    }
}

/// R30: an overflow worker whose `on_stop` hook does not return is ended after `stop.grace`. Its recording says why.
#[tokio::test]
async fn r30_worker_whose_stop_hook_hangs_is_ended() {
    const APP: &str = "
import os, threading, herder
app = herder.App()

@app.command
def wait():
    while not os.path.exists('go'):
        pass

@app.on_stop
def hangs():
    print('hangs')
    threading.Event().wait()
";
    let pool = pool("hung_stop", |context| {
        context.file("app.py", APP);
        let (idle, stop) = (Duration::from_millis(10), Stop::new().grace(Duration::from_millis(200)));
        let builder = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(1);
        builder.overflow_idle_timeout(idle).stop(stop).build()
    })
    .await;
    let calls = submitted(&pool, (0..2).map(|_| pool.call::<()>("wait", &json!({}))), 2, 0).await;
    fs::write(pool.dir().join("go"), "").unwrap();
    assert!(answers(calls).await.iter().all(Result::is_ok));
    let overflow = || pool.recorder(WorkerId(2), Some(Generation(1)));
    wait_until("the overflow worker ends", async || overflow().await.unwrap().exit.is_some()).await;
    let recording = overflow().await.unwrap();
    assert_eq!(recording.exit.as_ref().unwrap().exit_status, Some(1));
    let last = recording.stderr_tail.last().unwrap();
    assert!(last.contains("the on_stop hook hangs did not end within 0.2 s"), "{:?}", recording.stderr_tail);
    assert!(recording.stderr_tail.iter().any(|line| line.contains("in hangs")), "{:?}", recording.stderr_tail);
    pool.shutdown_and_check().await;
}
