//! The exit of a process in errors: what the pool recorded of it, and the details that an error contains. Plain data.

use super::id::ErrorId;
use crate::{ChildHandle, ExitMemory, OutOfMemory, recorder::Recording};
use herder_core::{ExitStatus, ProcessExit};
use std::sync::Arc;

/// Details of a worker's exit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitReport {
    /// The exit status, if the process returned one.
    pub exit_status: Option<i32>,
    /// The signal that killed the process, if one did.
    pub signal: Option<i32>,
    /// The last lines of its output.
    pub stderr_tail: Vec<String>,
    /// The traceback of a failed start.
    pub traceback: Option<Box<str>>,
    /// The stacks of its threads, if it was killed because it hung: at most 16 KiB, the main thread first.
    pub stack: Option<Box<str>>,
    /// The recording of its last frames, without their contents.
    pub recorder: Option<Arc<Recording>>,
    /// The peak of its resident memory in bytes, if known.
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed because memory was short.
    pub out_of_memory: Option<OutOfMemory>,
    /// The id under which the log has the call; only for a session that lost its worker.
    pub error_id: Option<ErrorId>,
}

/// What the shell knows of a process's exit beyond the core's facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExitRecord {
    /// The protocol violation of the process, or why its start failed.
    pub(crate) detail: Option<Box<str>>,
    /// The traceback of a failed start.
    pub(crate) traceback: Option<Box<str>>,
    /// The last lines of its output.
    pub(crate) stderr_tail: Vec<String>,
    /// Its peak memory, and the evidence if it was killed because memory was short.
    pub(crate) memory: ExitMemory,
    /// The recording of its last frames.
    pub(crate) recording: Option<Arc<Recording>>,
    /// The stack that it printed because it hung.
    pub(crate) stack: Option<Box<str>>,
}

impl ExitRecord {
    /// Creates the record of a process that was reaped.
    pub(crate) fn of(child: &dyn ChildHandle) -> Self {
        let stack = child.stack().map(Into::into);
        Self { stderr_tail: child.output_tail(), memory: child.exit_memory(), stack, ..Self::default() }
    }
}

/// Formats the reason of a process's exit.
pub(crate) fn loss_reason(end: &ProcessExit, exit_record: Option<&ExitRecord>) -> Box<str> {
    let out_of_memory = exit_record.and_then(|exit_record| exit_record.memory.out_of_memory);
    let end_text = match out_of_memory {
        Some(evidence) => format!("{end}, likely out of memory ({evidence})"),
        None => end.to_string(),
    };
    match exit_record.and_then(|exit_record| exit_record.detail.as_deref()) {
        Some(detail) if end.status == ExitStatus::Unknown => detail.into(),
        Some(detail) => format!("{end_text}: {detail}").into(),
        None => end_text.into(),
    }
}

pub(crate) fn report(end: Option<ProcessExit>, exit_record: Option<&ExitRecord>) -> ExitReport {
    let (exit_status, signal) = end.map(|end| status_parts(end.status)).unwrap_or_default();
    let ExitRecord { stderr_tail, traceback, recording, memory, stack, .. } = exit_record.cloned().unwrap_or_default();
    let ExitMemory { peak_memory, out_of_memory } = memory;
    let (recorder, error_id) = (recording, None);
    ExitReport { exit_status, signal, stderr_tail, traceback, stack, recorder, peak_memory, out_of_memory, error_id }
}

/// Returns the exit code, or the signal that killed the process.
pub(crate) fn status_parts(status: ExitStatus) -> (Option<i32>, Option<i32>) {
    match status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
        ExitStatus::Unknown => (None, None),
    }
}
