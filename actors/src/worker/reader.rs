//! Reads the calls descriptor: finds frames, checks that they may come now, and hands each to the pool's state.

use super::serve::{self, protocol_fault};
use crate::{
    Launch,
    recorder::{Descriptor, MalformedFrame, Recorder},
    shared_state::{CommandTable, FinalFrame, SharedState, with},
};
use bytes::BytesMut;
use herder_core::WorkerRef;
use herder_process::Signal;
use herder_wire::{Decoder, Frame, FrameError, Header, Ready, WorkerError, WorkerHello, WorkerMessage};
use std::{io, num::NonZeroU8, time::Duration};
use tokio::net::UnixStream;

/// One read. More crosses malloc's mmap threshold and costs page faults.
const READ: usize = 64 * 1024;
/// Reads in a row before others on the arbiter get their turn: a process that floods its descriptor would starve them.
const BURST: u32 = 16;
/// After an exit at most so much is read: more than a socket's buffer holds.
const DRAIN: usize = 16 * 1024 * 1024;
/// How long after the end of the stream a process may take to exit before that counts as a fault.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// The most characters of a line that a reason quotes.
const MAX_QUOTED_CHARS: usize = 512;

/// The host's side of the calls descriptor.
pub(super) struct Reader<'a> {
    shared_state: SharedState,
    worker: WorkerRef,
    decoder: Decoder,
    buffer: BytesMut,
    handshake: HandshakeState,
    fault: &'a serve::Fault,
    recorder: &'a Recorder,
    /// Nothing that comes after what this stream brought is to be trusted.
    stream_failed: bool,
    start_error: Option<WorkerError>,
}

/// What the worker may say next.
enum HandshakeState {
    Hello,
    Loading(WorkerHello),
    Serving,
}

enum Fault {
    Frame(FrameError),
    Order(&'static str),
}

impl Fault {
    fn name(&self) -> &'static str {
        match self {
            Self::Frame(error) => error.name(),
            Self::Order(_) => "out_of_order",
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        shared_state: SharedState,
        worker: WorkerRef,
        max_frame: u32,
        fault: &'a serve::Fault,
        recorder: &'a Recorder,
    ) -> Self {
        let decoder = Decoder::new(max_frame);
        Self {
            shared_state,
            worker,
            decoder,
            buffer: BytesMut::new(),
            handshake: HandshakeState::Hello,
            fault,
            recorder,
            stream_failed: false,
            start_error: None,
        }
    }

    /// Reads until the stream ends or breaks the protocol, then waits for ever: the exit tells the rest. Cancel safe: bytes
    /// that were read are in the buffer.
    pub(super) async fn run(&mut self, stream: &UnixStream) {
        let mut reads = 0_u32;
        loop {
            self.make_room();
            match stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return self.ended().await,
                Ok(_) => reads += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stream.readable().await.is_err() {
                        return self.ended().await;
                    }
                    reads = 0;
                    continue;
                }
                Err(_) => return self.ended().await,
            }
            if let Err(fault) = self.take_frames() {
                self.note(fault);
                protocol_fault(&self.shared_state, self.worker);
                return std::future::pending().await;
            }
            if reads.is_multiple_of(BURST) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// After the exit: an answer can still be there, also after SIGKILL. Reads until it would block, not until the end of
    /// the stream: a forked grandchild may hold the descriptor. One that goes on writing is not heard for ever.
    pub(super) fn drain(&mut self, stream: &UnixStream) {
        let mut left = DRAIN;
        while !self.stream_failed && left > 0 {
            self.make_room();
            match read_now(stream, &mut self.buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    left = left.saturating_sub(count);
                    if let Err(fault) = self.take_frames() {
                        self.note(fault);
                    }
                }
            }
        }
        if !self.stream_failed
            && let Err(error) = self.decoder.finish(&self.buffer)
        {
            self.unreadable(error);
        }
    }

    /// What is known beyond the exit status, and the traceback of a failed start. `printed` is what the process printed last.
    pub(super) fn exit_detail(mut self, printed: &[String]) -> (Option<Box<str>>, Option<Box<str>>) {
        let Some(error) = self.start_error.take() else {
            return (self.fault.get().cloned().or_else(|| self.unexplained(printed)), None);
        };
        let text = match error.type_name {
            Some(kind) => format!("{kind}: {}", error.message),
            None => error.message,
        };
        (Some(text.into()), error.traceback.map(Into::into))
    }

    /// Describes a start that failed without an error frame: the program, if it sent no hello, and the last line that it printed.
    fn unexplained(&self, printed: &[String]) -> Option<Box<str>> {
        let silent = match self.handshake {
            HandshakeState::Hello => {
                Some(format!("{} sent no hello", program(self.shared_state.borrow().config().launch())))
            }
            HandshakeState::Loading(_) => None,
            HandshakeState::Serving => return None,
        };
        let last = printed.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
        let last = last.map(|line| format!("its last output line: {}", shortened(line)));
        let parts: Vec<String> = silent.into_iter().chain(last).collect();
        (!parts.is_empty()).then(|| parts.join("; ").into())
    }

    fn make_room(&mut self) {
        let missing = self.decoder.missing(&self.buffer);
        if self.buffer.capacity() - self.buffer.len() < missing.max(READ / 4) {
            self.buffer.reserve(missing.max(READ));
        }
    }

    fn take_frames(&mut self) -> Result<(), Fault> {
        loop {
            let frame = match self.decoder.next(&mut self.buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.recorder.malformed(MalformedFrame::bytes(Descriptor::Calls, &error, &self.buffer));
                    return Err(Fault::Frame(error));
                }
            };
            let header = frame.header;
            self.take(frame).inspect_err(|fault| {
                self.recorder.malformed(MalformedFrame::frame(Descriptor::Calls, fault.name(), &header));
            })?;
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), Fault> {
        let header = frame.header;
        let message = WorkerMessage::parse(frame).map_err(Fault::Frame)?;
        match (message, &self.handshake) {
            (WorkerMessage::Result(result), HandshakeState::Serving) => {
                self.arrived(&header, FinalFrame::Result(result))
            }
            (WorkerMessage::Error { error, .. }, HandshakeState::Serving) => {
                self.arrived(&header, FinalFrame::Error(error))
            }
            (WorkerMessage::Ignored(_), _) => self.record(&header),
            (WorkerMessage::Hello(hello), HandshakeState::Hello) => {
                self.record(&header);
                self.on_hello(hello);
            }
            (WorkerMessage::Ready(ready), HandshakeState::Loading(hello)) => {
                let window = hello.window.get();
                self.record(&header);
                self.ready(ready, window);
            }
            (WorkerMessage::StartFailed(error), HandshakeState::Hello | HandshakeState::Loading(_)) => {
                self.record(&header);
                self.start_error = Some(error);
            }
            (_, HandshakeState::Hello) => return Err(Fault::Order("sent another frame before its hello")),
            (_, HandshakeState::Loading(_)) => return Err(Fault::Order("sent an unexpected frame before its ready")),
            (_, HandshakeState::Serving) => {
                return Err(Fault::Order("sent a hello, a ready or a pong on the calls descriptor after its ready"));
            }
        }
        Ok(())
    }

    /// A final frame, in a step that records it too: with the step's time, before what follows from it.
    fn arrived(&self, header: &Header, arrival: FinalFrame) {
        let _ = with(&self.shared_state, |state| state.arrived(self.worker, header, arrival, self.recorder));
    }

    /// Any other frame; rare enough to look at the clock.
    fn record(&self, header: &Header) {
        self.recorder.received(self.recorder.now(), Descriptor::Calls, header);
    }

    fn on_hello(&mut self, hello: WorkerHello) {
        if let Some(link) = self.shared_state.borrow_mut().link(self.worker) {
            link.on_hello(hello.control);
            link.is_direct_child = link.child.pid() == hello.pid;
            link.stack_signal = hello.stack_signal.filter(|_| link.is_direct_child).and_then(signal);
        }
        self.handshake = HandshakeState::Loading(hello);
    }

    fn ready(&mut self, ready: Ready, hello_window: u32) {
        self.handshake = HandshakeState::Serving;
        let window = ready.window.map_or(hello_window, |window| window.get().min(hello_window));
        let commands: CommandTable = ready.commands.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        let _ = with(&self.shared_state, |state| state.ready(self.worker, window, commands));
    }

    /// The stream ended. A process that is about to exit has a moment for it; one that only closed its descriptor is of no use.
    async fn ended(&mut self) {
        if let Err(error) = self.decoder.finish(&self.buffer) {
            self.unreadable(error);
        }
        let clock = self.shared_state.borrow().clock().clone();
        clock.sleep(EXIT_TIMEOUT).await;
        // A host that was held up for that long learns of an exit in the meantime only now: who waits for it comes first.
        tokio::task::yield_now().await;
        self.recorder.malformed(MalformedFrame::closed(Descriptor::Calls));
        self.note(Fault::Order("closed its socket without exiting"));
        protocol_fault(&self.shared_state, self.worker);
        std::future::pending::<()>().await;
    }

    /// The stream ended in the middle of a frame.
    fn unreadable(&mut self, error: FrameError) {
        self.recorder.malformed(MalformedFrame::bytes(Descriptor::Calls, &error, &self.buffer));
        self.note(Fault::Frame(error));
    }

    fn note(&mut self, fault: Fault) {
        self.stream_failed = true;
        let _ = self.fault.set(match fault {
            Fault::Frame(error) => protocol_error("", &error),
            Fault::Order(what) => format!("protocol error: the worker {what}").into(),
        });
    }
}

/// The signal of this number, if the system has one.
fn signal(number: NonZeroU8) -> Option<Signal> {
    Signal::from_named_raw(i32::from(number.get()))
}

/// Asks the system, not the reactor: to the reactor a socket "would block" until it was polled again, whatever lies in it.
fn read_now(stream: &UnixStream, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut chunk = vec![0; READ];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(stream, &mut chunk[..]))?;
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// A bad frame in words.
pub(super) fn protocol_error(place: &str, error: &FrameError) -> Box<str> {
    format!("protocol error ({}{place}): {error}", error.name()).into()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::EXIT_TIMEOUT;
    use crate::{
        Error, Execute, PoolConfig, PoolSupervisor,
        testing::{FakeWorkers, HANG_TIMEOUT, VirtualClock, wait_until, with_timeout},
    };
    use actix::Actor;
    use herder_core::ExitStatus;
    use serde_json::json;

    /// A host that was held up beyond its patience learns at once that the worker exited and that the patience is over: it exited, and broke
    /// no protocol.
    #[actix_rt::test]
    async fn r41_an_exit_that_is_seen_late() {
        let config = PoolConfig::basic("late").command(["scripted"]).pool_size(1).overflow(0).timeout(HANG_TIMEOUT);
        let (clock, (peers, mut launches)) = (VirtualClock::new(), FakeWorkers::new());
        let pool = PoolSupervisor::with_launcher(config.build().unwrap(), peers).with_clock(clock.clone()).start();
        let call = pool.send(Execute::new("echo", &json!({})));
        let mut peer = launches.next().await.ready().await;
        let call = actix_rt::spawn(call);
        peer.call().await;
        peer.calls.close().await;
        wait_until("the end was read", async || clock.is_set_for(clock.now() + EXIT_TIMEOUT)).await;
        peer.child.exit(ExitStatus::Code(0));
        clock.jump(EXIT_TIMEOUT);
        match with_timeout("the call's end", call).await.unwrap().unwrap() {
            Err(Error::WorkerLost { reason, .. }) => assert_eq!(&*reason, "exit status 0"),
            other => panic!("the worker was to be lost: {other:?}"),
        }
    }
}

/// The program that was started, for a message.
fn program(launch: &Launch) -> String {
    match launch {
        Launch::App { python, .. } if python.components().count() > 1 => format!("`{}`", python.display()),
        Launch::App { python, .. } => format!("`{}` from PATH (no virtual environment)", python.display()),
        Launch::Command { argv } => format!("`{}`", argv.first().map_or("", String::as_str)),
    }
}

/// Returns at most [`MAX_QUOTED_CHARS`] characters: a reason is one line in a log.
fn shortened(line: &str) -> &str {
    line.char_indices().nth(MAX_QUOTED_CHARS).and_then(|(end, _)| line.get(..end)).unwrap_or(line)
}
