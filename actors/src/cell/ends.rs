//! How processes ended, as far as it is remembered: for the errors of calls that hear of it later, and for the status.

use super::{Post, State};
use crate::{Error, error::Obituary, recorder::Recorder};
use herder_core::{Input, ProcessExit, WorkerRef};

/// How many ended processes are remembered, for the errors of calls that hear of them later.
const OBITUARIES: usize = 64;

impl State {
    /// The process is gone, its socket was read to the end.
    pub(crate) fn exited(&mut self, at: WorkerRef, end: ProcessExit, obituary: Obituary, recorder: Option<&Recorder>) {
        let suspects = self.suspects(at);
        if self.obituaries.len() == OBITUARIES {
            self.obituaries.pop_front();
        }
        self.obituaries.push_back((at, obituary));
        let link = self.link(at).is_some().then(|| self.links[at.worker.0 as usize - 1].take()).flatten();
        self.handle(Input::Exited { at, end, suspects });
        self.keep_recording(at, end, recorder.or(link.as_ref().map(|link| &*link.recorder)));
        self.post(Post::Gone(at));
        self.post(Post::Readiness);
    }

    /// Once the core has its last transition and knows why it ended, and before anybody hears of that.
    fn keep_recording(&mut self, at: WorkerRef, end: ProcessExit, recorder: Option<&Recorder>) {
        let Some((_, obituary)) = self.obituaries.back() else { return };
        let recording = self.last_recording(at, end, recorder, obituary);
        if let Some((_, obituary)) = self.obituaries.back_mut() {
            obituary.recording = Some(recording);
        }
    }

    /// The processes that are remembered, the latest first.
    pub(crate) fn obituaries(&self) -> impl Iterator<Item = &(WorkerRef, Obituary)> {
        self.obituaries.iter().rev()
    }

    pub(crate) fn obituary(&self, at: WorkerRef) -> Option<&Obituary> {
        self.obituaries.iter().rev().find(|(who, _)| *who == at).map(|(_, obituary)| obituary)
    }

    /// A start failed.
    pub(super) fn note_start_error(&mut self, at: WorkerRef, end: ProcessExit) {
        self.last_start_error = Some((at, end, self.obituary(at).cloned().unwrap_or_default()));
    }

    /// Why the last failed start failed, in words; why the pool is down, if it is.
    pub(crate) fn last_start_error(&self) -> Option<Box<str>> {
        let failed = self.last_start_error.as_ref();
        self.broken.clone().or_else(|| failed.map(|(_, end, obituary)| crate::error::loss_reason(end, Some(obituary))))
    }

    pub(crate) fn last_start_error_if_below_strength(&self) -> Option<Box<str>> {
        let below = self.core.ready_workers() < self.core.settings().pool_size as usize;
        self.last_start_error().filter(|_| below)
    }

    /// The last failed start as an error.
    pub(crate) fn start_error(&self) -> Option<Error> {
        self.last_start_error.as_ref().map(|(at, end, obituary)| crate::error::start_failed(*at, end, Some(obituary)))
    }
}
