//! The exit of a process in errors: what the pool recorded of it, and the details that an error contains. Plain data.

use crate::{ChildHandle, ExitMemory, OutOfMemory, recorder::Recording};
use herder_core::{ExitStatus, KillReason, ProcessExit};
use serde::{Serialize, Serializer};
use std::{cell::OnceCell, sync::Arc};

/// The first word of the reason of a process that the pool stopped in an orderly way.
const STOPPED: &str = "stopped: ";

/// Details of a worker's exit. Serialized with the keys that [`ProblemDetails`](super::ProblemDetails) has for them, and with
/// the complete recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExitReport {
    /// The exit status, if the process returned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that killed the process, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of its output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stderr_tail: Vec<String>,
    /// The traceback of a failed start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceback: Option<Box<str>>,
    /// The stacks of its threads, if it was killed because it hung: at most 16 KiB, the main thread first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<Box<str>>,
    /// The recording of its last frames, without their contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<Arc<Recording>>,
    /// The peak of its resident memory in bytes, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The evidence, if it was likely killed because memory was short.
    #[serde(rename = "likely_out_of_memory", serialize_with = "evidence", skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<OutOfMemory>,
}

/// What the shell knows of a process's exit beyond the core's facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExitRecord {
    /// How it ended, once the pool has handled the exit. The core knows it only for the last process of each slot.
    exit: Option<ProcessExit>,
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
    /// The cause that all errors of this process share, created for the first of them.
    cause: OnceCell<ExitCause>,
}

/// What an error contains of a process's exit. Cloning copies no text.
#[derive(Clone, Debug)]
pub(crate) struct ExitCause {
    exit: Option<ProcessExit>,
    /// Why the process exited.
    pub(crate) reason: Arc<str>,
    /// Details of its exit.
    pub(crate) report: Arc<ExitReport>,
}

impl ExitCause {
    /// Returns the cause of an exit; `exit` is `None` for a call that found its process gone.
    pub(crate) fn new(exit: Option<ProcessExit>, exit_record: Option<&ExitRecord>) -> Self {
        let reason = match exit {
            Some(exit) => loss_reason(&exit, exit_record).into(),
            None => "the process had already exited".into(),
        };
        Self { exit, reason, report: Arc::new(report(exit, exit_record)) }
    }

    /// Returns the cause for a process that is being stopped.
    pub(crate) fn stopping(reason: KillReason) -> Self {
        Self { exit: None, reason: reason.to_string().into(), report: Arc::default() }
    }

    /// Returns the cause of an exit, the shared one if the pool has a record of that exit.
    pub(crate) fn of(exit: Option<ProcessExit>, exit_record: Option<&ExitRecord>) -> Self {
        exit_record.map_or_else(|| Self::new(exit, None), |exit_record| exit_record.cause(exit))
    }
}

impl ExitRecord {
    /// Creates the record of a process that was reaped.
    pub(crate) fn of(child: &dyn ChildHandle) -> Self {
        let stack = child.stack().map(Into::into);
        Self { stderr_tail: child.output_tail(), memory: child.exit_memory(), stack, ..Self::default() }
    }

    /// Adds a protocol violation or the reason of a failed start, and the traceback of that start.
    pub(crate) fn with_detail(self, detail: Option<Box<str>>, traceback: Option<Box<str>>) -> Self {
        Self { detail, traceback, cause: OnceCell::new(), ..self }
    }

    /// Returns how the process ended.
    pub(crate) fn exit(&self) -> Option<ProcessExit> {
        self.exit
    }

    /// Notes how the process ended, with the reason if it was killed.
    pub(crate) fn set_exit(&mut self, exit: ProcessExit) {
        self.exit = Some(exit);
    }

    pub(crate) fn set_recording(&mut self, recording: Arc<Recording>) {
        self.recording = Some(recording);
        // An error that was created before has no recording.
        self.cause.take();
    }

    /// Returns the cause for an error. One process may lose thousands of calls within one step, so they share one cause.
    fn cause(&self, exit: Option<ProcessExit>) -> ExitCause {
        let exit = exit.or(self.exit);
        let shared = self.cause.get_or_init(|| ExitCause::new(exit, Some(self)));
        // The core may name the exit of the process to some calls only, and learn the kill reason later.
        if shared.exit == exit { shared.clone() } else { ExitCause::new(exit, Some(self)) }
    }
}

fn evidence<S: Serializer>(evidence: &Option<OutOfMemory>, serializer: S) -> Result<S::Ok, S::Error> {
    match evidence {
        Some(evidence) => serializer.collect_str(evidence),
        None => serializer.serialize_none(),
    }
}

/// Formats the reason of a process's exit.
pub(crate) fn loss_reason(exit: &ProcessExit, exit_record: Option<&ExitRecord>) -> Box<str> {
    let out_of_memory = exit_record.and_then(|exit_record| exit_record.memory.out_of_memory);
    let end_text = match out_of_memory {
        Some(evidence) => format!("{exit}, likely out of memory ({evidence})"),
        None => planned_end(exit).unwrap_or_else(|| exit.to_string()),
    };
    match exit_record.and_then(|exit_record| exit_record.detail.as_deref()) {
        Some(detail) if exit.status == ExitStatus::Unknown => detail.into(),
        Some(detail) => format!("{end_text}: {detail}").into(),
        None => end_text.into(),
    }
}

/// Formats the end of a process. A process that the pool stopped in an orderly way did not die.
pub(super) fn end_text(reason: &str) -> String {
    let verb = if reason.starts_with(STOPPED) { "was " } else { "died: " };
    format!("{verb}{reason}")
}

/// Returns why the pool stopped a process that then exited in an orderly way. Its status would say nothing more.
fn planned_end(exit: &ProcessExit) -> Option<String> {
    let reason = exit.kill_reason.filter(|_| exit.status == ExitStatus::Code(0))?.to_string();
    reason.starts_with(STOPPED).then_some(reason)
}

fn report(exit: Option<ProcessExit>, exit_record: Option<&ExitRecord>) -> ExitReport {
    let (exit_status, signal) = exit.map(|exit| status_parts(exit.status)).unwrap_or_default();
    let ExitRecord { stderr_tail, traceback, recording, memory, stack, .. } = exit_record.cloned().unwrap_or_default();
    let ExitMemory { peak_memory, out_of_memory } = memory;
    ExitReport { exit_status, signal, stderr_tail, traceback, stack, recorder: recording, peak_memory, out_of_memory }
}

/// Returns the exit code, or the signal that killed the process.
pub(crate) fn status_parts(status: ExitStatus) -> (Option<i32>, Option<i32>) {
    match status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
        ExitStatus::Unknown => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R38: thousands of calls may be lost in one step. None of their errors copies the output or the stack.
    #[test]
    fn r38_errors_of_one_exit_share_its_texts() {
        let exit = Some(ProcessExit { status: ExitStatus::Signal(9), kill_reason: Some(KillReason::Unresponsive) });
        let exit_record = ExitRecord { stderr_tail: vec!["last line".into()], ..ExitRecord::default() };
        let first = ExitCause::of(exit, Some(&exit_record));
        assert_eq!((first.report.signal, &*first.report.stderr_tail), (Some(9), &["last line".to_owned()][..]));
        for _ in 0..1000 {
            let cause = ExitCause::of(exit, Some(&exit_record));
            assert!(Arc::ptr_eq(&cause.reason, &first.reason) && Arc::ptr_eq(&cause.report, &first.report));
        }
    }

    /// A log line with a report, and one with the error, have the same keys and values. Only the recording is complete in
    /// a report.
    #[test]
    fn a_report_is_serialized_as_in_problem_details() {
        let report = ExitReport {
            signal: Some(9),
            stderr_tail: vec!["last line".into()],
            traceback: Some("Traceback".into()),
            stack: Some("main".into()),
            peak_memory: Some(1 << 30),
            out_of_memory: Some(OutOfMemory::KernelCounter { from: 1, to: 2 }),
            ..ExitReport::default()
        };
        let error =
            crate::Error::StartFailed { worker: None, reason: "it died".into(), report: Arc::new(report.clone()) };
        let (report, problem) = (serde_json::to_value(report).unwrap(), serde_json::to_value(error.problem()).unwrap());
        let report = report.as_object().unwrap();
        assert_eq!(report.len(), 6, "empty fields are left out: {report:?}");
        for (key, value) in report {
            assert_eq!(value, &problem[key], "{key}");
        }
    }

    /// The kill reason of the core may become known later than the first error, and a call that found no process has no exit.
    #[test]
    fn an_exit_that_differs_has_its_own_cause() {
        let by_signal = |kill_reason| Some(ProcessExit { status: ExitStatus::Signal(9), kill_reason });
        let exit_record = ExitRecord::default();
        let reason = |exit| ExitCause::of(exit, Some(&exit_record)).reason;
        assert_ne!(reason(by_signal(None)), reason(by_signal(Some(KillReason::Requested))));
        assert_eq!(&*reason(None), "the process had already exited");
        assert_eq!(&*ExitCause::of(None, None).reason, "the process had already exited");
    }

    /// The core forgets the exit of a process when its successor ends too.
    #[test]
    fn a_recorded_exit_is_the_cause_of_later_errors() {
        let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason: Some(KillReason::Requested) };
        let mut exit_record = ExitRecord::default();
        exit_record.set_exit(exit);
        let later = ExitCause::of(None, Some(&exit_record));
        assert_eq!((&*later.reason, later.report.signal), ("signal 9 (SIGKILL) (killed on request)", Some(9)));
        assert!(Arc::ptr_eq(&ExitCause::of(Some(exit), Some(&exit_record)).report, &later.report), "they share it");
    }
}
