//! Pools embedded in an application: its runtimes, the stack size of its threads, its restarts of a pool, its forks.

use futures_util::FutureExt;
use herder::testing::{HANG_TIMEOUT, PoolProcesses, TestContext, pool, pool_config, wait_for_log, with_timeout};
use herder::{Error, Pool, PoolConfig, Result};
use serde_json::{Value, json};
use std::{
    env,
    future::IntoFuture,
    process::{Command, Stdio},
};

/// Set in the processes that tests start from this binary. Without it, the roles below do nothing.
const ROLE: &str = "HERDER_TEST_EMBEDDING_HOST";

fn demo_config() -> (PoolConfig, TestContext) {
    pool_config("embedded", |context| context.basic().pool_size(1).app("herder.demo:app").build())
}

/// R4: a pool can start under the name of a pool whose last handle was just dropped: the start waits until the old pool has
/// ended.
#[tokio::test]
async fn r4_next_pool_can_use_the_name_of_a_dropped_pool() {
    let (config, _context) = demo_config();
    for _ in 0..super::number("HERDER_RESTARTS", 20) {
        let pool = Pool::start(config.clone()).without_waiting().await.unwrap();
        drop(pool);
    }
    let pool = with_timeout("a start", async { Pool::start(config).await }).await.unwrap();
    pool.call::<Value>("echo", &json!({ "x": 1 })).await.unwrap();
    assert!(matches!(Pool::start(pool.config().clone()).await, Err(Error::PoolNameTaken { .. })), "the pool runs");
    pool.shutdown(HANG_TIMEOUT).await.unwrap();
}

/// A pool in an application logs that it is ready, as `herder serve` does.
#[tokio::test]
async fn embedded_pool_logs_that_it_is_ready() {
    let pool = pool("logs_ready", |context| context.basic().app("herder.demo:app").build()).await;
    wait_for_log(&[pool.name().as_str(), "workers ready: 2 of 2"]).await;
    pool.shutdown_and_check().await;
}

async fn start_on_the_current_arbiter(config: PoolConfig) -> Result<Pool> {
    Pool::start(config).on_current_arbiter().await
}

fn assert_no_arbiter(started: Result<Pool>) {
    let error = started.unwrap_err();
    assert!(matches!(&error, Error::Config(invalid) if invalid.key() == "on_current_arbiter"), "{error:?}");
    assert!(!error.is_retryable());
}

/// R29: on a thread without an actix `System` the start on the current arbiter is refused without a panic.
#[tokio::test]
async fn r29_start_on_the_current_arbiter_is_refused_without_a_system() {
    assert_no_arbiter(start_on_the_current_arbiter(demo_config().0).await);
    let elsewhere = tokio::task::spawn_blocking(|| {
        actix::System::new().block_on(async {});
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(start_on_the_current_arbiter(demo_config().0))
    });
    assert_no_arbiter(elsewhere.await.unwrap()); // the `System` of this thread has ended
}

/// R29: a task that the `System` runs outside its `LocalSet` can also start a pool on the arbiter.
#[test]
fn r29_task_of_the_system_starts_a_pool_on_its_arbiter() {
    let (config, _context) = demo_config();
    actix::System::new().block_on(async {
        let started = tokio::spawn(start_on_the_current_arbiter(config)).await.unwrap();
        let pool = started.unwrap();
        pool.call::<Value>("echo", &json!({ "x": 1 })).await.unwrap();
        with_timeout("the shutdown", pool.shutdown(HANG_TIMEOUT)).await.unwrap();
    });
}

/// Runs a role: starts this test binary again with only that test. With one test thread the test runs on the main thread, whose
/// stack size is not set by `RUST_MIN_STACK`.
#[expect(clippy::disallowed_methods, reason = "it starts a host, not a worker, and waits for its exit")]
fn run_host(role: &str, stack: &str) {
    let mut host = Command::new(env::current_exe().unwrap());
    host.args(["--exact", &format!("pools::embedded::{role}"), "--include-ignored", "--test-threads=1"]);
    host.env("RUST_MIN_STACK", stack).env(ROLE, "1");
    let host = host.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = host.wait_with_output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

/// R29: the threads of a pool set their own stack size, whatever `RUST_MIN_STACK` is.
#[test]
fn r29_small_default_stacks_overflow_no_thread_of_a_pool() {
    run_host("host_with_small_stacks", "65536");
}

/// R30: in a forked copy of the host every request to a pool is refused at once, including a call that was submitted before the
/// fork. Dropping handles there has no effect, and the pool keeps serving the host.
#[test]
fn r30_a_forked_copy_of_the_host_is_refused_at_once() {
    run_host("host_that_forks", "2097152");
}

/// Not a test: the role of the host.
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
    pool.shutdown_and_check().await;
}

/// Returns whether a request was refused at once with `Error::Forked` and this `may_have_run`.
fn is_forked<T>(answer: Option<Result<T>>, ran: bool) -> bool {
    answer.is_some_and(|answer| matches!(answer, Err(Error::Forked { may_have_run }) if may_have_run == ran))
}

/// Starts a pool from a new thread, which has no runtime yet.
fn start_on_a_new_thread(config: PoolConfig) -> Result<Pool> {
    let start =
        || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Pool::start(config).into_future());
    std::thread::spawn(start).join().unwrap()
}

/// Not a test: the role of the host.
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
        // The copy has no running runtime, so each future is polled once: a refusal must be ready at the first poll.
        let (pool, mut submitted) = (pool.take().unwrap(), submitted.take().unwrap());
        let answers = [
            is_forked(pool.call::<Value>("echo", &json!({})).into_future().now_or_never(), false),
            is_forked((&mut submitted).now_or_never(), true),
            is_forked(pool.status().now_or_never(), false),
            is_forked(pool.prepare_shutdown().now_or_never(), false),
            is_forked(pool.shutdown(HANG_TIMEOUT).now_or_never(), false),
            matches!(start_on_a_new_thread(config), Err(Error::StartFailed { .. })), // not `PoolNameTaken`
        ];
        drop((submitted, pool));
        answers.iter().position(|forked| !forked).map_or(0, |worker| 1 + u8::try_from(worker).unwrap())
    });
    assert_eq!(
        forked.unwrap(),
        Some(0),
        "the position of the request that was not refused, or the signal that ended the copy"
    );
    assert_eq!(count(&pool).await.unwrap(), 2, "the pool still serves the session");
    drop(submitted); // cancels the call
    pool.take().unwrap().shutdown(HANG_TIMEOUT).await.unwrap();
    processes.nothing_left().await;
}
