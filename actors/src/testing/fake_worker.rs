//! A worker that the test plays itself: it stands at the other end of a process's two sockets, speaks with the worker's side of the
//! protocol, or sends whatever bytes it likes. Holds the sockets, and what was read from them.

use super::{
    ExitStatus, ScriptedChild,
    wire::{
        CallFrame, CallResult, CommandEntry, HostHello, HostMessage, Ready, WireId, WorkerError, WorkerErrorKind,
        WorkerHello, WorkerMessage,
    },
    with_timeout,
};
use crate::{Stamps, WorkerRef};
use bytes::BytesMut;
use herder_wire::Decoder;
use std::{future::poll_fn, io, num::NonZeroU32, pin::Pin, sync::Arc};
use tokio::{io::AsyncWrite, net::UnixStream};

const MAX_FRAME: u32 = 1 << 20;

/// The worker's end of one process that a pool believes to have launched.
#[derive(Debug)]
pub struct FakeWorker {
    /// Which process it is.
    pub worker: WorkerRef,
    /// The process as the pool sees it: it ends here.
    pub child: Arc<ScriptedChild>,
    /// Calls and answers.
    pub calls: PeerSocket,
    /// Pings, cancels, shutdown.
    pub control: PeerSocket,
}

/// One end of a socket, and what was read from it.
#[derive(Debug)]
pub struct PeerSocket {
    stream: UnixStream,
    decoder: Decoder,
    buffer: BytesMut,
}

impl PeerSocket {
    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        let stream = UnixStream::from_std(stream).unwrap();
        Self { stream, decoder: Decoder::new(MAX_FRAME), buffer: BytesMut::new() }
    }

    /// The next message of the host; `None` at the end of the stream. Cancel safe.
    ///
    /// # Panics
    /// When nothing comes, or what comes is no message.
    pub async fn next(&mut self) -> Option<HostMessage> {
        with_timeout("a message of the host", self.message()).await
    }

    /// The same, however long it takes.
    pub(super) async fn message(&mut self) -> Option<HostMessage> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buffer).unwrap() {
                return Some(HostMessage::parse(frame).unwrap());
            }
            self.stream.readable().await.ok()?;
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return None,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return None,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Sends a message.
    ///
    /// # Panics
    /// When the host does not take it.
    pub async fn send(&mut self, message: &WorkerMessage) {
        self.send_bytes(&encoded(message)).await;
    }

    /// Sends whatever bytes.
    ///
    /// # Panics
    /// When the host does not take them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        with_timeout("a write to the host", self.write(bytes)).await.unwrap();
    }

    /// The same, however long it takes; an error says that nobody reads any more.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more will come; the other direction stays open.
    ///
    /// # Panics
    /// When the host has closed it.
    pub async fn close(&mut self) {
        poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await.unwrap();
    }
}

/// A worker's message as bytes.
///
/// # Panics
/// When it is too large for a frame.
///
/// ```
/// use herder_actors::testing::{encoded, result, wire::WireId};
/// let bytes = encoded(&result(WireId(7), "null"));
/// assert_eq!(&bytes[..4], &20_u32.to_le_bytes(), "its length: two stamps and the value");
/// ```
pub fn encoded(message: &WorkerMessage) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(MAX_FRAME, &mut bytes).unwrap();
    bytes.to_vec()
}

/// What a worker says first: one call at a time, and a control descriptor that it serves.
pub fn hello() -> WorkerHello {
    WorkerHello { pid: 1, window: NonZeroU32::MIN, control: true, stack_signal: None }
}

/// The commands of a worker that is played: `echo`, and `again`, which is idempotent.
pub fn ready() -> Ready {
    let commands = vec![command("echo", false), command("again", true)];
    Ready { commands, window: None }
}

pub(super) fn command(name: &str, idempotent: bool) -> CommandEntry {
    CommandEntry { name: name.into(), idempotent }
}

/// A call's value, as JSON.
pub fn result(wire: WireId, json: &str) -> WorkerMessage {
    let payload = json.as_bytes().to_vec().into();
    WorkerMessage::Result(CallResult { wire, stamps: Stamps::NOT_RUN, payload })
}

/// A call's error.
pub fn error(wire: WireId, kind: WorkerErrorKind, message: &str) -> WorkerMessage {
    WorkerMessage::Error { wire, stamps: Stamps::NOT_RUN, error: WorkerError::new(kind, message) }
}

impl FakeWorker {
    /// Hears the host's hello and answers it with [`hello`].
    ///
    /// # Panics
    /// When something else comes.
    pub async fn handshake(&mut self) -> HostHello {
        self.handshake_with(hello()).await
    }

    /// The same with another answer.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn handshake_with(&mut self, hello: WorkerHello) -> HostHello {
        let Some(HostMessage::Hello(theirs)) = self.calls.next().await else {
            panic!("expected the host's hello as the first frame")
        };
        self.calls.send(&WorkerMessage::Hello(hello)).await;
        theirs
    }

    /// Greets, and takes calls from now on: the commands of [`ready`].
    ///
    /// # Panics
    /// When the host says something else.
    pub async fn ready(mut self) -> Self {
        self.handshake().await;
        self.calls.send(&WorkerMessage::Ready(ready())).await;
        self
    }

    /// The next call.
    ///
    /// # Panics
    /// When none comes, or something else.
    pub async fn call(&mut self) -> CallFrame {
        match self.calls.next().await {
            Some(HostMessage::Call(call)) => call,
            other => panic!("expected a call, got {other:?}"),
        }
    }

    /// Answers a call with a JSON text.
    ///
    /// # Panics
    /// When the host does not take it.
    pub async fn answer(&mut self, wire: WireId, json: &str) {
        self.calls.send(&result(wire, json)).await;
    }

    /// Hears one call and answers it with its own arguments.
    ///
    /// # Panics
    /// When none comes, or something else.
    pub async fn echo(&mut self) -> CallFrame {
        let call = self.call().await;
        self.calls.send(&result(call.wire, std::str::from_utf8(&call.payload).unwrap())).await;
        call
    }

    /// Serves by itself: echoes, answers pings, exits with 0 when told to end.
    ///
    /// # Panics
    /// Outside of a `LocalSet` or an actix system.
    pub fn serve(mut self) -> Arc<ScriptedChild> {
        let child = self.child.clone();
        actix_rt::spawn(async move { while self.serve_one().await {} });
        child
    }

    /// One message; false when that was the last.
    async fn serve_one(&mut self) -> bool {
        tokio::select! {
            message = self.calls.message() => match message {
                Some(HostMessage::Call(call)) => {
                    self.answer(call.wire, std::str::from_utf8(&call.payload).unwrap()).await;
                }
                Some(HostMessage::Shutdown) | None => return self.gone(),
                Some(_) => {}
            },
            message = self.control.message() => match message {
                Some(HostMessage::Ping { nonce }) => self.control.send(&WorkerMessage::Pong { nonce }).await,
                Some(HostMessage::Shutdown) | None => return self.gone(),
                Some(_) => {}
            },
            _ = self.child.ended() => return false,
        }
        true
    }

    fn gone(&self) -> bool {
        self.child.exit(ExitStatus::Code(0));
        false
    }

    /// Its process is gone, and its descriptors with it. What it sent before can still be read.
    pub fn exit(self, status: ExitStatus) {
        self.child.exit(status);
    }
}
