//! Failures of the affinity actor: it panics, hangs, fails permanently, or the pool is rebuilt under it. Bindings, routing
//! and the status continue, and what is unavailable is reported (R4, R7, R29). Workers are scripted.

use crate::harness::*;
use actix::{Addr, AsyncContext, Handler, Message, fut::wrap_future};
use herder_actors::testing::*;
use herder_actors::{
    BindSession, Error, GetInternalStats, GetPoolName, GetStats, GetStatus, GetWorker, InjectPanic,
    SessionAffinityActor, Sessions, WorkerId, registry,
};
use std::time::Duration;
use tokio::sync::oneshot;

/// Blocks the actor until the other end is dropped, then panics.
#[derive(Message)]
#[rtype(result = "()")]
struct PanicAfter(oneshot::Receiver<()>);

impl Handler<PanicAfter> for SessionAffinityActor {
    type Result = ();

    fn handle(&mut self, after: PanicAfter, ctx: &mut Self::Context) {
        ctx.wait(wrap_future(async move { after.0.await.unwrap() }));
    }
}

fn bind(session: &str) -> BindSession {
    BindSession::new(session, WorkerId(1))
}

fn registered_actor(harness: &Harness) -> Option<Addr<SessionAffinityActor>> {
    registry::lookup(&format!("{}_session_affinity", harness.name))
}

async fn wait_until_replaced(before: &Addr<SessionAffinityActor>, harness: &Harness) {
    wait_until("another actor has the name", async || registered_actor(harness).is_some_and(|now| now != *before))
        .await;
}

/// Lets the actor panic until it is not restarted any more.
async fn fail_permanently(harness: &Harness) {
    for _ in 0..5 {
        let before = harness.affinity();
        harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap();
        wait_until_replaced(&before, harness).await;
    }
    harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap();
    wait_for_log(&[&harness.name, "WARN", "failed too often"]).await;
    assert!(registered_actor(harness).is_none());
}

/// R4: when the pool is rebuilt, the affinity actor keeps running and uses the new state.
#[actix::test]
async fn r4_a_rebuild_keeps_the_actor_and_it_answers_with_the_new_state() {
    let (mut harness, _children) = Harness::serving("rebuilt", 1).await;
    let affinity = harness.affinity();
    wait_for_log(&[&harness.name, "INFO", "session affinity started"]).await;
    assert_eq!(affinity.send(bind("ann")).await.unwrap().unwrap(), process(1, 1));
    harness.pool().send(InjectPanic::Step).await.unwrap().unwrap_err();
    wait_for_log(&[&harness.name, "DEBUG", "session affinity actor uses the rebuilt state"]).await;
    assert_eq!(registered_actor(&harness).as_ref(), Some(&affinity));
    let void = affinity.send(GetWorker::new("ann")).await.unwrap();
    assert!(matches!(void, Err(Error::SessionNotFound { .. })), "{void:?}");
    harness.serve(1).await;
    harness.wait_healthy().await;
    let worker = affinity.send(bind("bob")).await.unwrap().unwrap();
    assert_eq!(worker, process(1, 2));
    assert_eq!(harness.in_session("bob", 1).get().await.unwrap().metadata().routing, "hit");
    assert_eq!(affinity.send(GetWorker::new("bob")).await.unwrap().unwrap(), worker);
    assert_eq!(harness.status().await.counters.state_rebuilds, 1);
}

/// R7: when the actor panics while a status waits for its statistics, the status is returned without them and a warning is
/// logged. The next status has the statistics of the restarted actor: no binding was lost.
#[actix::test]
async fn r7_status_answers_after_a_panic_of_the_affinity_actor() {
    let (harness, _children) = Harness::serving("asked", 1).await;
    let affinity = harness.affinity();
    affinity.send(bind("ann")).await.unwrap().unwrap();
    let (release, after) = oneshot::channel();
    affinity.do_send(PanicAfter(after));
    let status = harness.pool().send(GetStatus);
    // This message is handled after `GetStatus`, so the status has taken the address of this actor by now.
    harness.pool().send(GetPoolName).await.unwrap();
    drop(release);
    assert!(with_timeout("the status", status).await.unwrap().session_affinity.is_empty());
    wait_for_log(&[&harness.name, "WARN", "session affinity statistics are unavailable"]).await;
    wait_until_replaced(&affinity, &harness).await;
    assert_eq!(harness.status().await.session_affinity.total_sessions(), 1);
    assert_eq!(harness.affinity().send(GetWorker::new("ann")).await.unwrap().unwrap(), process(1, 1));
}

/// R29: a panic of the actor loses no binding and does not pause routing. A new actor gets the name.
#[actix::test]
async fn r29_a_panic_loses_no_binding() {
    let (harness, mut peer) = Harness::enhanced("panic").await;
    let affinity = harness.affinity();
    affinity.send(bind("ann")).await.unwrap().unwrap();
    let before = harness.in_session("ann", 1);
    let wire = peer.call().await.wire;
    harness.pool().do_send(InjectPanic::Affinity);
    let meanwhile = harness.in_session("ann", 2);
    harness.wait_queue(1, 1).await;
    peer.answer(wire, "1").await;
    assert_eq!(before.get().await.unwrap().metadata().routing, "hit");
    peer.echo().await;
    assert_eq!(meanwhile.get().await.unwrap().metadata().routing, "hit");
    wait_until_replaced(&affinity, &harness).await;
    assert!(affinity.send(GetStats).await.is_err());
    assert_eq!(harness.affinity().send(GetWorker::new("ann")).await.unwrap().unwrap(), process(1, 1));
    wait_for_log(&[&harness.name, "WARN", "was restarted; the bindings are kept"]).await;
    assert_eq!(harness.status().await.counters.state_rebuilds, 0);
}

/// R16, R29: sweeps continue after the actor was restarted.
#[actix::test]
async fn r29_restarted_affinity_actor_continues_the_sweep() {
    let quick = Duration::from_millis(5);
    let sessions = Sessions::new().timeout(quick).cleanup_interval(quick);
    let (harness, peer) = Harness::one(enhanced(&unique_name("swept")).sessions(sessions).build().unwrap()).await;
    peer.serve();
    let numbers = async || harness.affinity().send(GetInternalStats).await.unwrap().unwrap();
    for cleaned in 1..=3 {
        harness.in_session("ann", 1).get().await.unwrap();
        wait_until("the session is removed", async || numbers().await.sessions_cleaned == cleaned).await;
        let before = harness.affinity();
        harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap();
        wait_until_replaced(&before, &harness).await;
    }
    let before = numbers().await.cleanup_runs;
    wait_until("another sweep ran", async || numbers().await.cleanup_runs > before).await;
}

/// R7, R29: an actor that fails too often is not restarted: the status has `{}` for it, and calls continue.
#[actix::test]
async fn r7_affinity_actor_stays_down_after_too_many_failures() {
    let (harness, _children) = Harness::serving("failing", 1).await;
    harness.affinity().send(bind("ann")).await.unwrap().unwrap();
    fail_permanently(&harness).await;
    assert!(harness.pool().send(GetStatus).await.unwrap().session_affinity.is_empty());
    assert_eq!(harness.in_session("ann", 1).get().await.unwrap().metadata().routing, "hit");
}

/// R7, R16: sweeps continue without the actor: an expired session is removed, and the next call starts it anew.
#[actix::test]
async fn r7_sessions_expire_without_the_affinity_actor() {
    let quick = Duration::from_millis(5);
    let sessions = Sessions::new().timeout(quick).cleanup_interval(quick);
    let (harness, peer) = Harness::one(enhanced(&unique_name("unswept")).sessions(sessions).build().unwrap()).await;
    peer.serve();
    fail_permanently(&harness).await;
    assert_eq!(harness.in_session("ann", 1).get().await.unwrap().metadata().routing, "new");
    wait_until("the session is removed", async || harness.status().await.counters.sessions_expired == 1).await;
    assert_eq!(harness.in_session("ann", 2).get().await.unwrap().metadata().routing, "new");
}

/// R29: a panic of the affinity actor is not forgotten when the supervisor panics before it has handled it.
#[actix::test]
async fn r29_two_simultaneous_panics_are_recovered() {
    for yields in 0..8 {
        let (mut harness, _children) = Harness::serving("both", 1).await;
        let affinity = harness.affinity();
        harness.pool().do_send(InjectPanic::Affinity);
        // After one of these counts the actor has panicked and the supervisor has not handled it yet.
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        harness.pool().do_send(InjectPanic::Step);
        wait_until_replaced(&affinity, &harness).await;
        harness.serve(1).await;
        harness.wait_healthy().await;
        harness.affinity().send(bind("ann")).await.unwrap().unwrap();
    }
}
