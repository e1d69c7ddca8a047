//! Faults that a test causes in real Python workers, and `PoolProcesses`, which finds the processes of a pool.

use herder::{
    config::Health,
    status::WorkerState,
    testing::{
        GatedPython, PoolProcesses, Signal, StartBehavior, TestContext, log_lines_of, pool, signal, starting_pool,
        stat, wait_for_log, wait_until,
    },
};
use serde_json::{Value, json};
use std::{process::Command, time::Duration};

/// R49: a worker that the test kills is replaced. Signals to a process that has exited return false.
#[tokio::test]
async fn r49_worker_killed_by_the_test_is_replaced() {
    let pool = pool("killed", |context| context.enhanced().app("herder.demo:app").build()).await;
    let victim = pool.base_workers().await[0].process();
    assert!(pool.kill(victim).await);
    assert_eq!(pool.status().await.unwrap().counters.exits, 1, "`kill` returns when the pool has noticed the death");
    pool.wait_healthy("pid").await;
    assert!(!pool.kill(victim).await && !pool.stop(victim).await && !pool.resume(victim).await);
    pool.shutdown_and_check().await;
}

/// R26, R49: a worker that the test stops is not replaced, and it continues in the same process when the test resumes it.
#[tokio::test]
async fn r49_worker_stopped_and_resumed_by_the_test_keeps_its_process() {
    let health = Health::new().interval(Duration::from_millis(50)).timeout(Duration::from_millis(50));
    let build = |context: &TestContext| context.enhanced().health(health.failures(1000)).app("herder.demo:app").build();
    let pool = pool("stopped", build).await;
    let victim = pool.base_workers().await[0].process();
    let pid = pool.pid(victim).await;
    assert!(pool.stop(victim).await);
    wait_until("the process is stopped", async || stat(pid).is_some_and(|seen| seen.state == 'T')).await;
    wait_until("the pool has noticed it", async || pool.worker(victim).await.unwrap().state == WorkerState::Degraded)
        .await;
    assert!(pool.resume(victim).await);
    pool.wait_healthy("pid").await;
    assert_eq!(pool.pid(victim).await, pid);
    pool.shutdown_and_check().await;
}

/// R13, R28, R49: `GatedPython` makes starts of the real interpreter fail, wait and succeed.
#[tokio::test]
async fn r49_gated_python_holds_and_fails_starts() {
    let mut gate: Option<GatedPython> = None;
    let pool = starting_pool("gate", |context| {
        let closed = gate.insert(context.gated_python("python3"));
        closed.set_start_behavior(&StartBehavior::Fail("no licence".into()));
        context.basic().app("herder.demo:app").python(closed.python()).build()
    })
    .await;
    let gate = gate.unwrap();
    wait_for_log(&[pool.name().as_str(), "stderr", "no licence"]).await;
    wait_until("the start failed", async || pool.health().await.unwrap().last_start_error.is_some()).await;
    gate.set_start_behavior(&StartBehavior::Wait);
    wait_until("a worker waits", async || pool.processes().processes().iter().any(|seen| seen.name == "gate.sh")).await;
    assert_eq!(pool.health().await.unwrap().ready_workers, 0);
    gate.set_start_behavior(&StartBehavior::Ready);
    pool.wait_healthy("pid").await;
    let pid: u32 = pool.call("pid", &json!({})).await.unwrap();
    assert!(pool.base_workers().await.iter().any(|worker| worker.pid == Some(pid)), "the gate has become the worker");
    pool.shutdown_and_check().await;
}

/// R30, R49: `PoolProcesses` finds every process with the pool's mark in its environment, whatever its parent is, and no other
/// process.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "it stands for a process that a worker left; the test reaps it")]
async fn r49_leftover_processes_are_found() {
    let (context, other) = (TestContext::new("left"), TestContext::new("other"));
    let config = context.basic().app("herder.demo:app").build().unwrap();
    let mut left = Command::new("sleep").arg("1000").envs(config.env()).spawn().unwrap();
    let processes = PoolProcesses::new(context.name());
    wait_until("the process is found", async || processes.processes().iter().any(|seen| seen.pid == left.id())).await;
    assert!(PoolProcesses::new(other.name()).processes().is_empty());
    signal(left.id(), Signal::KILL).unwrap();
    wait_until("the process is a zombie", async || stat(left.id()).is_some_and(|seen| seen.state == 'Z')).await;
    assert!(processes.processes().is_empty());
    left.wait().unwrap();
    processes.nothing_left().await;
}

/// R40, R49: the captured log has each line that a worker prints, with the worker and the stream.
#[tokio::test]
async fn r49_captured_log_names_the_worker_of_a_printed_line() {
    let app =
        "import herder\napp = herder.App()\n@app.command\ndef echo(text: str) -> None:\n    print(text, flush=True)\n";
    let pool = pool("prints", |context| {
        context.file("app.py", app);
        context.basic().app("app.py:app").pool_size(1).build()
    })
    .await;
    pool.call::<Value>("echo", &json!({ "text": "hello from a worker" })).await.unwrap();
    let worker = pool.base_workers().await[0].process().to_string();
    let printed = || log_lines_of(pool.name().as_str()).into_iter().find(|line| line.message == "hello from a worker");
    wait_until("the line is in the log", async || printed().is_some()).await;
    assert!(printed().unwrap().is_of(&worker, "stdout"), "{:?}", printed());
    pool.shutdown_and_check().await;
}

/// R30, R49: `TestPool::shutdown_and_check` waits as long as a process of the pool is left.
#[tokio::test]
async fn r49_pool_end_waits_for_leftover_processes() {
    let app = "import subprocess, herder\napp = herder.App()\n@app.command\ndef leave() -> int:\n    \
               return subprocess.Popen(['sleep', '1000'], start_new_session=True).pid\n";
    let pool = pool("leftover", |context| {
        context.file("app.py", app);
        context.basic().app("app.py:app").pool_size(1).build()
    })
    .await;
    let (processes, worker) =
        (PoolProcesses::new(pool.name().as_str()), pool.pid(pool.base_workers().await[0].process()).await);
    let left: u32 = pool.call("leave", &json!({})).await.unwrap();
    let shutdown = tokio::spawn(pool.shutdown_and_check());
    wait_until("the worker has exited", async || stat(worker).is_none()).await;
    wait_until("only the leftover process is found", async || processes.processes().len() == 1).await;
    assert!(!shutdown.is_finished(), "one process is left");
    signal(left, Signal::KILL).unwrap();
    shutdown.await.unwrap();
}
