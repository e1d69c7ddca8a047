//! R26: what silence means. C code that computes with the GIL held is left to finish; one that does nothing is ended, and where it
//! hung is told. (A stopped process: `tests/faults/processes.rs`.)

use crate::pools::steps::{answer, count};
use herder::testing::{HANG_TIMEOUT, TestPool, log_lines_of, pool, wait_until, with_timeout};
use herder::{Cancel, Error, Health, ProcessActivity, Stop, WorkerHealth};
use serde_json::{Value, json};
use std::time::Duration;

const APP: &str = "
import ctypes, signal, herder
app = herder.App()

@app.command
def compute_in_c(rounds: int) -> int:
    return sum(range(rounds)) % 7  # the GIL is held from the first to the last

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

/// One worker that is asked often, and a session bound to it.
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

fn wait_for_log(pool: &TestPool, what: &str) -> usize {
    log_lines_of(pool.name().as_str()).iter().filter(|line| line.message.contains(what)).count()
}

/// R26: longer than all pings that a silent worker gets, but within its deadline: it is shown as bound and healthy, said so once in
/// the log, and its answer arrives.
#[tokio::test]
async fn r26_c_code_that_computes_with_the_gil_held_is_left_to_finish() {
    let pool = one_worker_pool("gil_bound").await;
    let before = pool.base_workers().await.remove(0).process();
    let mut rounds: u64 = 100_000_000;
    loop {
        let call = pool.call::<u64>("compute_in_c", &json!({ "rounds": rounds })).reply();
        let mut reply = std::pin::pin!(call);
        let shown = wait_until("it is seen to compute", async || {
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
        rounds *= 2; // a quick machine
    }
    assert!(wait_for_log(&pool, "C code holds the GIL") >= 1, "{:?}", log_lines_of(pool.name().as_str()));
    wait_until("it answers its pings again", async || {
        pool.status().await.unwrap().workers[0].status.unresponsive.is_none()
    })
    .await;
    assert_eq!(count(&pool, "other").await.unwrap(), 2, "the same process has the session's state");
    pool.end().await;
}

/// R26, R38: a deadlock in C that holds the GIL uses no processor: it is ended by its pings, long before any deadline. Its call, the
/// session that lost its state, the problem and the log have the stack, and the tail of stderr has not.
#[tokio::test]
async fn r26_deadlocked_worker_is_ended_with_its_stack() {
    let pool = one_worker_pool("deadlock").await;
    let lost = answer(pool.call::<Value>("deadlock", &json!({})).reply()).await.unwrap_err();
    let told = answer(count(&pool, "other").reply()).await.unwrap_err();
    assert!(
        matches!(&lost, Error::WorkerLost { .. }) && matches!(&told, Error::SessionWorkerLost { .. }),
        "{lost:?} {told:?}"
    );
    for error in [&lost, &told] {
        assert!(error.to_string().contains("no longer answered pings"), "{error}");
        let report = error.report().unwrap();
        let stack = report.stack.as_deref().unwrap_or_default();
        assert!(stack.starts_with("Current thread 0x") && stack.contains("in deadlock"), "{report:?}");
        assert_eq!(error.problem().stack.as_deref(), Some(stack));
        assert!(!report.stderr_tail.iter().any(|line| line.contains("most recent call")), "{report:?}");
    }
    let in_the_log =
        |line: &herder::testing::LogLine| line.message == "worker lost" && line.all.contains("in deadlock");
    wait_until("the log has it", async || log_lines_of(pool.name().as_str()).iter().any(in_the_log)).await;
    assert_eq!(count(&pool, "other").await.unwrap(), 1);
    pool.end().await;
}

/// R26: an application that keeps SIGUSR1 for itself is ended all the same, without a stack.
#[tokio::test]
async fn r26_a_worker_without_a_stack_is_ended_all_the_same() {
    let pool = one_worker_pool("no_stack").await;
    pool.call::<Value>("keep_the_signal", &json!({})).await.unwrap();
    let lost = answer(pool.call::<Value>("deadlock", &json!({})).reply()).await.unwrap_err();
    assert!(lost.to_string().contains("no longer answered pings"), "{lost}");
    assert_eq!(lost.report().unwrap().stack, None);
    let told = answer(count(&pool, "other").reply()).await.unwrap_err();
    assert_eq!(told.report().unwrap().stack, None);
    assert_eq!(count(&pool, "other").await.unwrap(), 1);
    pool.end().await;
}
