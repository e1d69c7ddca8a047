//! Reads the calls descriptor: decodes frames, checks that each is allowed at this time, and passes it to the pool's state.

use super::{
    fault::{Fault, FirstFault, protocol_error, protocol_fault, reason_in},
    socket::WorkerSocket,
};
use crate::{
    Launch,
    chunks::Item,
    recorder::{Descriptor, MalformedFrame, Recorder},
    shared_state::{
        COPY_LIMIT, ChunkOutcome, FinalFrame, SharedState, SlabFault, Slabs, copied_if_small, needed_in_slab, with,
    },
};
use bytes::{Bytes, BytesMut};
use herder_core::{Answers, Timestamp, WireId, WorkerRef};
use herder_process::Signal;
use herder_wire::{Buffer, Decoder, Frame, FrameError, Header, Ready, WorkerError, WorkerHello, WorkerMessage};
use std::{
    future::poll_fn,
    io,
    num::{NonZeroU8, NonZeroU32},
    task::Waker,
    time::Duration,
};

/// The size of one read, in bytes. A larger buffer exceeds malloc's mmap threshold and causes page faults.
const READ_SIZE: usize = 64 * 1024;
/// The number of reads after which the task yields: a process that floods its descriptor would otherwise starve the arbiter.
const BURST: u32 = 16;
/// The time within which a process must exit after it closed its socket. After that it has violated the protocol.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The reader of the calls descriptor.
pub(super) struct Reader<'a> {
    shared_state: SharedState,
    worker: WorkerRef,
    decoder: Decoder,
    buffer: BytesMut,
    handshake: HandshakeState,
    fault: &'a FirstFault,
    recorder: &'a Recorder,
    /// Whether the stream has failed. Nothing that follows is read.
    stream_failed: bool,
    start_error: Option<WorkerError>,
    /// The time of the chunks among the frames that are being handled. The clock is not read for each of them.
    chunk_time: Option<Timestamp>,
    /// The consumers to be woken after these frames.
    wakers: Vec<Waker>,
}

/// The part of the handshake that was completed. It determines which frames the worker may send.
enum HandshakeState {
    Hello,
    Loading(WorkerHello),
    Serving,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        shared_state: SharedState,
        worker: WorkerRef,
        max_frame: u32,
        fault: &'a FirstFault,
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
            chunk_time: None,
            wakers: Vec::new(),
        }
    }

    /// Reads until the stream ends or violates the protocol, then waits for ever: the exit of the process ends the task.
    /// Cancel safe: the bytes that were read are in the buffer.
    pub(super) async fn run(&mut self, stream: &WorkerSocket) {
        let mut reads = 0_u32;
        loop {
            match self.read(stream).await {
                (Ok(0) | Err(_), _) => return self.on_end_of_stream().await,
                (Ok(_), waited) => reads = if waited { 1 } else { reads + 1 },
            }
            if let Err(fault) = self.handle_frames() {
                // The fault is recorded before the kill: the exit, which may follow at once, takes its detail from it.
                self.record_fault(fault);
                protocol_fault(&self.shared_state, self.worker);
                return std::future::pending().await;
            }
            if reads.is_multiple_of(BURST) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads once. Also returns whether there was nothing to read at first.
    async fn read(&mut self, stream: &WorkerSocket) -> (io::Result<usize>, bool) {
        self.reserve_buffer();
        let mut waited = false;
        let count = poll_fn(|context| {
            let poll = stream.poll_read(context, &mut self.buffer);
            waited |= poll.is_pending();
            poll
        });
        (count.await, waited)
    }

    /// Reads what the process wrote before it exited, at most about `limit` bytes: an answer can be in the socket even after
    /// SIGKILL. Reads until a read would block and not only until the end of the stream, since a forked grandchild may hold
    /// the descriptor. Returns whether these were all answers of the process.
    pub(super) fn drain(&mut self, stream: &WorkerSocket, limit: usize) -> Answers {
        let mut count = 0;
        while !self.stream_failed && count <= limit {
            self.reserve_buffer();
            match read_now(stream, &mut self.buffer) {
                Ok(0) => return self.finish(),
                Ok(bytes) => {
                    count += bytes;
                    if let Err(fault) = self.handle_frames() {
                        self.record_fault(fault);
                    }
                }
                // A reset: the process had not read all its calls. What it wrote was read before the error.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return self.finish(),
                Err(error) => return self.finish_open(error.kind()),
            }
        }
        Answers::Unknown // answers may be among the bytes that were not read or not understood
    }

    /// Checks the end of the stream.
    fn finish(&mut self) -> Answers {
        if let Err(error) = self.decoder.finish(&self.buffer) {
            self.on_truncated_frame(error);
        }
        // A fault on the control descriptor counts as well. What a process states that violates the protocol is not relied on.
        if self.stream_failed || self.fault.get().is_some() { Answers::Unknown } else { Answers::ReadToEnd }
    }

    /// Checks the end of what was read from a stream that is still open, or that cannot be read.
    fn finish_open(&mut self, error: io::ErrorKind) -> Answers {
        let answers = self.finish();
        // The process that sent the hello has written nothing more if it is the one that was reaped. Behind a wrapper, it may
        // still live, and run calls.
        let is_reaped = self.shared_state.borrow_mut().link(self.worker).is_some_and(|link| link.is_direct_child);
        if error == io::ErrorKind::WouldBlock && is_reaped { answers } else { Answers::Unknown }
    }

    /// Returns the detail of the exit beyond the status, and the traceback of a failed start. `printed`: the last lines that
    /// the process printed.
    pub(super) fn exit_detail(mut self, printed: &[String]) -> (Option<Box<str>>, Option<Box<str>>) {
        let Some(error) = self.start_error.take() else {
            let fault = self.fault.get().cloned().or_else(|| self.unhealthy());
            return (fault.or_else(|| self.describe_failed_start(printed)), None);
        };
        let text = match error.type_name {
            Some(kind) => format!("{kind}: {}", error.message),
            None => error.message,
        };
        (Some(text.into()), error.traceback.map(Into::into))
    }

    /// Returns why the worker was stopped, if its health function has failed.
    fn unhealthy(&self) -> Option<Box<str>> {
        self.shared_state.borrow_mut().link(self.worker).and_then(|link| link.unhealthy().map(Into::into))
    }

    /// Describes a failed start without an error frame: the program, if it sent no hello, and what it printed about the reason.
    fn describe_failed_start(&self, printed: &[String]) -> Option<Box<str>> {
        let no_hello = match self.handshake {
            HandshakeState::Hello => {
                Some(format!("{} sent no hello", program_text(self.shared_state.borrow().config().launch())))
            }
            HandshakeState::Loading(_) => None,
            HandshakeState::Serving => return None,
        };
        let parts: Vec<String> = no_hello.into_iter().chain(reason_in(printed)).collect();
        (!parts.is_empty()).then(|| parts.join("; ").into())
    }

    fn reserve_buffer(&mut self) {
        let missing = self.decoder.missing(&self.buffer);
        // The missing part of a large frame is reserved at once, so that the buffer is not copied again with each read.
        // Otherwise the rest of the buffer is used while a quarter of a read fits: reads into less room would cost more
        // system calls.
        if self.buffer.capacity() - self.buffer.len() < missing.max(READ_SIZE / 4) {
            self.buffer.reserve(missing.max(READ_SIZE));
        }
    }

    /// Handles all complete frames that were read.
    fn handle_frames(&mut self) -> Result<(), Fault> {
        let handled = self.handle_each_frame();
        self.chunk_time = None;
        self.wakers.drain(..).for_each(Waker::wake);
        handled
    }

    fn handle_each_frame(&mut self) -> Result<(), Fault> {
        loop {
            let frame = match self.decoder.next(&mut self.buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.recorder.malformed(MalformedFrame::bytes(Descriptor::Calls, &error, &self.buffer));
                    return Err(Fault::Frame(error));
                }
            };
            let header = frame.header; // the frame is consumed, and the fault is recorded with its header
            self.handle_frame(frame).inspect_err(|fault| {
                self.recorder.malformed(MalformedFrame::frame(Descriptor::Calls, fault.name(), &header));
            })?;
        }
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), Fault> {
        let header = frame.header;
        let message = WorkerMessage::parse(frame).map_err(Fault::Frame)?;
        match (message, &self.handshake) {
            (WorkerMessage::Result(mut result), HandshakeState::Serving) => {
                let (ran, need) = (result.stamps.run_time(), needed_in_slab(&result.buffers));
                if !result.buffers.is_empty() {
                    self.find_in_slab(&header, &mut result.buffers)?;
                }
                self.on_final_frame(&header, FinalFrame::Result(result), ran);
                if need > 0 {
                    self.shared_state.borrow_mut().grant_slab(self.worker, need);
                }
            }
            (WorkerMessage::Error { error, stamps, .. }, HandshakeState::Serving) => {
                self.on_final_frame(&header, FinalFrame::Error(error, stamps), stamps.run_time());
            }
            (WorkerMessage::Chunk { item, buffers, .. }, HandshakeState::Serving) => {
                self.on_chunk(&header, item, buffers)?;
            }
            (WorkerMessage::StreamEnd { stamps, .. }, HandshakeState::Serving) => {
                self.check_stream_end(header.wire)?;
                self.on_final_frame(&header, FinalFrame::StreamEnd(stamps), stamps.run_time());
            }
            (WorkerMessage::Health { reason, .. }, HandshakeState::Serving) => {
                self.record(&header);
                let _ = with(&self.shared_state, |state| state.on_health(self.worker, &reason));
            }
            (WorkerMessage::SlabFree(slabs), HandshakeState::Serving) => {
                self.on_slabs(&header, |own, now| own.on_free(now, &slabs))?;
            }
            (WorkerMessage::SlabDrop(slabs), HandshakeState::Serving) => {
                self.on_slabs(&header, |own, now| own.on_drop(now, &slabs))?;
            }
            (WorkerMessage::Hello(hello), HandshakeState::Hello) => {
                self.record(&header);
                self.on_hello(hello);
            }
            (WorkerMessage::Ready(ready), HandshakeState::Loading(hello)) => {
                let (window, in_order) = (hello.window.get(), hello.in_order);
                self.record(&header);
                self.on_ready(ready, window, in_order);
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

    /// Handles a final frame. It is recorded in the same step, with the step's time and before the frames that the step
    /// sends.
    fn on_final_frame(&self, header: &Header, frame: FinalFrame, ran: Duration) {
        let _ = with(&self.shared_state, |state| state.on_final_frame(self.worker, header, frame, ran, self.recorder));
    }

    /// Finds the buffers of a result that are in a slab.
    fn find_in_slab(&self, header: &Header, buffers: &mut [Buffer]) -> Result<(), Fault> {
        let mut state = self.shared_state.borrow_mut();
        let Some(link) = state.link(self.worker) else { return Ok(()) }; // the state was rebuilt
        match (&mut link.slabs, buffers.iter().find_map(Buffer::place)) {
            (Some(slabs), Some(_)) => {
                slabs.find(self.recorder.now(), buffers, header.length as usize, link.max_frame).map_err(Fault::Slab)
            }
            (None, Some(place)) => Err(Fault::Slab(SlabFault::Unknown(place.slab.get()))),
            (_, None) => Ok(()),
        }
    }

    /// Handles a message about slabs.
    fn on_slabs(
        &self,
        header: &Header,
        handle: impl FnOnce(&mut Slabs, Timestamp) -> Result<(), SlabFault>,
    ) -> Result<(), Fault> {
        let now = self.recorder.now();
        self.recorder.received(now, Descriptor::Calls, header);
        let mut state = self.shared_state.borrow_mut();
        let Some(link) = state.link(self.worker) else { return Ok(()) };
        let slabs = link.slabs.as_mut().ok_or(Fault::Order("sent a message about slabs, and has none"))?;
        handle(slabs, now).map_err(Fault::Slab)
    }

    /// Handles an item of a stream. Only the first one of an attempt takes a step of the pool.
    fn on_chunk(&mut self, header: &Header, item: Bytes, mut buffers: Vec<Buffer>) -> Result<(), Fault> {
        buffers.iter_mut().for_each(|buffer| buffer.detach_small(COPY_LIMIT));
        let item = Item::new(copied_if_small(item), buffers, header.length);
        let now = *self.chunk_time.get_or_insert_with(|| self.recorder.now());
        let outcome = match self.shared_state.borrow_mut().link(self.worker) {
            Some(link) => link.streams.on_chunk(now, header.wire, &item),
            None => return Ok(()), // the state was rebuilt, and this process is being killed
        };
        match outcome {
            ChunkOutcome::Handled(waker) => self.wakers.extend(waker),
            ChunkOutcome::BeyondWindow => return Err(Fault::Order("sent more of a stream than its window allows")),
            ChunkOutcome::NotAsked if self.has_attempt(header.wire) => {
                return Err(Fault::Order("sent a chunk of a call that is not a stream"));
            }
            ChunkOutcome::First | ChunkOutcome::NotAsked => {
                let (worker, recorder) = (self.worker, self.recorder);
                let first = with(&self.shared_state, |state| state.on_first_chunk(worker, header, item, recorder));
                self.wakers.extend(first.ok().flatten());
            }
        }
        Ok(())
    }

    /// Refuses the end of a stream for a call that is not a stream. For an unknown attempt it is ignored, as any final frame is.
    fn check_stream_end(&self, wire: WireId) -> Result<(), Fault> {
        let is_stream =
            self.shared_state.borrow_mut().link(self.worker).is_some_and(|link| link.streams.contains(wire));
        if is_stream || !self.has_attempt(wire) {
            return Ok(());
        }
        Err(Fault::Order("sent the end of a stream for a call that is not a stream"))
    }

    fn has_attempt(&self, wire: WireId) -> bool {
        self.shared_state.borrow().core().has_attempt(self.worker, wire)
    }

    /// Records any other frame. These are rare, so reading the clock for each does not matter.
    fn record(&self, header: &Header) {
        self.recorder.received(self.recorder.now(), Descriptor::Calls, header);
    }

    fn on_hello(&mut self, mut hello: WorkerHello) {
        let mut state = self.shared_state.borrow_mut();
        if let Some(installed) = hello.installed.take() {
            state.log_installed_package(installed);
        }
        let log_level = state.changed_log_level();
        if let Some(link) = state.link(self.worker) {
            link.on_hello(hello.control);
            link.accepts_buffers = hello.buffers;
            link.accepts_log_level = hello.log_level;
            if let Some(level) = log_level {
                link.send_log_level(level);
            }
            if !hello.slabs || !hello.buffers {
                link.slabs = None;
            }
            // A wrapper has another pid than the worker. Signals go to the started process, so a wrapper must get none meant
            // for the worker.
            link.is_direct_child = link.child.pid() == hello.pid;
            link.stack_signal = hello.stack_signal.filter(|_| link.is_direct_child).and_then(signal);
        }
        drop(state);
        self.handshake = HandshakeState::Loading(hello);
    }

    fn on_ready(&mut self, ready: Ready, hello_window: u32, hello_in_order: Option<NonZeroU32>) {
        self.handshake = HandshakeState::Serving;
        // The window of the hello is the maximum (I2); the ready message can only reduce it.
        let window = ready.window.map_or(hello_window, |window| window.get().min(hello_window));
        let in_order = ready.in_order.or(hello_in_order);
        if let Some(link) = self.shared_state.borrow_mut().link(self.worker).filter(|_| ready.health) {
            link.offer_health();
        }
        let _ = with(&self.shared_state, |state| state.on_ready(self.worker, window, in_order, ready.commands));
    }

    /// Handles the end of the stream. A process that is exiting has [`EXIT_TIMEOUT`] for it; a process that only closed its
    /// socket is killed, because it cannot answer.
    async fn on_end_of_stream(&mut self) {
        if let Err(error) = self.decoder.finish(&self.buffer) {
            self.on_truncated_frame(error);
        }
        let clock = self.shared_state.borrow().clock().clone();
        clock.sleep(EXIT_TIMEOUT).await;
        // If the host was suspended for that long, the timer and the exit become ready together, and this task may run first.
        // One yield lets the exit be noticed, so that the process is not blamed for the host's delay.
        tokio::task::yield_now().await;
        self.recorder.malformed(MalformedFrame::closed(Descriptor::Calls));
        self.record_fault(Fault::Order("closed its socket without exiting"));
        protocol_fault(&self.shared_state, self.worker);
        std::future::pending::<()>().await;
    }

    /// Records that the stream ended in the middle of a frame.
    fn on_truncated_frame(&mut self, error: FrameError) {
        self.recorder.malformed(MalformedFrame::bytes(Descriptor::Calls, &error, &self.buffer));
        self.record_fault(Fault::Frame(error));
    }

    fn record_fault(&mut self, fault: Fault) {
        self.stream_failed = true;
        let _ = self.fault.set(match fault {
            Fault::Frame(error) => protocol_error("", &error),
            Fault::Order(what) => format!("protocol error: the worker {what}").into(),
            Fault::Slab(fault) => format!("protocol error (bad_slab): the worker {fault}").into(),
        });
    }
}

impl Drop for Reader<'_> {
    /// Wakes the consumers that a panic in the middle of the frames has left. Nothing else would: their wakers are here.
    fn drop(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Returns the signal of this number, if the system has one.
fn signal(number: NonZeroU8) -> Option<Signal> {
    Signal::from_named_raw(i32::from(number.get()))
}

fn read_now(stream: &WorkerSocket, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut chunk = vec![0; READ_SIZE];
    let count = stream.read_now(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// Formats the program that was started.
fn program_text(launch: &Launch) -> String {
    match launch {
        Launch::App { python, .. } if python.components().count() > 1 => format!("`{}`", python.display()),
        Launch::App { python, .. } => format!("`{}` from PATH (no virtual environment)", python.display()),
        Launch::Command { argv } => format!("`{}`", argv.first().map_or("", String::as_str)),
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
