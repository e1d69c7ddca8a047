//! How a pool ends: by `Shutdown`, whatever its workers do (R30), and when nobody has its address any more. Workers are scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{
    Error, Health, InjectPanic, PoolClient, PoolState, PoolSupervisor, Restart, Sessions, Shutdown, Stop, WaitReady,
    WorkerId, registry,
};
use herder_core::ExitStatus;
use herder_wire::{HostMessage, WorkerHello};
use std::time::Duration;

/// `Shutdown` is answered at any time: before a worker is ready, twice, and in a failed pool. `WaitReady` fails at once.
#[actix::test]
async fn shutdown_is_answered_in_every_pool_state() {
    let mut harness = Harness::start(basic(&unique_name("early")).build().unwrap());
    let starting = harness.launches.next().await;
    let ready = actix_rt::spawn(harness.pool().send(WaitReady));
    harness.status().await;
    let twice = [1, 2].map(|_| actix_rt::spawn(harness.pool().send(Shutdown::new(HANG_TIMEOUT))));
    assert!(matches!(
        with_timeout("readiness", ready).await.unwrap().unwrap(),
        Err(Error::PoolClosed { may_have_run: false, .. })
    ));
    starting.serve();
    for stopped in twice {
        with_timeout("the shutdown", stopped).await.unwrap().unwrap().unwrap();
    }
    wait_until("the actor has stopped", async || !harness.pool().connected()).await;
    assert!(matches!(harness.call(1).await, Err(Error::PoolClosed { may_have_run: false, .. })));

    let (peers, launches) = FakeWorkers::new();
    let control = peers.clone();
    control.set_outcome(LaunchOutcome::NotFound);
    let restart = Restart::new().max(1).backoff(Duration::from_millis(1)).max_backoff(Duration::from_millis(1));
    let harness = Harness::with(basic(&unique_name("failed")).restart(restart).build().unwrap(), peers, launches);
    wait_until("it failed", async || harness.status().await.state == PoolState::Failed).await;
    with_timeout("the shutdown", harness.pool().send(Shutdown::new(HANG_TIMEOUT))).await.unwrap().unwrap();
}

/// R30: while a worker loads its application it reads only the control descriptor and ignores SIGTERM until it has read the
/// shutdown message. If the pool stops it before its hello, the message is sent on that descriptor when the hello arrives.
#[actix::test]
async fn r30_a_stop_before_the_hello_is_sent_on_the_control_descriptor() {
    for control in [true, false] {
        let mut harness = Harness::start(basic(&unique_name("told_early")).build().unwrap());
        let mut starting = harness.launches.next().await;
        let stopped = actix_rt::spawn(harness.pool().send(Shutdown::new(HANG_TIMEOUT)));
        starting.child.stopped().await;
        starting.handshake_with(WorkerHello { control, ..hello() }).await;
        assert!(matches!(starting.calls.next().await, Some(HostMessage::Shutdown)));
        if control {
            assert!(matches!(starting.control.next().await, Some(HostMessage::Shutdown)));
        }
        let (child, mut unread) = (starting.child.clone(), starting.control);
        child.exit(ExitStatus::Code(0));
        with_timeout("the shutdown", stopped).await.unwrap().unwrap().unwrap();
        assert!(
            unread.next().await.is_none(),
            "nothing more is sent there, and nothing at all if the worker does not read it"
        );
    }
}

/// R30: calls that are unfinished at the timeout fail and their worker is killed; an idle worker gets the stop sequence.
#[actix::test]
async fn r30_shutdown_timeout_aborts_remaining_calls() {
    let stop = Stop::new().grace(Duration::from_secs(3)).term(Duration::from_secs(2));
    let mut harness = Harness::start(basic(&unique_name("timeout")).pool_size(2).stop(stop).build().unwrap());
    let mut busy = harness.launches.next().await.ready().await; // the first call goes to the first slot
    let idle = harness.launches.next().await.ready().await;
    harness.wait_healthy().await;
    let running = harness.execute(echo(1));
    busy.call().await;
    let stopped = actix_rt::spawn(harness.pool().send(Shutdown::new(Duration::ZERO)));
    assert!(matches!(running.get().await, Err(Error::PoolClosed { may_have_run: true, .. })));
    busy.child.killed().await;
    assert_eq!(idle.child.stopped().await, (Duration::from_secs(3), Duration::from_secs(2)));
    assert!(!idle.child.was_killed() && !stopped.is_finished());
    idle.serve();
    let report = with_timeout("the shutdown", stopped).await.unwrap().unwrap().unwrap();
    assert_eq!(report.aborted_calls, 1);
}

/// R30: a launcher that never returns and a process that survives SIGKILL do not delay a shutdown. The report arrives when
/// the time is up, and names both.
#[actix::test]
async fn r30_shutdown_reports_remaining_workers() {
    let (clock, second) = (VirtualClock::new(), Duration::from_secs(1));
    let stop = Stop::new().grace(second).term(second);
    let config = basic(&unique_name("remaining")).pool_size(2).start_timeout(3600 * second).stop(stop).build().unwrap();
    let (peers, launches) = FakeWorkers::new();
    let (control, name) = (peers.clone(), config.name().to_string());
    let client = PoolClient::start(PoolSupervisor::with_launcher(config, peers).with_clock(clock.clone()));
    let mut harness = Harness { client, launches, name };
    let stubborn = harness.launches.next().await.ready().await;
    stubborn.child.ignore_sigkill(true);
    let other = harness.launches.next().await;
    control.set_outcome(LaunchOutcome::Deferred);
    other.child.exit(ExitStatus::Code(1));
    wait_until("its exit is counted", async || harness.status().await.counters.exits == 1).await;
    clock.advance(second).await; // the backoff
    let hung = harness.launches.next().await;
    let stopped = actix_rt::spawn(harness.pool().send(Shutdown::new(second)));
    stubborn.child.stopped().await;
    clock.advance(2 * second).await;
    assert!(!stopped.is_finished(), "neither timeout has passed");
    clock.advance(second).await;
    let report = with_timeout("the shutdown", stopped).await.unwrap().unwrap().unwrap();
    let remaining: Vec<_> =
        report.still_running.iter().map(|worker| (worker.id.0, worker.generation.0, worker.pid)).collect();
    assert_eq!(remaining, [(1, 1, Some(stubborn.child.pid())), (2, 2, None)]);
    assert!(report.to_string().ends_with("w2.2 (still starting)"), "{report}");
    wait_for_log(&[report.pool.as_str(), "WARN", "has not exited"]).await;
    control.complete_launch();
    hung.child.killed().await;
}

/// Dropping the last address ends the pool: pending calls fail, processes are killed, the name is free. The actor itself is
/// dropped, so nothing else holds an address of it.
#[actix::test]
async fn dropping_the_last_address_ends_the_pool() {
    for hangs in [false, true] {
        let (peers, launches) = FakeWorkers::new();
        let control = peers.clone();
        let config = enhanced(&unique_name("dropped")).pool_size(2).build().unwrap();
        let name = config.name().to_string();
        let (supervisor, dropped) = PoolSupervisor::with_launcher(config, peers).with_exit_signal();
        let client = herder_actors::PoolClient::start(supervisor);
        let mut harness = Harness { client, launches, name };
        let mut peer = harness.launches.next().await.ready().await;
        let second = harness.launches.next().await;
        if hangs {
            control.set_outcome(LaunchOutcome::Deferred);
            second.child.exit(ExitStatus::Code(1));
            harness.launches.next().await; // this launch never completes
        }
        let answers = [harness.in_session("ann", 1), harness.execute(echo(2))];
        let call = with_timeout("a call", peer.call()).await;
        assert!(call.session.is_some());
        harness.wait_queue(1, 1).await;
        let weak = harness.pool().downgrade();
        let Harness { client, launches, name } = harness;
        drop(client);
        with_timeout("the actor's drop", dropped).await;
        for (answer, ran) in answers.into_iter().zip([true, false]) {
            let outcome = answer.get().await;
            assert!(
                matches!(&outcome, Err(Error::PoolClosed { may_have_run, .. }) if *may_have_run == ran),
                "{outcome:?}"
            );
        }
        peer.child.killed().await;
        assert!(weak.upgrade().is_none() && registry::lookup::<PoolSupervisor>(&name).is_none());
        wait_until("the sockets are closed", async || peer.calls.next().await.is_none()).await;
        drop(launches);
    }
}

/// Pings, sweeps and processes in every state do not keep a pool alive after its last address was dropped.
#[actix::test]
async fn background_tasks_do_not_keep_a_pool_alive() {
    let quick = Duration::from_millis(1);
    let sessions = Sessions::new().timeout(quick).cleanup_interval(quick);
    let health = Health::new().interval(quick);
    let config = enhanced(&unique_name("busy")).pool_size(2).sessions(sessions).health(health).build().unwrap();
    let (peers, launches) = FakeWorkers::new();
    let (supervisor, dropped) = PoolSupervisor::with_launcher(config, peers).with_exit_signal();
    let mut harness = Harness { client: herder_actors::PoolClient::start(supervisor), launches, name: String::new() };
    let children = harness.serve(2).await;
    harness.wait_healthy().await;
    for n in 0..20 {
        harness.in_session(&format!("s{n}"), n).get().await.unwrap();
    }
    harness.pool().send(InjectPanic::Affinity).await.unwrap().unwrap();
    harness.pool().send(InjectPanic::Worker(WorkerId(1))).await.unwrap().unwrap();
    drop(harness);
    with_timeout("the actor's drop", dropped).await;
    for child in children {
        child.killed().await;
    }
}
