//! Judges one strict session by its answers, in the order of its calls, and by what the workers' account says of each: that one
//! state was counted on, in order, until its loss was told, once. Pure.

use crate::{
    answer::{Answer, CallOutcome},
    execution_log::Run,
};
use herder::{RebindReason, Routing, WorkerRef};

/// Where a session's state is, by the answers so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    state: State,
    /// How many calls, of which nobody knows the end, may have counted since the last answer, and how many have.
    max_count: u64,
    min_count: u64,
    /// One of these may have been sent, and so have found a worker for the session, whether it began or not.
    sent: bool,
    /// A caller left: a loss may have been told to nobody.
    loss_may_be_unreported: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    New,
    Live {
        worker: WorkerRef,
        count: u64,
    },
    /// Lost with this process, and told first among the calls of `burst`.
    Lost {
        worker: WorkerRef,
        burst: u64,
    },
    /// The pool was built anew after a panic.
    Rebuilt,
}

type Verdict = Result<(), &'static str>;

fn ensure(holds: bool, otherwise: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl Session {
    /// Hears the session's next answer.
    pub(crate) fn observe(&mut self, answer: &Answer, run: Run) -> Verdict {
        match &answer.end {
            CallOutcome::Ok { worker, routing, count, .. } => self.ran(*worker, *routing, *count),
            CallOutcome::Error { slug, worker, may_have_run } => match (slug.as_str(), worker) {
                ("session-worker-lost", Some(worker)) => self.on_loss_report(*worker, answer.burst),
                ("worker-lost", _) => Err("a strict session got `worker-lost` instead of `session-worker-lost`"),
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
        if may_have_run {
            self.sent = true;
            self.max_count += u64::from(run.began);
            self.min_count += u64::from(run.ended);
        }
    }

    fn set_state(&mut self, state: State) {
        *self = Self { state, ..Self::default() };
    }

    fn ran(&mut self, worker: WorkerRef, routing: Routing, count: u64) -> Verdict {
        let verdict = self.goes_on(worker, routing, count);
        self.set_state(State::Live { worker, count }); // so that what is wrong is found once
        verdict
    }

    fn goes_on(&self, worker: WorkerRef, routing: Routing, count: u64) -> Verdict {
        let anew = (1..=1 + self.max_count).contains(&count);
        match (self.state, routing) {
            (State::Live { worker: home, count: before }, Routing::Hit) if worker == home => {
                let least = before + 1 + if self.loss_may_be_unreported { 0 } else { self.min_count };
                ensure(
                    (least..=before + 1 + self.max_count).contains(&count),
                    "the count does not follow from the state",
                )?;
            }
            // Whoever left may have been told, or have begun the state that this one found.
            (_, Routing::Hit | Routing::New | Routing::Rebound(RebindReason::WorkerLost))
                if self.loss_may_be_unreported =>
            {
                ensure(anew, "the state has an impossible count")?;
            }
            (State::New, Routing::Hit) => ensure(self.sent && anew, "routed as `hit` although there was no state")?,
            (State::Lost { .. } | State::Rebuilt, Routing::Hit) => {
                ensure(self.sent && anew, "a state continues that was reported lost")?;
            }
            (State::Live { .. }, Routing::Hit) => {
                return Err("the call ran on a worker without its state, and no loss was reported");
            }
            (State::Live { .. }, _) => return Err("a new state without a reported loss"),
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
            State::Live { worker: home, .. } if !self.loss_may_be_unreported => {
                (ensure(worker == home, "the reported loss names another worker than the one with the state"), burst)
            }
            State::Lost { worker: known, burst: first } if known == worker => {
                (ensure(first == burst, "a loss was reported again to a later call"), first)
            }
            _ => (Ok(()), burst),
        };
        self.set_state(State::Lost { worker, burst });
        verdict
    }
}
