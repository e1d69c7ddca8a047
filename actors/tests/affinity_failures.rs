//! An affinity actor that is rebuilt around, panics, hangs or fails for ever: bindings, routing and status go on, and what is
//! not there is said (R4, R7, R29). Workers are scripted.

use crate::harness::*;
use actix::{Addr, AsyncContext, Handler, Message, fut::wrap_future};
use herder_actors::testing::*;
use herder_actors::{
    BindSession, Error, GetInternalStats, GetPoolName, GetStats, GetStatus, GetWorker, InjectPanic,
    SessionAffinityActor, Sessions, WorkerId, registry,
};
use std::time::Duration;
use tokio::sync::oneshot;

/// Keeps the actor from everything else until the other end is dropped; then it panics.
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
    BindSession { session: session.into(), worker: WorkerId(1) }
}

fn found(harness: &Harness) -> Option<Addr<SessionAffinityActor>> {
    registry::lookup(&format!("{}_session_affinity", harness.name))
}

async fn another_than(before: &Addr<SessionAffinityActor>, harness: &Harness) {
    wait_until("another one has the name", async || found(harness).is_some_and(|now| now != *before)).await;
}

/// It panics once more than it may.
async fn fails_for_ever(harness: &Harness) {
    for _ in 0..5 {
        let before = harness.affinity();
        harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap();
        another_than(&before, harness).await;
    }
    harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap();
    wait_for_log(&[&harness.name, "WARN", "failed too often"]).await;
    assert!(found(harness).is_none());
}

/// R4: the pool is built anew under its address: the actor that runs is kept, and answers with the new state.
#[actix::test]
async fn r4_a_rebuild_keeps_the_actor_and_it_answers_with_the_new_state() {
    let (mut harness, _children) = Harness::serving("rebuilt", 1).await;
    let affinity = harness.affinity();
    wait_for_log(&[&harness.name, "INFO", "session affinity started"]).await;
    assert_eq!(affinity.send(bind("ann")).await.unwrap().unwrap(), process(1, 1));
    harness.pool().send(InjectPanic::Step).await.unwrap().unwrap_err();
    wait_for_log(&[&harness.name, "DEBUG", "session affinity actor uses the rebuilt state"]).await;
    assert_eq!(found(&harness).as_ref(), Some(&affinity));
    let void = affinity.send(GetWorker::of("ann")).await.unwrap();
    assert!(matches!(void, Err(Error::SessionNotFound { .. })), "{void:?}");
    harness.serve(1).await;
    harness.wait_healthy().await;
    let worker = affinity.send(bind("bob")).await.unwrap().unwrap();
    assert_eq!(worker, process(1, 2));
    assert_eq!(harness.in_session("bob", 1).get().await.unwrap().metadata().routing, "hit");
    assert_eq!(affinity.send(GetWorker::of("bob")).await.unwrap().unwrap(), worker);
    assert_eq!(harness.status().await.counters.state_rebuilds, 1);
}

/// R7: it panics while a status waits for its numbers: the status answers without them, and the log says so. The next status
/// has them again, from another actor: nothing was forgotten.
#[actix::test]
async fn r7_status_answers_after_a_panic_of_the_affinity_actor() {
    let (harness, _children) = Harness::serving("asked", 1).await;
    let affinity = harness.affinity();
    affinity.send(bind("ann")).await.unwrap().unwrap();
    let (until_now, after) = oneshot::channel();
    affinity.do_send(PanicAfter(after));
    let status = harness.pool().send(GetStatus);
    harness.pool().send(GetPoolName).await.unwrap(); // behind it: the status is handled, and knows this actor
    drop(until_now);
    assert!(with_timeout("the status", status).await.unwrap().session_affinity.is_empty());
    wait_for_log(&[&harness.name, "WARN", "session affinity statistics are unavailable"]).await;
    another_than(&affinity, &harness).await;
    assert_eq!(harness.status().await.session_affinity.total_sessions(), 1);
    assert_eq!(harness.affinity().send(GetWorker::of("ann")).await.unwrap().unwrap(), process(1, 1));
}

/// R29: its panic loses no binding, pauses no routing, and another answers under the same name.
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
    another_than(&affinity, &harness).await;
    assert!(affinity.send(GetStats).await.is_err());
    assert_eq!(harness.affinity().send(GetWorker::of("ann")).await.unwrap().unwrap(), process(1, 1));
    wait_for_log(&[&harness.name, "WARN", "started anew; the bindings are still there"]).await;
    assert_eq!(harness.status().await.counters.state_rebuilds, 0);
}

/// R16, R29: the one that is started anew goes on sweeping.
#[actix::test]
async fn r29_restarted_affinity_actor_continues_the_sweep() {
    let quick = Duration::from_millis(5);
    let sessions = Sessions::new().timeout(quick).cleanup_interval(quick);
    let (harness, peer) = Harness::one(enhanced(&unique_name("swept")).sessions(sessions).build().unwrap()).await;
    peer.serve();
    let numbers = async || harness.affinity().send(GetInternalStats).await.unwrap().unwrap();
    for cleaned in 1..=3 {
        harness.in_session("ann", 1).get().await.unwrap();
        wait_until("it was swept", async || numbers().await.sessions_cleaned == cleaned).await;
        let before = harness.affinity();
        harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap();
        another_than(&before, &harness).await;
    }
    let before = numbers().await.cleanup_runs;
    wait_until("it sweeps", async || numbers().await.cleanup_runs > before).await;
}

/// R7, R29: one that fails for ever stays down: `{}` in the status, which answers, and calls go on.
#[actix::test]
async fn r7_affinity_actor_stays_down_after_too_many_failures() {
    let (harness, _children) = Harness::serving("for-ever", 1).await;
    harness.affinity().send(bind("ann")).await.unwrap().unwrap();
    fails_for_ever(&harness).await;
    assert!(harness.pool().send(GetStatus).await.unwrap().session_affinity.is_empty());
    assert_eq!(harness.in_session("ann", 1).get().await.unwrap().metadata().routing, "hit");
}

/// R7, R16: when none is left the pool goes on sweeping: a session that nobody reads again goes, and the next call begins it anew.
#[actix::test]
async fn r7_sessions_expire_without_the_affinity_actor() {
    let quick = Duration::from_millis(5);
    let sessions = Sessions::new().timeout(quick).cleanup_interval(quick);
    let (harness, peer) = Harness::one(enhanced(&unique_name("unswept")).sessions(sessions).build().unwrap()).await;
    peer.serve();
    fails_for_ever(&harness).await;
    assert_eq!(harness.in_session("ann", 1).get().await.unwrap().metadata().routing, "new");
    wait_until("it is swept", async || harness.status().await.counters.sessions_expired == 1).await;
    assert_eq!(harness.in_session("ann", 2).get().await.unwrap().metadata().routing, "new");
}

/// R29: a panic of the affinity actor that the supervisor has not heard of is not forgotten when the supervisor panics too.
#[actix::test]
async fn r29_two_simultaneous_panics_are_recovered() {
    for turns in 0..8 {
        let (mut harness, _children) = Harness::serving("both", 1).await;
        let affinity = harness.affinity();
        harness.pool().do_send(InjectPanic::Affinity);
        for _ in 0..turns {
            tokio::task::yield_now().await; // at one of them the one has panicked and the other does not know it yet
        }
        harness.pool().do_send(InjectPanic::Step);
        another_than(&affinity, &harness).await;
        harness.serve(1).await;
        harness.wait_healthy().await;
        harness.affinity().send(bind("ann")).await.unwrap().unwrap();
    }
}
