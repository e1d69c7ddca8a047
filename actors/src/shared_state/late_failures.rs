//! Logs where a handler was whose call had failed before, such as at its deadline: an interrupted handler sends its traceback,
//! but the caller has got its error long before. Holds no state; the calls are in `failed_calls`.

use super::{
    call::Call,
    failed_calls::FailedCall,
    state::{FinalFrame, State},
};
use crate::call_log::LateFailure;
use herder_core::{CallId, WireId, WorkerRef};
use herder_wire::WorkerErrorKind;

/// The longest traceback in the log, in bytes. Its end is kept.
const MAX_TRACEBACK: usize = 8192;

impl State {
    /// Returns the attempt of a settled call that its worker has not finished.
    pub(super) fn unfinished_attempt(&self, id: CallId, call: &Call) -> Option<(WorkerRef, WireId)> {
        let (worker, wire) = call.sent?;
        let is_of_call =
            |(unfinished, of): (WireId, Option<CallId>)| unfinished == wire && of.is_none_or(|of| of == id);
        self.core.unfinished(worker).any(is_of_call).then_some((worker, wire))
    }

    /// Keeps a failed call until its handler ends.
    pub(super) fn remember_failed(&mut self, (worker, wire): (WorkerRef, WireId), call: CallId, of: &Call) {
        let trace = of.trace.as_ref().map(|trace| trace.id());
        let failed = FailedCall { wire, call, command: of.command.clone(), session: of.session.clone(), trace };
        if let Some(link) = self.link(worker) {
            link.failed_calls.add(failed);
        }
    }

    /// Logs a final frame that shows where the handler of a failed call was.
    pub(super) fn log_late_failure(&mut self, worker: WorkerRef, wire: WireId, frame: &FinalFrame) {
        let FinalFrame::Error(error, _) = frame else { return };
        let Some(traceback) = &error.traceback else { return };
        let Some(failed) = self.link(worker).and_then(|link| link.failed_calls.take(wire)) else { return };
        let FailedCall { call, command, session, trace, .. } = failed;
        let reason = match &error.type_name {
            Some(name) => format!("{name}: {}", error.message),
            None => error.message.clone(),
        };
        let was_interrupted = error.kind == WorkerErrorKind::Cancelled;
        let traceback = end_of(traceback).into();
        let late = LateFailure { call, command, session, trace, worker, was_interrupted, reason, traceback };
        self.call_log.log_late_failure(late);
    }
}

/// Returns the end of a traceback, from the beginning of a line if possible.
fn end_of(traceback: &str) -> &str {
    let from = traceback.len().saturating_sub(MAX_TRACEBACK);
    let begin = (from..=traceback.len()).find(|at| traceback.is_char_boundary(*at)).unwrap_or(traceback.len());
    let end = &traceback[begin..];
    match end.split_once('\n') {
        Some((_, whole_lines)) if begin > 0 && !whole_lines.is_empty() => whole_lines,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_traceback_is_kept() {
        assert_eq!(end_of("Traceback\n  a\n"), "Traceback\n  a\n");
        let lines = "  File \"é.py\", line 1\n".repeat(1000);
        let end = end_of(&lines);
        assert!(end.len() <= MAX_TRACEBACK && end.len() > MAX_TRACEBACK - 64 && end.starts_with("  File"), "{end}");
        let line = "é".repeat(MAX_TRACEBACK);
        assert_eq!(end_of(&line).len(), MAX_TRACEBACK);
        assert_eq!(end_of(&format!("x{line}")).len(), MAX_TRACEBACK);
    }
}
