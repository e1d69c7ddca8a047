//! The earlier attempts of a call: each was lost with its worker, and the call was retried. Plain data.

use super::{Error, ExitReport};
use crate::ErrorId;
use herder_core::{Generation, WorkerId, WorkerRef};
use std::{fmt, ops::Deref, sync::Arc};

/// An earlier attempt of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The slot of the worker.
    pub worker: WorkerId,
    /// The generation of the process.
    pub generation: Generation,
    /// Why that process exited.
    pub reason: Box<str>,
    /// Details of that exit.
    pub report: Box<ExitReport>,
}

impl Attempt {
    /// Returns the process to which the call was sent.
    pub fn at(&self) -> WorkerRef {
        WorkerRef { id: self.worker, generation: self.generation }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} (generation {}) died: {}", self.worker, self.generation, self.reason)
    }
}

/// The earlier attempts of a call, in order; empty for nearly all calls. Also keeps the call's [`ErrorId`].
#[derive(Clone, Debug, Default)]
pub struct Attempts(Option<Arc<AttemptHistory>>);

#[derive(Debug)]
struct AttemptHistory {
    earlier: Vec<Attempt>,
    error_id: Option<ErrorId>,
}

impl PartialEq for Attempts {
    /// Compares the attempts and not the ids.
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Attempts {}

impl From<Vec<Attempt>> for Attempts {
    fn from(earlier: Vec<Attempt>) -> Self {
        Self((!earlier.is_empty()).then(|| Arc::new(AttemptHistory { earlier, error_id: None })))
    }
}

impl Deref for Attempts {
    type Target = [Attempt];

    fn deref(&self) -> &[Attempt] {
        self.0.as_ref().map_or(&[], |history| &history.earlier)
    }
}

/// Returns the `attempts` field of the kinds of errors that have one, borrowed as `$error` is.
macro_rules! attempts_of {
    ($error:expr) => {
        match $error {
            Error::Rejected { attempts, .. }
            | Error::Exception { attempts, .. }
            | Error::Unencodable { attempts, .. }
            | Error::QueueTimeout { attempts, .. }
            | Error::DeadlineExceeded { attempts, .. }
            | Error::WorkerLost { attempts, .. }
            | Error::PoisonCall { attempts, .. }
            | Error::PoolFailed { attempts, .. }
            | Error::PoolClosed { attempts, .. } => Some(attempts),
            _ => None,
        }
    };
}

impl Error {
    /// Returns the earlier attempts of the call, in order, each lost with its worker. The last attempt, which failed with
    /// this error, is not included.
    pub fn attempts(&self) -> &[Attempt] {
        attempts_of!(self).map_or(&[], Deref::deref)
    }

    /// Returns the id under which the log has the call that failed with this error. `Some` for the error of a call whose kind
    /// keeps [`attempts`](Self::attempts), and for [`SessionWorkerLost`](Self::SessionWorkerLost).
    /// [`Internal`](Self::Internal) and [`StartFailed`](Self::StartFailed) hide their text in brief responses and have no id.
    pub fn error_id(&self) -> Option<ErrorId> {
        match self {
            Self::SessionWorkerLost { report, .. } => report.error_id,
            _ => attempts_of!(self).and_then(|attempts| attempts.0.as_ref()?.error_id),
        }
    }

    /// Adds the id of the call to the error.
    pub(crate) fn with_id(mut self, id: ErrorId) -> Self {
        if let Self::SessionWorkerLost { report, .. } = &mut self {
            report.error_id = Some(id);
        } else if let Some(attempts) = attempts_of!(&mut self) {
            // Copied, since clones of the error may share the history. Only failed calls pay for it.
            attempts.0 = Some(Arc::new(AttemptHistory { earlier: attempts.to_vec(), error_id: Some(id) }));
        }
        self
    }

    /// Adds the earlier attempts of the call to the error. The kinds that a retried call never fails with do not keep them.
    pub(crate) fn with_attempts(mut self, earlier: Vec<Attempt>) -> Self {
        if let Some(attempts) = attempts_of!(&mut self) {
            *attempts = earlier.into();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(worker: u32) -> Attempt {
        let (worker, generation) = (WorkerId(worker), Generation(1));
        Attempt { worker, generation, reason: "SIGKILL".into(), report: Box::default() }
    }

    #[test]
    fn r38_an_error_keeps_the_attempts_before_it() {
        let error = Error::closed(true).with_attempts(vec![lost(1), lost(2)]);
        assert_eq!(error.attempts(), [lost(1), lost(2)]);
        assert_eq!(error.clone().attempts(), error.attempts());
        assert_eq!(lost(2).to_string(), "worker w2 (generation 1) died: SIGKILL");
        assert!(Error::closed(true).attempts().is_empty());
        assert!(Error::QueueFull { limit: 1 }.with_attempts(vec![lost(1)]).attempts().is_empty(), "it was never sent");
    }

    /// The answer of a call is a `Result` with this error and is moved several times per call.
    #[test]
    fn error_size_is_bounded() {
        assert_eq!(size_of::<Attempts>(), 8);
        assert!(size_of::<Error>() <= 88, "{}", size_of::<Error>());
    }
}
