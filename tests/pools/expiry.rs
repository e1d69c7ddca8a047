//! The expiry of sessions: immediate or in two phases, and never while they have a call (R15, R16, R17). The tests use short
//! timeouts and wait until the state changes, so no result depends on a duration.

use crate::pools::steps::{affinity_of, answer, answers, count, submitted};
use herder::{
    Error,
    config::{Expiry, OnExpired, Routed, Sessions},
    messages::{CleanupStaleSessions, GetInternalStats, GetSessionState, GetWorker, SessionStatus},
    session::{RebindReason, Routing},
    testing::{TestPool, pool, wait_until},
};
use serde_json::{Value, json};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(60);
const NEVER: Duration = Duration::from_secs(3600);

/// Starts a pool with these settings of sessions.
async fn pool_with(sessions: impl Into<Sessions<Routed>>) -> TestPool {
    pool("expiry", |context| context.enhanced().app("herder.demo:app").sessions(sessions).build()).await
}

async fn state(pool: &TestPool, session: &str) -> SessionStatus {
    affinity_of(pool).send(GetSessionState::new(session)).await.unwrap().unwrap()
}

async fn wait_for_state(pool: &TestPool, session: &str, expected: SessionStatus) {
    wait_until("the session's state changes", async || state(pool, session).await == expected).await;
}

/// R16: with immediate expiry an expired session does not exist any more, even before the sweep. Its next call gets a new
/// state, and its routing has the reason.
#[tokio::test]
async fn r16_immediate_expiry_removes_a_session_at_once() {
    let pool = pool_with(Sessions::new().timeout(SHORT).cleanup_interval(NEVER).expiry(Expiry::Immediate)).await;
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    wait_for_state(&pool, "ann", SessionStatus::NotFound).await;
    let status = pool.status().await.unwrap();
    assert_eq!(status.session_affinity.total_sessions(), 0);
    assert_eq!(status.session_affinity.expired_sessions(), 1, "due, and not swept yet");
    let reply = answer(count(&pool, "ann").reply()).await.unwrap();
    assert_eq!((reply.decode::<u64>().unwrap(), reply.routing), (1, Routing::Rebound(RebindReason::Expired)));
    wait_for_state(&pool, "ann", SessionStatus::NotFound).await;
    let lookup = affinity_of(&pool).send(GetWorker::new("ann")).await.unwrap();
    assert!(matches!(lookup, Err(Error::SessionNotFound { .. })), "{lookup:?}");
    pool.shutdown_and_check().await;
}

/// R15, R16: with two-phase expiry every request during the grace reports the session as expired, and calls are refused by
/// default.
#[tokio::test]
async fn r16_two_phase_expiry_refuses_calls_during_the_grace() {
    let expiry = Expiry::TwoPhase { grace: NEVER };
    let pool = pool_with(Sessions::new().timeout(SHORT).cleanup_interval(SHORT).expiry(expiry)).await;
    count(&pool, "ann").await.unwrap();
    wait_for_state(&pool, "ann", SessionStatus::Expired).await;
    for _ in 0..3 {
        let refused = answer(count(&pool, "ann").reply()).await;
        assert!(matches!(&refused, Err(Error::SessionExpired { .. })), "{refused:?}");
        let lookup = affinity_of(&pool).send(GetWorker::new("ann")).await.unwrap();
        assert!(matches!(&lookup, Err(Error::SessionExpired { .. })), "{lookup:?}");
        assert_eq!(state(&pool, "ann").await, SessionStatus::Expired);
    }
    let affinity = pool.status().await.unwrap().session_affinity;
    assert_eq!((affinity.total_sessions(), affinity.expired_sessions()), (0, 1));
    assert_eq!(affinity_of(&pool).send(GetInternalStats).await.unwrap().unwrap().sessions_cleaned, 0);
    pool.shutdown_and_check().await;
}

/// R16: with two-phase expiry and `on_expired = "rebind"` a call of an expired session gets a new state, and its routing has
/// the reason.
#[tokio::test]
async fn r16_two_phase_expiry_with_rebind_starts_a_new_state() {
    let sessions = Sessions::new().timeout(SHORT).cleanup_interval(NEVER);
    let pool = pool_with(sessions.expiry(Expiry::TwoPhase { grace: NEVER }).on_expired(OnExpired::Rebind)).await;
    assert_eq!(count(&pool, "ann").await.unwrap(), 1);
    wait_for_state(&pool, "ann", SessionStatus::Expired).await;
    let reply = answer(count(&pool, "ann").reply()).await.unwrap();
    assert_eq!((reply.decode::<u64>().unwrap(), reply.routing), (1, Routing::Rebound(RebindReason::Expired)));
    pool.shutdown_and_check().await;
}

/// R16: a session with a waiting or running call does not expire, however long the call takes.
#[tokio::test]
async fn r16_a_session_with_a_call_does_not_expire() {
    let app = "import time, pathlib, herder\napp = herder.App()\n\
               @app.command\ndef count(session: herder.Session) -> int:\n    session.state['n'] = session.state.get('n', 0) + 1\n    return session.state['n']\n\
               @app.command\ndef wait(session: herder.Session) -> int:\n    while not pathlib.Path('go').exists():\n        time.sleep(0.005)\n    return count(session)\n";
    let sessions = Sessions::new().timeout(SHORT).cleanup_interval(SHORT);
    let pool = pool("busy", |context| {
        context.file("app.py", app);
        context.enhanced().app("app.py:app").cwd(context.dir()).sessions(sessions).build()
    })
    .await;
    let call = pool.call::<Value>("wait", &json!({})).session("ann");
    let mut calls = submitted(&pool, [call], 1, 0).await;
    calls.extend(submitted(&pool, [count(&pool, "ann")], 1, 1).await);
    // Another session is created and expires five times meanwhile, so several timeouts pass.
    for _ in 0..5 {
        assert_eq!(count(&pool, "bob").await.unwrap(), 1);
        wait_for_state(&pool, "bob", SessionStatus::NotFound).await;
        assert_eq!(state(&pool, "ann").await, SessionStatus::Active);
        pool.supervisor().send(CleanupStaleSessions).await.unwrap().unwrap();
    }
    std::fs::write(pool.dir().join("go"), "").unwrap();
    let counted: Vec<u64> = answers(calls).await.into_iter().map(|reply| reply.unwrap().decode().unwrap()).collect();
    assert_eq!(counted, [1, 2]);
    wait_for_state(&pool, "ann", SessionStatus::NotFound).await;
    pool.shutdown_and_check().await;
}
