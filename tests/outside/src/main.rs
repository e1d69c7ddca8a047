//! A crate that uses `herder` as an application does: a basic and an enhanced pool in one process, used only through messages.

use actix::prelude::*;
use herder::{
    Error, PoolConfig, PoolSupervisor,
    messages::{
        BindSession, Execute, ExecuteInSession, GetPoolName, GetStatus, GetWorker, ListWorkers, Shutdown,
        UnbindSession, WaitReady,
    },
    registry,
    session::{Routing, SessionAffinityActor},
    status::{WorkerId, WorkerRef},
};
use serde_json::{Value, json};
use std::time::Duration;

#[actix::main]
async fn main() -> herder::Result<()> {
    let basic = PoolConfig::basic("basic").app("herder.demo:app").pool_size(2).build()?;
    let sessions = PoolConfig::enhanced("sessions").app("herder.demo:app").pool_size(3).build()?;
    let (basic_pool, session_pool) =
        (PoolSupervisor::new(basic.clone()).start(), PoolSupervisor::new(sessions).start());
    basic_pool.send(WaitReady).await??;
    session_pool.send(WaitReady).await??;

    check_calls(&basic_pool).await?;
    check_calls(&session_pool).await?;
    check_sessions(&session_pool).await?;
    check_absence_of_affinity(&basic_pool).await?;
    check_refusal_of_second_pool(basic).await?;

    for pool in [basic_pool, session_pool] {
        let report = pool.send(Shutdown::new(Duration::from_secs(30))).await??;
        assert_eq!(report.aborted_calls, 0);
    }
    assert!(registry::lookup::<SessionAffinityActor>("sessions_session_affinity").is_none());
    println!("affinity actor removed");
    Ok(())
}

async fn check_calls(pool: &Addr<PoolSupervisor>) -> herder::Result<()> {
    let arguments = json!({ "x": [1, 2.5, "three"] });
    let reply = pool.send(Execute::new("echo", &arguments)).await??;
    assert_eq!(reply.decode::<Value>()?, arguments);
    let refused = pool.send(Execute::new("no_such_command", &json!({}))).await?;
    assert!(matches!(refused, Err(Error::UnknownCommand { .. })));
    assert!(!pool.send(ListWorkers).await??.is_empty());
    Ok(())
}

/// The binding that the affinity actor receives decides where the next call runs.
async fn check_sessions(pool: &Addr<PoolSupervisor>) -> herder::Result<()> {
    let affinity_name = pool.send(GetPoolName).await?.affinity_name();
    let affinity =
        registry::lookup::<SessionAffinityActor>(&affinity_name).expect("an enhanced pool has an affinity actor");
    let count = || pool.send(ExecuteInSession::new("ann", "count", &json!({})));
    for (number, worker) in [3, 1, 2].map(WorkerId).into_iter().enumerate() {
        let bound: WorkerRef = affinity.send(BindSession::new("ann", worker)).await??;
        let reply = count().await??;
        assert_eq!((reply.worker, reply.routing), (worker, Routing::Hit), "binding {number}");
        assert_eq!(reply.decode::<u64>()?, 1, "a session that is bound to another worker starts with a new state");
        assert_eq!(affinity.send(GetWorker::new("ann")).await??, bound);
        assert_eq!(count().await??.decode::<u64>()?, 2);
    }
    println!("bound: {}.{}", WorkerId(2).0, affinity.send(GetWorker::new("ann")).await??.generation.0);
    assert!(affinity.send(UnbindSession::new("ann")).await??);
    assert_eq!(count().await??.routing, Routing::New);
    let status = pool.send(GetStatus).await?;
    assert_eq!(status.session_affinity.total_sessions(), 1);
    Ok(())
}

async fn check_absence_of_affinity(pool: &Addr<PoolSupervisor>) -> herder::Result<()> {
    let reply = pool.send(ExecuteInSession::new("ann", "pid", &json!({}))).await??;
    assert_eq!(reply.routing, Routing::Unrouted);
    assert!(registry::lookup::<SessionAffinityActor>("basic_session_affinity").is_none());
    println!("no basic affinity");
    let status = pool.send(GetStatus).await?;
    assert!(status.session_affinity.is_empty());
    println!("basic: {{}}, {} session", status.active_sessions);
    Ok(())
}

/// A second pool with the name of a running pool does not start. Every message to it returns that error.
async fn check_refusal_of_second_pool(config: PoolConfig) -> herder::Result<()> {
    let second = PoolSupervisor::new(config).start();
    let ready = second.send(WaitReady).await?;
    let result = second.send(Execute::new("pid", &json!({}))).await?;
    for error in [ready.unwrap_err(), result.unwrap_err()] {
        assert!(matches!(&error, Error::PoolNameTaken { pool } if pool == "basic"), "{error}");
        println!("refused: {error}");
    }
    Ok(())
}

/// R1 to R6, R18: an application needs nothing but messages.
#[test]
fn application_needs_only_messages() {
    main().unwrap();
}
