//! The reader after the exit of its process, and an exit that is seen late.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use super::*;
use crate::{
    Error, Execute, PoolConfig, PoolSupervisor,
    child::ChildHandle,
    clock::{Clock, WallClock},
    recorder::frames,
    shared_state::{Link, State},
    testing::{FakeWorkers, HANG_TIMEOUT, VirtualClock, encoded, hello, ready, result, wait_until, with_timeout},
};
use actix::Actor;
use herder_core::{ExitStatus, Generation, WireId, WorkerId};
use serde_json::json;
use std::{cell::RefCell, io::Write, os::unix::net::UnixStream as Peer, pin::Pin, rc::Rc};

/// More than any test writes.
const LIMIT: usize = 1 << 20;
const WORKER: WorkerRef = WorkerRef { id: WorkerId(1), generation: Generation(1) };

/// A process with this pid that has exited.
struct Reaped(u32);

impl ChildHandle for Reaped {
    fn pid(&self) -> u32 {
        self.0
    }

    fn kill(&self) {}

    fn stop(&self, _: Duration, _: Duration) {}

    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>> {
        Box::pin(std::future::ready(ExitStatus::Code(0)))
    }

    fn output_tail(&self) -> Vec<String> {
        Vec::new()
    }
}

fn bytes(messages: &[WorkerMessage]) -> Vec<u8> {
    messages.iter().flat_map(encoded).collect()
}

/// Returns the handshake of a process whose pid is 1.
fn handshake() -> Vec<u8> {
    bytes(&[WorkerMessage::Hello(hello()), WorkerMessage::Ready(ready())])
}

/// Returns the answers of two calls.
fn answers() -> Vec<u8> {
    bytes(&[1, 2].map(|wire| result(WireId(wire), "null")))
}

/// Reads what a process with this pid, which has exited, wrote after its handshake. `write` has both ends of the socket, and
/// returns the process's end if that stays open. Returns the verdict, and the number of answers that were read.
fn drain(pid: u32, limit: usize, write: impl FnOnce(&mut Peer, Peer) -> Option<Peer>) -> (Answers, usize) {
    let (mut host, mut peer) = Peer::pair().unwrap();
    peer.write_all(&handshake()).unwrap();
    let open = write(&mut host, peer);
    let config = PoolConfig::basic("drained").command(["scripted"]).pool_size(1).build().unwrap();
    let (clock, fault) = (Clock::default(), FirstFault::new());
    let shared_state = Rc::new(RefCell::new(State::new(config, 1, clock.clone())));
    let link = Link::new(WORKER, Rc::new(Reaped(pid)), 1 << 20, 1 << 18, clock.clone());
    let recorder = link.recorder.clone();
    shared_state.borrow_mut().connect(link);
    let mut reader = Reader::new(shared_state, WORKER, 1 << 20, &fault, &recorder);
    let verdict = reader.drain(&WorkerSocket::new(host).unwrap(), limit);
    drop(open);
    let (frames, _) = frames(&recorder, &WallClock::now(&clock));
    (verdict, frames.iter().filter(|frame| frame.kind == "result" && frame.fault.is_none()).count())
}

/// R20
#[actix_rt::test]
async fn r20_orderly_stream_is_read_to_its_end() {
    let end = |_: &mut Peer, mut peer: Peer| {
        peer.write_all(&answers()).unwrap();
        None
    };
    assert_eq!(drain(1, LIMIT, end), (Answers::ReadToEnd, 2));
}

/// R20: the process had unread calls. The kernel reports a reset only after everything that the process wrote.
#[actix_rt::test]
async fn r20_reset_follows_all_answers() {
    let reset = |host: &mut Peer, mut peer: Peer| {
        host.write_all(b"a call").unwrap();
        peer.write_all(&answers()).unwrap();
        None
    };
    assert_eq!(drain(1, LIMIT, reset), (Answers::ReadToEnd, 2));
}

/// R20: a forked child holds the descriptor. Behind a wrapper, the process that was reaped is not the one that answers.
#[actix_rt::test]
async fn r20_open_stream_is_complete_if_the_worker_itself_was_reaped() {
    let stays_open = |_: &mut Peer, mut peer: Peer| {
        peer.write_all(&answers()).unwrap();
        Some(peer)
    };
    assert_eq!(drain(1, LIMIT, stays_open), (Answers::ReadToEnd, 2));
    assert_eq!(drain(2, LIMIT, stays_open), (Answers::Unknown, 2));
}

/// R20
#[actix_rt::test]
async fn r20_violation_hides_the_answers_behind_it() {
    let garbage = vec![0xff; 40];
    let too_large = [&(1_u32 << 21).to_le_bytes()[..], &[4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat();
    let unexpected = handshake();
    for violation in [garbage, too_large, unexpected] {
        let write = |_: &mut Peer, mut peer: Peer| {
            peer.write_all(&[&answers(), &violation[..], &answers()].concat()).unwrap();
            None
        };
        assert_eq!(drain(1, LIMIT, write), (Answers::Unknown, 2));
    }
}

/// R20: a process that is killed while it writes leaves part of an answer.
#[actix_rt::test]
async fn r20_half_frame_at_the_end_is_an_answer_that_was_not_read() {
    for stays_open in [false, true] {
        let write = |_: &mut Peer, mut peer: Peer| {
            let answers = answers();
            peer.write_all(&answers[..answers.len() - 1]).unwrap();
            stays_open.then_some(peer)
        };
        assert_eq!(drain(1, LIMIT, write), (Answers::Unknown, 1));
    }
}

/// R20: a child of the process that goes on writing must not delay the exit for ever.
#[actix_rt::test]
async fn r20_answers_beyond_the_limit_are_not_read() {
    // The socket has more bytes than two reads take.
    let count = 2 * READ_SIZE / answers().len() + 2;
    let write = |_: &mut Peer, mut peer: Peer| {
        peer.write_all(&answers().repeat(count)).unwrap();
        None
    };
    let limited = drain(1, READ_SIZE / 2, write);
    assert_eq!(limited.0, Answers::Unknown);
    assert_eq!(drain(1, LIMIT, write).0, Answers::ReadToEnd);
}

/// R41: a host that was suspended longer than [`EXIT_TIMEOUT`] sees the exit and the timeout at the same time: the worker
/// exited and did not violate the protocol.
#[actix_rt::test]
async fn r41_an_exit_seen_after_the_timeout_is_no_protocol_violation() {
    let config = PoolConfig::basic("late").command(["scripted"]).pool_size(1).overflow(0).timeout(HANG_TIMEOUT);
    let (clock, (peers, mut launches)) = (VirtualClock::new(), FakeWorkers::new());
    let pool = PoolSupervisor::with_launcher(config.build().unwrap(), peers).with_clock(clock.clone()).start();
    let call = pool.send(Execute::new("echo", &json!({})));
    let mut peer = launches.next().await.ready().await;
    let call = actix_rt::spawn(call);
    peer.call().await;
    peer.calls.close().await;
    wait_until("the end of the stream is read", async || clock.is_set_for(clock.now() + EXIT_TIMEOUT)).await;
    peer.child.exit(ExitStatus::Code(0));
    clock.jump(EXIT_TIMEOUT);
    match with_timeout("the call's end", call).await.unwrap().unwrap() {
        Err(Error::WorkerLost { reason, .. }) => assert_eq!(&*reason, "exit status 0"),
        other => panic!("expected a lost worker: {other:?}"),
    }
}

/// R29, R42: a panic between two chunks ends the task of the reader, and with it the consumers that it was about to wake. They
/// are woken.
#[test]
fn r42_dropped_reader_wakes_its_consumers() {
    struct Woken(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let config = PoolConfig::basic("readers").command(["scripted"]).pool_size(1).build().unwrap();
    let (clock, fault) = (Clock::default(), FirstFault::new());
    let state = Rc::new(RefCell::new(State::new(config, 1, clock.clone())));
    let recorder = Link::new(WORKER, Rc::new(Reaped(1)), 1 << 20, 1 << 18, clock).recorder;
    let woken = std::sync::Arc::new(Woken(false.into()));
    let mut reader = Reader::new(state, WORKER, 1024, &fault, &recorder);
    reader.wakers.push(woken.clone().into());
    drop(reader);
    assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed));
}
