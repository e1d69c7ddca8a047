//! `PoolSupervisor` by its messages: every call is answered exactly once, whatever exits or panics (R1, R4, R8, R20, R22,
//! R29, R35, R36). Workers are scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{
    Backoff, ChildHandle, CleanupStaleSessions, EndSession, Error, EventFeed, Execute, ExecuteInSession, GetEvents,
    GetPoolName, GetSessionInfo, GetStatus, GetWorker, Health, HealthCheck, IfAbsent, InjectPanic, KillWorker,
    ListSessions, PendingReply, PoolClient, PoolEventKind, PoolState, PoolSupervisor, Queue, Restart, Retry,
    SessionState, Sessions, Shutdown, Stop, TrackSession, UpdateSessionActivity, WaitReady, WorkerId, registry,
};
use herder_core::ExitStatus;
use herder_wire::{HostMessage, WorkerHello};
use serde_json::{Value, json};
use std::{future::Future, sync::Arc, task::Poll, time::Duration};

fn is_internal(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Error::Internal { reason }) if reason.contains("injected"))
}

/// R8: the status has the same keys for both worker types, and contains the process ids.
#[actix::test]
async fn r8_status_has_the_same_keys_for_both_types() {
    let (plain, _peer) = Harness::basic("plain").await;
    let (keeping, peer) = Harness::enhanced("keeping").await;
    let keys = async |harness: &Harness| {
        let Value::Object(map) = serde_json::to_value(harness.status().await).unwrap() else { panic!() };
        map.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&plain).await, keys(&keeping).await);
    let status = keeping.status().await;
    assert_eq!((status.state, status.pool_size, status.workers.len()), (PoolState::Running, 1, 1));
    assert_eq!(status.workers[0].pid, Some(peer.child.pid()));
    let affinity = serde_json::to_value(&status).unwrap()["session_affinity"].clone();
    assert!(["total_sessions", "expired_sessions", "workers_with_sessions"].iter().all(|key| affinity[*key] == 0));
    assert!(plain.status().await.session_affinity.is_empty(), "R6");
    assert_eq!(plain.pool().send(GetPoolName).await.unwrap().as_str(), plain.name);
}

/// R26: the health check follows the pool's state: starting, running, draining.
#[actix::test]
async fn r26_health_follows_the_pools_state() {
    let mut harness = Harness::start(basic(&unique_name("health")).build().unwrap());
    let health = async |harness: &Harness| harness.pool().send(HealthCheck).await.unwrap().unwrap();
    let before = health(&harness).await;
    assert_eq!((before.healthy, before.ready_workers, before.pool_size), (false, 0, 1));
    let mut peer = harness.launches.next().await.ready().await;
    harness.wait_healthy().await;
    assert!(health(&harness).await.healthy);
    let running = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    let stopping = actix_rt::spawn(harness.pool().send(Shutdown::new(HANG_TIMEOUT)));
    wait_until("the pool drains", async || health(&harness).await.state == PoolState::Draining).await;
    assert!(!health(&harness).await.healthy);
    assert!(matches!(harness.execute(echo(2)).get().await, Err(Error::PoolClosed { may_have_run: false, .. })));
    peer.answer(wire, "1").await;
    assert_eq!(value(running.get().await), 1, "an admitted call is finished");
    peer.serve();
    let report = with_timeout("the shutdown", stopping).await.unwrap().unwrap().unwrap();
    assert_eq!((report.pool.as_str(), report.counters.ok, report.aborted_calls), (&*harness.name, 1, 0));
}

/// R22: a basic pool tracks, renews, shows, lists and ends sessions.
#[actix::test]
async fn r22_a_basic_pool_tracks_sessions() {
    let (harness, mut peer) = Harness::basic("tracked").await;
    let pool = harness.pool();
    let info = async |session: &str| pool.send(GetSessionInfo::new(session)).await.unwrap().unwrap();
    assert!(info("ann").await.is_none());
    assert!(!pool.send(UpdateSessionActivity::new("ann")).await.unwrap().unwrap());
    let tracked = pool.send(TrackSession::new("ann")).await.unwrap().unwrap();
    assert_eq!((tracked.id.as_str(), tracked.state, tracked.worker), ("ann", SessionState::Active, None));
    assert!(pool.send(UpdateSessionActivity::new("ann")).await.unwrap().unwrap());
    let answer = harness.in_session("bob", 1);
    harness.wait_queue(1, 0).await;
    assert_eq!(info("bob").await.unwrap().pending, 1);
    peer.echo().await;
    assert_eq!(answer.get().await.unwrap().metadata().routing, "unrouted");
    assert_eq!(info("bob").await.unwrap().operations, 1);
    let page = async |cursor, limit| {
        let page = pool.send(ListSessions::new(limit).cursor(cursor)).await.unwrap().unwrap();
        (page.sessions.len(), page.next)
    };
    assert_eq!([page(0, 10).await, page(0, 1).await, page(1, 10).await], [(2, None), (1, Some(1)), (1, None)]);
    assert!(pool.send(EndSession::new("ann")).await.unwrap().unwrap());
    assert!(!pool.send(EndSession::new("ann")).await.unwrap().unwrap());
    assert!(info("ann").await.is_none());
    assert!(matches!(pool.send(TrackSession::new("")).await.unwrap(), Err(Error::InvalidSession { .. })));
}

/// R22: stale sessions are removed on request.
#[actix::test]
async fn r22_cleanup_removes_stale_sessions() {
    let sessions = Sessions::new().timeout(Duration::from_millis(1)).cleanup_interval(HANG_TIMEOUT).max(1);
    let (harness, _peer) = Harness::one(basic(&unique_name("stale")).sessions(sessions).build().unwrap()).await;
    harness.pool().send(TrackSession::new("ann")).await.unwrap().unwrap();
    wait_until("it is cleaned up", async || harness.pool().send(CleanupStaleSessions).await.unwrap().unwrap() == 1)
        .await;
    assert_eq!(harness.status().await.active_sessions, 0);
    harness.pool().send(TrackSession::new("bob")).await.unwrap().unwrap();
}

/// Each invalid call fails with its reason, and no worker receives it.
#[actix::test]
async fn invalid_calls_fail_without_reaching_a_worker() {
    let (harness, mut peer) = Harness::enhanced("refused").await;
    let refusal = async |answer: Answer| answer.get().await.unwrap_err();
    let unknown = refusal(harness.execute(Execute::new("eco", &json!({})))).await;
    assert!(
        matches!(&unknown, Error::UnknownCommand { hint, .. } if hint == "did you mean `echo`? Available commands: echo, again"),
        "{unknown:?}"
    );
    let list = refusal(harness.execute(Execute::new("echo", &json!([1])))).await;
    assert!(matches!(list, Error::Malformed { .. }));
    let nameless = refusal(harness.in_session("", 1)).await;
    assert!(matches!(nameless, Error::InvalidSession { .. }));
    let absent = ExecuteInSession::new("ann", "echo", &json!({})).if_absent(IfAbsent::Reject);
    let absent = refusal(Answer::of(harness.pool().send(absent))).await;
    assert!(matches!(absent, Error::SessionNotFound { .. }));
    let next = harness.execute(echo(1));
    peer.echo().await;
    next.get().await.unwrap();
}

/// R35: an abandoned call is cancelled in the worker, whether it was made by message or through a handle. A call that is
/// still in the queue never runs.
#[actix::test]
async fn r35_abandoned_calls_are_cancelled_or_never_sent() {
    let (harness, mut peer) = Harness::basic("abandoned").await;
    let cancelled = async |peer: &mut FakeWorker, call| {
        let Some(HostMessage::Cancel { wire, interrupt: false }) = peer.control.next().await else { panic!() };
        assert_eq!(wire, call);
        peer.answer(wire, "0").await;
    };
    let by_message = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    let waiting = harness.execute(echo(2));
    let waiting_too = harness.call(3);
    harness.wait_queue(1, 2).await;
    waiting.abandon();
    drop(waiting_too);
    harness.wait_queue(1, 0).await;
    by_message.abandon();
    cancelled(&mut peer, wire).await;
    let by_handle = harness.call(4);
    let call = peer.call().await;
    assert_eq!(&*call.payload, br#"{"n":4}"#, "the abandoned calls in the queue never ran");
    drop(by_handle);
    cancelled(&mut peer, call.wire).await;
    wait_until("all abandoned calls are counted", async || harness.status().await.counters.abandoned == 4).await;
    let last = harness.call(5);
    peer.echo().await;
    drop(with_timeout("the answer", last).await.unwrap());
    assert_eq!(harness.status().await.counters.abandoned, 4, "an answered call is not cancelled");
}

/// The gate refuses a call on the caller's thread, before the pool sees it, and admits calls again when there is room.
#[actix::test]
async fn the_gate_refuses_calls_beyond_the_queue_limit() {
    let config = basic(&unique_name("gate")).queue(Queue::new().limit(2).timeout(HANG_TIMEOUT)).build().unwrap();
    let (harness, mut peer) = Harness::one(config).await;
    let mut inside: Vec<PendingReply> = (0..3).map(|n| harness.call(n)).collect(); // one runs, two wait in the queue
    let mut refused = harness.call(3);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let now = std::pin::Pin::new(&mut refused).poll(&mut context);
    assert!(matches!(now, Poll::Ready(Err(Error::QueueFull { limit: 2 }))), "the arbiter did not run: {now:?}");
    peer.echo().await;
    with_timeout("the first answer", inside.remove(0)).await.unwrap();
    inside.push(harness.call(4));
    for pending in inside {
        peer.echo().await;
        with_timeout("an answer", pending).await.unwrap();
    }
}

/// R36: when a thread floods the pool with calls, each is answered once, and the pool's timers and sockets are served
/// meanwhile: the first answer arrives before the last call is admitted.
#[actix::test]
async fn r36_a_flood_of_calls_is_answered_completely() {
    // No shedding: how long a call takes here depends on the machine.
    let queue = Queue::new().limit(20_000).timeout(HANG_TIMEOUT).shed(false);
    let config = basic(&unique_name("flood")).queue(queue).build().unwrap();
    let (harness, peer) = Harness::one(config).await;
    peer.serve();
    let client = harness.client.clone();
    let flood = std::thread::spawn(move || {
        let request = |n: u64| herder_actors::Request::typed("echo", &json!({ "n": n }));
        (0..5000).map(|n| client.call(request(n))).collect::<Vec<_>>()
    });
    // Blocks the arbiter until all calls are in the mailbox.
    let pending = flood.join().unwrap();
    let (mut first_answer, mut last_admission) = (None, None);
    for (pending, n) in pending.into_iter().zip(0_u64..) {
        let reply = with_timeout("an answer", pending).await.unwrap();
        first_answer.get_or_insert(reply.admitted + reply.queued + reply.ran);
        last_admission = last_admission.max(Some(reply.admitted));
        assert_eq!(value(Ok(reply)), json!({ "n": n }));
    }
    assert!(first_answer < last_admission, "the calls were admitted without a pause");
    assert_eq!(harness.status().await.counters.ok, 5000);
}

/// `KillWorker` answers when the process has exited; another process is an error. Only a kill that happens is noted.
#[actix::test]
async fn kill_worker_answers_when_the_process_has_exited() {
    let (mut harness, peer) = Harness::basic("kill").await;
    peer.child.ignore_sigkill(true);
    for wrong in [process(1, 2), process(1, 0), process(2, 1), process(0, 1)] {
        let error = harness.pool().send(KillWorker::new(wrong).noted("admin")).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::NoSuchWorker { .. }), "{error:?}");
    }
    let kills = [KillWorker::new(process(1, 1)), KillWorker::new(process(1, 1)).noted("admin")];
    let twice = kills.map(|kill| actix_rt::spawn(harness.pool().send(kill)));
    peer.child.killed().await;
    harness.status().await;
    assert!(twice.iter().all(|kill| !kill.is_finished()), "the exit is awaited");
    peer.child.exit(ExitStatus::Signal(9));
    for kill in twice {
        with_timeout("the kill", kill).await.unwrap().unwrap().unwrap();
    }
    assert!(harness.pool().send(KillWorker::new(process(1, 1)).noted("admin")).await.unwrap().is_err());
    let feed = harness.pool().send(GetEvents).await.unwrap().unwrap();
    let events = EventFeed::read(&[feed], 0).events;
    let expected = [PoolEventKind::Action, PoolEventKind::WorkerKilled];
    let kinds: Vec<_> = events.iter().map(|event| event.kind).filter(|kind| expected.contains(kind)).collect();
    assert_eq!(kinds, expected, "{events:?}");
    let starting = harness.launches.next().await; // a worker that is still starting can be killed, too
    with_timeout("the kill", harness.pool().send(KillWorker::new(starting.worker))).await.unwrap().unwrap();
    harness.serve(1).await;
    harness.wait_healthy().await;
}

/// R36: an idempotent call is retried after its worker's death, another call is lost, and a waiting call is not affected.
#[actix::test]
async fn r36_worker_death_fails_only_its_own_calls() {
    // Without a backoff the retried call is enqueued again before the waiting call is dispatched.
    let at_once = Retry::new().backoff(Backoff::Custom(vec![Duration::ZERO]));
    let (mut harness, mut peer) = Harness::one(basic(&unique_name("death")).retry(at_once).build().unwrap()).await;
    for (call, survives) in
        [(Execute::new("again", &json!({})), true), (echo(1), false), (echo(2).idempotent(true), true)]
    {
        let running = harness.execute(call);
        peer.call().await;
        let waiting = harness.execute(echo(9));
        harness.wait_queue(1, 1).await;
        peer.exit(ExitStatus::Code(3));
        peer = harness.launches.next().await.ready().await;
        if survives {
            peer.echo().await;
            assert_eq!(running.get().await.unwrap().attempts, 2);
        } else {
            assert!(matches!(running.get().await, Err(Error::WorkerLost { may_have_run: true, .. })));
        }
        peer.echo().await;
        assert_eq!(waiting.get().await.unwrap().attempts, 1);
    }
}

/// R20: every pending call of the session, running or queued, fails with the loss. A later call starts with a new state.
#[actix::test]
async fn r20_worker_death_fails_all_pending_calls_of_its_sessions() {
    let (mut harness, mut peer) = Harness::enhanced("lost").await;
    let calls = [1, 2, 3].map(|n| harness.in_session("ann", n));
    let first = peer.call().await.session.unwrap();
    harness.wait_queue(1, 2).await;
    peer.exit(ExitStatus::Signal(9));
    let mut reports = Vec::new();
    for (answer, ran) in calls.into_iter().zip([true, false, false]) {
        let error = answer.get().await.unwrap_err();
        assert!(error.to_string().contains("signal 9 (SIGKILL)"), "{error}");
        let Error::SessionWorkerLost { may_have_run, reason, report, .. } = error else { panic!("{error:?}") };
        assert_eq!((may_have_run, report.signal, report.recorder.is_some()), (ran, Some(9), true));
        reports.push((reason, report));
    }
    let (reason, report) = &reports[0];
    let shares = |(other_reason, other): &(_, _)| Arc::ptr_eq(reason, other_reason) && Arc::ptr_eq(report, other);
    assert!(reports.iter().all(shares), "calls that are lost together share the texts of the exit");
    peer = harness.launches.next().await.ready().await;
    let after = harness.in_session("ann", 4);
    let again = peer.echo().await.session.unwrap();
    assert!(again.1 > first.1, "a new epoch of the session");
    let meta = after.get().await.unwrap().metadata();
    assert_eq!((meta.routing, meta.why), ("rebound", Some("worker_lost")));
}

/// R28: after too many failed starts the pool fails and every answer contains the last start error. A successful trial start
/// restores the pool.
#[actix::test]
async fn r28_a_failed_pool_reports_the_last_start_error_and_recovers() {
    let (peers, launches) = FakeWorkers::new();
    let control = peers.clone();
    control.set_outcome(LaunchOutcome::NotFound);
    let quick = Duration::from_millis(1);
    let restart = Restart::new().max(2).backoff(quick).max_backoff(quick).cooldown(Duration::from_millis(50));
    let mut harness = Harness::with(basic(&unique_name("failed")).restart(restart).build().unwrap(), peers, launches);
    wait_until("it failed", async || harness.status().await.state == PoolState::Failed).await;
    let refused = harness.execute(echo(1)).get().await.unwrap_err();
    assert!(refused.to_string().contains("there is no such program"), "{refused}");
    assert!(harness.pool().send(WaitReady).await.unwrap().unwrap_err().to_string().contains("no such program"));
    wait_for_log(&[&harness.name, "ERROR", "pool failed"]).await;
    control.set_outcome(LaunchOutcome::Ok);
    harness.serve(1).await;
    harness.wait_healthy().await;
    harness.execute(echo(1)).get().await.unwrap();
    assert_eq!(harness.status().await.last_start_error, None);
}

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

/// R28: a launcher that never returns counts as a failed start after `start_timeout`: `WaitReady` fails, `KillWorker` is
/// answered, the next start fills the slot, and a process that the first launcher returns later is killed.
#[actix::test]
async fn r28_launcher_that_hangs_counts_as_a_failed_start() {
    let (peers, launches) = FakeWorkers::new();
    let control = peers.clone();
    control.set_outcome(LaunchOutcome::Deferred);
    let config = basic(&unique_name("hung")).start_timeout(Duration::from_millis(20)).build().unwrap();
    let mut harness = Harness::with(config, peers, launches);
    let hung = harness.launches.next().await;
    let kill = actix_rt::spawn(harness.pool().send(KillWorker::new(hung.worker)));
    let error = with_timeout("readiness", harness.pool().send(WaitReady)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the launcher did not finish within 20ms"), "{error}");
    let _ = with_timeout("the kill", kill).await.unwrap().unwrap();
    control.set_outcome(LaunchOutcome::Ok);
    control.complete_launch();
    hung.child.killed().await;
    let later = harness.launches.next().await;
    assert!(later.worker.id == hung.worker.id && later.worker.generation > hung.worker.generation);
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
