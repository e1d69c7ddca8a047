//! Earlier attempts of a call: each was lost with its worker, and the call was sent again. Pure data.

use super::{Error, Report};
use herder_core::{Generation, WorkerId, WorkerRef};
use std::{fmt, ops::Deref, sync::Arc};

/// One earlier attempt of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The slot it was sent to.
    pub worker: WorkerId,
    /// Which of its processes.
    pub generation: Generation,
    /// How that process ended.
    pub reason: Box<str>,
    /// What is known of that end.
    pub report: Box<Report>,
}

impl Attempt {
    /// The process it was sent to.
    pub fn at(&self) -> WorkerRef {
        WorkerRef { worker: self.worker, generation: self.generation }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of generation {} is gone: {}", self.worker, self.generation, self.reason)
    }
}

/// The earlier attempts of a call, in order. None for nearly all calls, and then one word that allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts(Option<Arc<Vec<Attempt>>>);

impl From<Vec<Attempt>> for Attempts {
    fn from(earlier: Vec<Attempt>) -> Self {
        Self((!earlier.is_empty()).then(|| Arc::new(earlier)))
    }
}

impl Deref for Attempts {
    type Target = [Attempt];

    fn deref(&self) -> &[Attempt] {
        self.0.as_ref().map_or(&[], |earlier| earlier)
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
    /// The call's earlier attempts, in order, each lost with its worker. The last one, which ended with this error, is not among them.
    pub fn attempts(&self) -> &[Attempt] {
        attempts_of!(self).map_or(&[], Deref::deref)
    }

    /// The same error, of a call that had these attempts before. The errors that no call which was sent again ends with keep none.
    pub(crate) fn after(mut self, earlier: Vec<Attempt>) -> Self {
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
        let error = Error::closed(true).after(vec![lost(1), lost(2)]);
        assert_eq!(error.attempts(), [lost(1), lost(2)]);
        assert_eq!(error.clone().attempts(), error.attempts());
        assert_eq!(lost(2).to_string(), "worker w2 of generation 1 is gone: SIGKILL");
        assert!(Error::closed(true).attempts().is_empty());
        assert!(Error::QueueFull { limit: 1 }.after(vec![lost(1)]).attempts().is_empty(), "it was never sent");
    }

    /// A call's answer is a `Result` of this: it is moved several times for each call.
    #[test]
    fn an_error_stays_small() {
        assert_eq!(size_of::<Attempts>(), 8);
        assert!(size_of::<Error>() <= 88, "{}", size_of::<Error>());
    }
}
