//! Reads the control descriptor: pongs and the states of cancelled or revoked attempts. Other messages are ignored.

use super::{
    fault::{FirstFault, protocol_error, protocol_fault},
    socket::WorkerSocket,
};
use crate::{
    recorder::{Descriptor, MalformedFrame, Recorder},
    shared_state::{SharedState, step},
};
use bytes::BytesMut;
use herder_core::{Input, WorkerRef};
use herder_wire::{Decoder, FrameError, WorkerMessage};

/// Reads until the peer closes, then waits for ever: a worker without control descriptor is stopped when it misses its pings.
pub(super) async fn run(
    shared_state: &SharedState,
    worker: WorkerRef,
    stream: &WorkerSocket,
    max_frame: u32,
    fault: &FirstFault,
    recorder: &Recorder,
) {
    let (mut decoder, mut buffer) = (Decoder::new(max_frame), BytesMut::with_capacity(1024));
    loop {
        buffer.reserve(decoder.missing(&buffer).max(256));
        if let Ok(0) | Err(_) = stream.read(&mut buffer).await {
            return std::future::pending().await;
        }
        if let Err(error) = handle_frames(shared_state, worker, &mut decoder, &mut buffer, recorder) {
            // Set before the kill, and only once: see `Reader::record_fault`.
            let _ = fault.set(protocol_error(" on the control descriptor", &error));
            protocol_fault(shared_state, worker);
            return std::future::pending().await;
        }
        tokio::task::yield_now().await; // a worker that floods the descriptor must not starve the arbiter
    }
}

fn handle_frames(
    shared_state: &SharedState,
    worker: WorkerRef,
    decoder: &mut Decoder,
    buffer: &mut BytesMut,
    recorder: &Recorder,
) -> Result<(), FrameError> {
    let record_malformed = |error: &FrameError, unread: &[u8]| {
        recorder.malformed(MalformedFrame::bytes(Descriptor::Control, error, unread));
    };
    while let Some(frame) = decoder.next(buffer).inspect_err(|error| record_malformed(error, buffer))? {
        let header = frame.header;
        let message = WorkerMessage::parse(frame);
        let message = message.inspect_err(|error| {
            recorder.malformed(MalformedFrame::frame(Descriptor::Control, error.name(), &header));
        })?;
        recorder.received(recorder.now(), Descriptor::Control, &header);
        match message {
            WorkerMessage::Pong { nonce } => step(shared_state, Input::Pong { worker, nonce }),
            WorkerMessage::AttemptState { wire, state } => {
                step(shared_state, Input::AttemptState { worker, wire, state });
            }
            _ => {}
        }
    }
    Ok(())
}
