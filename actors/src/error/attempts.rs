//! The earlier attempts of a call: each was lost with its worker, and the call was retried. Plain data.

use super::{
    exit::{ExitReport, end_text},
    id::ErrorId,
};
use herder_core::{Generation, WorkerId, WorkerRef};
use serde::{Serialize, Serializer};
use std::{fmt, ops::Deref, sync::Arc};

/// An earlier attempt of a call. Serialized as [`AttemptProblemDetails`](super::AttemptProblemDetails).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of the process.
    pub generation: Generation,
    /// Why that process exited.
    pub reason: Arc<str>,
    /// Details of that exit.
    pub report: Arc<ExitReport>,
}

impl Attempt {
    /// Returns the process to which the call was sent.
    pub fn process(&self) -> WorkerRef {
        WorkerRef { id: self.worker, generation: self.generation }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} (generation {}) {}", self.worker, self.generation, end_text(&self.reason))
    }
}

/// The earlier attempts of a call, in order; empty for nearly all calls. Also keeps the call's [`ErrorId`], and the process that
/// ran the call when it ended without an answer.
#[derive(Clone, Debug, Default)]
pub struct Attempts(Option<Arc<AttemptHistory>>);

#[derive(Debug)]
struct AttemptHistory {
    earlier: Vec<Attempt>,
    error_id: Option<ErrorId>,
    ran_on: Option<WorkerRef>,
}

impl PartialEq for Attempts {
    /// Compares the earlier attempts only.
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Attempts {}

impl From<Vec<Attempt>> for Attempts {
    fn from(earlier: Vec<Attempt>) -> Self {
        Self((!earlier.is_empty()).then(|| Arc::new(AttemptHistory { earlier, error_id: None, ran_on: None })))
    }
}

impl Attempts {
    pub(super) fn error_id(&self) -> Option<ErrorId> {
        self.0.as_ref()?.error_id
    }

    pub(super) fn set_error_id(&mut self, id: ErrorId) {
        // Copied, since clones of the error may share the history. Only failed calls pay for it.
        let (earlier, error_id, ran_on) = (self.to_vec(), Some(id), self.ran_on());
        self.0 = Some(Arc::new(AttemptHistory { earlier, error_id, ran_on }));
    }

    /// Returns the process that ran the call when it ended without an answer.
    pub(super) fn ran_on(&self) -> Option<WorkerRef> {
        self.0.as_ref()?.ran_on
    }

    pub(super) fn set_ran_on(&mut self, worker: WorkerRef) {
        let (earlier, error_id, ran_on) = (self.to_vec(), self.error_id(), Some(worker));
        self.0 = Some(Arc::new(AttemptHistory { earlier, error_id, ran_on }));
    }
}

impl Deref for Attempts {
    type Target = [Attempt];

    fn deref(&self) -> &[Attempt] {
        self.0.as_ref().map_or(&[], |history| &history.earlier)
    }
}

impl Serialize for Attempts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
