//! How processes ended, as far as it is remembered: for the errors of calls that hear of it later, and for the status.

use super::{Deferred, State};
use crate::{Error, error::ExitRecord, recorder::Recorder};
use herder_core::{Input, ProcessExit, WorkerRef};

/// How many ended processes are remembered, for the errors of calls that hear of them later.
const EXIT_RECORD_LIMIT: usize = 64;

impl State {
    /// The process is gone, its socket was read to the end.
    pub(crate) fn exited(
        &mut self,
        worker: WorkerRef,
        end: ProcessExit,
        exit_record: ExitRecord,
        recorder: Option<&Recorder>,
    ) {
        let suspects = self.suspects(worker);
        if self.exit_records.len() == EXIT_RECORD_LIMIT {
            self.exit_records.pop_front();
        }
        self.exit_records.push_back((worker, exit_record));
        let link = self.link(worker).is_some().then(|| self.links[worker.id.0 as usize - 1].take()).flatten();
        self.handle(Input::Exited { worker, end, suspects });
        self.keep_recording(worker, end, recorder.or(link.as_ref().map(|link| &*link.recorder)));
        self.defer(Deferred::Gone(worker));
        self.defer(Deferred::Readiness);
    }

    /// Once the core has its last transition and knows why it ended, and before anybody hears of that.
    fn keep_recording(&mut self, worker: WorkerRef, end: ProcessExit, recorder: Option<&Recorder>) {
        let Some((_, exit_record)) = self.exit_records.back() else { return };
        let recording = self.last_recording(worker, end, recorder, exit_record);
        if let Some((_, exit_record)) = self.exit_records.back_mut() {
            exit_record.recording = Some(recording);
        }
    }

    /// The processes that are remembered, the latest first.
    pub(crate) fn exit_records(&self) -> impl Iterator<Item = &(WorkerRef, ExitRecord)> {
        self.exit_records.iter().rev()
    }

    pub(crate) fn exit_record(&self, worker: WorkerRef) -> Option<&ExitRecord> {
        self.exit_records.iter().rev().find(|(who, _)| *who == worker).map(|(_, exit_record)| exit_record)
    }

    /// A start failed.
    pub(super) fn note_start_error(&mut self, worker: WorkerRef, end: ProcessExit) {
        self.last_start_error = Some((worker, end, self.exit_record(worker).cloned().unwrap_or_default()));
    }

    /// Why the last failed start failed, in words; why the pool is down, if it is.
    pub(crate) fn last_start_error(&self) -> Option<Box<str>> {
        let failed = self.last_start_error.as_ref();
        self.failed_permanently
            .clone()
            .or_else(|| failed.map(|(_, end, exit_record)| crate::error::loss_reason(end, Some(exit_record))))
    }

    pub(crate) fn last_start_error_if_degraded(&self) -> Option<Box<str>> {
        let below = self.core.ready_workers() < self.core.settings().pool_size as usize;
        self.last_start_error().filter(|_| below)
    }

    /// The last failed start as an error.
    pub(crate) fn start_error(&self) -> Option<Error> {
        self.last_start_error
            .as_ref()
            .map(|(worker, end, exit_record)| crate::error::start_failed(*worker, end, Some(exit_record)))
    }
}
