//! The separation of pools, and the shape of their status (R3-R6, R8, R52). The features of enhanced pools are tested in
//! `tests/feature_separation.rs`.

use crate::pools::steps::{affinity_of, bind, count, has_affinity_actor, pid, place, process, status};
use herder::{
    Error, Pool, PoolSupervisor,
    config::{Enhanced, Expiry, PoolBuilder, Sessions},
    messages::GetWorker,
    registry,
    session::SessionAffinityActor,
    testing::{TestContext, TestPool, pool},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// Starts an enhanced pool with additional settings.
async fn enhanced(change: impl FnOnce(PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>) -> TestPool {
    pool("flags", |context| change(context.enhanced().app("herder.demo:app")).build()).await
}

/// R6, R8, R52: the status of both worker types has the same keys. Only the pool with affinity has affinity numbers.
#[tokio::test]
async fn r8_both_worker_types_have_the_same_status_keys() {
    let basic = pool("side", |context| context.basic().app("herder.demo:app").build()).await;
    let enhanced = enhanced(|builder| builder).await;
    for session in ["ann", "bob"] {
        pid(&basic, session).await.unwrap();
        count(&enhanced, session).await.unwrap();
    }
    let (plain, full) = (status(&basic).await, status(&enhanced).await);
    assert_eq!(plain["session_affinity"], json!({}));
    assert_eq!(full["session_affinity"]["total_sessions"], 2);
    for key in ["expired_sessions", "workers_with_sessions"] {
        assert!(full["session_affinity"][key].is_number(), "{key}");
    }
    assert_eq!(keys(&plain), keys(&full));
    let documented = [
        "pool",
        "worker_type",
        "pool_size",
        "overflow",
        "active_sessions",
        "sessions",
        "started_at",
        "uptime_ms",
        "session_affinity",
        "workers",
        "queue",
        "counters",
        "features",
    ];
    assert!(keys(&plain).is_superset(&documented.map(String::from).into()), "{plain}");
    assert_eq!((&plain["active_sessions"], &full["active_sessions"]), (&json!(2), &json!(2)));
    assert_eq!((&plain["worker_type"], &full["worker_type"]), (&json!("basic"), &json!("enhanced")));
    basic.shutdown_and_check().await;
    enhanced.shutdown_and_check().await;
}

/// R8: a status lists at most 100 sessions. The list of sessions has pages.
#[tokio::test]
async fn r8_a_status_shows_a_hundred_sessions_at_most() {
    let pool = pool("capped", |context| context.basic().app("herder.demo:app").build()).await;
    for number in 0..130 {
        pid(&pool, &format!("s{number}")).await.unwrap();
    }
    let status = pool.status().await.unwrap();
    assert_eq!((status.sessions.len(), status.active_sessions), (100, 130));
    let first = pool.sessions(0, 100).await.unwrap();
    let second = pool.sessions(first.next.unwrap(), 100).await.unwrap();
    assert_eq!((first.sessions.len(), second.sessions.len(), second.next), (100, 30, None));
    assert_eq!([first.active_sessions, second.active_sessions], [130, 130]);
    let names: BTreeSet<String> =
        [first, second].iter().flat_map(|page| &page.sessions).map(|info| info.id.to_string()).collect();
    assert_eq!(names.len(), 130);
    pool.shutdown_and_check().await;
}

/// R3: only a pool with affinity has the affinity actor, registered under its name until the pool ends.
#[tokio::test]
async fn r3_only_a_pool_with_affinity_registers_the_affinity_actor() {
    let basic = pool("names", |context| context.basic().app("herder.demo:app").build()).await;
    let without = enhanced(|builder| builder.session_affinity(false)).await;
    let with = enhanced(|builder| builder).await;
    assert_eq!([&basic, &without, &with].map(has_affinity_actor), [false, false, true]);
    assert_eq!(status(&without).await["session_affinity"], json!({}));
    let name = with.name().to_string();
    assert!(registry::lookup::<PoolSupervisor>(&name).is_some());
    for pool in [basic, without, with] {
        pool.shutdown_and_check().await;
    }
    assert!(registry::lookup::<SessionAffinityActor>(&format!("{name}_session_affinity")).is_none());
    assert!(registry::lookup::<PoolSupervisor>(&name).is_none());
}

/// R4: a second pool with the name of a running pool is refused, and the first pool is not affected. The name is free again
/// after its pool has ended.
#[tokio::test]
async fn r4_second_pool_of_a_name_is_refused_while_the_first_runs() {
    let first = enhanced(|builder| builder).await;
    assert_eq!(count(&first, "ann").await.unwrap(), 1);
    let config = first.config().clone();
    let second = Pool::start(config.clone()).await;
    assert!(matches!(&second, Err(Error::PoolNameTaken { pool }) if *pool == config.name().to_string()), "{second:?}");
    assert_eq!(count(&first, "ann").await.unwrap(), 2);
    assert_eq!(first.base_workers().await.iter().map(|worker| worker.generation.0).max(), Some(1));
    assert!(has_affinity_actor(&first));
    first.shutdown_and_check().await;

    let context = TestContext::named(config.name().as_str());
    let config = context.enhanced().app("herder.demo:app").build().unwrap();
    let third = TestPool::new(Pool::start(config).await.unwrap(), context);
    assert!(has_affinity_actor(&third));
    assert_eq!(count(&third, "ann").await.unwrap(), 1);
    third.shutdown_and_check().await;
}

/// R5: sessions with the same id in two pools have separate bindings, states and ends.
#[tokio::test]
async fn r5_the_same_session_ids_in_two_pools_are_two_sessions() {
    let (one, two) = (enhanced(|builder| builder).await, enhanced(|builder| builder).await);
    bind(&one, "ann", 1).await;
    bind(&two, "ann", 2).await;
    for expected in 1..=3 {
        assert_eq!(count(&one, "ann").await.unwrap(), expected);
    }
    assert_eq!(count(&two, "ann").await.unwrap(), 1);
    let worker_of = async |pool: &TestPool| affinity_of(pool).send(GetWorker::new("ann")).await.unwrap().unwrap();
    assert_eq!((worker_of(&one).await, worker_of(&two).await), (process(1, 1), process(2, 1)));
    assert!(one.end_session("ann").await.unwrap());
    assert_eq!(count(&two, "ann").await.unwrap(), 2);
    one.kill_worker(process(1, 1)).await.unwrap();
    one.kill_worker(process(2, 1)).await.unwrap();
    assert_eq!(count(&two, "ann").await.unwrap(), 3);
    one.wait_healthy("pid").await;
    one.shutdown_and_check().await;
    assert_eq!(count(&two, "ann").await.unwrap(), 4);
    two.shutdown_and_check().await;
}

/// R17, R52: two pools in one process use their own session timeouts.
#[tokio::test]
async fn r17_each_pool_uses_its_own_session_timeout() {
    let short = std::time::Duration::from_millis(50);
    let brief = enhanced(|builder| builder.sessions(Sessions::new().timeout(short).expiry(Expiry::Immediate))).await;
    let long = enhanced(|builder| builder).await;
    let first = count(&long, "ann").reply().await.unwrap();
    count(&brief, "ann").await.unwrap();
    herder::testing::wait_until("the session with the short timeout expires", async || {
        brief.session("ann").await.unwrap().is_none()
    })
    .await;
    let second = count(&long, "ann").reply().await.unwrap();
    assert_eq!((place(&second), second.decode::<u64>().unwrap()), (place(&first), 2));
    brief.shutdown_and_check().await;
    long.shutdown_and_check().await;
}
