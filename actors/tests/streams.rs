//! Streams (R42) with a scripted worker: which frames are sent and accepted, what the consumer gets, and how a stream ends. No
//! process is started.

use crate::harness::*;
use futures_core::Stream;
use herder_actors::{
    Error, GetRecorder, Health, InjectPanic, PendingStream, PoolClient, PoolConfig, PoolSupervisor, Request, Result,
    Shutdown, Streams, WorkerId, testing::*,
};
use herder_core::{ExitStatus, WireId};
use herder_wire::{CallFrame, HostMessage, Stamps, WorkerHello, WorkerMessage};
use serde_json::json;
use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

/// The smallest window, in bytes.
const WINDOW: usize = 4096;
/// An item that counts 1024 bytes.
const ITEM: usize = 1024 - 16;

/// Starts a pool with this window, and a worker whose command `echo` is a generator.
async fn streaming(hint: &str) -> (Harness, FakeWorker) {
    let mut harness = Harness::start(config(hint));
    let peer = ready_to_stream(harness.launches.next().await).await;
    harness.wait_healthy().await;
    (harness, peer)
}

fn config(hint: &str) -> PoolConfig {
    basic(&unique_name(hint)).stream(Streams::new().window(WINDOW)).build().unwrap()
}

async fn ready_to_stream(mut peer: FakeWorker) -> FakeWorker {
    let hello = peer.handshake().await;
    assert_eq!(hello.stream_window.unwrap().get() as usize, WINDOW);
    let mut ready = ready();
    ready.commands[0].stream = true;
    peer.calls.send(&WorkerMessage::Ready(ready)).await;
    peer
}

fn submit(harness: &Harness, session: u64) -> PendingStream {
    harness.client.stream(Request::typed("echo", &json!({ "n": session })))
}

async fn next(stream: &mut PendingStream) -> Option<Result<String>> {
    let item = poll_fn(|context| Pin::new(&mut *stream).poll_next(context));
    let item = with_timeout("an item of a stream", item).await;
    item.map(|item| item.map(|json| String::from_utf8(json.to_vec()).unwrap()))
}

async fn is_waiting(stream: &mut PendingStream) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_next(context).is_pending())).await
}

fn chunk(wire: WireId, json: &str) -> WorkerMessage {
    WorkerMessage::Chunk { wire, item: json.as_bytes().to_vec().into(), buffers: Vec::new() }
}

fn end(wire: WireId) -> WorkerMessage {
    WorkerMessage::StreamEnd { wire, stamps: Stamps::NOT_RUN }
}

async fn begun(harness: &Harness, peer: &mut FakeWorker) -> (PendingStream, WireId) {
    let mut stream = submit(harness, 1);
    let CallFrame { wire, stream: is_stream, .. } = peer.call().await;
    assert!(is_stream);
    peer.calls.send(&chunk(wire, "0")).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "0");
    (stream, wire)
}

async fn control(peer: &mut FakeWorker) -> HostMessage {
    loop {
        match peer.control.next().await.unwrap() {
            HostMessage::Ping { nonce } => peer.control.send(&WorkerMessage::Pong { nonce }).await,
            other => return other,
        }
    }
}

/// Items arrive as they are sent, and the stream ends with the metadata of its call. The recorder keeps the first chunk only.
#[actix::test]
async fn r42_items_arrive_in_order() {
    let (harness, mut peer) = streaming("items").await;
    let (mut stream, wire) = begun(&harness, &mut peer).await;
    assert!(is_waiting(&mut stream).await && stream.metadata().is_none());
    let frames: Vec<u8> = (1..=9).flat_map(|n| encoded(&chunk(wire, &n.to_string()))).collect();
    peer.calls.send_bytes(&frames).await;
    peer.calls.send(&end(wire)).await;
    for n in 1..=9 {
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), n.to_string());
    }
    assert!(next(&mut stream).await.is_none() && next(&mut stream).await.is_none());
    assert_eq!(stream.metadata().unwrap().worker, WorkerId(1));
    assert_eq!(harness.status().await.counters.ok, 1);
    let recording = harness.pool().send(GetRecorder::new(WorkerId(1))).await.unwrap().unwrap();
    assert_eq!(recording.frames.iter().filter(|frame| frame.kind == "chunk").count(), 1);
}

/// A worker that has no generators, or no control descriptor, is sent plain calls. Their result is the only item.
#[actix::test]
async fn r42_plain_result_is_the_only_item() {
    let (harness, mut plain) = Harness::basic("plain").await;
    let mut harness_without = Harness::start(config("no-control"));
    let mut without = harness_without.launches.next().await;
    without.handshake_with(WorkerHello { control: false, ..hello() }).await;
    let mut ready = ready();
    ready.commands[0].stream = true;
    without.calls.send(&WorkerMessage::Ready(ready)).await;
    harness_without.wait_healthy().await;
    for (harness, peer) in [(&harness, &mut plain), (&harness_without, &mut without)] {
        let mut stream = submit(harness, 1);
        assert!(!peer.echo().await.stream);
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), r#"{"n":1}"#);
        assert!(next(&mut stream).await.is_none() && stream.metadata().is_some());
    }
    let (harness, mut peer) = streaming("one").await;
    let mut stream = submit(&harness, 1);
    assert!(peer.echo().await.stream, "an answer without the flag of the end");
    assert!(next(&mut stream).await.unwrap().is_ok() && next(&mut stream).await.is_none());
}

/// The worker gets a credit when half of the window was taken, and may not send more than the window and one item.
#[actix::test]
async fn r42_credits_are_for_what_the_consumer_takes() {
    let (mut harness, mut peer) = streaming("credits").await;
    let (mut stream, wire) = begun(&harness, &mut peer).await;
    let item = format!("\"{}\"", "x".repeat(ITEM - 2));
    // 17 bytes are used. Four items are more than the window.
    for _ in 0..4 {
        peer.calls.send(&chunk(wire, &item)).await;
    }
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), item);
    next(&mut stream).await;
    let credit = HostMessage::Credit { wire, bytes: 17 + 2 * 1024 };
    assert_eq!(control(&mut peer).await, credit, "half of the window");
    peer.calls.send(&chunk(wire, &item)).await;
    for _ in 0..3 {
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), item);
    }
    assert_eq!(control(&mut peer).await, HostMessage::Credit { wire, bytes: 2 * 1024 });
    // 1024 bytes are used.
    for _ in 0..4 {
        peer.calls.send(&chunk(wire, &item)).await;
    }
    peer.child.killed().await;
    let recording = harness.pool().send(GetRecorder::new(WorkerId(1))).await.unwrap().unwrap();
    let kinds: Vec<&str> = recording.frames.iter().map(|frame| &*frame.kind).collect();
    assert!(kinds.contains(&"chunk") && !kinds.contains(&"credit"), "{kinds:?}");
    for _ in 0..3 {
        assert!(next(&mut stream).await.unwrap().is_ok());
    }
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("sent more of a stream than its window allows"), "{error}");
    assert!(next(&mut stream).await.is_none());
    harness.serve(1).await;
}

/// Dropping a stream cancels its call. Chunks that arrive later are dropped without a credit, up to the window, and the call's
/// place is free after the final frame only.
#[actix::test]
async fn r42_dropped_stream_is_cancelled() {
    let (harness, mut peer) = streaming("dropped").await;
    let (stream, wire) = begun(&harness, &mut peer).await;
    drop(stream);
    assert_eq!(control(&mut peer).await, HostMessage::Cancel { wire, interrupt: false });
    for _ in 0..3 {
        peer.calls.send(&chunk(wire, &"x".repeat(ITEM))).await;
    }
    let waiting = harness.call(2);
    harness.wait_queue(1, 1).await;
    peer.calls.send(&end(wire)).await;
    peer.echo().await;
    assert!(with_timeout("the next call", waiting).await.is_ok());
    assert_eq!(harness.status().await.counters.abandoned, 1);
    // A stream that has ended is not cancelled.
    let (mut stream, wire) = begun(&harness, &mut peer).await;
    peer.calls.send(&end(wire)).await;
    assert!(next(&mut stream).await.is_none());
    drop(stream);
    assert_eq!(harness.status().await.counters.abandoned, 1);
}

/// R20, R36: a worker that dies in the middle ends its streams with an error, behind what had arrived.
#[actix::test]
async fn r36_items_before_a_death_are_delivered() {
    let (mut harness, mut peer) = streaming("death").await;
    let (mut stream, wire) = begun(&harness, &mut peer).await;
    let mut request = Request::typed("again", &json!({ "n": 2 }));
    request.idempotent(Some(true));
    peer.calls.send(&chunk(wire, "1")).await;
    peer.calls.send(&chunk(wire, "2")).await;
    peer.exit(ExitStatus::Signal(9));
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "1");
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "2");
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::WorkerLost { may_have_run: true, .. }), "{error:?}");
    assert!(next(&mut stream).await.is_none() && stream.metadata().is_none());
    // Without an item, an idempotent call is sent again.
    let mut peer = ready_to_stream(harness.launches.next().await).await;
    let mut stream = harness.client.stream(request);
    peer.call().await;
    peer.exit(ExitStatus::Signal(9));
    let mut peer = ready_to_stream(harness.launches.next().await).await;
    let wire = peer.call().await.wire;
    peer.calls.send(&chunk(wire, "1")).await;
    peer.calls.send(&error_of(wire)).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "1");
    assert!(matches!(next(&mut stream).await, Some(Err(Error::Exception { .. }))));
    assert!(next(&mut stream).await.is_none());
}

fn error_of(wire: WireId) -> WorkerMessage {
    error(wire, herder_wire::WorkerErrorKind::Exception, "no")
}

/// A call that is refused has its error as its only item.
#[actix::test]
async fn refused_stream_has_one_error() {
    let (harness, mut peer) = streaming("refused").await;
    let (_running, _) = begun(&harness, &mut peer).await;
    let mut stream = harness.client.stream(Request::typed("nope", &json!({})));
    assert!(matches!(next(&mut stream).await, Some(Err(Error::UnknownCommand { .. }))));
    assert!(next(&mut stream).await.is_none());
    let mut stream = harness.client.stream(Request::typed("echo", &json!([])));
    assert!(matches!(next(&mut stream).await, Some(Err(Error::Malformed { .. }))));
    assert!(next(&mut stream).await.is_none());
}

/// R41: chunks and ends that were not asked for are violations; those of a call that has ended are ignored.
#[actix::test]
async fn r41_unasked_chunks_are_violations() {
    let (mut harness, mut peer) = streaming("unasked").await;
    let messages: [fn(WireId) -> WorkerMessage; 2] = [|wire| chunk(wire, "1"), end];
    for (message, n) in messages.into_iter().zip(10..) {
        let (mut stream, wire) = begun(&harness, &mut peer).await;
        peer.calls.send(&end(wire)).await;
        assert!(next(&mut stream).await.is_none());
        peer.calls.send(&chunk(wire, "1")).await;
        peer.calls.send(&end(wire)).await;
        let answer = harness.execute(echo(n));
        let wire = peer.call().await.wire;
        assert_eq!(harness.status().await.counters.unknown_frames, 2 * (n - 9));
        peer.calls.send(&message(wire)).await;
        peer.child.killed().await;
        let lost = answer.get().await.unwrap_err();
        assert!(lost.to_string().contains("stream"), "{lost}");
        peer = ready_to_stream(harness.launches.next().await).await;
        harness.wait_healthy().await;
    }
}

/// R29: a panic in the pool ends its streams with an error, behind what had arrived.
#[actix::test]
async fn r29_panic_ends_streams() {
    let (mut harness, mut peer) = streaming("panic").await;
    let (mut stream, wire) = begun(&harness, &mut peer).await;
    peer.calls.send(&chunk(wire, "1")).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "1");
    harness.pool().send(InjectPanic::Step).await.unwrap().unwrap_err();
    assert!(matches!(next(&mut stream).await, Some(Err(Error::Internal { .. }))));
    assert!(next(&mut stream).await.is_none());
    drop(peer);
    harness.serve(1).await;
}

/// Waits until the host has read what the worker sent: a final frame of no call, the `number`th one, is counted.
async fn wait_read(harness: &Harness, peer: &mut FakeWorker, number: u64) {
    peer.calls.send(&end(WireId(1 << 40))).await;
    wait_until("the frame is read", async || harness.status().await.counters.unknown_frames == number).await;
}

/// `idle` and `stall` end a stream, each while only its own side is to blame, and the worker is asked to stop.
#[actix::test]
async fn r42_limits_of_a_stream() {
    let second = Duration::from_secs(1);
    let clock = VirtualClock::new();
    let name = unique_name("limits");
    let (stream, health) = (Streams::new().window(WINDOW).stall(3 * second), Health::new().interval(3600 * second));
    let config = basic(&name).stream(stream).health(health).build().unwrap();
    let (peers, launches) = FakeWorkers::new();
    let supervisor = PoolSupervisor::with_launcher(config, peers).with_clock(clock.clone());
    let mut harness = Harness { client: PoolClient::start(supervisor), launches, name };
    let mut peer = ready_to_stream(harness.launches.next().await).await;
    harness.wait_healthy().await;
    let submit = || {
        let mut request = Request::typed("echo", &json!({}));
        request.idle(Some(5 * second));
        harness.client.stream(request)
    };

    let mut stream = submit();
    let call = peer.call().await;
    assert_eq!(call.deadline, None, "a stream with an idle limit has no deadline");
    clock.advance(4 * second).await;
    peer.calls.send(&chunk(call.wire, "1")).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "1");
    clock.advance(4 * second).await;
    assert!(is_waiting(&mut stream).await);
    clock.advance(second).await;
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::IdleTimeout { idle, .. } if idle == 5 * second), "{error:?}");
    assert_eq!(control(&mut peer).await, HostMessage::Cancel { wire: call.wire, interrupt: false });
    peer.calls.send(&end(call.wire)).await;

    // The worker is out of credit, and not idle. The consumer takes an item now and then, and then none.
    let mut stream = submit();
    let wire = peer.call().await.wire;
    for _ in 0..4 {
        peer.calls.send(&chunk(wire, &"x".repeat(ITEM))).await;
    }
    wait_read(&harness, &mut peer, 1).await;
    next(&mut stream).await.unwrap().unwrap();
    for _ in 0..2 {
        clock.advance(2 * second).await;
    }
    assert!(next(&mut stream).await.unwrap().is_ok(), "it took one item in this time");
    assert_eq!(control(&mut peer).await, HostMessage::Credit { wire, bytes: 2048 });
    for _ in 0..2 {
        peer.calls.send(&chunk(wire, &"x".repeat(ITEM))).await;
    }
    wait_read(&harness, &mut peer, 2).await;
    // It says that it still works on the last item.
    let before = harness.status().await.counters;
    for _ in 0..4 {
        clock.advance(2 * second).await;
        stream.keep_busy();
    }
    assert_eq!(harness.status().await.counters, before);
    for _ in 0..4 {
        clock.advance(2 * second).await;
    }
    assert_ne!(harness.status().await.counters, before);
    for _ in 0..4 {
        assert!(next(&mut stream).await.unwrap().is_ok());
    }
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::StreamStalled { stall, .. } if stall == 3 * second), "{error:?}");
    assert_eq!((error.http_status(), error.may_have_run()), (408, true));
    assert_eq!(control(&mut peer).await, HostMessage::Cancel { wire, interrupt: false });
}

/// A hundred thousand items reach a consumer on another thread, which takes them in bursts. The worker never has more under way
/// than its window: the host would kill it.
#[actix::test]
async fn r42_many_items_reach_a_consumer_on_another_thread() {
    const ITEMS: u32 = 100_000;
    let (harness, mut peer) = streaming("many").await;
    let mut stream = submit(&harness, 1);
    let consumer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for number in 0..ITEMS {
                assert_eq!(next(&mut stream).await.unwrap().unwrap(), number.to_string());
                if number % 1000 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            assert!(next(&mut stream).await.is_none());
        });
    });
    let wire = peer.call().await.wire;
    let (mut used, mut credits) = (0, 0);
    let mut frames = Vec::new();
    for number in 0..ITEMS {
        if used >= WINDOW {
            peer.calls.send_bytes(&std::mem::take(&mut frames)).await;
            let HostMessage::Credit { bytes, .. } = control(&mut peer).await else { panic!("a credit") };
            (used, credits) = (used - bytes as usize, credits + 1);
        }
        let item = number.to_string();
        used += item.len() + 16;
        frames.extend(encoded(&chunk(wire, &item)));
    }
    peer.calls.send_bytes(&frames).await;
    peer.calls.send(&end(wire)).await;
    actix_rt::task::spawn_blocking(move || consumer.join()).await.unwrap().unwrap();
    assert!(credits <= ITEMS as usize * 21 / (WINDOW / 2), "{credits} credits: at most one for half of the window");
    assert!(!peer.child.was_killed());
}

/// R30: a shutdown lets streams end in its time, then fails them.
#[actix::test]
async fn r30_shutdown_waits_for_streams() {
    let (harness, mut peer) = streaming("shutdown").await;
    let (mut stream, _) = begun(&harness, &mut peer).await;
    let report = harness.pool().send(Shutdown::new(Duration::from_millis(1)));
    let child = peer.child.clone();
    let (report, ()) = tokio::join!(report, async {
        child.killed().await;
        drop(peer);
    });
    assert_eq!(report.unwrap().unwrap().aborted_calls, 1);
    assert!(matches!(next(&mut stream).await, Some(Err(Error::PoolClosed { may_have_run: true, .. }))));
}
