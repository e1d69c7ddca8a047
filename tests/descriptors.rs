//! No fault may cost a descriptor, a thread or a process of the host. One test in a process of its own, since nobody else may open
//! anything meanwhile.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use herder::testing::{TestPool, pool, wait_until, with_timeout};
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

fn count(of: &str) -> usize {
    fs::read_dir(format!("/proc/self/{of}")).unwrap().count()
}

async fn faults(pool: &TestPool) {
    for how in ["exit", "close", "garbage", "fork"] {
        with_timeout(how, pool.call::<Value>("die", &json!({ "how": how }))).await.unwrap_err();
    }
    let victim = pool.workers().await.unwrap()[0].process();
    let _ = pool.kill_worker(victim).await;
    pool.wait_healthy("ok").await;
}

async fn round(number: usize) {
    let pool = pool(&format!("round{number}"), |context| {
        context.file("worker.py", WORKER);
        context.enhanced().app("worker.py:app").build()
    })
    .await;
    faults(&pool).await;
    let before = (count("fd"), count("task"));
    faults(&pool).await;
    wait_until("a pool that is whole has what it had before its faults", async || {
        (count("fd"), count("task")) <= before
    })
    .await;
    pool.end().await;
}

/// R30, I6: after one round that starts what lives as long as the process, no round leaves anything behind.
#[tokio::test]
async fn faults_leak_nothing() {
    round(0).await;
    wait_until("the first pool's thread is gone", async || {
        fs::read_dir("/proc/self/task").unwrap().flatten().all(|task| is_no_pool(&task))
    })
    .await;
    let (descriptors, threads) = (count("fd"), count("task"));
    for number in 1..4 {
        round(number).await;
        wait_until("as many descriptors as before", async || count("fd") <= descriptors).await;
        wait_until("as many threads as before", async || count("task") <= threads).await;
    }
}

/// A pool's own thread has the pool's name.
fn is_no_pool(task: &fs::DirEntry) -> bool {
    let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    !name.contains("round")
}
