//! Workers that die or stop, by themselves or by others' signals, busy and idle, with and without processes that they leave behind.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use crate::faults::harness::{Expected, Harness, LossReport, assert_error, assert_lost, assert_tail};
use herder::testing::{ProcessInfo, Signal, signal, stat, wait_until, with_timeout};
use herder::{Category, Enhanced, Error, Health, PoolBuilder, Stop};
use serde_json::{Value, json};
use std::{fs, time::Duration};

async fn dies(how: &str, fault: &'static str, says: &[&str], ended: (Option<i32>, Option<i32>)) {
    let harness = Harness::new(&format!("die_{}", how.replace(' ', "_"))).await;
    let error = harness.call("die", json!({ "how": how })).await.unwrap_err();
    assert_lost(&error, harness.victim, says);
    assert_tail(&error, &format!("last words before {how}"));
    let report = error.report().unwrap();
    assert_eq!((report.exit_status, report.signal), ended);
    harness.died(fault, &error, LossReport::NotYet).await;
}

#[tokio::test]
async fn os_exit() {
    dies("exit", "`os._exit(7)`", &["exit status 7"], (Some(7), None)).await;
}

#[tokio::test]
async fn os_exit_0() {
    dies("exit 0", "`os._exit(0)`", &["exit status 0"], (Some(0), None)).await;
}

#[tokio::test]
async fn os_exit_from_another_thread() {
    dies("thread", "`os._exit(9)` from a thread of the application", &["exit status 9"], (Some(9), None)).await;
}

#[tokio::test]
async fn a_segmentation_fault() {
    dies("segv", "a segmentation fault", &["signal 11", "SIGSEGV"], (None, Some(11))).await;
}

#[tokio::test]
async fn an_abort() {
    dies("abort", "`abort()`", &["signal 6", "SIGABRT"], (None, Some(6))).await;
}

/// R30: SIGTERM may come to every process of a service: a worker ends when its host says so.
#[tokio::test]
async fn a_workers_own_sigterm() {
    let harness = Harness::new("term").await;
    harness.call("die", json!({ "how": "term" })).await.unwrap();
    let what = "its own: SIGTERM ends a worker only after its host has asked for the end";
    harness.survived_fine("a worker's own SIGTERM", what).await;
}

#[tokio::test]
async fn sigkill_while_busy() {
    let harness = Harness::new("kill_busy").await;
    let call = harness.running("wait").await;
    signal(harness.victim_pid().await, Signal::KILL).unwrap();
    let error = with_timeout("the call", call).await.unwrap().unwrap_err();
    assert_lost(&error, harness.victim, &["signal 9", "SIGKILL"]);
    harness.died("SIGKILL while busy", &error, LossReport::NotYet).await;
}

/// R20: a call of the session itself is told, and that is the one time; the next one begins anew.
#[tokio::test]
async fn sigkill_while_busy_in_a_session() {
    let harness = Harness::new("kill_session").await;
    let path = harness.path("running");
    let call = harness.pool.call::<Value>("wait", &json!({ "path": path })).session("victim").reply();
    let call = tokio::spawn(call);
    let queued = harness.pool.call::<Value>("count", &json!({})).session("victim").reply();
    let queued = tokio::spawn(queued);
    wait_until("the handler runs", async || path.exists()).await;
    wait_until("the other waits", async || harness.pool.status().await.unwrap().queue.waiting == 1).await;
    signal(harness.victim_pid().await, Signal::KILL).unwrap();
    let running = with_timeout("the running call", call).await.unwrap().unwrap_err();
    let queued = with_timeout("the queued call", queued).await.unwrap().unwrap_err();
    for (error, ran) in [(&running, true), (&queued, false)] {
        assert_error(error, &Expected { category: Category::Session, status: 410, says: &["`victim`", "SIGKILL"] });
        assert!(matches!(error, Error::SessionWorkerLost { may_have_run, .. } if *may_have_run == ran), "{error:?}");
    }
    harness
        .died("SIGKILL while a session's call runs and another waits: both are told", &running, LossReport::Already)
        .await;
}

/// Nobody had a call there: the session's next call is the one that is told.
#[tokio::test]
async fn sigkill_while_idle() {
    let harness = Harness::new("kill_idle").await;
    signal(harness.victim_pid().await, Signal::KILL).unwrap();
    wait_until("the death is noticed", async || harness.pool.worker(harness.victim).await.is_none()).await;
    let error = harness.call_in_session("count", json!({})).await.unwrap_err();
    assert_error(
        &error,
        &Expected { category: Category::Session, status: 410, says: &["`victim`", "SIGKILL", "did not run"] },
    );
    harness.died("SIGKILL while idle", &error, LossReport::Already).await;
}

/// R26: pings are missed, the ladder is climbed, SIGKILL ends what can't end itself.
#[tokio::test]
async fn sigstop() {
    let harness = Harness::with("sigstop", |builder| {
        let health = Health::new().interval(Duration::from_millis(100)).timeout(Duration::from_secs(1)).failures(3);
        let quick = Duration::from_millis(50);
        builder.health(health).stop(Stop::new().grace(quick).term(quick))
    })
    .await;
    let call = harness.running("wait").await;
    signal(harness.victim_pid().await, Signal::STOP).unwrap();
    let error = with_timeout("the call", call).await.unwrap().unwrap_err();
    assert_lost(&error, harness.victim, &["SIGKILL", "it was stopped, by SIGSTOP"]);
    assert_eq!(error.report().unwrap().stack, None, "a stopped process can't be asked");
    harness.died("SIGSTOP", &error, LossReport::NotYet).await;
}

fn often_asked(builder: PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced> {
    let quick = Duration::from_millis(50);
    let health = Health::new().interval(quick).timeout(6 * quick).failures(3);
    builder.health(health).stop(Stop::new().grace(quick).term(quick))
}

/// R26: no processor time and no answer: it hangs. What it hung in is told. SIGTERM does nothing to it, and is not waited for.
#[tokio::test]
async fn r26_a_deadlock_with_the_gil() {
    let never = Stop::new().grace(Duration::from_millis(50)).term(Duration::from_secs(3600));
    let harness = Harness::with("deadlock", |builder| often_asked(builder).stop(never)).await;
    let call = harness.running("deadlock").await;
    let error = with_timeout("the call", call).await.unwrap().unwrap_err();
    assert_lost(&error, harness.victim, &["SIGKILL", "no longer answered pings"]);
    let stack = error.report().unwrap().stack.as_deref().unwrap_or_default();
    assert!(stack.contains("in deadlock"), "{error:?}");
    harness.died("a deadlock in C code that holds the GIL", &error, LossReport::NotYet).await;
}

/// R26: the same silence, but it computes: it is left to finish.
#[tokio::test]
async fn r26_a_computation_with_the_gil() {
    let harness = Harness::with("gil_bound", often_asked).await;
    let mut rounds: u64 = 100_000_000;
    while harness.call("compute_in_c", json!({ "rounds": rounds })).await.unwrap().ran < Duration::from_secs(2) {
        rounds *= 2; // a quick machine
    }
    let fault = "C code that computes with the GIL held for longer than its pings wait";
    harness.survived_fine(fault, "its own, late; the log says why its worker was silent").await;
}

/// R30: what is in the worker's group goes with it.
#[tokio::test]
async fn a_grandchild_in_the_group_that_holds_the_descriptor() {
    let harness = Harness::new("grandchild").await;
    let path = harness.path("grandchild");
    let error = harness.call("grandchild", json!({ "session": false, "then": "die", "path": path })).await.unwrap_err();
    assert_lost(&error, harness.victim, &["exit status 3"]);
    assert_tail(&error, "gone, but not the grandchild");
    let pid: u32 = fs::read_to_string(path).unwrap().parse().unwrap();
    wait_until("the grandchild is gone", async || !is_alive(pid)).await;
    let fault = "a forked grandchild holds the descriptor while its worker dies";
    harness.died(fault, &error, LossReport::NotYet).await;
}

/// It left the group, so it lives on and keeps the descriptor open: the death is noticed all the same.
#[tokio::test]
async fn a_grandchild_in_another_group_that_holds_the_descriptor() {
    let harness = Harness::new("daemon").await;
    let path = harness.path("grandchild");
    let error = harness.call("grandchild", json!({ "session": true, "then": "die", "path": path })).await.unwrap_err();
    assert_lost(&error, harness.victim, &["exit status 3"]);
    let pid: u32 = fs::read_to_string(path).unwrap().parse().unwrap();
    assert!(is_alive(pid), "it holds the descriptor still");
    wait_until("the pool is at its strength", async || harness.pool.health().await.unwrap().ready_workers == 2).await;
    assert!(is_alive(pid), "nobody waited for it");
    signal(pid, Signal::KILL).unwrap();
    let fault = "a grandchild that left the group holds the descriptor while its worker dies";
    harness.died(fault, &error, LossReport::NotYet).await;
}

/// An idempotent call runs again elsewhere; its caller hears nothing but the attempts.
#[tokio::test]
async fn an_idempotent_call_is_retried() {
    let harness = Harness::new("retry").await;
    let reply = harness.call("die_once", json!({ "path": harness.path("once") })).await.unwrap();
    assert_eq!(reply.attempts, 2);
    assert!(reply.generation > harness.victim.generation || reply.worker != harness.victim.id);
    harness.died_fine("an idempotent call whose worker dies in the middle", "the second attempt's, `attempts` 2").await;
}

/// In a strict session nothing is retried, idempotent or not (R20).
#[tokio::test]
async fn an_idempotent_call_of_a_session_is_not_retried() {
    let harness = Harness::new("noretry").await;
    let error = harness.call_in_session("die_once", json!({ "path": harness.path("once") })).await.unwrap_err();
    assert_error(
        &error,
        &Expected { category: Category::Session, status: 410, says: &["exit status 5", "may have run"] },
    );
    assert!(error.may_have_run());
    harness.died("an idempotent call of a strict session whose worker dies", &error, LossReport::Already).await;
}

/// A process that ended is no process; nor is a zombie that somebody else has not reaped yet.
fn is_alive(pid: u32) -> bool {
    matches!(stat(pid), Some(ProcessInfo { state, .. }) if state != 'Z')
}

/// A call that kills each worker it meets is not tried for ever.
#[tokio::test]
async fn an_idempotent_call_that_kills_every_worker() {
    let harness = Harness::new("poison").await;
    let error = harness.call("die_always", json!({})).await.unwrap_err();
    assert_error(&error, &Expected { category: Category::Connection, status: 502, says: &["exit status 6"] });
    harness.died("an idempotent call that kills every worker it meets", &error, LossReport::NotYet).await;
}
