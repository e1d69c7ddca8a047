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

/// Returns what a program printed about the reason of its end: the error of an interpreter that cannot run, such as one whose
/// `PYTHONHOME` is that of another one, or else the last line. After such an error, Python prints a stack that names no cause.
pub(super) fn reason_in(printed: &[String]) -> Option<String> {
    let lines = || printed.iter().map(|line| line.trim());
    if let Some(error) = lines().find(|line| line.starts_with("Fatal Python error: ")) {
        return Some(shortened(error).into());
    }
    let last = lines().rfind(|line| !line.is_empty());
    last.map(|line| format!("last output: {}", shortened(line)))
}

/// Kills a process that violated the protocol. Its calls fail when it has exited.
pub(super) fn protocol_fault(shared_state: &SharedState, worker: WorkerRef) {
    step(shared_state, Input::Kill { worker, kill_reason: KillReason::ProtocolViolation });
}

#[cfg(test)]
mod tests {
    use super::reason_in;

    #[test]
    fn the_error_of_an_interpreter_precedes_its_last_line() {
        let reason = |text: &str| reason_in(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        let of_python = "Python path configuration:\n  PYTHONHOME = '/other'\nFatal Python error: init_fs_encoding: failed to get \
                         the Python codec\nPython runtime state: core initialized\nModuleNotFoundError: No module named 'encodings'\n\n\
                         Current thread 0x1 (most recent call first):\n  <no Python frame>\n";
        let error = "Fatal Python error: init_fs_encoding: failed to get the Python codec";
        assert_eq!(reason(of_python).as_deref(), Some(error));
        assert_eq!(reason("one\n  two\n\n").as_deref(), Some("last output: two"));
        assert_eq!(reason("\n"), None);
    }
}
