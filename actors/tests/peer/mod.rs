//! A scripted worker for the tests of actors: the pool believes that it launched a process, and the test stands at the other end of
//! its sockets. It speaks with the worker's side of `herder-wire`, or sends whatever bytes it likes. No process is started.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod logs;
mod process;
mod stage;

pub(crate) use {logs::logged, process::ScriptedChild, stage::*};

use bytes::BytesMut;
use herder_actors::{Error, Reply, WorkerRef};
use herder_core::{ExitStatus, WireId};
use herder_wire::{
    Call, CallResult, Codec, Codecs, CommandEntry, Decoder, HostHello, HostMessage, Ready, Stamps, WorkerError,
    WorkerErrorKind, WorkerHello, WorkerMessage,
};
use std::{num::NonZeroU32, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Longer than any test takes: against hanging only.
pub(crate) const HANGING: Duration = Duration::from_secs(60);

const MAX_FRAME: u32 = 1 << 20;

/// What a call gives.
pub(crate) type Outcome = Result<Reply, Error>;

/// The worker's end of one launched process.
pub(crate) struct Peer {
    pub(crate) at: WorkerRef,
    pub(crate) child: Rc<ScriptedChild>,
    pub(crate) calls: End,
    pub(crate) control: End,
}

/// One end of a socket, and what was read from it.
pub(crate) struct End {
    stream: UnixStream,
    decoder: Decoder,
    buffer: BytesMut,
}

impl End {
    pub(crate) fn new(stream: std::os::unix::net::UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        let stream = UnixStream::from_std(stream).unwrap();
        Self { stream, decoder: Decoder::new(MAX_FRAME), buffer: BytesMut::new() }
    }

    /// The next message of the host; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<HostMessage> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buffer).unwrap() {
                return Some(HostMessage::parse(frame).unwrap());
            }
            if guarded("a message of the host", self.stream.read_buf(&mut self.buffer)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn say(&mut self, message: &WorkerMessage) {
        self.bytes(&encoded(message)).await;
    }

    /// Whatever bytes, in one write.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        guarded("a write to the host", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Says that nothing more will come; the other direction stays open.
    pub(crate) async fn close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }
}

/// A worker's message as bytes.
pub(crate) fn encoded(message: &WorkerMessage) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(MAX_FRAME, &mut bytes).unwrap();
    bytes.to_vec()
}

pub(crate) fn hello() -> WorkerHello {
    let one = NonZeroU32::MIN;
    let codecs = Codecs { msgpack: false };
    WorkerHello { pid: 1, concurrency: one, window: one, codecs, control: true, stack_signal: None }
}

/// The commands of every scripted worker: `echo`, and `again`, which is idempotent.
pub(crate) fn ready() -> Ready {
    let entry = |name: &str, idempotent| CommandEntry { name: name.into(), idempotent, streams: false, batch: false };
    Ready { commands: vec![entry("echo", false), entry("again", true)], concurrency: None, window: None }
}

/// A call's value.
pub(crate) fn result(wire: WireId, json: &str) -> WorkerMessage {
    let payload = json.as_bytes().to_vec().into();
    WorkerMessage::Result(CallResult { wire, stamps: Stamps::NOT_RUN, codec: Codec::Json, payload })
}

/// A call's error.
pub(crate) fn error(wire: WireId, kind: WorkerErrorKind, message: &str) -> WorkerMessage {
    WorkerMessage::Error { wire, stamps: Stamps::NOT_RUN, error: WorkerError::new(kind, message) }
}

impl Peer {
    /// Hears the host's hello and answers it.
    pub(crate) async fn greet(&mut self) -> HostHello {
        self.greet_as(hello()).await
    }

    pub(crate) async fn greet_as(&mut self, hello: WorkerHello) -> HostHello {
        let Some(HostMessage::Hello(theirs)) = self.calls.next().await else { panic!("the host's hello comes first") };
        self.calls.say(&WorkerMessage::Hello(hello)).await;
        theirs
    }

    /// Takes calls from now on.
    pub(crate) async fn ready(mut self) -> Self {
        self.greet().await;
        self.calls.say(&WorkerMessage::Ready(ready())).await;
        self
    }

    /// The next call; passes over nothing else.
    pub(crate) async fn call(&mut self) -> Call {
        match self.calls.next().await {
            Some(HostMessage::Call(call)) => call,
            other => panic!("a call was to come, not {other:?}"),
        }
    }

    /// Answers a call with a JSON text.
    pub(crate) async fn answer(&mut self, wire: WireId, json: &str) {
        self.calls.say(&result(wire, json)).await;
    }

    /// Hears one call and answers it with its own arguments.
    pub(crate) async fn echo(&mut self) -> Call {
        let call = self.call().await;
        self.answer(call.wire, std::str::from_utf8(&call.payload).unwrap()).await;
        call
    }

    /// Serves by itself: echoes, answers pings, exits with 0 when told to end. Gives its child handle.
    pub(crate) fn serve(mut self) -> Rc<ScriptedChild> {
        let child = self.child.clone();
        actix_rt::spawn(async move {
            loop {
                tokio::select! {
                    message = self.calls.next() => match message {
                        Some(HostMessage::Call(call)) => {
                            self.answer(call.wire, std::str::from_utf8(&call.payload).unwrap()).await;
                        }
                        Some(HostMessage::Shutdown) | None => return self.exit(ExitStatus::Code(0)),
                        Some(_) => {}
                    },
                    message = self.control.next() => match message {
                        Some(HostMessage::Ping { nonce }) => {
                            self.control.say(&WorkerMessage::Pong { nonce }).await;
                        }
                        Some(HostMessage::Shutdown) | None => return self.exit(ExitStatus::Code(0)),
                        Some(_) => {}
                    },
                    _ = self.child.ended() => return,
                }
            }
        });
        child
    }

    /// Its process is gone, and its descriptors with it. What it sent before can still be read.
    pub(crate) fn exit(self, status: ExitStatus) {
        self.child.exit(status);
    }
}
