//! Workers that die, hang or are stopped: by themselves or by a signal, busy or idle, with or without child processes that they
//! leave.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, LossReport, assert_error, assert_lost, assert_stderr_tail};
use herder::{
    Error,
    config::{Enhanced, Health, PoolBuilder, Stop},
    error::Category,
    testing::{ProcessInfo, Signal, signal, stat, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{fs, time::Duration};

/// Checks a worker that ends its own process during a call.
async fn check_death(how: &str, fault: &'static str, contains: &[&str], ended: (Option<i32>, Option<i32>)) {
    let harness = Harness::new(&format!("die_{}", how.replace(' ', "_"))).await;
    let error = harness.call("die", json!({ "how": how })).await.unwrap_err();
    assert_lost(&error, harness.victim, contains);
    assert_stderr_tail(&error, &format!("last line before {how}"));
    let report = error.report().unwrap();
    assert_eq!((report.exit_status, report.signal), ended);
    harness.assert_replaced(fault, &error, LossReport::NotYet).await;
}

#[tokio::test]
async fn os_exit() {
    check_death("exit", "`os._exit(7)`", &["exit status 7"], (Some(7), None)).await;
}

#[tokio::test]
async fn os_exit_0() {
    check_death("exit 0", "`os._exit(0)`", &["exit status 0"], (Some(0), None)).await;
}

#[tokio::test]
async fn os_exit_from_another_thread() {
    check_death("thread", "`os._exit(9)` from a thread of the application", &["exit status 9"], (Some(9), None)).await;
}

#[tokio::test]
async fn a_segmentation_fault() {
    check_death("segv", "a segmentation fault", &["signal 11", "SIGSEGV"], (None, Some(11))).await;
}

#[tokio::test]
async fn an_abort() {
    check_death("abort", "`abort()`", &["signal 6", "SIGABRT"], (None, Some(6))).await;
}

/// R30: a service manager may send SIGTERM to every process of a service. A worker exits only when its host asks it to.
#[tokio::test]
async fn a_sigterm_to_the_worker() {
    let harness = Harness::new("term").await;
    harness.call("die", json!({ "how": "term" })).await.unwrap();
    let what = "unaffected: SIGTERM stops a worker only after its host has asked it to stop";
    harness.assert_survived_with_result("SIGTERM sent to a worker", what).await;
}

#[tokio::test]
async fn sigkill_while_busy() {
    let harness = Harness::new("kill_busy").await;
    let call = harness.start_call("wait").await;
    signal(harness.victim_pid().await, Signal::KILL).unwrap();
    let error = with_timeout("the call", call).await.unwrap().unwrap_err();
    assert_lost(&error, harness.victim, &["signal 9", "SIGKILL"]);
    harness.assert_replaced("SIGKILL while busy", &error, LossReport::NotYet).await;
}

/// R20: both calls of the session get the loss report because both were pending. The next call starts a new state.
#[tokio::test]
async fn sigkill_while_busy_in_a_session() {
    let harness = Harness::new("kill_session").await;
    let path = harness.path("running");
    let call = harness.pool.call::<Value>("wait", &json!({ "path": path })).session("victim").reply();
    let call = tokio::spawn(call);
    let queued = harness.pool.call::<Value>("count", &json!({})).session("victim").reply();
    let queued = tokio::spawn(queued);
    wait_until("the handler runs", async || path.exists()).await;
    wait_until("the second call waits", async || harness.pool.status().await.unwrap().queue.waiting == 1).await;
    signal(harness.victim_pid().await, Signal::KILL).unwrap();
    let running = with_timeout("the running call", call).await.unwrap().unwrap_err();
    let queued = with_timeout("the queued call", queued).await.unwrap().unwrap_err();
    for (error, ran) in [(&running, true), (&queued, false)] {
        assert_error(error, &Expected { category: Category::Session, status: 410, contains: &["`victim`", "SIGKILL"] });
        assert!(matches!(error, Error::SessionWorkerLost { may_have_run, .. } if *may_have_run == ran), "{error:?}");
    }
    harness
        .assert_replaced("SIGKILL while one call of a session runs and another waits", &running, LossReport::Already)
        .await;
}

/// R20: no call was pending, so the session's next call gets the loss report.
#[tokio::test]
async fn sigkill_while_idle() {
    let harness = Harness::new("kill_idle").await;
    signal(harness.victim_pid().await, Signal::KILL).unwrap();
    wait_until("the death is noticed", async || harness.pool.worker(harness.victim).await.is_none()).await;
    let error = harness.call_in_session("count", json!({})).await.unwrap_err();
    assert_error(
        &error,
        &Expected { category: Category::Session, status: 410, contains: &["`victim`", "SIGKILL", "did not run"] },
    );
    harness.assert_replaced("SIGKILL while idle", &error, LossReport::Already).await;
}

/// R26: the worker misses its pings. The stop sequence ends with SIGKILL, because a stopped process handles neither the
/// shutdown frame nor SIGTERM.
#[tokio::test]
async fn sigstop() {
    let harness = Harness::with_settings("sigstop", |builder| {
        let health = Health::new().interval(Duration::from_millis(100)).timeout(Duration::from_secs(1)).failures(3);
        let quick = Duration::from_millis(50);
        builder.health(health).stop(Stop::new().grace(quick).term(quick))
    })
    .await;
    let call = harness.start_call("wait").await;
    signal(harness.victim_pid().await, Signal::STOP).unwrap();
    let error = with_timeout("the call", call).await.unwrap().unwrap_err();
    assert_lost(&error, harness.victim, &["SIGKILL", "process suspended by SIGSTOP"]);
    assert_eq!(error.report().unwrap().stack, None, "a stopped process cannot write its stack");
    harness.assert_replaced("SIGSTOP", &error, LossReport::NotYet).await;
}

/// Sets short ping intervals and a short stop sequence.
fn with_frequent_pings(builder: PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced> {
    let quick = Duration::from_millis(50);
    let health = Health::new().interval(quick).timeout(6 * quick).failures(3);
    builder.health(health).stop(Stop::new().grace(quick).term(quick))
}

/// R26: a worker that uses no CPU time and answers no ping hangs. It is killed at once, without the wait after SIGTERM,
/// and the error has the Python stack.
#[tokio::test]
async fn r26_a_deadlock_in_c_that_holds_the_gil() {
    let never = Stop::new().grace(Duration::from_millis(50)).term(Duration::from_secs(3600));
    let harness = Harness::with_settings("deadlock", |builder| with_frequent_pings(builder).stop(never)).await;
    let call = harness.start_call("deadlock").await;
    let error = with_timeout("the call", call).await.unwrap().unwrap_err();
    assert_lost(&error, harness.victim, &["SIGKILL", "no answer to pings"]);
    let stack = error.report().unwrap().stack.as_deref().unwrap_or_default();
    assert!(stack.contains("in deadlock"), "{error:?}");
    harness.assert_replaced("a deadlock in C code that holds the GIL", &error, LossReport::NotYet).await;
}

/// R26: a worker that answers no ping but uses CPU time is busy. It is not killed.
#[tokio::test]
async fn r26_a_computation_in_c_that_holds_the_gil() {
    let harness = Harness::with_settings("gil_bound", with_frequent_pings).await;
    let mut rounds: u64 = 100_000_000;
    while harness.call("compute_in_c", json!({ "rounds": rounds })).await.unwrap().ran < Duration::from_secs(2) {
        rounds *= 2; // a fast machine finished before enough pings were missed
    }
    let fault = "C code that computes with the GIL held past the ping timeout";
    harness.assert_survived_with_result(fault, "unaffected; the log states why it answered no pings").await;
}

/// R30: processes in the process group of the worker are killed with it.
#[tokio::test]
async fn a_grandchild_in_the_group_that_holds_the_descriptor() {
    let harness = Harness::new("grandchild").await;
    let path = harness.path("grandchild");
    let error = harness.call("grandchild", json!({ "session": false, "then": "die", "path": path })).await.unwrap_err();
    assert_lost(&error, harness.victim, &["exit status 3"]);
    assert_stderr_tail(&error, "the worker exits, the grandchild does not");
    let pid: u32 = fs::read_to_string(path).unwrap().parse().unwrap();
    wait_until("the grandchild is gone", async || !is_alive(pid)).await;
    let fault = "a forked grandchild holds the descriptor while its worker dies";
    harness.assert_replaced(fault, &error, LossReport::NotYet).await;
}

/// The grandchild left the process group, so it keeps running and keeps the descriptor open. The end of the worker must be
/// noticed without an end of the stream.
#[tokio::test]
async fn a_grandchild_in_another_group_that_holds_the_descriptor() {
    let harness = Harness::new("daemon").await;
    let path = harness.path("grandchild");
    let error = harness.call("grandchild", json!({ "session": true, "then": "die", "path": path })).await.unwrap_err();
    assert_lost(&error, harness.victim, &["exit status 3"]);
    let pid: u32 = fs::read_to_string(path).unwrap().parse().unwrap();
    assert!(is_alive(pid), "the grandchild still holds the descriptor");
    wait_until("all base workers are ready", async || harness.pool.health().await.unwrap().ready_workers == 2).await;
    assert!(is_alive(pid), "the pool did not wait for the grandchild");
    signal(pid, Signal::KILL).unwrap();
    let fault = "a grandchild in another group holds the descriptor while its worker dies";
    harness.assert_replaced(fault, &error, LossReport::NotYet).await;
}

/// R33: the call runs again on another process. Its caller sees this only in `attempts`.
#[tokio::test]
async fn an_idempotent_call_whose_worker_dies() {
    let harness = Harness::new("retry").await;
    let reply = harness.call("die_once", json!({ "path": harness.path("once") })).await.unwrap();
    assert_eq!(reply.attempts, 2);
    assert!(reply.generation > harness.victim.generation || reply.worker != harness.victim.id);
    harness
        .assert_replaced_with_result(
            "an idempotent call whose worker dies",
            "that of the second attempt, with `attempts` 2",
        )
        .await;
}

/// R20: no call of a strict session is retried, because its state is lost.
#[tokio::test]
async fn an_idempotent_call_of_a_strict_session_whose_worker_dies() {
    let harness = Harness::new("noretry").await;
    let error = harness.call_in_session("die_once", json!({ "path": harness.path("once") })).await.unwrap_err();
    assert_error(
        &error,
        &Expected { category: Category::Session, status: 410, contains: &["exit status 5", "may have run"] },
    );
    assert!(error.may_have_run());
    harness
        .assert_replaced("an idempotent call of a strict session whose worker dies", &error, LossReport::Already)
        .await;
}

/// Returns whether the process runs. A zombie does not run: its parent has not reaped it yet.
fn is_alive(pid: u32) -> bool {
    matches!(stat(pid), Some(ProcessInfo { state, .. }) if state != 'Z')
}

/// R33: the number of attempts is limited.
#[tokio::test]
async fn an_idempotent_call_that_kills_every_worker() {
    let harness = Harness::new("poison").await;
    let error = harness.call("die_always", json!({})).await.unwrap_err();
    assert_error(&error, &Expected { category: Category::Connection, status: 502, contains: &["exit status 6"] });
    harness.assert_replaced("an idempotent call that kills every worker", &error, LossReport::NotYet).await;
}
