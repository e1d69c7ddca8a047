//! Sessions in the strict mode while their workers are killed, again and again: what R20 promises, call by call.

mod harness;
mod judge;
mod judge_tests;

use crate::pools::number;
use harness::{Harness, WORKERS};
use judge::{Call, Judge, Tally};

const SESSIONS: usize = 40;
/// How many in the storm, unless `HERDER_CALLS` and `HERDER_KILLS` say more: 50,000 and 200 take most of a minute.
const CALLS: u64 = 5_000;
const KILLS: u64 = 20;

/// R20, R21: no call runs on a blank state without its session having been told, none in another process or on another state
/// than its own; each loss is told to exactly the calls that were pending, or else to the next one alone.
#[tokio::test(flavor = "multi_thread")]
async fn r20_each_loss_is_reported_to_the_affected_calls() {
    let (seed, kills) = (number("HERDER_SEED", 1), number("HERDER_KILLS", KILLS));
    println!("HERDER_SEED={seed}"); // shown if it fails
    let harness = Harness::new(SESSIONS, number("HERDER_CALLS", CALLS), kills as usize).await;
    let mut histories = harness.run(seed).await;
    at_rest(&harness, &mut histories).await;
    let tally = judged(&harness, &histories);
    println!("{tally:?}");
    assert!(tally.loss_reported_next > 0 && tally.loss_reported_again > 0, "losses of both kinds: {tally:?}");
    harness.pool.wait_healthy("pid").await;
    let counted = harness.pool.end().await.counters;
    assert_eq!((counted.ok, counted.lost + counted.refused), (tally.ran + 2, tally.loss_reported), "{counted:?}");
    assert_eq!((counted.failed, counted.retries, counted.timeouts), (0, 0, 0), "{counted:?}");
    assert_eq!(counted.exits, kills + 2 * WORKERS as u64, "killed, killed at rest, and ended");
}

/// All workers die while no session has a call: of the next calls of each, the first alone is told.
async fn at_rest(harness: &Harness, histories: &mut [Vec<Call>]) {
    harness.pool.wait_healthy("pid").await;
    for worker in harness.pool.base_workers().await {
        harness.kill(&worker, true).await;
    }
    for (session, history) in histories.iter_mut().enumerate() {
        history.extend(harness.burst(session, history.len() as u64 + 1, 5).await);
    }
}

fn judged(harness: &Harness, histories: &[Vec<Call>]) -> Tally {
    let ledgers = harness.execution_logs();
    let tallies = histories.iter().enumerate().map(|(session, history)| {
        let kills = harness.kills_for(session);
        Judge::new(&kills, &ledgers[session]).of(history).map_err(|why| format!("s{session}: {why}")).unwrap()
    });
    tallies.sum()
}
