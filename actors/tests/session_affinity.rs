//! `SessionAffinityActor` by its messages: its bindings decide where calls run (R3, R6, R14-R16, R20, R21). Workers are
//! scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{
    BindError, BindSession, Error, Expiry, GetInternalStats, GetSessionHistory, GetSessionState, GetStats, GetWorker,
    HistoryState, InjectPanic, KillWorker, RemoveWorkerSessions, SessionAffinityActor, SessionStatus, Sessions,
    Shutdown, UnbindSession, WorkerId, registry,
};
use std::time::Duration;

fn bind(session: &str, worker: u32) -> BindSession {
    BindSession::new(session, WorkerId(worker))
}

/// R14, R15, R18: a session is bound, looked up, called on its worker, and unbound.
#[actix::test]
async fn r18_a_binding_decides_where_the_next_call_runs() {
    let (harness, _children) = Harness::serving("bind", 3).await;
    let affinity = harness.affinity();
    for worker in [3, 1, 2] {
        assert_eq!(affinity.send(bind("ann", worker)).await.unwrap().unwrap(), process(worker, 1));
        assert_eq!(affinity.send(GetWorker::new("ann")).await.unwrap().unwrap(), process(worker, 1));
        let reply = harness.in_session("ann", 1).get().await.unwrap();
        assert_eq!(reply.worker, WorkerId(worker));
    }
    assert!(affinity.send(UnbindSession::new("ann")).await.unwrap().unwrap());
    assert!(!affinity.send(UnbindSession::new("ann")).await.unwrap().unwrap());
    let nowhere = affinity.send(GetWorker::new("ann")).await.unwrap();
    assert!(matches!(nowhere, Err(Error::SessionNotFound { .. })), "{nowhere:?}");
}

/// R14: an invalid binding fails with its reason and changes nothing.
#[actix::test]
async fn r14_invalid_bindings_are_refused() {
    let sessions = Sessions::new().max(1);
    let mut harness =
        Harness::start(enhanced(&unique_name("unbound")).pool_size(2).sessions(sessions).build().unwrap());
    harness.launches.next().await.ready().await.serve();
    let starting = harness.launches.next().await;
    wait_until("one is ready", async || harness.workers().await[0].state == herder_actors::WorkerState::Ready).await;
    let affinity = harness.affinity();
    let refused = async |message: BindSession| affinity.send(message).await.unwrap().unwrap_err();
    assert!(matches!(refused(bind("ann", 9)).await, Error::Bind(BindError::NoSuchWorker(WorkerId(9)))));
    assert!(matches!(refused(bind("ann", 0)).await, Error::Bind(BindError::NoSuchWorker(_))));
    assert!(matches!(refused(bind("ann", 2)).await, Error::Bind(BindError::NotReady(WorkerId(2)))));
    assert!(matches!(refused(bind("", 1)).await, Error::InvalidSession { .. }));
    affinity.send(bind("ann", 1)).await.unwrap().unwrap();
    assert!(matches!(refused(bind("bob", 1)).await, Error::SessionQuota { max: 1 }));
    assert_eq!(affinity.send(GetStats).await.unwrap().unwrap().total_sessions, 1);
    drop(starting);
}

/// R6, R14: the statistics, and the removal of all sessions of a worker.
#[actix::test]
async fn r14_remove_worker_sessions_and_stats() {
    let (harness, _children) = Harness::serving("stats", 2).await;
    let affinity = harness.affinity();
    for (session, worker) in [("ann", 1), ("bob", 1), ("eve", 2)] {
        affinity.send(bind(session, worker)).await.unwrap().unwrap();
    }
    harness.in_session("ann", 1).get().await.unwrap();
    harness.in_session("new", 1).get().await.unwrap();
    let stats = affinity.send(GetStats).await.unwrap().unwrap();
    assert_eq!((stats.total_sessions, stats.workers_with_sessions, stats.expired_sessions), (4, 2, 0));
    let internal = affinity.send(GetInternalStats).await.unwrap().unwrap();
    assert_eq!((internal.hits, internal.misses, internal.rebinds), (stats.hits, stats.misses, stats.rebinds));
    assert_eq!(internal.session_timeout, Duration::from_secs(300));
    let before = affinity.send(GetWorker::new("eve")).await.unwrap().unwrap();
    assert!(affinity.send(RemoveWorkerSessions::new(WorkerId(1))).await.unwrap().unwrap() >= 2);
    assert!(affinity.send(GetWorker::new("bob")).await.unwrap().is_err());
    assert_eq!(affinity.send(GetWorker::new("eve")).await.unwrap().unwrap(), before);
}

/// R22: the affinity actor and the supervisor return the history of a session; a basic pool has none.
#[actix::test]
async fn r22_session_history_lists_every_event() {
    let (harness, _children) = Harness::serving("history", 2).await;
    let affinity = harness.affinity();
    affinity.send(bind("ann", 2)).await.unwrap().unwrap();
    harness.in_session("ann", 1).get().await.unwrap();
    let history = affinity.send(GetSessionHistory::new("ann")).await.unwrap().unwrap();
    let events: Vec<_> = history.events.iter().map(|entry| (entry.kind, entry.why, entry.worker)).collect();
    let w2 = Some(WorkerId(2));
    assert_eq!(events, [("bound", None, w2), ("sent", Some("hit"), w2)]);
    assert_eq!((history.state, history.complete), (HistoryState::Active, true));
    assert!(history.to_string().contains("bound to w2.1 by request"), "{history}");
    let same = harness.pool().send(GetSessionHistory::new("ann")).await.unwrap().unwrap();
    assert_eq!(same.events.len(), 2, "a query adds no event");
    assert!(matches!(affinity.send(GetSessionHistory::new("")).await.unwrap(), Err(Error::InvalidSession { .. })));
    let (basic, _peer) = Harness::basic("without_history").await;
    let none = basic.pool().send(GetSessionHistory::new("ann")).await.unwrap();
    assert!(matches!(none, Err(Error::Bind(BindError::NoAffinity))), "{none:?}");
}

/// R15, R16: the state of an expired session depends on the expiry policy; the sweep removes sessions that get no more calls.
#[actix::test]
async fn r16_session_state_changes_with_expiry_and_sweep() {
    let quick = Duration::from_millis(5);
    let sessions = Sessions::new().timeout(quick).cleanup_interval(quick);
    let config =
        enhanced(&unique_name("two-phase")).sessions(sessions.expiry(Expiry::TwoPhase { grace: HANG_TIMEOUT }));
    let (harness, peer) = Harness::one(config.build().unwrap()).await;
    peer.serve();
    let affinity = harness.affinity();
    let state = async |session: &str| affinity.send(GetSessionState::new(session)).await.unwrap().unwrap();
    assert_eq!(state("ann").await, SessionStatus::NotFound);
    affinity.send(bind("ann", 1)).await.unwrap().unwrap();
    wait_until("the session expires", async || state("ann").await == SessionStatus::Expired).await;
    let expired = affinity.send(GetWorker::new("ann")).await.unwrap();
    assert!(matches!(expired, Err(Error::SessionExpired { .. })), "{expired:?}");

    let (harness, peer) = Harness::one(enhanced(&unique_name("immediate")).sessions(sessions).build().unwrap()).await;
    peer.serve();
    harness.affinity().send(bind("ann", 1)).await.unwrap().unwrap();
    wait_until("the sweep removes the session", async || {
        let stats = harness.affinity().send(GetInternalStats).await.unwrap().unwrap();
        stats.sessions_cleaned == 1 && stats.cleanup_runs > 0
    })
    .await;
}

/// R20, R21: a binding names one process and does not hold for the next process of the slot.
#[actix::test]
async fn r21_a_binding_ends_with_its_process() {
    let (mut harness, _children) = Harness::serving("generation", 1).await;
    let affinity = harness.affinity();
    affinity.send(bind("ann", 1)).await.unwrap().unwrap();
    harness.pool().send(KillWorker::new(process(1, 1))).await.unwrap().unwrap();
    assert!(matches!(affinity.send(GetWorker::new("ann")).await.unwrap(), Err(Error::SessionNotFound { .. })));
    harness.serve(1).await;
    harness.wait_healthy().await;
    assert!(matches!(affinity.send(GetWorker::new("ann")).await.unwrap(), Err(Error::SessionNotFound { .. })));
    assert!(
        matches!(harness.in_session("ann", 1).get().await, Err(Error::SessionWorkerLost { .. })),
        "the loss is reported once"
    );
    assert_eq!(harness.in_session("ann", 2).get().await.unwrap().generation, process(1, 2).generation);
}

/// R3, R6: a basic pool, and an enhanced pool without the feature, have no affinity actor and no name for it, and report
/// `{}`.
#[actix::test]
async fn r3_only_pools_with_affinity_have_the_actor() {
    let without = enhanced(&unique_name("without")).session_affinity(false).build().unwrap();
    for config in [basic(&unique_name("basic")).build().unwrap(), without] {
        let (harness, peer) = Harness::one(config).await;
        peer.serve();
        harness.in_session("ann", 1).get().await.unwrap();
        let name = format!("{}_session_affinity", harness.name);
        assert!(registry::lookup::<SessionAffinityActor>(&name).is_none());
        let status = harness.status().await;
        assert!(status.session_affinity.is_empty());
        assert_eq!(serde_json::to_value(&status).unwrap()["session_affinity"], serde_json::json!({}));
        harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap(); // there is no actor to panic
        assert_eq!(status.active_sessions, 1);
    }
}

/// An address of the affinity actor does not keep the pool alive; messages to it then fail with `PoolClosed`.
#[actix::test]
async fn affinity_address_does_not_keep_a_pool_alive() {
    let (harness, _children) = Harness::serving("kept", 1).await;
    let affinity = harness.affinity();
    harness.pool().send(Shutdown::new(HANG_TIMEOUT)).await.unwrap().unwrap();
    let closed = affinity.send(GetStats).await;
    assert!(matches!(closed, Ok(Err(Error::PoolClosed { may_have_run: false, .. })) | Err(_)), "{closed:?}");
    assert!(registry::lookup::<SessionAffinityActor>(&format!("{}_session_affinity", harness.name)).is_none());
}
