//! Feature separation, with the test names of DSPex's suite: a basic pool has no enhanced features, an enhanced pool has those that
//! are enabled, and pools of both types do not affect each other. The pools have real processes, and the API is the public one.

mod batches;
mod both_types;
mod buffers;
mod feature_flag_validation;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
#[cfg(target_os = "linux")]
mod warm_starts;
mod watching;
mod worker_type_detection;

use crate::pools::steps::{
    affinity_of, answer, answers, bind, count, has_affinity_actor, pid, place, process, sleep_for_ever, status,
    submitted,
};
use herder::{
    Error, Pool,
    config::{Enhanced, Expiry, PoolBuilder, Sessions},
    messages::GetWorker,
    session::{Affinity, Routing},
    testing::{PoolProcesses, TestContext, TestPool, pool, pool_config, wait_for_log, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// Starts a basic pool.
pub(crate) async fn basic() -> TestPool {
    pool("basic", |context| context.basic().app("herder.demo:app").build()).await
}

/// Starts an enhanced pool with additional settings.
pub(crate) async fn enhanced(change: impl FnOnce(PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>) -> TestPool {
    pool("enhanced", |context| change(context.enhanced().app("herder.demo:app")).build()).await
}

pub(crate) fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Asserts that a pool has no affinity actor, no affinity numbers and no bound session.
async fn assert_no_affinity(pool: &TestPool) {
    assert_eq!(status(pool).await["session_affinity"], json!({}));
    assert!(!has_affinity_actor(pool));
    let sessions = pool.sessions(0, 100).await.unwrap();
    assert!(sessions.sessions.iter().all(|info| info.worker.is_none() && info.epoch.is_none()), "{sessions:?}");
}

/// R3, R6, R9: a basic pool has no affinity actor, shows `{}` in its status and binds no session, whatever it runs and loses.
/// Calls of one session run on any worker, also at the same time, and no call gets a loss report.
#[tokio::test]
async fn basic_workers_have_no_session_affinity() {
    let pool = basic().await;
    assert_no_affinity(&pool).await;
    let sleeping = submitted(&pool, [sleep_for_ever(&pool).session("ann")], 1, 0).await;
    let busy = pool.base_workers().await.into_iter().find(|worker| worker.in_flight == 1).unwrap().process();
    for affinity in [Affinity::StrictQueue, Affinity::StrictFailFast, Affinity::Hint] {
        let reply = answer(pid(&pool, "ann").affinity(affinity).reply()).await.unwrap();
        assert_eq!(reply.routing, Routing::Unrouted, "{affinity:?} has no effect in a basic pool");
        assert_ne!(place(&reply), busy);
    }
    assert_no_affinity(&pool).await;
    pool.kill_worker(busy).await.unwrap();
    let [lost] = answers(sleeping).await.try_into().unwrap();
    assert!(matches!(&lost, Err(Error::WorkerLost { may_have_run: true, .. })), "{lost:?}");
    assert_eq!(answer(pid(&pool, "ann").reply()).await.unwrap().routing, Routing::Unrouted);
    assert_no_affinity(&pool).await;
    pool.wait_healthy("pid").await;
    assert_no_affinity(&pool).await;
    pool.shutdown_and_check().await;
}

/// R3, R6, R18: an enhanced pool has the affinity actor under its name. The answers of the actor, the workers of the calls and
/// the counts in the status agree.
#[tokio::test]
async fn enhanced_workers_have_session_affinity() {
    let pool = enhanced(|builder| builder).await;
    let affinity = affinity_of(&pool);
    for session in ["ann", "bob", "eve"] {
        let first = answer(count(&pool, session).reply()).await.unwrap();
        assert_eq!((first.routing, first.decode::<u64>().unwrap()), (Routing::New, 1));
        assert_eq!(affinity.send(GetWorker::new(session)).await.unwrap().unwrap(), place(&first));
        for expected in 2..=5 {
            let next = answer(count(&pool, session).reply()).await.unwrap();
            assert_eq!((place(&next), next.routing), (place(&first), Routing::Hit), "{session}");
            assert_eq!(next.decode::<u64>().unwrap(), expected, "{session}");
        }
    }
    let shown = &status(&pool).await["session_affinity"];
    let numbers = ["total_sessions", "expired_sessions", "workers_with_sessions", "misses", "hits", "rebinds"];
    assert_eq!(numbers.map(|key| shown[key].as_u64()), [3, 0, 2, 3, 12, 0].map(Some), "{shown}");
    pool.shutdown_and_check().await;
}

/// R9, R22: the status of a basic pool has no enhanced parts, and its sessions are tracked. A handler that uses session state
/// gets an error that names the setting.
#[tokio::test]
async fn basic_workers_have_minimal_feature_set() {
    let pool = basic().await;
    assert_eq!(answer(pid(&pool, "ann").reply()).await.unwrap().routing, Routing::Unrouted);
    let refused = count(&pool, "ann").await.unwrap_err();
    assert!(refused.to_string().contains("worker_type = \"enhanced\""), "{refused}");
    let tracked = pool.session("ann").await.unwrap().unwrap();
    assert_eq!((tracked.worker, tracked.epoch, tracked.operations), (None, None, 2));
    let status = status(&pool).await;
    let off = json!({ "session_affinity": false, "worker_metrics": false, "state_machine": false });
    assert_eq!((&status["features"], &status["worker_type"]), (&off, &json!("basic")));
    for worker in status["workers"].as_array().unwrap() {
        assert_eq!(keys(worker), BTreeSet::from(metrics::COMMON_KEYS));
    }
    pool.shutdown_and_check().await;
}

/// R9: an enhanced pool has all features by default, and the sessions, metrics and history of each worker are exact.
#[tokio::test]
async fn enhanced_workers_have_full_feature_set() {
    let pool = enhanced(|builder| builder).await;
    bind(&pool, "ann", 1).await;
    for expected in 1..=3 {
        assert_eq!(count(&pool, "ann").await.unwrap(), expected);
    }
    let failed = pool.call::<Value>("fail", &json!({})).session("ann").await.unwrap_err();
    assert!(matches!(&failed, Error::Exception { .. }), "{failed:?}");
    let status = status(&pool).await;
    let on = json!({ "session_affinity": true, "worker_metrics": true, "state_machine": true });
    assert_eq!((&status["features"], &status["worker_type"]), (&on, &json!("enhanced")));
    for (worker, sessions, operations, errors) in [(0, 1, 4, 1), (1, 0, 0, 0)] {
        let worker = &status["workers"][worker];
        let parts = ["sessions", "metrics", "history"];
        let parts = metrics::COMMON_KEYS.iter().chain(&parts).chain(&metrics::ACTIVITY_KEYS);
        assert_eq!(keys(worker), parts.copied().collect::<BTreeSet<_>>());
        let numbers = [&worker["sessions"], &worker["metrics"]["operations"], &worker["metrics"]["errors"]];
        assert_eq!(numbers.map(Value::as_u64), [sessions, operations, errors].map(Some), "{worker}");
        let first = &worker["history"][0];
        assert_eq!((&first["from"], &first["to"]), (&json!("initializing"), &json!("ready")));
    }
    pool.shutdown_and_check().await;
}

/// R5, R8, R9, R52: pools of both types with the same session ids: calls, ends of sessions and kills in one pool do not affect
/// the other. Both statuses have the same keys.
#[tokio::test]
async fn feature_isolation_between_pool_types() {
    let (basic, enhanced) = (basic().await, enhanced(|builder| builder).await);
    for expected in 1..=3 {
        for session in ["ann", "bob"] {
            assert_eq!(answer(pid(&basic, session).reply()).await.unwrap().routing, Routing::Unrouted);
            assert_eq!(count(&enhanced, session).await.unwrap(), expected, "{session}");
        }
        assert_no_affinity(&basic).await;
    }
    assert!(basic.end_session("ann").await.unwrap());
    assert_eq!(count(&enhanced, "ann").await.unwrap(), 4, "the session ended only in the other pool");
    for worker in [1, 2] {
        basic.kill_worker(process(worker, 1)).await.unwrap();
    }
    assert_eq!(count(&enhanced, "ann").await.unwrap(), 5, "workers died only in the other pool");
    let bound = affinity_of(&enhanced).send(GetWorker::new("bob")).await.unwrap().unwrap();
    enhanced.kill_worker(bound).await.unwrap();
    basic.wait_healthy("pid").await;
    assert!(answer(pid(&basic, "bob").reply()).await.is_ok(), "a loss in the other pool is not reported here");
    assert!(matches!(count(&enhanced, "bob").await, Err(Error::SessionWorkerLost { .. })));
    assert_eq!(basic.session("bob").await.unwrap().unwrap().operations, 4);
    assert_eq!(enhanced.session("bob").await.unwrap().unwrap().operations, 3);
    let (plain, full) = (status(&basic).await, status(&enhanced).await);
    assert_eq!((keys(&plain), &plain["session_affinity"]), (keys(&full), &json!({})));
    metrics::check_counts(&plain, &full);
    basic.shutdown_and_check().await;
    assert_eq!(count(&enhanced, "ann").await.unwrap(), 6, "not affected by the end of the other pool");
    enhanced.shutdown_and_check().await;
}

/// R16, R22: the sweep removes expired sessions that are never used again, under both policies and in a basic pool. Afterwards
/// the session is unknown and not expired, so a call creates it.
#[tokio::test]
async fn expired_sessions_are_automatically_removed() {
    let short = Duration::from_millis(60);
    let sessions = Sessions::new().timeout(short).cleanup_interval(short);
    let tracked = pool("swept", |context| context.basic().app("herder.demo:app").sessions(sessions).build()).await;
    let immediate = enhanced(|builder| builder.sessions(sessions.expiry(Expiry::Immediate))).await;
    let two_phase = enhanced(|builder| builder.sessions(sessions.expiry(Expiry::TwoPhase { grace: short }))).await;
    for (pool, begun) in [(tracked, Routing::Unrouted), (immediate, Routing::New), (two_phase, Routing::New)] {
        for session in ["ann", "bob", "eve"] {
            assert_eq!(answer(pid(&pool, session).reply()).await.unwrap().routing, begun);
        }
        wait_until("the sweep has removed the sessions", async || {
            pool.status().await.unwrap().counters.sessions_expired == 3
        })
        .await;
        assert_eq!(pool.sessions(0, 100).await.unwrap().sessions, []);
        let shown = &status(&pool).await["session_affinity"];
        if begun == Routing::New {
            let numbers = ["total_sessions", "expired_sessions", "workers_with_sessions", "sessions_cleaned"];
            assert_eq!(numbers.map(|key| shown[key].as_u64()), [0, 0, 0, 3].map(Some), "{shown}");
        }
        assert_eq!(answer(pid(&pool, "ann").reply()).await.unwrap().routing, begun);
        pool.shutdown_and_check().await;
    }
}

/// R3, R31: a basic pool is reloaded like an enhanced one, and loses no session: its workers have none. The enhanced pools are in
/// `feature_flag_validation`.
#[tokio::test]
async fn reload_of_a_basic_pool_loses_no_session() {
    let pool = basic().await;
    let before = answer(pid(&pool, "ann").reply()).await.unwrap();
    let report = with_timeout("the reload", pool.reload()).await.unwrap();
    assert_eq!((report.workers, report.sessions), (pool.config().pool_size(), 0));
    let after = answer(pid(&pool, "ann").reply()).await.unwrap();
    assert_eq!(after.routing, Routing::Unrouted);
    assert_ne!(place(&after), place(&before));
    assert_eq!(pool.session("ann").await.unwrap().unwrap().operations, 2, "the session is tracked across the reload");
    wait_until("the old workers have exited", async || {
        pool.base_workers().await.len() == pool.config().pool_size() as usize
    })
    .await;
    let status = status(&pool).await;
    for worker in status["workers"].as_array().unwrap() {
        assert_eq!(keys(worker), BTreeSet::from(metrics::COMMON_KEYS), "{worker}");
    }
    assert_no_affinity(&pool).await;
    pool.shutdown_and_check().await;
}

/// A dependency of a session is kept until the session ends. A pool without session affinity refuses the app, in a basic pool
/// and in an enhanced one; a dependency of the worker exists in all.
#[tokio::test]
async fn only_pools_with_session_affinity_keep_dependencies_of_a_session() {
    const APP: &str = "
import herder
app = herder.App()

def items(session: herder.Session):
    yield []
    print('ended', session.id)

@app.command
def add(items: list = herder.Depends(items, scope='session')):
    items.append(0)
    return len(items)
";
    let pool = pool("kept", |context| {
        context.file("app.py", APP);
        context.enhanced().app("app.py:app").pool_size(2).overflow(0).build()
    })
    .await;
    let add = || pool.call::<u32>("add", &json!({})).session("ann");
    assert_eq!((add().await.unwrap(), add().await.unwrap()), (1, 2));
    pool.end_session("ann").await.unwrap();
    wait_for_log(&["ended ann"]).await;
    assert_eq!(add().await.unwrap(), 1);
    pool.shutdown_and_check().await;

    let without = |context: &TestContext| match context.name().starts_with("basic") {
        true => context.basic().app("app.py:app").pool_size(1).build(),
        false => context.enhanced().app("app.py:app").pool_size(1).session_affinity(false).build(),
    };
    for name in ["basic", "enhanced"] {
        let (config, context) = pool_config(name, |context| {
            context.file("app.py", APP);
            without(context)
        });
        let error = Pool::start(config).await.unwrap_err().to_string();
        assert!(
            error.contains("the dependency items has scope=\"session\", but this pool has no session state:"),
            "{error}"
        );
        PoolProcesses::new(context.name()).nothing_left().await;
    }
}
