//! R26: workers that answer no pings. C code that computes and holds the GIL is not killed. A process that uses no CPU time is
//! killed, and its stack is reported. (A stopped process: `tests/faults/processes.rs`.)

use crate::pools::steps::{answer, count};
use herder::{
    Error,
    config::{Cancel, Health, Stop},
    status::{ProcessActivity, WorkerHealth},
    testing::{HANG_TIMEOUT, TestPool, log_lines_of, pool, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::time::Duration;

const APP: &str = "
import ctypes, signal, herder
app = herder.App()

@app.command
def compute_in_c(rounds: int) -> int:
    return sum(range(rounds)) % 7  # holds the GIL during all rounds

@app.command
def deadlock() -> None:
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)

@app.command
def keep_the_signal() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)

@app.command
def count(session: herder.Session) -> int:
    session.state['n'] = session.state.get('n', 0) + 1
    return session.state['n']
";

const INTERVAL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_millis(300);
const FAILURES: u32 = 3;

/// Starts a pool of one worker that gets frequent pings, with a session bound to it.
async fn one_worker_pool(hint: &str) -> TestPool {
    let pool = pool(hint, |context| {
        context.file("app.py", APP);
        let health = Health::new().interval(INTERVAL).timeout(TIMEOUT).failures(FAILURES as usize);
        let builder = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(1).health(health);
        builder.stop(Stop::new().grace(INTERVAL).term(INTERVAL)).cancel(Cancel::new().kill(HANG_TIMEOUT)).build()
    })
    .await;
    assert_eq!(count(&pool, "other").await.unwrap(), 1);
    pool
}

/// Returns the number of log lines of this pool that contain the text.
fn count_log_lines(pool: &TestPool, text: &str) -> usize {
    log_lines_of(pool.name().as_str()).iter().filter(|line| line.message.contains(text)).count()
}

/// R26: a call computes longer than the time after which a silent worker is killed. The status shows the worker as computing
/// and healthy, the log has the reason, and the call is answered.
#[tokio::test]
async fn r26_c_code_that_computes_with_the_gil_held_is_not_killed() {
    let pool = one_worker_pool("gil_bound").await;
    let before = pool.base_workers().await.remove(0).process();
    let mut rounds: u64 = 100_000_000;
    loop {
        let call = pool.call::<u64>("compute_in_c", &json!({ "rounds": rounds })).reply();
        let mut reply = std::pin::pin!(call);
        // The status must be observed while the call runs, so both are polled together. The call may also end first.
        let shown = wait_until("the status shows that the worker computes", async || {
            let worker = pool.status().await.unwrap().workers.remove(0).status;
            worker.unresponsive == Some(ProcessActivity::Computing) && worker.health == WorkerHealth::Healthy
        });
        let outcome = tokio::select! {
            outcome = &mut reply => outcome,
            () = shown => with_timeout("the answer", reply).await,
        };
        let reply = outcome.unwrap();
        assert_eq!((reply.worker, reply.generation, reply.attempts), (before.id, before.generation, 1));
        if reply.ran > INTERVAL + 2 * FAILURES * TIMEOUT {
            break;
        }
        rounds *= 2; // a fast machine finished before enough pings were missed
    }
    assert!(count_log_lines(&pool, "C code holds the GIL") >= 1, "{:?}", log_lines_of(pool.name().as_str()));
    wait_until("the worker answers pings again", async || {
        pool.status().await.unwrap().workers[0].status.unresponsive.is_none()
    })
    .await;
    assert_eq!(count(&pool, "other").await.unwrap(), 2, "the same process has the session's state");
    pool.shutdown_and_check().await;
}

/// R26, R38: a worker in a deadlock that holds the GIL uses no CPU time, so it is killed after its missed pings, long
/// before any deadline. The error of its call, the loss report of the session, the problem document and the log have the Python
/// stack. The tail of stderr does not repeat it.
#[tokio::test]
async fn r26_deadlocked_worker_is_killed_and_its_stack_reported() {
    let pool = one_worker_pool("deadlock").await;
    let lost = answer(pool.call::<Value>("deadlock", &json!({})).reply()).await.unwrap_err();
    let loss_report = answer(count(&pool, "other").reply()).await.unwrap_err();
    assert!(
        matches!(&lost, Error::WorkerLost { .. }) && matches!(&loss_report, Error::SessionWorkerLost { .. }),
        "{lost:?} {loss_report:?}"
    );
    for error in [&lost, &loss_report] {
        assert!(error.to_string().contains("no answer to pings"), "{error}");
        let report = error.report().unwrap();
        let stack = report.stack.as_deref().unwrap_or_default();
        assert!(stack.starts_with("Current thread 0x") && stack.contains("in deadlock"), "{report:?}");
        assert_eq!(error.problem().stack.as_deref(), Some(stack));
        assert!(!report.stderr_tail.iter().any(|line| line.contains("most recent call")), "{report:?}");
    }
    let in_the_log =
        |line: &herder::testing::LogLine| line.message == "worker lost" && line.all.contains("in deadlock");
    wait_until("the log has the stack", async || log_lines_of(pool.name().as_str()).iter().any(in_the_log)).await;
    assert_eq!(count(&pool, "other").await.unwrap(), 1);
    pool.shutdown_and_check().await;
}

/// R26: a worker whose application replaces the handler of SIGUSR1 is also killed, but without a stack.
#[tokio::test]
async fn r26_deadlocked_worker_without_a_stack_is_killed() {
    let pool = one_worker_pool("no_stack").await;
    pool.call::<Value>("keep_the_signal", &json!({})).await.unwrap();
    let lost = answer(pool.call::<Value>("deadlock", &json!({})).reply()).await.unwrap_err();
    assert!(lost.to_string().contains("no answer to pings"), "{lost}");
    assert_eq!(lost.report().unwrap().stack, None);
    let loss_report = answer(count(&pool, "other").reply()).await.unwrap_err();
    assert_eq!(loss_report.report().unwrap().stack, None);
    assert_eq!(count(&pool, "other").await.unwrap(), 1);
    pool.shutdown_and_check().await;
}
