//! An answer that a process wrote before it ended is delivered, however close the two are (R36): the end can be noticed before the
//! arbiter has looked at its sockets again. A scripted peer stands in for the process, so that the order is always the same.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use actix::Actor;
use herder_actors::{ChildHandle, Execute, Launched, Launcher, Launching, PoolConfig, PoolSupervisor, WaitReady};
use herder_core::{ExitStatus, WorkerRef};
use std::{cell::RefCell, future::Future, io::Write, os::unix::net::UnixStream, pin::Pin, rc::Rc, time::Duration};
use tokio::{io::AsyncReadExt, sync::watch};

/// Hands out one process, made before; then none.
struct One(RefCell<Option<Launched>>);

impl Launcher for One {
    fn launch(&self, _: WorkerRef) -> Launching {
        let launched = self.0.borrow_mut().take().ok_or_else(|| String::from("there was only one"));
        Box::pin(async move { launched })
    }
}

/// A process that ends when the test says so.
struct Scripted(watch::Receiver<Option<ExitStatus>>);

impl ChildHandle for Scripted {
    fn pid(&self) -> u32 {
        1
    }

    fn kill(&self) {}

    fn stop(&self, _: Duration, _: Duration) {}

    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>> {
        let mut status = self.0.clone();
        Box::pin(
            async move { status.wait_for(Option::is_some).await.map_or(ExitStatus::Unknown, |status| status.unwrap()) },
        )
    }

    fn output_tail(&self) -> Vec<String> {
        Vec::new()
    }
}

fn frame(kind: u8, flags: u8, wire: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..], &[kind, flags, 0, 0], &wire.to_le_bytes(), body].concat()
}

/// Reads a frame: its kind and wire id.
async fn read(peer: &mut tokio::net::UnixStream) -> (u8, u64) {
    let mut header = [0; 16];
    peer.read_exact(&mut header).await.unwrap();
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    peer.read_exact(&mut vec![0; length as usize]).await.unwrap();
    (header[4], u64::from_le_bytes(header[8..].try_into().unwrap()))
}

#[actix::test]
async fn r36_an_answer_written_just_before_the_end_is_delivered() {
    let ((calls, peer), (control, _control)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    [&calls, &control, &peer].iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let (end, status) = watch::channel(None);
    let launched = Launched { calls, control, child: Rc::new(Scripted(status)) };
    let config = PoolConfig::basic("last_answer").command(["unused"]).pool_size(1).overflow(0).build().unwrap();
    let pool = PoolSupervisor::with_launcher(config, One(RefCell::new(Some(launched)))).start();

    let mut writer = peer.try_clone().unwrap();
    let mut peer = tokio::net::UnixStream::from_std(peer).unwrap();
    assert_eq!(read(&mut peer).await.0, 1, "the host's hello");
    let hello = br#"{"protocol":1,"pid":1,"concurrency":1,"window":1,"codecs":["json"]}"#;
    writer.write_all(&[frame(1, 1, 0, hello), frame(2, 1, 0, br#"{"commands":[{"name":"ok"}]}"#)].concat()).unwrap();
    pool.send(WaitReady).await.unwrap().unwrap();

    let call = actix::spawn(pool.send(Execute::new("ok", &std::collections::BTreeMap::<u8, u8>::new())));
    let (kind, wire) = read(&mut peer).await;
    assert_eq!(kind, 3, "the call");
    // No await between these two: the arbiter hears of the end before it looks at the socket.
    writer.write_all(&frame(4, 1, wire, &[&[0; 16][..], b"7"].concat())).unwrap();
    end.send(Some(ExitStatus::Signal(9))).unwrap();
    let reply = call.await.unwrap().unwrap().unwrap();
    assert_eq!(reply.decode::<u8>().unwrap(), 7);
}
