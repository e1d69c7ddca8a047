//! A worker that the test plays: it holds the worker's ends of a process's two sockets and sends messages of the protocol, or
//! any bytes. Holds the sockets and the bytes read from them.

use super::{process::ScriptedChild, wait::with_timeout};
use bytes::BytesMut;
use herder_core::{ExitStatus, WireId, WorkerRef};
use herder_wire::{
    CallFrame, CallResult, CommandEntry, Decoder, HostHello, HostMessage, Ready, Stamps, WorkerError, WorkerErrorKind,
    WorkerHello, WorkerMessage,
};
use std::{future::poll_fn, io, num::NonZeroU32, pin::Pin, sync::Arc};
use tokio::{io::AsyncWrite, net::UnixStream};

const MAX_FRAME: u32 = 1 << 20;

/// The worker's side of a process that a pool has launched.
#[derive(Debug)]
pub struct FakeWorker {
    /// The process that it plays.
    pub worker: WorkerRef,
    /// The process as the pool sees it. The test ends it here.
    pub child: Arc<ScriptedChild>,
    /// The calls descriptor: calls and answers.
    pub calls: PeerSocket,
    /// The control descriptor: pings, cancels, shutdown.
    pub control: PeerSocket,
}

/// The worker's end of a socket, with the bytes read from it.
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

    /// Returns the next message of the host; `None` at the end of the stream. Cancel safe.
    ///
    /// # Panics
    /// If no message arrives in time, or invalid bytes do.
    pub async fn next(&mut self) -> Option<HostMessage> {
        with_timeout("a message of the host", self.message()).await
    }

    /// Like [`next`](Self::next), without a timeout.
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
    /// If the host does not read it in time.
    pub async fn send(&mut self, message: &WorkerMessage) {
        self.send_bytes(&encoded(message)).await;
    }

    /// Sends any bytes.
    ///
    /// # Panics
    /// If the host does not read them in time.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        with_timeout("a write to the host", self.write(bytes)).await.unwrap();
    }

    /// Like [`send_bytes`](Self::send_bytes), without a timeout. Returns an error if the host has closed the socket.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
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

    /// Ends the stream to the host. The other direction stays open.
    ///
    /// # Panics
    /// If the host has closed the socket.
    pub async fn close(&mut self) {
        poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await.unwrap();
    }
}

/// Encodes a message.
///
/// # Panics
/// If the message is too large for a frame.
///
/// ```
/// # use herder_actors::testing::{encoded, result, wire::WireId};
/// let bytes = encoded(&result(WireId(7), "null"));
/// assert_eq!(&bytes[..4], &20_u32.to_le_bytes(), "the length: two stamps and the value");
/// ```
pub fn encoded(message: &WorkerMessage) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(MAX_FRAME, &mut bytes).unwrap();
    bytes.to_vec()
}

/// Returns the hello of a worker that runs one call at a time and reads the control descriptor.
pub fn hello() -> WorkerHello {
    let (stack_signal, in_order, installed) = (None, None, None);
    WorkerHello {
        pid: 1,
        window: NonZeroU32::MIN,
        control: true,
        stack_signal,
        in_order,
        buffers: false,
        slabs: false,
        log_level: false,
        installed,
    }
}

/// Returns the ready message of a worker with the commands `echo`, and `again`, which is idempotent.
pub fn ready() -> Ready {
    let commands = vec![command("echo", false), command("again", true)];
    Ready { commands, window: None, in_order: None, health: false }
}

pub(super) fn command(name: &str, idempotent: bool) -> CommandEntry {
    CommandEntry::new(name, idempotent)
}

/// Creates the result of a call, with this JSON.
pub fn result(wire: WireId, json: &str) -> WorkerMessage {
    let payload = json.as_bytes().to_vec().into();
    WorkerMessage::Result(CallResult { wire, stamps: Stamps::NOT_RUN, payload, buffers: Vec::new() })
}

/// Creates the error of a call.
pub fn error(wire: WireId, kind: WorkerErrorKind, message: &str) -> WorkerMessage {
    WorkerMessage::Error { wire, stamps: Stamps::NOT_RUN, error: WorkerError::new(kind, message) }
}

impl FakeWorker {
    /// Receives the host's hello and answers it with [`hello`].
    ///
    /// # Panics
    /// If another message arrives.
    pub async fn handshake(&mut self) -> HostHello {
        self.handshake_with(hello()).await
    }

    /// Like [`handshake`](Self::handshake), with this hello.
    ///
    /// # Panics
    /// If another message arrives.
    pub async fn handshake_with(&mut self, hello: WorkerHello) -> HostHello {
        let Some(HostMessage::Hello(host)) = self.calls.next().await else {
            panic!("expected the host's hello as the first frame")
        };
        self.calls.send(&WorkerMessage::Hello(hello)).await;
        host
    }

    /// Completes the handshake and becomes ready, with the commands of [`ready`].
    ///
    /// # Panics
    /// If another message arrives.
    pub async fn ready(mut self) -> Self {
        self.handshake().await;
        self.calls.send(&WorkerMessage::Ready(ready())).await;
        self
    }

    /// Returns the next call.
    ///
    /// # Panics
    /// If no call arrives in time, or another message does.
    pub async fn call(&mut self) -> CallFrame {
        match self.calls.next().await {
            Some(HostMessage::Call(call)) => call,
            other => panic!("expected a call, got {other:?}"),
        }
    }

    /// Answers a call with this JSON.
    ///
    /// # Panics
    /// If the host does not read it in time.
    pub async fn answer(&mut self, wire: WireId, json: &str) {
        self.calls.send(&result(wire, json)).await;
    }

    /// Receives one call and answers it with its arguments.
    ///
    /// # Panics
    /// If no call arrives in time, or another message does.
    pub async fn echo(&mut self) -> CallFrame {
        let call = self.call().await;
        self.calls.send(&result(call.wire, std::str::from_utf8(&call.payload).unwrap())).await;
        call
    }

    /// Serves in a task: echoes calls, answers pings, exits with 0 at the shutdown message.
    ///
    /// # Panics
    /// Outside of a `LocalSet` or an actix system.
    pub fn serve(mut self) -> Arc<ScriptedChild> {
        let child = self.child.clone();
        actix_rt::spawn(async move { while self.serve_one().await {} });
        child
    }

    /// Handles one message. Returns false if the worker has ended.
    async fn serve_one(&mut self) -> bool {
        tokio::select! {
            message = self.calls.message() => match message {
                Some(HostMessage::Call(call)) => {
                    self.answer(call.wire, std::str::from_utf8(&call.payload).unwrap()).await;
                }
                Some(HostMessage::Shutdown) | None => return self.exit_on_shutdown(),
                Some(_) => {}
            },
            message = self.control.message() => match message {
                Some(HostMessage::Ping { nonce }) => self.control.send(&WorkerMessage::Pong { nonce }).await,
                Some(HostMessage::Shutdown) | None => return self.exit_on_shutdown(),
                Some(_) => {}
            },
            _ = self.child.ended() => return false,
        }
        true
    }

    fn exit_on_shutdown(&self) -> bool {
        self.child.exit(ExitStatus::Code(0));
        false
    }

    /// Ends the process and closes its sockets. Messages that it sent before can still be read.
    pub fn exit(self, status: ExitStatus) {
        self.child.exit(status);
    }
}
