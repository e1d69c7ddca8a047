//! Three pools in one process, one of each kind, with the same session ids: whatever is done in one, in any order and at once,
//! the others do not notice. Every answer and every number is what a model of that session alone says.

mod harness;
mod model;

use crate::pools::number;
use crate::pools::steps::{affinity_of, answer, count, pid, status};
use futures_util::future::join_all;
use harness::{Harness, KINDS, Kind, NEVER, name, start};
use herder::testing::{TestPool, wait_until, with_timeout};
use herder::{
    Counters, Error, Expiry, GetSessionState, RebindReason, RemoveWorkerSessions, Routing, SessionStatus, WorkerId,
};
use model::{ReferenceModel, Seen};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// How many run unless `HERDER_OPERATIONS` says more. A failure shows its seed; `HERDER_SEED` runs another.
const OPERATIONS: u64 = 20_000;
const SESSIONS: usize = 50;

/// R5, R6, R9, R22, R52: 20,000 operations, those of a session one after the other, all sessions of all pools at once.
#[tokio::test(flavor = "multi_thread")]
async fn r5_three_pools_with_the_same_sessions_share_nothing() {
    let each = number("HERDER_OPERATIONS", OPERATIONS).div_ceil((KINDS.len() * SESSIONS) as u64);
    let seed = number("HERDER_SEED", 1);
    println!("HERDER_SEED={seed}"); // shown if it fails
    let firsts = (0..).map(|pool| seed.wrapping_mul(1000).wrapping_add(pool * SESSIONS as u64));
    let subjects = join_all(KINDS.into_iter().zip(firsts).map(|(kind, first)| Harness::start(kind, first))).await;
    let visits = subjects.iter().map(|subject| join_all((0..SESSIONS).map(|session| subject.visit(session, each))));
    let mut models = join_all(visits).await;
    for (subject, models) in subjects.iter().zip(&mut models) {
        is_the_sum_of(subject, models).await;
    }
    // What is done to all sessions of a worker at once is done in one pool, too.
    remove_sessions_of(&subjects[1], WorkerId(1), &mut models[1]).await;
    for (subject, models) in subjects.iter().zip(&mut models) {
        is_the_sum_of(subject, models).await;
    }
    for subject in subjects {
        subject.pool.end().await;
    }
}

/// A pool as a whole is what the models of its sessions come to.
async fn is_the_sum_of(subject: &Harness, models: &mut [ReferenceModel<'_>]) {
    let status = subject.pool.status().await.unwrap();
    let sum = |of: fn(&ReferenceModel<'_>) -> u64| models.iter().map(of).sum::<u64>();
    let [ok, failed, refused] = [sum(|m| m.tally.ok), sum(|m| m.tally.failed), sum(|m| m.tally.refused)];
    let starts = subject.pids.len() as u64;
    let counters = Counters { submitted: ok + failed + refused, refused, ok, failed, starts, ..Counters::default() };
    assert_eq!(status.counters, counters);
    assert_eq!(numbers(&subject.pool).await, expected_numbers(subject, models));
    assert_eq!(status.workers.iter().map(|worker| worker.status.operations).sum::<u64>(), ok + failed);
    for worker in &status.workers {
        let here =
            |model: &&ReferenceModel<'_>| model.bound.is_some_and(|worker_ref| worker_ref.id == worker.status.id);
        let bound = u32::try_from(models.iter().filter(here).count()).unwrap();
        assert_eq!(worker.status.sessions, subject.routed.then_some(bound));
    }
    let listed = subject.listed().await;
    assert_eq!(status.active_sessions, listed.len());
    for (session, model) in models.iter_mut().enumerate() {
        let seen = Seen::Known(listed.get(&name(session)).cloned());
        assert_eq!(seen, Seen::Known(model.facts(&seen)), "s{session}");
    }
}

/// `session_affinity` of the status, but for how often was swept.
async fn numbers(pool: &TestPool) -> Value {
    let mut status = status(pool).await;
    let numbers = status["session_affinity"].as_object_mut().unwrap();
    numbers.remove("cleanup_runs");
    Value::Object(numbers.clone())
}

fn expected_numbers(subject: &Harness, models: &[ReferenceModel<'_>]) -> Value {
    if !subject.routed {
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

async fn remove_sessions_of(subject: &Harness, worker: WorkerId, models: &mut [ReferenceModel<'_>]) {
    let here = |model: &&mut ReferenceModel<'_>| model.bound.is_some_and(|worker_ref| worker_ref.id == worker);
    let removed = models.iter_mut().filter(here).map(ReferenceModel::is_unbound).filter(|was| *was).count();
    let seen = subject.ask(RemoveWorkerSessions(worker), Seen::Swept).await;
    assert_eq!(seen, Seen::Swept(removed));
    // They are unbound at once; each one's next epoch begins when the pool comes by, some moments later.
    wait_until("each removed session has a new epoch", async || {
        let listed = subject.listed().await;
        let begun = |(session, model): (usize, &ReferenceModel<'_>)| {
            listed.get(&name(session)).is_none_or(|facts| facts.epoch > Some(model.over))
        };
        models.iter().enumerate().all(begun)
    })
    .await;
}

/// R5, R16: the same sessions expire in three pools, in each as it has it; in a fourth, with another timeout, they live on.
#[tokio::test]
async fn r16_the_same_sessions_expire_in_each_pool_as_it_has_it() {
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
        wait_until("all have expired", async || pool.status().await.unwrap().active_sessions == 0).await;
        let expired = pool.status().await.unwrap().session_affinity.expired_sessions();
        assert_eq!(expired, if kind.is_some() { SESSIONS } else { 0 }, "{kind:?}");
        let removed = join_all((0..SESSIONS).map(|session| has_expired(&pool, kind, name(session)))).await;
        assert_eq!(pool.end().await.counters.sessions_expired, removed.into_iter().sum::<u64>(), "{kind:?}");
    }
    for session in (0..SESSIONS).map(name) {
        assert_eq!(count(&long, &session).await.unwrap(), 2, "{session}");
    }
    assert_eq!(long.end().await.counters.sessions_expired, 0);
}

/// What a session that has expired says and answers under each policy; how many times it was removed by that.
async fn has_expired(pool: &TestPool, kind: Kind, session: String) -> u64 {
    let known = pool.session(&session).await.unwrap();
    let Some(expiry) = kind else {
        assert_eq!(known, None);
        assert_eq!(answer(pid(pool, &session).reply()).await.unwrap().routing, Routing::Unrouted);
        return 1;
    };
    let state = affinity_of(pool).send(GetSessionState(session.clone())).await.unwrap().unwrap();
    let called = with_timeout("a call", pid(pool, &session).reply()).await;
    match expiry {
        Expiry::Immediate => {
            assert_eq!((known, state), (None, SessionStatus::NotFound));
            assert_eq!(called.unwrap().routing, Routing::Rebound(RebindReason::Expired));
            1
        }
        Expiry::TwoPhase { .. } => {
            assert_eq!((known.map(|info| info.pending), state), (Some(0), SessionStatus::Expired));
            assert!(matches!(&called, Err(Error::SessionExpired { .. })), "{called:?}");
            0
        }
    }
}
