//! No fault may leak a descriptor, a thread or a process of the host. This is the only test of its binary, because no other
//! test may open descriptors meanwhile.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use herder::testing::{TestPool, pool, wait_until, with_timeout};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::fs;

const WORKER: &str = "
import os, sys, time
import herder

app = herder.App()


@app.command
def ok() -> int:
    return os.getpid()


@app.command
def echo(x: bytes) -> bytes:
    return x


@app.command
def die(how: str) -> None:
    frame = sys._getframe()
    while 'worker' not in frame.f_locals or frame.f_code.co_name != 'serve':
        frame = frame.f_back
    fd = frame.f_locals['worker'].fd
    if how == 'exit':
        os._exit(1)
    if how == 'close':
        os.close(fd)
    if how == 'garbage':
        os.write(fd, b'this is no frame, but it is long enough for one')
    if how == 'fork' and os.fork() == 0:
        time.sleep(1000)
    if how == 'fork':
        os._exit(2)
    time.sleep(1000)
";

/// Returns the number of entries of a directory in `/proc/self`.
fn count(entries: &str) -> usize {
    fs::read_dir(format!("/proc/self/{entries}")).unwrap().count()
}

/// Causes each fault once and waits until the pool has recovered.
async fn cause_faults(pool: &TestPool) {
    for how in ["exit", "close", "garbage", "fork"] {
        // The second call has slabs for its arguments and for its result, which the death of the worker must not leave.
        for _ in 0..2 * pool.workers().await.unwrap().len() {
            let call = pool.call::<IgnoredAny>("echo", &json!({})).attach("x", vec![7; 100_000]).take_buffers();
            let reply = with_timeout("echo", call.reply()).await.unwrap();
            assert_eq!(reply.buffers()[0].bytes().len(), 100_000);
        }
        with_timeout(how, pool.call::<Value>("die", &json!({ "how": how }))).await.unwrap_err();
    }
    let victim = pool.workers().await.unwrap()[0].process();
    let _ = pool.kill_worker(victim).await;
    pool.wait_healthy("ok").await;
}

/// Runs one pool with its faults. The second series of faults must not need more descriptors or threads than the first.
async fn run_pool(number: usize) {
    let pool = pool(&format!("round{number}"), |context| {
        context.file("worker.py", WORKER);
        context.enhanced().app("worker.py:app").build()
    })
    .await;
    cause_faults(&pool).await;
    let before = (count("fd"), count("task"));
    cause_faults(&pool).await;
    wait_until("the recovered pool has no more descriptors and threads than before", async || {
        (count("fd"), count("task")) <= before
    })
    .await;
    pool.shutdown_and_check().await;
    let mappings = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!mappings.contains("herder-slab"), "{mappings}");
}

/// R30, I6: the first pool starts threads that live as long as the process. After it, no pool and no fault leaves a descriptor
/// or a thread.
#[tokio::test]
async fn faults_leak_no_descriptors_and_no_threads() {
    run_pool(0).await;
    wait_until("the thread of the first pool has ended", async || {
        fs::read_dir("/proc/self/task").unwrap().flatten().all(|task| is_not_of_a_pool(&task))
    })
    .await;
    let (descriptors, threads) = (count("fd"), count("task"));
    for number in 1..4 {
        run_pool(number).await;
        wait_until("as many descriptors as before", async || count("fd") <= descriptors).await;
        wait_until("as many threads as before", async || count("task") <= threads).await;
    }
}

/// Returns whether a thread belongs to no pool. The thread of a pool has the pool's name.
fn is_not_of_a_pool(task: &fs::DirEntry) -> bool {
    let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    !name.contains("round")
}
