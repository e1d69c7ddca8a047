//! Protocol violations of a worker: how they are described, and what follows from them. Holds nothing.

use crate::shared_state::{SharedState, SlabFault, step};
use herder_core::{Input, KillReason, WorkerRef};
use herder_wire::FrameError;
use std::cell::OnceCell;

/// The first protocol fault of a process. Later faults follow from it and are not recorded.
pub(super) type FirstFault = OnceCell<Box<str>>;

/// A protocol violation on the calls descriptor: a malformed frame, or a frame at a time at which it is not allowed.
pub(super) enum Fault {
    Frame(FrameError),
    Order(&'static str),
    Slab(SlabFault),
}

impl Fault {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Frame(error) => error.name(),
            Self::Order(_) => "out_of_order",
            Self::Slab(_) => "bad_slab",
        }
    }
}

/// The maximum number of characters of what a worker sent in an error's reason.
const MAX_QUOTED_CHARS: usize = 512;

/// Formats a malformed frame. The error can quote what the worker sent, which is as long as a frame.
pub(super) fn protocol_error(place: &str, error: &FrameError) -> Box<str> {
    let text = error.to_string();
    format!("protocol error ({}{place}): {}", error.name(), shortened(&text)).into()
}

/// Returns at most [`MAX_QUOTED_CHARS`] characters: a reason is one line in a log.
pub(super) fn shortened(line: &str) -> &str {
    line.char_indices().nth(MAX_QUOTED_CHARS).and_then(|(end, _)| line.get(..end)).unwrap_or(line)
}

/// Kills a process that violated the protocol. Its calls fail when it has exited.
pub(super) fn protocol_fault(shared_state: &SharedState, worker: WorkerRef) {
    step(shared_state, Input::Kill { worker, kill_reason: KillReason::ProtocolViolation });
}
