//! Pools in an application that others wrote: its runtimes, its threads' stacks, its restarts of a pool, its forks.

use futures_util::FutureExt;
use herder::testing::{HANG_TIMEOUT, PoolProcesses, TestContext, pool, pool_config, with_timeout};
use herder::{Error, Pool, PoolConfig, Result};
use serde_json::{Value, json};
use std::{
    env,
    future::IntoFuture,
    process::{Command, Stdio},
};

/// Set in the processes that tests start from this binary, to say that they are no run of all tests.
const ROLE: &str = "HERDER_TEST_EMBEDDING_HOST";

fn demo() -> (PoolConfig, TestContext) {
    pool_config("embedded", |context| context.basic().pool_size(1).app("herder.demo:app").build())
}

/// R4: a name is free for the next pool as soon as its last handle was dropped: the start waits for the one that is ending.
#[tokio::test]
async fn r4_a_dropped_pool_leaves_its_name_to_the_next() {
    let (config, _fresh) = demo();
    for _ in 0..super::number("HERDER_RESTARTS", 20) {
        let pool = Pool::start(config.clone()).without_waiting().await.unwrap();
        drop(pool);
    }
    let pool = with_timeout("a start", async { Pool::start(config).await }).await.unwrap();
    pool.call::<Value>("echo", &json!({ "x": 1 })).await.unwrap();
    assert!(matches!(Pool::start(pool.config().clone()).await, Err(Error::PoolNameTaken { .. })), "it is alive");
    pool.shutdown(HANG_TIMEOUT).await.unwrap();
}

async fn on_the_current_arbiter(config: PoolConfig) -> Result<Pool> {
    Pool::start(config).on_current_arbiter().await
}

fn assert_no_arbiter(started: Result<Pool>) {
    let error = started.unwrap_err();
    assert!(matches!(&error, Error::Config(invalid) if invalid.key() == "on_current_arbiter"), "{error:?}");
    assert!(!error.is_retryable());
}

/// R29: on a thread without an actix `System` the start is refused; nothing panics.
#[tokio::test]
async fn r29_a_plain_runtime_has_no_arbiter_to_start_on() {
    assert_no_arbiter(on_the_current_arbiter(demo().0).await);
    let elsewhere = tokio::task::spawn_blocking(|| {
        actix::System::new().block_on(async {});
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(on_the_current_arbiter(demo().0))
    });
    assert_no_arbiter(elsewhere.await.unwrap()); // the System of this thread has ended
}

/// R29: a task of the `System` that runs beside its `LocalSet` starts the pool on the arbiter as well.
#[test]
fn r29_a_task_of_the_system_starts_a_pool_on_its_arbiter() {
    let (config, _fresh) = demo();
    actix::System::new().block_on(async {
        let started = tokio::spawn(on_the_current_arbiter(config)).await.unwrap();
        let pool = started.unwrap();
        pool.call::<Value>("echo", &json!({ "x": 1 })).await.unwrap();
        with_timeout("the shutdown", pool.shutdown(HANG_TIMEOUT)).await.unwrap();
    });
}

/// Runs a role: this test binary, started again with one test of it. With one test thread it runs the test on its main thread, whose
/// stack has another limit than `RUST_MIN_STACK`.
#[expect(clippy::disallowed_methods, reason = "it is a host that is started, not a worker; it is waited for")]
fn run_host(role: &str, stack: &str) {
    let mut host = Command::new(env::current_exe().unwrap());
    host.args(["--exact", &format!("pools::embedded::{role}"), "--include-ignored", "--test-threads=1"]);
    host.env("RUST_MIN_STACK", stack).env(ROLE, "1");
    let host = host.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = host.wait_with_output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

/// R29: threads of a pool ask for stacks of their own size, whatever `RUST_MIN_STACK` says.
#[test]
fn r29_small_stacks_by_default_overflow_no_thread_of_a_pool() {
    run_host("host_with_small_stacks", "65536");
}

/// R30: in a forked copy of the host, what is asked of a pool is refused at once, also a call that was submitted before; handles are dropped
/// there without effect. The pool serves on.
#[test]
fn r30_a_forked_copy_of_the_host_is_refused_at_once() {
    run_host("host_that_forks", "2097152");
}

/// The host's role; a test in name only.
#[tokio::test]
#[ignore = "started by the other test"]
async fn host_with_small_stacks() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let pool = pool("stacks", |context| context.enhanced().app("herder.demo:app").build()).await;
    let count = async || pool.call::<u64>("count", &json!({})).session("ann").await;
    assert_eq!(count().await.unwrap(), 1);
    pool.call::<Value>("no_such_command", &json!({})).await.unwrap_err();
    pool.kill_worker(pool.base_workers().await[0].process()).await.unwrap();
    pool.wait_healthy("pid").await;
    pool.end().await;
}

fn is_forked<T>(answer: Option<Result<T>>, ran: bool) -> bool {
    answer.is_some_and(|answer| matches!(answer, Err(Error::Forked { may_have_run }) if may_have_run == ran))
}

/// Starts a pool from a thread that has no runtime yet.
fn start_beside(config: PoolConfig) -> Result<Pool> {
    let start =
        || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Pool::start(config).into_future());
    std::thread::spawn(start).join().unwrap()
}

/// The host's role; a test in name only.
#[tokio::test]
#[ignore = "started by the other test"]
async fn host_that_forks() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let (config, context) = pool_config("forks", |context| context.enhanced().app("herder.demo:app").build());
    let processes = PoolProcesses::new(context.name());
    let mut pool = Some(Pool::start(config.clone()).await.unwrap());
    let count =
        async |pool: &Option<Pool>| pool.as_ref().unwrap().call::<u64>("count", &json!({})).session("ann").await;
    assert_eq!(count(&pool).await.unwrap(), 1);
    let sleep = json!({ "ms": 3_600_000 });
    let mut submitted = Some(pool.as_ref().unwrap().call::<Value>("sleep", &sleep).session("bob").reply());
    let forked = herder_actors::in_fork(|| {
        // Every handle there is goes in the copy, and its own are used as an application would, without a runtime's help.
        let (pool, mut submitted) = (pool.take().unwrap(), submitted.take().unwrap());
        let answers = [
            is_forked(pool.call::<Value>("echo", &json!({})).into_future().now_or_never(), false),
            is_forked((&mut submitted).now_or_never(), true),
            is_forked(pool.status().now_or_never(), false),
            is_forked(pool.prepare_shutdown().now_or_never(), false),
            is_forked(pool.shutdown(HANG_TIMEOUT).now_or_never(), false),
            matches!(start_beside(config), Err(Error::StartFailed { .. })), // and not `PoolNameTaken`, after a wait
        ];
        drop((submitted, pool));
        answers.iter().position(|forked| !forked).map_or(0, |worker| 1 + u8::try_from(worker).unwrap())
    });
    assert_eq!(forked.unwrap(), Some(0), "which was not refused, or a signal that ended it");
    assert_eq!(count(&pool).await.unwrap(), 2, "the pool serves on, with the session's worker");
    drop(submitted); // cancels the call
    pool.take().unwrap().shutdown(HANG_TIMEOUT).await.unwrap();
    processes.nothing_left().await;
}
