//! Strict sessions whose workers are killed repeatedly: each answer is checked against the guarantees of R20.

mod harness;
mod judge;
mod judge_tests;

use crate::pools::number;
use harness::{Harness, WORKERS};
use herder::config::Pipeline;
use judge::{Call, CallOutcome, Judge, Tally};
use std::collections::BTreeSet;

const SESSIONS: usize = 40;
/// The number of calls and kills, unless `HERDER_CALLS` and `HERDER_KILLS` are set. 50,000 and 200 take most of a minute.
const CALLS: u64 = 5_000;
const KILLS: u64 = 20;

/// R20, R21: no call runs on a new state before its session got a loss report, and no call runs in another process or on
/// another state than that of its session. Each loss is reported to exactly the calls that were pending, or to the next call
/// alone if none was pending.
#[tokio::test(flavor = "multi_thread")]
async fn r20_each_loss_is_reported_to_the_affected_calls() {
    run(Pipeline::Fixed(1)).await;
}

/// R20: the same if workers are sent calls in advance, of several sessions.
#[tokio::test(flavor = "multi_thread")]
async fn r20_each_loss_is_reported_to_the_affected_calls_in_advance() {
    run(Pipeline::Auto).await;
}

async fn run(pipeline: Pipeline) {
    let (seed, kills) = (number("HERDER_SEED", 1), number("HERDER_KILLS", KILLS));
    println!("HERDER_SEED={seed}"); // printed if the test fails
    let harness = Harness::new(SESSIONS, number("HERDER_CALLS", CALLS), kills as usize, pipeline).await;
    let mut histories = harness.run(seed).await;
    kill_idle_workers(&harness, &mut histories).await;
    let tally = judge_all(&harness, &histories);
    check_may_have_run(&histories);
    let in_advance = harness.kills_with_calls_in_advance();
    println!("{tally:?}, {in_advance} kills of workers with calls in advance");
    assert!(in_advance == 0 || pipeline == Pipeline::Auto, "{in_advance} killed workers had calls in advance");
    assert!(tally.loss_reported_next > 0 && tally.loss_reported_again > 0, "losses of both kinds: {tally:?}");
    harness.pool.wait_healthy("pid").await;
    let counted = harness.pool.shutdown_and_check().await.counters;
    assert_eq!((counted.ok, counted.lost + counted.refused), (tally.ran + 2, tally.loss_reported), "{counted:?}");
    assert_eq!((counted.failed, counted.retries, counted.timeouts), (0, 0, 0), "{counted:?}");
    assert_eq!(
        counted.exits,
        kills + 2 * WORKERS as u64,
        "killed under load, killed while idle, and ended by the shutdown"
    );
}

/// Kills all workers while no session has a call, and then submits several calls of each session. Only the first of them may
/// get the loss report.
async fn kill_idle_workers(harness: &Harness, histories: &mut [Vec<Call>]) {
    harness.pool.wait_healthy("pid").await;
    for worker in harness.pool.base_workers().await {
        harness.kill(&worker, true).await;
    }
    for (session, history) in histories.iter_mut().enumerate() {
        history.extend(harness.burst(session, history.len() as u64 + 1, 5).await);
    }
}

/// Checks that each death has at most one call that may have run: only one runs at a time, and the pool knows which.
fn check_may_have_run(histories: &[Vec<Call>]) {
    let mut seen = BTreeSet::new();
    for call in histories.iter().flatten() {
        if let CallOutcome::LossReported { worker, may_have_run: true } = call.end {
            assert!(seen.insert(worker), "two calls may have run in {worker:?}: {call:?}");
        }
    }
}

/// Judges each session and returns the sum of their tallies.
fn judge_all(harness: &Harness, histories: &[Vec<Call>]) -> Tally {
    let logs = harness.execution_logs();
    let tallies = histories.iter().enumerate().map(|(session, history)| {
        let kills = harness.kills_for(session);
        Judge::new(&kills, &logs[session]).judge(history).map_err(|why| format!("s{session}: {why}")).unwrap()
    });
    tallies.sum()
}
