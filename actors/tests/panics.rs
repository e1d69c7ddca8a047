//! Panics in the supervisor, in a step and in a launcher (R29). Workers are scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{
    Error, GetStatus, GetWorker, HealthCheck, InjectPanic, KillWorker, PoolState, PoolSupervisor, Shutdown, WaitReady,
    registry,
};

fn is_internal(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Error::Internal { reason }) if reason.contains("injected"))
}

/// R29: after a panic in the supervisor or in a step each call is answered once, the workers are restarted, the address stays
/// valid, and the loss of each session is reported once.
#[actix::test]
async fn r29_the_pool_is_rebuilt_after_a_panic() {
    for panic in [InjectPanic::Supervisor, InjectPanic::Step] {
        let (mut harness, mut peer) = Harness::enhanced("survived").await;
        let first = harness.in_session("ann", 1);
        peer.echo().await;
        first.get().await.unwrap();
        let by_message = [2, 3].map(|n| harness.in_session("ann", n));
        peer.call().await;
        let by_handle = harness.call(4);
        harness.wait_queue(1, 2).await;
        let child = peer.child.clone();
        let error = harness.pool().send(panic).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("injected"), "{error}");
        for answer in by_message {
            assert!(is_internal(&answer.get().await));
        }
        assert!(is_internal(&with_timeout("an answer", by_handle).await));
        child.killed().await;
        wait_for_log(&[&harness.name, "ERROR", "was rebuilt", "injected"]).await;

        let mut peer = harness.launches.next().await.ready().await;
        assert_eq!(peer.worker, process(1, 2), "no generation is used twice");
        harness.wait_healthy().await;
        assert_eq!(harness.status().await.last_start_error, None, "the exit of the old process is not a failed start");
        assert!(matches!(harness.in_session("ann", 5).get().await, Err(Error::SessionWorkerLost { .. })), "reported");
        let again = harness.in_session("ann", 6);
        peer.echo().await;
        assert_eq!(again.get().await.unwrap().generation, process(1, 2).generation, "once");
        assert_eq!(harness.affinity().send(GetWorker::new("ann")).await.unwrap().unwrap(), process(1, 2));
        let status = harness.status().await;
        assert_eq!((status.counters.state_rebuilds, status.queue.in_flight, status.queue.waiting), (1, 0, 0));
    }
}

/// R29: a panic while a process is launched leaves no process behind and loses no start.
#[actix::test]
async fn r29_a_panic_during_a_launch_kills_the_launched_process() {
    let (peers, launches) = FakeWorkers::new();
    let control = peers.clone();
    control.set_outcome(LaunchOutcome::Deferred);
    let mut harness = Harness::with(basic(&unique_name("spawning")).build().unwrap(), peers, launches);
    let old = harness.launches.next().await;
    control.set_outcome(LaunchOutcome::Ok);
    let kill = actix_rt::spawn(harness.pool().send(KillWorker::new(old.worker)));
    harness.status().await;
    harness.pool().send(InjectPanic::Step).await.unwrap().unwrap_err();
    with_timeout("the kill", kill).await.unwrap().unwrap().unwrap();
    control.complete_launch();
    old.child.killed().await;
    harness.serve(1).await;
    harness.wait_healthy().await;
    harness.execute(echo(1)).get().await.unwrap();
}

/// R29: a panic does not cancel a shutdown: the shutdown is answered, and the pool does not restart.
#[actix::test]
async fn r29_a_panic_during_a_shutdown_does_not_restart_the_pool() {
    let (harness, mut peer) = Harness::basic("both").await;
    let running = harness.execute(echo(1));
    peer.call().await;
    let stopped = actix_rt::spawn(harness.pool().send(Shutdown::new(HANG_TIMEOUT)));
    wait_until("the pool drains", async || harness.status().await.state == PoolState::Draining).await;
    harness.pool().do_send(InjectPanic::Step);
    assert!(is_internal(&running.get().await));
    with_timeout("the shutdown", stopped).await.unwrap().unwrap().unwrap();
    assert!(peer.child.was_killed());
    wait_until("the actor has stopped", async || !harness.pool().connected()).await;
}

/// R29: after too many panics the pool fails permanently. Every answer names the panic, and the pool can still be shut down.
#[actix::test]
async fn r29_too_many_panics_stop_the_pool_permanently() {
    let (mut harness, mut peer) = Harness::enhanced("down").await;
    for round in 0..6 {
        let running = harness.execute(echo(1));
        peer.call().await;
        let _ = harness.pool().send(InjectPanic::Step).await.unwrap();
        assert!(is_internal(&running.get().await), "round {round}");
        peer.child.killed().await;
        if round < 5 {
            peer = harness.launches.next().await.ready().await;
            harness.wait_healthy().await;
        }
    }
    wait_for_log(&[&harness.name, "ERROR", "pool stopped permanently", "injected"]).await;
    let names_limit = |error: Error| assert!(error.to_string().contains("limit of 5 rebuilds per minute"), "{error}");
    names_limit(harness.execute(echo(1)).get().await.unwrap_err());
    names_limit(with_timeout("an answer", harness.call(1)).await.unwrap_err());
    names_limit(harness.pool().send(WaitReady).await.unwrap().unwrap_err());
    let health = harness.pool().send(HealthCheck).await.unwrap().unwrap();
    assert_eq!((health.healthy, health.state), (false, PoolState::Failed));
    let status = harness.pool().send(GetStatus).await.unwrap();
    assert_eq!((status.state, status.counters.state_rebuilds), (PoolState::Failed, 6));
    assert!(status.last_start_error.unwrap().contains("injected"));
    assert!(is_internal(&harness.pool().send(InjectPanic::Step).await.unwrap().map(|()| unreachable!())), "one more");
    with_timeout("the shutdown", harness.pool().send(Shutdown::new(HANG_TIMEOUT))).await.unwrap().unwrap();
    assert!(registry::lookup::<PoolSupervisor>(&harness.name).is_none());
}
