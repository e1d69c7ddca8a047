//! Three pools of different kinds in one process, with the same session ids and random operations in all of them at once. Every
//! answer and every number must be what the reference model of that one session computes, so no pool and no session affects
//! another.

mod harness;
mod model;

use crate::pools::{
    number,
    steps::{affinity_of, answer, count, pid, status},
};
use futures_util::future::join_all;
use harness::{Harness, KINDS, Kind, NEVER, name, start};
use herder::{
    Error,
    config::Expiry,
    messages::{GetSessionState, RemoveWorkerSessions, SessionStatus},
    session::{RebindReason, Routing},
    status::{Counters, WorkerId},
    testing::{TestPool, wait_until, with_timeout},
};
use model::{ReferenceModel, Seen};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The number of operations, unless `HERDER_OPERATIONS` is set. A failure prints its seed; `HERDER_SEED` sets another.
const OPERATIONS: u64 = 20_000;
const SESSIONS: usize = 50;

/// R5, R6, R9, R22, R52: 20,000 operations. Those of one session run one after the other, all sessions of all pools at once.
#[tokio::test(flavor = "multi_thread")]
async fn r5_three_pools_with_the_same_sessions_share_nothing() {
    let each = number("HERDER_OPERATIONS", OPERATIONS).div_ceil((KINDS.len() * SESSIONS) as u64);
    let seed = number("HERDER_SEED", 1);
    println!("HERDER_SEED={seed}"); // printed if the test fails
    let firsts = (0..).map(|pool| seed.wrapping_mul(1000).wrapping_add(pool * SESSIONS as u64));
    let harnesses = join_all(KINDS.into_iter().zip(firsts).map(|(kind, first)| Harness::start(kind, first))).await;
    let runs = harnesses.iter().map(|harness| join_all((0..SESSIONS).map(|session| harness.run(session, each))));
    let mut models = join_all(runs).await;
    for (harness, models) in harnesses.iter().zip(&mut models) {
        assert_sum_of_models(harness, models).await;
    }
    // An operation on all sessions of a worker must not affect the other pools either.
    remove_sessions_of(&harnesses[1], WorkerId(1), &mut models[1]).await;
    for (harness, models) in harnesses.iter().zip(&mut models) {
        assert_sum_of_models(harness, models).await;
    }
    for harness in harnesses {
        harness.pool.shutdown_and_check().await;
    }
}

/// Asserts that the status of a pool is the sum of the models of its sessions.
async fn assert_sum_of_models(harness: &Harness, models: &mut [ReferenceModel<'_>]) {
    let status = harness.pool.status().await.unwrap();
    let sum = |of: fn(&ReferenceModel<'_>) -> u64| models.iter().map(of).sum::<u64>();
    let [ok, failed, refused] = [sum(|m| m.tally.ok), sum(|m| m.tally.failed), sum(|m| m.tally.refused)];
    let starts = harness.pids.len() as u64;
    let mut counters = Counters::default();
    counters.submitted = ok + failed + refused;
    [counters.refused, counters.ok, counters.failed, counters.starts] = [refused, ok, failed, starts];
    assert_eq!(status.counters, counters);
    assert_eq!(affinity_numbers(&harness.pool).await, expected_affinity_numbers(harness, models));
    assert_eq!(status.workers.iter().map(|worker| worker.status.operations).sum::<u64>(), ok + failed);
    for worker in &status.workers {
        let is_bound =
            |model: &&ReferenceModel<'_>| model.bound.is_some_and(|worker_ref| worker_ref.id == worker.status.id);
        let bound = u32::try_from(models.iter().filter(is_bound).count()).unwrap();
        assert_eq!(worker.status.sessions, harness.routed.then_some(bound));
    }
    let listed = harness.listed().await;
    assert_eq!(status.active_sessions, listed.len());
    for (session, model) in models.iter_mut().enumerate() {
        let seen = Seen::Known(listed.get(&name(session)).cloned());
        assert_eq!(seen, Seen::Known(model.facts(&seen)), "s{session}");
    }
}

/// Returns `session_affinity` of the status without the number of sweeps.
async fn affinity_numbers(pool: &TestPool) -> Value {
    let mut status = status(pool).await;
    let numbers = status["session_affinity"].as_object_mut().unwrap();
    numbers.remove("cleanup_runs");
    Value::Object(numbers.clone())
}

fn expected_affinity_numbers(harness: &Harness, models: &[ReferenceModel<'_>]) -> Value {
    if !harness.routed {
        return json!({});
    }
    let workers: BTreeSet<_> = models.iter().filter_map(|model| model.bound).collect();
    json!({
        "total_sessions": models.iter().filter(|model| model.known).count(),
        "expired_sessions": 0,
        "workers_with_sessions": workers.len(),
        "hits": models.iter().map(|model| model.tally.hits).sum::<u64>(),
        "misses": models.iter().map(|model| model.tally.misses).sum::<u64>(),
        "rebinds": 0,
        "sessions_cleaned": 0,
    })
}

async fn remove_sessions_of(harness: &Harness, worker: WorkerId, models: &mut [ReferenceModel<'_>]) {
    let is_bound = |model: &&mut ReferenceModel<'_>| model.bound.is_some_and(|worker_ref| worker_ref.id == worker);
    let removed = models.iter_mut().filter(is_bound).map(ReferenceModel::unbind).filter(|was| *was).count();
    let seen = harness.ask(RemoveWorkerSessions::new(worker), Seen::Swept).await;
    assert_eq!(seen, Seen::Swept(removed));
    // The sessions are unbound at once, but each gets its next epoch only in a later step of the pool.
    wait_until("each removed session has a new epoch", async || {
        let listed = harness.listed().await;
        let has_new_epoch = |(session, model): (usize, &ReferenceModel<'_>)| {
            listed.get(&name(session)).is_none_or(|facts| facts.epoch > Some(model.ended_epoch))
        };
        models.iter().enumerate().all(has_new_epoch)
    })
    .await;
}

/// R5, R16: the same sessions expire in three pools, in each by its own policy. In a fourth pool with another timeout they
/// stay.
#[tokio::test]
async fn r16_same_sessions_expire_by_each_pools_own_policy() {
    let short = Duration::from_millis(60);
    let pools = join_all(KINDS.map(|kind| start(kind, short))).await;
    let long = start(Some(Expiry::Immediate), NEVER).await;
    for session in (0..SESSIONS).map(name) {
        for pool in &pools {
            pid(pool, &session).await.unwrap();
        }
        assert_eq!(count(&long, &session).await.unwrap(), 1);
    }
    for (pool, kind) in pools.into_iter().zip(KINDS) {
        wait_until("all sessions have expired", async || pool.status().await.unwrap().active_sessions == 0).await;
        let expired = pool.status().await.unwrap().session_affinity.expired_sessions();
        assert_eq!(expired, if kind.is_some() { SESSIONS } else { 0 }, "{kind:?}");
        let removed = join_all((0..SESSIONS).map(|session| check_expired(&pool, kind, name(session)))).await;
        assert_eq!(
            pool.shutdown_and_check().await.counters.sessions_expired,
            removed.into_iter().sum::<u64>(),
            "{kind:?}"
        );
    }
    for session in (0..SESSIONS).map(name) {
        assert_eq!(count(&long, &session).await.unwrap(), 2, "{session}");
    }
    assert_eq!(long.shutdown_and_check().await.counters.sessions_expired, 0);
}

/// Checks what the pool answers for an expired session under each policy. Returns how often the session was removed by these
/// requests.
async fn check_expired(pool: &TestPool, kind: Kind, session: String) -> u64 {
    let known = pool.session(&session).await.unwrap();
    let Some(expiry) = kind else {
        assert_eq!(known, None);
        assert_eq!(answer(pid(pool, &session).reply()).await.unwrap().routing, Routing::Unrouted);
        return 1;
    };
    let state = affinity_of(pool).send(GetSessionState::new(session.clone())).await.unwrap().unwrap();
    let outcome = with_timeout("a call", pid(pool, &session).reply()).await;
    match expiry {
        Expiry::Immediate => {
            assert_eq!((known, state), (None, SessionStatus::NotFound));
            assert_eq!(outcome.unwrap().routing, Routing::Rebound(RebindReason::Expired));
            1
        }
        _ => {
            assert_eq!((known.map(|info| info.pending), state), (Some(0), SessionStatus::Expired));
            assert!(matches!(&outcome, Err(Error::SessionExpired { .. })), "{outcome:?}");
            0
        }
    }
}
