//! Checks one session with strict affinity by its answers, in the order of its calls, and by the execution log: calls must
//! count in one state without gaps until its loss is reported, once. Does no I/O.

use crate::{
    answer::{Answer, CallOutcome},
    execution_log::Run,
};
use herder::{
    session::{RebindReason, Routing},
    status::WorkerRef,
};

/// The state of a session according to its answers so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    state: State,
    /// The maximum and the minimum number of calls with unknown outcome that may have counted since the last answer.
    max_count: u64,
    min_count: u64,
    /// Whether a call with unknown outcome may have been sent. Such a call binds its session to a worker even if it never
    /// starts.
    sent: bool,
    /// Whether a caller abandoned a call. The answer of that call may have been the report of a loss, which no caller received.
    loss_may_be_unreported: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    New,
    Bound {
        worker: WorkerRef,
        count: u64,
    },
    /// The state was lost with this worker, and the loss was first reported to a call of `burst`.
    Lost {
        worker: WorkerRef,
        burst: u64,
    },
    /// The pool's state was rebuilt after a panic.
    Rebuilt,
}

type Verdict = Result<(), &'static str>;

fn ensure(holds: bool, otherwise: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl Session {
    /// Checks the next answer of the session.
    pub(crate) fn observe(&mut self, answer: &Answer, run: Run) -> Verdict {
        match &answer.outcome {
            CallOutcome::Ok { worker, routing, count, .. } => self.on_result(*worker, *routing, *count),
            CallOutcome::Error { slug, worker, may_have_run } => match (slug.as_str(), worker) {
                ("session-worker-lost", Some(worker)) => self.on_loss_report(*worker, answer.burst),
                ("worker-lost", _) => Err("a strict session got `worker-lost` instead of `session-worker-lost`"),
                // The pool has lost its records of the session: the next call may find no state without a loss report.
                ("internal", _) => {
                    self.set_state(State::Rebuilt);
                    Ok(())
                }
                _ => {
                    self.record_uncertain(run, *may_have_run);
                    Ok(())
                }
            },
            CallOutcome::Abandoned => {
                self.loss_may_be_unreported = true;
                self.record_uncertain(run, true);
                Ok(())
            }
            CallOutcome::Lost => Ok(()),
        }
    }

    fn record_uncertain(&mut self, run: Run, may_have_run: bool) {
        // The worker increments the count between the two records of a call: a call that began may have counted, and one that
        // ended has counted.
        if may_have_run {
            self.sent = true;
            self.max_count += u64::from(run.began);
            self.min_count += u64::from(run.ended);
        }
    }

    fn set_state(&mut self, state: State) {
        *self = Self { state, ..Self::default() };
    }

    fn on_result(&mut self, worker: WorkerRef, routing: Routing, count: u64) -> Verdict {
        let verdict = self.check_routing(worker, routing, count);
        self.set_state(State::Bound { worker, count }); // even after a violation, so that one violation is reported only once
        verdict
    }

    fn check_routing(&self, worker: WorkerRef, routing: Routing, count: u64) -> Verdict {
        let fits_new_state = (1..=1 + self.max_count).contains(&count);
        match (self.state, routing) {
            (State::Bound { worker: bound, count: before }, Routing::Hit) if worker == bound => {
                let min = before + 1 + if self.loss_may_be_unreported { 0 } else { self.min_count };
                ensure(
                    (min..=before + 1 + self.max_count).contains(&count),
                    "the count does not follow from the state",
                )?;
            }
            // An abandoned call may have received the report of a loss, or may have created the state that this call found. So
            // the routing proves nothing here, and only the count is checked.
            (_, Routing::Hit | Routing::New | Routing::Rebound(RebindReason::WorkerLost))
                if self.loss_may_be_unreported =>
            {
                ensure(fits_new_state, "the state has an impossible count")?;
            }
            (State::New, Routing::Hit) => {
                ensure(self.sent && fits_new_state, "routed as `hit` although there was no state")?;
            }
            (State::Lost { .. } | State::Rebuilt, Routing::Hit) => {
                ensure(self.sent && fits_new_state, "a state continues that was reported lost")?;
            }
            (State::Bound { .. }, Routing::Hit) => {
                return Err("the call ran on a worker without its state, and no loss was reported");
            }
            (State::Bound { .. }, _) => return Err("a new state without a reported loss"),
            (State::New | State::Rebuilt, Routing::New) => ensure(count == 1, "the count of a new session is not 1")?,
            (State::Lost { .. } | State::Rebuilt, Routing::Rebound(RebindReason::WorkerLost) | Routing::New) => {
                ensure(count == 1, "the count of a new state is not 1")?;
            }
            _ => return Err("impossible routing for a strict session"),
        }
        Ok(())
    }

    fn on_loss_report(&mut self, worker: WorkerRef, burst: u64) -> Verdict {
        let (verdict, burst) = match self.state {
            State::Bound { worker: bound, .. } if !self.loss_may_be_unreported => {
                (ensure(worker == bound, "the reported loss names another worker than the one with the state"), burst)
            }
            // Calls that were submitted together may all receive the report, because all of them relied on the lost state. A call
            // that was submitted later must not.
            State::Lost { worker: known, burst: first } if known == worker => {
                (ensure(first == burst, "a loss was reported again to a later call"), first)
            }
            _ => (Ok(()), burst),
        };
        self.set_state(State::Lost { worker, burst });
        verdict
    }
}
