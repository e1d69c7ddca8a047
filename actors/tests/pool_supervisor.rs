//! `PoolSupervisor` by its messages: every call is answered exactly once, whatever exits (R1, R4, R8, R20, R22, R28, R35, R36).
//! Workers are scripted.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{
    Backoff, CleanupStaleSessions, EndSession, Error, EventFeed, Execute, ExecuteInSession, GetEvents, GetMetrics,
    GetPoolName, GetSessionInfo, GetStatus, HealthCheck, IfAbsent, KillWorker, ListSessions, PendingReply, PoolClient,
    PoolEventKind, PoolState, PoolSupervisor, Queue, Restart, Retry, SessionState, Sessions, Shutdown, TrackSession,
    UpdateSessionActivity, WaitReady,
};
use herder_core::{ExitStatus, ProcessActivity};
use herder_wire::HostMessage;
use serde_json::{Value, json};
use std::{sync::Arc, task::Poll, thread, time::Duration};

/// R50: memory and CPU time are read on another thread than the pool's, once for all who ask at the same time or shortly after.
#[actix::test]
async fn r50_processes_are_read_beside_the_pools_thread() {
    let config = enhanced(&unique_name("read")).pool_size(2).build().unwrap();
    let ((peers, launches), name) = (FakeWorkers::new(), config.name().to_string());
    let clock = VirtualClock::new();
    let supervisor = PoolSupervisor::with_launcher(config, peers).with_clock(clock.clone());
    let mut harness = Harness { client: PoolClient::start(supervisor), launches, name };
    let children = harness.serve(2).await;
    harness.wait_healthy().await;
    children.iter().for_each(|child| child.set_activity(ProcessActivity::Computing));
    let (status, metrics) = tokio::join!(harness.pool().send(GetStatus), harness.pool().send(GetMetrics));
    for status in [status.unwrap(), metrics.unwrap().unwrap().status, harness.status().await] {
        assert!(status.workers.iter().all(|worker| worker.cpu_seconds.is_some()), "{status:?}");
    }
    let readings = |child: &Arc<ScriptedChild>| {
        child.sampled_by().into_iter().map(|id| id == thread::current().id()).collect::<Vec<_>>()
    };
    assert_eq!([readings(&children[0]), readings(&children[1])], [[false], [false]]);
    clock.advance(Duration::from_secs(1)).await;
    harness.status().await;
    assert_eq!(readings(&children[0]), [false, false], "an old reading is not used again");
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
