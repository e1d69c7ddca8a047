//! `WorkerActor` with a scripted worker at the other ends of its sockets: which frames a worker may send at which time, and
//! what happens after any other frame (R29, R41). No process is started.

use crate::harness::*;
use herder_actors::testing::*;
use herder_actors::{
    ArgumentError, ArgumentStep, Cancel, ChildHandle, Error, ErrorDetail, Execute, GetStatus, Health, InjectPanic,
    InjectStop, KillWorker, PoolClient, PoolHealth, PoolState, PoolSupervisor, Reload, Shutdown, Stop, WaitReady,
    WorkerId, WorkerState,
};
use herder_core::{ExitStatus, WireId};
use herder_wire::{
    EndReason, HostMessage, SessionStateSupport, Stamps, WorkerError, WorkerErrorKind, WorkerHello, WorkerMessage,
};
use serde_json::{Value, json};
use std::time::Duration;

fn lost_reason(outcome: &Outcome) -> &str {
    match outcome {
        Err(Error::WorkerLost { reason, may_have_run: true, .. }) => reason,
        other => panic!("expected a lost worker: {other:?}"),
    }
}

/// The host's hello is the first frame and contains the limits that the worker needs.
#[actix::test]
async fn hello_carries_concurrency_and_limits() {
    let mut harness = Harness::start(basic(&unique_name("hello")).concurrency(3).pipeline(2).build().unwrap());
    let mut peer = harness.launches.next().await;
    let hello = peer.handshake().await;
    assert_eq!((hello.concurrency.get(), hello.pipeline.get()), (3, 2));
    assert!(
        matches!(&hello.session_state, SessionStateSupport::Refused(why) if why.contains("worker_type")),
        "{hello:?}"
    );
}

/// A call is sent with its command, arguments and deadline; its reply says where and how it ran.
#[actix::test]
async fn call_is_answered_with_its_result() {
    let (harness, mut peer) = Harness::basic("call").await;
    let answer = harness.execute(echo(7));
    let call = peer.echo().await;
    assert_eq!((&*call.command, &*call.payload), ("echo", &br#"{"n":7}"#[..]));
    assert!(call.deadline.is_some() && call.session.is_none());
    let reply = answer.get().await.unwrap();
    assert_eq!((reply.worker, reply.generation), (WorkerId(1), process(1, 1).generation));
    assert_eq!((reply.attempts, reply.metadata().routing), (1, "unrouted"));
    assert_eq!(value(Ok(reply)), json!({ "n": 7 }));
}

/// R32: each kind of error that a worker sends becomes the error of that kind.
#[actix::test]
async fn worker_error_kinds_map_to_errors() {
    let (harness, mut peer) = Harness::basic("errors").await;
    let kinds = [
        (WorkerErrorKind::Rejected, "rejected"),
        (WorkerErrorKind::BadArguments, "bad-arguments"),
        (WorkerErrorKind::Malformed, "malformed"),
        (WorkerErrorKind::Unencodable, "unencodable"),
        (WorkerErrorKind::TooLarge, "too-large"),
        (WorkerErrorKind::Cancelled, "cancelled"),
        (WorkerErrorKind::UnknownCommand, "unknown-command"),
        (WorkerErrorKind::Exception, "exception"),
    ];
    for (kind, slug) in kinds {
        let answer = harness.execute(echo(1));
        let wire = peer.call().await.wire;
        peer.calls.send(&error(wire, kind, "no")).await;
        assert_eq!(answer.get().await.unwrap_err().slug(), slug);
    }
    assert_eq!(harness.status().await.counters.failed, kinds.len() as u64);
}

/// R38: the arguments that do not fit are listed in the error, in its problem document, and in its long text.
#[actix::test]
async fn r38_arguments_that_do_not_fit_are_listed() {
    let (harness, mut peer) = Harness::basic("arguments").await;
    let loc = vec![ArgumentStep::Key("order".into()), ArgumentStep::Index(2)];
    let errors = vec![ArgumentError::new(loc, "Field required", "missing")];
    for (kind, listed) in [(WorkerErrorKind::BadArguments, &errors[..]), (WorkerErrorKind::Malformed, &[])] {
        let answer = harness.execute(echo(1));
        let wire = peer.call().await.wire;
        let error = WorkerError { errors: errors.clone().into(), ..WorkerError::new(kind, "no") };
        peer.calls.send(&WorkerMessage::Error { wire, stamps: Stamps::NOT_RUN, error }).await;
        let error = answer.get().await.unwrap_err();
        assert_eq!(error.argument_errors(), listed);
        let brief = serde_json::to_value(error.problem_in(ErrorDetail::Brief)).unwrap();
        let shown = json!([{ "loc": ["order", 2], "msg": "Field required", "type": "missing" }]);
        let (status, shown) = if listed.is_empty() { (400, Value::Null) } else { (422, shown) };
        assert_eq!((&brief["status"], &brief["errors"]), (&json!(status), &shown));
        assert_eq!(
            error.verbose().to_string().ends_with("\n  arguments:\n  | order[2]: Field required"),
            !listed.is_empty()
        );
    }
}

/// R41: answers that arrive byte by byte, or several in one read, are decoded.
#[actix::test]
async fn r41_frames_split_at_any_byte_are_decoded() {
    let (harness, mut peer) = Harness::one(basic(&unique_name("pieces")).concurrency(3).build().unwrap()).await;
    assert_eq!(harness.status().await.workers[0].status.window, 1, "at most what its hello offers (I2)");
    let answer = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    for byte in encoded(&result(wire, "11")) {
        peer.calls.send_bytes(&[byte]).await;
    }
    assert_eq!(value(answer.get().await), 11);

    let three = std::num::NonZeroU32::new(3).unwrap();
    let mut harness = Harness::start(basic(&unique_name("heap")).concurrency(3).build().unwrap());
    let mut peer = harness.launches.next().await;
    peer.handshake_with(WorkerHello { window: three, ..hello() }).await;
    peer.calls.send(&WorkerMessage::Ready(ready())).await;
    harness.wait_healthy().await;
    let answers = [1, 2, 3].map(|n| harness.execute(echo(n)));
    let mut heap = Vec::new();
    for n in 1..=3 {
        heap.extend(encoded(&result(peer.call().await.wire, &n.to_string())));
    }
    peer.calls.send_bytes(&heap).await;
    for (answer, n) in answers.into_iter().zip(1..) {
        assert_eq!(value(answer.get().await), n);
    }
}

/// R41: arguments and an answer that are longer than a socket buffer are transferred.
#[actix::test]
async fn r41_frames_larger_than_the_socket_buffer_are_delivered() {
    let (harness, mut peer) = Harness::basic("long").await;
    let text = "x".repeat(900_000);
    let answer = harness.execute(Execute::new("echo", &json!({ "text": text })));
    peer.echo().await;
    assert_eq!(value(answer.get().await)["text"], *text);
}

/// R41: after a protocol violation the worker is killed, the error names the violation, and the next process serves.
#[actix::test]
async fn r41_protocol_violations_are_named() {
    const OUT_OF_ORDER: &str = "sent a hello, a ready or a pong on the calls descriptor after its ready";
    let raw = |bytes: &[u8]| bytes.to_vec();
    let header = |length: u32, kind: u8| [&length.to_le_bytes()[..], &[kind, 0, 0, 0], &7_u64.to_le_bytes()].concat();
    let second = encoded(&WorkerMessage::Hello(hello()));
    let pong = encoded(&WorkerMessage::Pong { nonce: 1 });
    let mistakes = [
        (raw(b"Traceback (most recent call last):"), "protocol error"),
        (header(1 << 30, 4), "oversize"),
        (header(0, 99), "unknown"),
        (second, OUT_OF_ORDER),
        (encoded(&WorkerMessage::Ready(ready())), OUT_OF_ORDER),
        (pong, OUT_OF_ORDER),
    ];
    let (mut harness, mut peer) = Harness::basic("garbage").await;
    for ((bytes, words), n) in mistakes.into_iter().zip(10..) {
        // Other arguments each time: a call that kills worker after worker would be quarantined.
        let answer = harness.execute(echo(n));
        peer.call().await;
        peer.calls.send_bytes(&bytes).await;
        peer.child.killed().await;
        let outcome = answer.get().await;
        assert!(
            lost_reason(&outcome).contains("protocol violation") && lost_reason(&outcome).contains(words),
            "{words}: {outcome:?}"
        );
        let report = outcome.unwrap_err();
        assert_eq!(report.report().unwrap().stderr_tail, [format!("last output of {}", peer.child.pid())]);
        peer = harness.launches.next().await.ready().await;
        harness.wait_healthy().await;
    }
    let answer = harness.execute(echo(2));
    peer.echo().await;
    assert_eq!(value(answer.get().await), json!({ "n": 2 }));
}

/// R41: the error after garbage on the control descriptor names the descriptor; an answer on the calls descriptor is still
/// delivered.
#[actix::test]
async fn r41_garbage_on_the_control_descriptor_loses_no_answer() {
    let (harness, mut peer) = Harness::one(basic(&unique_name("control")).concurrency(2).build().unwrap()).await;
    peer.child.ignore_sigkill(true);
    let answer = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    peer.control.send_bytes(b"garbage that is long enough to be a header").await;
    peer.child.killed().await;
    peer.answer(wire, "1").await;
    peer.child.exit(ExitStatus::Signal(9));
    assert_eq!(value(answer.get().await), 1);
    wait_for_log(&[&harness.name, "worker lost", "on the control descriptor"]).await;
}

/// R41: an unexpected frame before the hello or before the ready, or another protocol version, is a failed start.
#[actix::test]
async fn r41_a_start_in_the_wrong_order_is_a_failed_start() {
    let other_version = {
        let mut bytes = encoded(&WorkerMessage::Hello(hello()));
        let position = bytes.windows(12).position(|part| part == b"\"protocol\":1").unwrap();
        bytes[position + 11] = b'9';
        bytes
    };
    let starts: [(&str, Vec<Vec<u8>>); 4] = [
        ("sent another frame before its hello", vec![encoded(&WorkerMessage::Ready(ready()))]),
        ("sent another frame before its hello", vec![encoded(&result(WireId(1), "1"))]),
        (
            "sent an unexpected frame before its ready",
            vec![encoded(&WorkerMessage::Hello(hello())), encoded(&result(WireId(1), "1"))],
        ),
        ("protocol_mismatch", vec![other_version]),
    ];
    for (words, frames) in starts {
        let mut harness = Harness::start(basic(&unique_name("order")).build().unwrap());
        let mut peer = harness.launches.next().await;
        peer.calls.next().await;
        peer.calls.send_bytes(&frames.concat()).await;
        let failed = with_timeout("the failed start", harness.pool().send(WaitReady)).await.unwrap().unwrap_err();
        assert!(matches!(failed, Error::StartFailed { .. }) && failed.to_string().contains(words), "{words}: {failed}");
        assert!(peer.child.was_killed());
    }
}

/// R13: the reason of a failed start that a worker sends is quoted, with its traceback.
#[actix::test]
async fn r13_a_failed_start_quotes_the_workers_error() {
    let mut harness = Harness::start(basic(&unique_name("start")).build().unwrap());
    let mut peer = harness.launches.next().await;
    peer.handshake().await;
    let mut why = WorkerError::new(WorkerErrorKind::StartFailed, "no module named `shop`");
    (why.type_name, why.traceback) = (Some("ImportError".into()), Some("line 1".into()));
    peer.calls.send(&WorkerMessage::StartFailed(why)).await;
    peer.exit(ExitStatus::Code(1));
    let failed = with_timeout("the failed start", harness.pool().send(WaitReady)).await.unwrap().unwrap_err();
    assert!(failed.to_string().contains("exit status 1: ImportError: no module named `shop`"), "{failed}");
    assert_eq!(failed.report().unwrap().traceback.as_deref(), Some("line 1"));
    let shown = harness.status().await.last_start_error;
    assert!(shown.is_some_and(|shown| shown.contains("ImportError")));

    let child = harness.launches.next().await.ready().await.serve();
    harness.wait_healthy().await;
    assert_eq!(harness.status().await.last_start_error, None, "the later start succeeded");
    child.exit(ExitStatus::Code(0));
    let next = harness.launches.next().await;
    assert_eq!(harness.status().await.last_start_error, None, "a later death is not a failed start");
    next.ready().await.serve();
    harness.wait_healthy().await;
    let health: PoolHealth = harness.pool().send(herder_actors::HealthCheck).await.unwrap().unwrap();
    assert!(health.healthy && health.last_start_error.is_none());
}

/// R27: a worker that does not become ready is killed, and the error says so.
#[actix::test]
async fn r27_a_worker_that_does_not_become_ready_is_killed() {
    let config = basic(&unique_name("never")).start_timeout(Duration::from_millis(20)).build().unwrap();
    let mut harness = Harness::start(config);
    let mut peer = harness.launches.next().await;
    // On a busy machine the time may be over before the hello.
    _ = peer.calls.write(&encoded(&WorkerMessage::Hello(hello()))).await;
    peer.child.killed().await;
    let failed = with_timeout("the failed start", harness.pool().send(WaitReady)).await.unwrap().unwrap_err();
    assert!(failed.to_string().contains("not ready within `start_timeout`"), "{failed}");
}

/// A worker that closes its socket without exiting is killed. A worker that closes it because it exits is lost with its exit
/// status.
#[actix::test]
async fn a_worker_that_closes_its_socket_without_exiting_is_killed() {
    let (mut harness, mut peer) = Harness::basic("closed").await;
    let answer = harness.execute(echo(1));
    peer.call().await;
    peer.calls.close().await;
    peer.child.killed().await;
    let outcome = answer.get().await;
    assert!(lost_reason(&outcome).contains("the worker closed its socket without exiting"), "{outcome:?}");

    let mut peer = harness.launches.next().await.ready().await;
    harness.wait_healthy().await;
    let answer = harness.execute(echo(1));
    peer.call().await;
    peer.exit(ExitStatus::Code(0));
    let outcome = answer.get().await;
    assert_eq!(lost_reason(&outcome), "exit status 0", "a worker that exits by itself");
    harness.serve(1).await;
    harness.wait_healthy().await;
}

/// R41: after half a frame and an exit the error contains both.
#[actix::test]
async fn r41_half_a_frame_is_reported_as_truncated() {
    let (harness, mut peer) = Harness::basic("half").await;
    let answer = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    let frame = encoded(&result(wire, "\"a long answer\""));
    peer.calls.send_bytes(&frame[..frame.len() - 3]).await;
    peer.exit(ExitStatus::Signal(11));
    let outcome = answer.get().await;
    let reason = lost_reason(&outcome);
    assert!(reason.starts_with("signal 11 (SIGSEGV): protocol error (truncated"), "{reason}");
}

/// R36: an answer that is in the socket when its worker dies is delivered, even if another process holds the descriptor.
#[actix::test]
async fn r36_an_answer_left_in_the_socket_is_delivered() {
    let (harness, mut peer) = Harness::basic("unread").await;
    let answer = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    peer.answer(wire, "\"last answer\"").await;
    peer.child.exit(ExitStatus::Signal(9)); // its descriptors stay open, as if a grandchild held them
    assert_eq!(value(answer.get().await), "last answer");
    wait_for_log(&[&harness.name, "worker lost", "SIGKILL"]).await;
    drop(peer);
}

/// R41: answers without a waiting caller (unknown, repeated, late) are logged and dropped, and do not affect other calls.
#[actix::test]
async fn r41_answers_to_unknown_calls_are_dropped() {
    let (harness, mut peer) = Harness::basic("unknown").await;
    peer.answer(WireId(4711), "0").await;
    wait_for_log(&[&harness.name, "WARN", "unknown call"]).await;

    let answer = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    peer.answer(wire, "1").await;
    peer.answer(wire, "2").await;
    assert_eq!(value(answer.get().await), 1);
    wait_until("both were counted", async || harness.status().await.counters.unknown_frames == 2).await;

    let late = harness.execute(echo(3).timeout(Duration::from_millis(10)));
    let wire = peer.call().await.wire;
    assert!(matches!(late.get().await, Err(Error::DeadlineExceeded { may_have_run: true, .. })));
    let next = harness.execute(echo(4));
    harness.wait_queue(1, 1).await; // the late call is settled, but not finished: its slot is still in use
    peer.answer(wire, "3").await;
    let call = peer.echo().await;
    assert_eq!(&*call.payload, br#"{"n":4}"#);
    assert_eq!(value(next.get().await), json!({ "n": 4 }));
    assert_eq!(harness.status().await.counters.late_answers, 1);
}

/// R35: a late call is cancelled, then interrupted, then its worker is killed.
#[actix::test]
async fn r35_cancel_escalates_to_interrupt_and_kill() {
    let cancel = Cancel::new().interrupt(Duration::from_millis(5)).kill(Duration::from_millis(6));
    let (mut harness, mut peer) = Harness::one(basic(&unique_name("cancel")).cancel(cancel).build().unwrap()).await;
    let late = harness.execute(echo(1).timeout(Duration::from_millis(5)));
    let call = peer.call().await.wire;
    assert!(late.get().await.is_err());
    for expected in [false, true] {
        let message = peer.control.next().await;
        let Some(HostMessage::Cancel { wire, interrupt }) = message else { panic!("expected a cancel: {message:?}") };
        assert_eq!((wire, interrupt), (call, expected));
    }
    peer.child.killed().await;
    wait_for_log(&[&harness.name, "a cancelled or expired call did not stop"]).await;
    harness.serve(1).await;
    harness.wait_healthy().await;
}

/// R26: pings are sent on the control descriptor. A worker that stops answering them is stopped, and its call fails with the
/// reason.
#[actix::test]
async fn r26_a_worker_that_misses_pings_is_stopped() {
    let quick = Duration::from_millis(5);
    let health = Health::new().interval(quick).timeout(quick).failures(3);
    let (mut harness, mut peer) = Harness::one(enhanced(&unique_name("pings")).health(health).build().unwrap()).await;
    for _ in 0..2 {
        let Some(HostMessage::Ping { nonce }) = peer.control.next().await else { panic!("expected a ping") };
        peer.control.send(&WorkerMessage::Pong { nonce }).await;
    }
    let answer = harness.execute(echo(1));
    peer.call().await;
    peer.child.stopped().await;
    wait_for_log(&[&harness.name, "missed a ping", "missed_pings=3"]).await;
    peer.exit(ExitStatus::Signal(15));
    let outcome = answer.get().await;
    assert!(lost_reason(&outcome).contains("no answer to pings"), "{outcome:?}");
    let next = harness.launches.next().await.ready().await;
    next.serve();
}

/// A worker without control descriptor gets no pings and no cancels, and receives the shutdown message on the calls
/// descriptor.
#[actix::test]
async fn a_worker_without_control_descriptor_is_not_pinged() {
    let quick = Duration::from_millis(2);
    let health = Health::new().interval(quick).timeout(quick).failures(1);
    let mut harness = Harness::start(basic(&unique_name("plain")).health(health).build().unwrap());
    let mut peer = harness.launches.next().await;
    peer.handshake_with(WorkerHello { control: false, ..hello() }).await;
    peer.calls.send(&WorkerMessage::Ready(ready())).await;
    harness.wait_healthy().await;
    for n in 0..20 {
        let answer = harness.execute(echo(n));
        peer.echo().await;
        answer.get().await.unwrap();
    }
    let stopping = harness.pool().send(Shutdown::new(HANG_TIMEOUT));
    let stopping = actix_rt::spawn(stopping);
    assert!(matches!(peer.calls.next().await, Some(HostMessage::Shutdown)));
    peer.child.exit(ExitStatus::Code(0));
    with_timeout("the shutdown", stopping).await.unwrap().unwrap().unwrap();
    assert!(peer.control.next().await.is_none(), "nothing was sent there");
}

/// A call that does not fit into a frame is refused before admission, even if it would have to wait: it binds no session and
/// does not count as an answer.
#[actix::test]
async fn calls_too_large_for_a_frame_are_refused_before_admission() {
    let config = enhanced(&unique_name("large")).max_frame(1024).build().unwrap();
    let (harness, mut peer) = Harness::one(config).await;
    let holding = harness.execute(echo(1));
    let wire = peer.call().await.wire;
    let large = json!({ "text": "x".repeat(2000) });
    for n in 0..10 {
        let call = herder_actors::ExecuteInSession::new(&format!("s{n}"), "echo", &large);
        let answer = harness.pool().send(call).await.unwrap();
        assert!(matches!(answer, Err(Error::TooLarge { may_have_run: false, .. })), "{answer:?}");
    }
    harness.wait_queue(1, 0).await;
    peer.answer(wire, "1").await;
    assert_eq!(value(holding.get().await), 1);
    let next = harness.execute(echo(2));
    peer.echo().await;
    next.get().await.unwrap();
    let status = harness.status().await;
    assert_eq!((status.counters.refused, status.counters.failed), (0, 0), "they were refused before the core saw them");
    assert_eq!(status.session_affinity.total_sessions(), 0);
}

/// The end of a session is sent after the calls of the session.
#[actix::test]
async fn session_end_is_sent_after_its_calls() {
    let (harness, mut peer) = Harness::enhanced("ends").await;
    let answer = harness.in_session("ann", 1);
    let call = peer.echo().await;
    answer.get().await.unwrap();
    let (id, epoch) = call.session.unwrap();
    assert!(harness.pool().send(herder_actors::EndSession::new("ann")).await.unwrap().unwrap());
    let Some(HostMessage::SessionEnd(end)) = peer.calls.next().await else { panic!("expected a session end") };
    assert_eq!((end.session, end.epoch, end.reason), (id, epoch, EndReason::Ended));
}

/// R29: when a worker's actor panics or stops, its process is killed, its call fails, and nothing more is sent to that
/// process.
#[actix::test]
async fn r29_a_process_that_loses_its_actor_is_killed() {
    let (mut harness, mut peer) = Harness::enhanced("orphans").await;
    for stops in [false, true] {
        peer.child.ignore_sigkill(true); // its exit is delayed
        let running = harness.execute(echo(1));
        peer.call().await;
        match stops {
            false => harness.pool().send(InjectPanic::Worker(WorkerId(1))).await.unwrap().unwrap(),
            true => harness.pool().send(InjectStop(WorkerId(1))).await.unwrap().unwrap(),
        }
        peer.child.killed().await;
        wait_until("the worker is being stopped", async || {
            harness.workers().await[0].state == WorkerState::Terminating
        })
        .await;
        let waiting = harness.execute(echo(2));
        harness.wait_queue(1, 1).await;
        peer.child.exit(ExitStatus::Signal(9));
        let outcome = running.get().await;
        assert!(lost_reason(&outcome).contains("its actor panicked"), "{outcome:?}");
        peer = harness.launches.next().await.ready().await;
        peer.echo().await;
        assert_eq!(
            waiting.get().await.unwrap().generation,
            peer.worker.generation,
            "it was not sent to the old process"
        );
        wait_for_log(&[&harness.name, "worker lost", "its actor panicked"]).await;
    }
    assert_eq!(harness.status().await.counters.state_rebuilds, 0);
}

/// R29: this also holds for an actor that ends before it has served.
#[actix::test]
async fn r29_a_process_whose_actor_ends_at_once_is_replaced() {
    let (peers, launches) = FakeWorkers::new();
    let control = peers.clone();
    control.set_outcome(LaunchOutcome::Deferred);
    let pool = basic(&unique_name("at-once")).build().unwrap();
    let mut harness = Harness::with(pool, peers, launches);
    let peer = harness.launches.next().await;
    control.set_outcome(LaunchOutcome::Ok);
    control.complete_launch();
    wait_until("the worker has an actor", async || {
        harness.pool().send(InjectStop(WorkerId(1))).await.unwrap().unwrap();
        peer.child.was_killed()
    })
    .await;
    harness.launches.next().await.ready().await.serve();
    harness.wait_healthy().await;
}

/// A process that is stopped while it is launched is killed as soon as it has started, and its exit is awaited.
#[actix::test]
async fn a_process_stopped_during_its_launch_is_killed() {
    for shut_down in [false, true] {
        let (peers, launches) = FakeWorkers::new();
        let control = peers.clone();
        control.set_outcome(LaunchOutcome::Deferred);
        let mut harness = Harness::with(basic(&unique_name("spawned")).build().unwrap(), peers, launches);
        let peer = harness.launches.next().await;
        peer.child.ignore_sigkill(true);
        control.set_outcome(LaunchOutcome::Ok);
        let kill = KillWorker::new(process(1, 1));
        let ended = match shut_down {
            true => actix_rt::spawn({
                let shutdown = harness.pool().send(Shutdown::new(HANG_TIMEOUT));
                async move { shutdown.await.unwrap().map(drop) }
            }),
            false => actix_rt::spawn({
                let killed = harness.pool().send(kill);
                async move { killed.await.unwrap() }
            }),
        };
        wait_until("the worker is being stopped", async || {
            harness.workers().await[0].state == WorkerState::Terminating
        })
        .await;
        control.complete_launch();
        peer.child.killed().await;
        assert!(!ended.is_finished(), "the exit is awaited");
        peer.child.exit(ExitStatus::Signal(9));
        with_timeout("the end", ended).await.unwrap().unwrap();
    }
}

/// Failed launches are failed starts with their reason: an error, a panic of the launcher, an unusable socket.
#[actix::test]
async fn failed_launches_are_reported_and_retried() {
    let cases = [
        (LaunchOutcome::NotFound, "there is no such program"),
        (LaunchOutcome::Panics, "no launcher today"),
        (LaunchOutcome::NoSockets, "cannot poll the worker's sockets"),
    ];
    for (case, words) in cases {
        let (peers, launches) = FakeWorkers::new();
        let control = peers.clone();
        control.set_outcome(case);
        let mut harness = Harness::with(basic(&unique_name("launch")).build().unwrap(), peers, launches);
        let failed = with_timeout("the failed start", harness.pool().send(WaitReady)).await.unwrap().unwrap_err();
        assert!(failed.to_string().contains(words), "{words}: {failed}");
        control.set_outcome(LaunchOutcome::Ok);
        loop {
            let peer = harness.launches.next().await;
            if !peer.child.was_killed() {
                peer.ready().await.serve();
                break;
            }
        }
        harness.wait_healthy().await;
        let status = with_timeout("a status", harness.pool().send(GetStatus)).await.unwrap();
        assert_eq!((status.state, status.counters.state_rebuilds), (PoolState::Running, 0));
    }
}

/// R31: the old worker of a reload has the time until the last deadline of its own calls, then `cancel.kill` and `stop.grace`.
#[actix::test]
async fn r31_old_worker_of_a_reload_has_the_time_of_its_calls() {
    let seconds = Duration::from_secs;
    let config = basic(&unique_name("reload"))
        .stop(Stop::new().grace(seconds(3)).term(seconds(2)))
        .cancel(Cancel::new().kill(seconds(5)))
        .build()
        .unwrap();
    let (peers, launches) = FakeWorkers::new();
    let name = config.name().to_string();
    let supervisor = PoolSupervisor::with_launcher(config, peers).with_clock(VirtualClock::new());
    let mut harness = Harness { client: PoolClient::start(supervisor), launches, name };
    let mut old = harness.launches.next().await.ready().await;
    harness.wait_healthy().await;
    let running = harness.execute(echo(1).timeout(seconds(60)));
    let wire = old.call().await.wire;
    let waiting = harness.execute(echo(2).timeout(seconds(900)));
    harness.wait_queue(1, 1).await;
    let reload = actix_rt::spawn(harness.pool().send(Reload));
    let new = harness.launches.next().await.ready().await;
    assert_eq!(old.child.stopped().await, (seconds(60 + 5 + 3), seconds(2)));
    new.serve();
    assert!(waiting.get().await.is_ok());
    old.answer(wire, "1").await;
    assert_eq!(value(running.get().await), 1);
    assert_eq!(with_timeout("the reload", reload).await.unwrap().unwrap().unwrap().workers, 1);
}
