//! The circuit breaker of a pool (R34), a state machine: closed, open, half-open. Holds counts; time is an argument.
//!
//! Each admitted call holds a permit and returns it with an outcome, even if the call is refused later or abandoned. So
//! no trial is lost, and the breaker cannot stay half-open forever.

use crate::{
    ExitStatus, Timestamp,
    failure::{CallFailure, KillReason, WorkerLoss},
    settings::{BreakerSettings, CountedFailures},
};
use serde::Serialize;

/// The outcome of a call, as a sign of the pool's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The pool works.
    Success,
    /// The pool does not work.
    Failure,
    /// Nothing: the call was refused, or its caller abandoned it.
    Ignored,
}

/// The permission to run one call. Valid in the period of the breaker in which it was issued; after that its outcome is
/// not counted. It is not `Copy`, so that it is returned at most once; only tests clone it, with the whole core.
#[must_use = "a permit that is not returned keeps the breaker half-open"]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Permit(u32);

impl Permit {
    /// The permit of a call in a pool without a breaker, and of a trial that has returned its permit.
    pub(crate) const NONE: Self = Self(0);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// The number of the current period, from 1. Each change of state begins a new period.
    period: u32,
    opened: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// All calls are admitted. Counts consecutive failures.
    Closed { failures: u32 },
    /// No calls are admitted before `until`.
    Open { until: Timestamp },
    /// A few trial calls are admitted: `in_flight` have a permit, `successes` have succeeded.
    HalfOpen { in_flight: u32, successes: u32 },
}

/// The state of a breaker, as displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// The state.
    pub state: BreakerState,
    /// Consecutive failures, while it is closed.
    pub failures: u32,
    /// Trials that have succeeded, while it is half-open.
    pub successes: u32,
    /// Trials in flight, while it is half-open.
    pub half_open_calls: u32,
    /// Milliseconds until it admits a trial, while it is open.
    pub retry_after_ms: u64,
    /// The number of times it has opened.
    pub opened: u64,
    /// The number of calls it has refused.
    pub refused: u64,
}

/// The three states of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// All calls are admitted.
    Closed,
    /// All calls are refused.
    Open,
    /// A few calls are admitted as trials.
    HalfOpen,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 }, period: 1, opened: 0, refused: 0 }
    }

    /// Admits a call, or returns the time at which the caller may try again.
    #[inline]
    pub(crate) fn permit(&mut self, now: Timestamp) -> Result<Permit, Timestamp> {
        if let State::Closed { .. } = self.state { Ok(Permit(self.period)) } else { self.permit_trial(now) }
    }

    #[cold]
    fn permit_trial(&mut self, now: Timestamp) -> Result<Permit, Timestamp> {
        // No timer is needed: the breaker becomes half-open when the first call after `until` asks for a permit.
        if let State::Open { until } = self.state
            && until <= now
        {
            self.enter_state(State::HalfOpen { in_flight: 0, successes: 0 });
        }
        match &mut self.state {
            State::Closed { .. } => Ok(Permit(self.period)),
            State::HalfOpen { in_flight, .. } if *in_flight < self.settings.half_open_max_calls => {
                *in_flight += 1;
                Ok(Permit(self.period))
            }
            State::HalfOpen { .. } => {
                self.refused += 1;
                Err(now)
            }
            State::Open { until } => {
                self.refused += 1;
                Err(*until)
            }
        }
    }

    /// Takes a permit back and counts the outcome of its call.
    #[expect(clippy::needless_pass_by_value, reason = "a permit that was returned must not be usable")]
    pub(crate) fn return_permit(&mut self, now: Timestamp, permit: Permit, outcome: Outcome) {
        // The outcome of a call that was admitted in an earlier period must not count: calls admitted before the
        // breaker opened do not count for the trials.
        if permit.0 != self.period {
            return;
        }
        if let State::HalfOpen { in_flight, .. } = &mut self.state {
            *in_flight -= 1;
        }
        self.record(now, outcome);
    }

    /// Handles that a stream has begun: the first chunk of a trial is its success, as the stream may never end. Returns what is
    /// left of the permit of its call.
    pub(crate) fn stream_began(&mut self, now: Timestamp, permit: Permit) -> Permit {
        if permit.0 != self.period || !matches!(self.state, State::HalfOpen { .. }) {
            return permit;
        }
        self.return_permit(now, permit, Outcome::Success);
        Permit::NONE
    }

    /// Counts an outcome, whether or not it belongs to a permit.
    pub(crate) fn record(&mut self, now: Timestamp, outcome: Outcome) {
        match (&mut self.state, outcome) {
            (State::Open { .. }, _) | (_, Outcome::Ignored) => {}
            (State::Closed { failures }, Outcome::Success) => *failures = 0,
            (State::Closed { failures }, Outcome::Failure) => {
                *failures += 1;
                if *failures >= self.settings.failure_threshold {
                    self.open(now);
                }
            }
            (State::HalfOpen { successes, .. }, Outcome::Success) => {
                *successes += 1;
                if *successes >= self.settings.success_threshold {
                    self.enter_state(State::Closed { failures: 0 });
                }
            }
            (State::HalfOpen { .. }, Outcome::Failure) => self.open(now),
        }
    }

    /// Closes the breaker, whatever its state.
    pub(crate) fn reset(&mut self) {
        self.enter_state(State::Closed { failures: 0 });
    }

    pub(crate) fn status(&self, now: Timestamp) -> BreakerStatus {
        let (state, failures, successes, trials) = match self.state {
            State::Closed { failures } => (BreakerState::Closed, failures, 0, 0),
            State::Open { until } if until <= now => (BreakerState::HalfOpen, 0, 0, 0),
            State::Open { .. } => (BreakerState::Open, 0, 0, 0),
            State::HalfOpen { in_flight, successes } => (BreakerState::HalfOpen, 0, successes, in_flight),
        };
        let retry_after = match self.state {
            State::Open { until } => until - now,
            _ => std::time::Duration::ZERO,
        };
        let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        BreakerStatus {
            state,
            failures,
            successes,
            half_open_calls: trials,
            retry_after_ms,
            opened: self.opened,
            refused: self.refused,
        }
    }

    /// Reports trials without a permit, and permits without a trial. `permits` are all that were not returned.
    pub(crate) fn verify<'a>(&self, permits: impl Iterator<Item = &'a Permit>, broken: &mut Vec<String>) {
        if let State::HalfOpen { in_flight, .. } = self.state {
            let held = permits.filter(|permit| permit.0 == self.period).count();
            if held != in_flight as usize {
                broken.push(format!("breaker: {in_flight} trials, but {held} permits"));
            }
        }
    }

    fn open(&mut self, now: Timestamp) {
        self.opened += 1;
        self.enter_state(State::Open { until: now + self.settings.open_duration });
    }

    fn enter_state(&mut self, state: State) {
        self.state = state;
        // Skips 0, the period of `Permit::NONE`.
        self.period = self.period.checked_add(1).unwrap_or(1);
    }
}

impl CountedFailures {
    /// Returns the outcome of a call that a worker answered. An error result is a failure only if `python` is counted.
    pub(crate) fn outcome_of_answer(self, ok: bool) -> Outcome {
        if !ok && self.python { Outcome::Failure } else { Outcome::Success }
    }

    /// Returns the outcome of a call that ended with this failure, by its category.
    pub(crate) fn outcome_of_failure(self, failure: &CallFailure) -> Outcome {
        let counts = match failure {
            CallFailure::QueueTimeout | CallFailure::DeadlineExceeded { .. } | CallFailure::StreamIdle { .. } => {
                self.timeout
            }
            CallFailure::WorkerLost(loss) | CallFailure::SessionWorkerLost { loss, .. } => self.counts_loss(loss),
            _ => false,
        };
        if counts { Outcome::Failure } else { Outcome::Ignored }
    }

    fn counts_loss(self, loss: &WorkerLoss) -> bool {
        match loss.exit {
            Some(exit)
                if exit.kill_reason.is_none_or(|kill_reason| kill_reason == KillReason::Requested)
                    && exit.status.is_signal() =>
            {
                self.signal
            }
            _ => self.connection,
        }
    }
}

impl ExitStatus {
    fn is_signal(self) -> bool {
        matches!(self, Self::Signal(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generation, ProcessExit, WorkerId, WorkerRef};
    use std::time::Duration;

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings::default())
    }

    fn fail(breaker: &mut Breaker, now: Timestamp, times: u32) {
        for _ in 0..times {
            let permit = breaker.permit(now).unwrap();
            breaker.return_permit(now, permit, Outcome::Failure);
        }
    }

    const OPEN_UNTIL: Timestamp = Timestamp(60_000_000_000);

    /// R34: five consecutive failures open the breaker; a success resets the count.
    #[test]
    fn r34_breaker_opens_after_five_failures_in_a_row() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 4);
        let permit = breaker.permit(Timestamp(0)).unwrap();
        breaker.return_permit(Timestamp(0), permit, Outcome::Success);
        fail(&mut breaker, Timestamp(0), 4);
        assert_eq!(breaker.status(Timestamp(0)).state, BreakerState::Closed);
        fail(&mut breaker, Timestamp(0), 1);
        assert_eq!(breaker.permit(Timestamp(1)), Err(OPEN_UNTIL));
        assert_eq!(breaker.status(Timestamp(1)).state, BreakerState::Open);
    }

    /// R34: after 60 s at most three trials are admitted, and three successes close the breaker.
    #[test]
    fn r34_three_successful_trials_close_the_breaker() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 5);
        let trials: Vec<Permit> = (0..3).map(|_| breaker.permit(OPEN_UNTIL).unwrap()).collect();
        assert_eq!(breaker.permit(OPEN_UNTIL), Err(OPEN_UNTIL), "three trials are in flight");
        for trial in trials {
            assert_eq!(breaker.status(OPEN_UNTIL).state, BreakerState::HalfOpen);
            breaker.return_permit(OPEN_UNTIL, trial, Outcome::Success);
        }
        assert_eq!(breaker.status(OPEN_UNTIL).state, BreakerState::Closed);
    }

    #[test]
    fn r34_a_failed_trial_opens_the_breaker_again() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 5);
        let (first, second) = (breaker.permit(OPEN_UNTIL).unwrap(), breaker.permit(OPEN_UNTIL).unwrap());
        breaker.return_permit(OPEN_UNTIL, first, Outcome::Failure);
        assert_eq!(breaker.permit(OPEN_UNTIL), Err(OPEN_UNTIL + Duration::from_secs(60)));
        // The permit belongs to an earlier period.
        breaker.return_permit(OPEN_UNTIL, second, Outcome::Success);
        assert_eq!((breaker.status(OPEN_UNTIL).state, breaker.opened), (BreakerState::Open, 2));
    }

    /// R34: abandoned trials return their permits. (The original implementation stayed half-open forever.)
    #[test]
    fn r34_abandoned_trials_do_not_keep_the_breaker_half_open() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 5);
        for _ in 0..100 {
            let trials: Vec<Permit> = (0..3).map(|_| breaker.permit(OPEN_UNTIL).unwrap()).collect();
            trials.into_iter().for_each(|trial| breaker.return_permit(OPEN_UNTIL, trial, Outcome::Ignored));
        }
        assert_eq!(breaker.status(OPEN_UNTIL).half_open_calls, 0);
        assert!(breaker.permit(OPEN_UNTIL).is_ok());
    }

    /// R34: the outcomes of calls that were admitted before the breaker opened do not count.
    #[test]
    fn r34_outcomes_of_an_earlier_period_do_not_count() {
        let mut breaker = breaker();
        let early: Vec<Permit> = (0..9).map(|_| breaker.permit(Timestamp(0)).unwrap()).collect();
        for permit in early {
            breaker.return_permit(Timestamp(0), permit, Outcome::Failure);
        }
        assert_eq!(breaker.opened, 1);
        breaker.reset();
        assert!(breaker.permit(Timestamp(0)).is_ok());
        breaker.record(Timestamp(0), Outcome::Failure);
        assert_eq!(breaker.status(Timestamp(0)).failures, 1);
    }

    /// R34: timeouts and connection errors count by default; exceptions and deaths by signal count only if configured.
    #[test]
    fn r34_failures_are_counted_by_category() {
        let loss = |status, kill_reason| {
            let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
            CallFailure::WorkerLost(WorkerLoss {
                worker,
                exit: Some(ProcessExit { status, kill_reason }),
                may_have_run: true,
            })
        };
        let (crash, killed) = (loss(ExitStatus::Code(1), None), loss(ExitStatus::Signal(9), None));
        let hung = loss(ExitStatus::Signal(9), Some(KillReason::Unresponsive));
        let default_counts = CountedFailures::default();
        let all = CountedFailures { timeout: true, connection: true, signal: true, python: true };
        let none = CountedFailures { timeout: false, connection: false, signal: false, python: false };
        let late = CallFailure::DeadlineExceeded { may_have_run: true };
        let counted = |counts: CountedFailures| {
            let failures =
                [&late, &CallFailure::QueueTimeout, &crash, &hung, &killed, &CallFailure::QueueFull { limit: 1 }];
            failures.map(|failure| counts.outcome_of_failure(failure) == Outcome::Failure)
        };
        assert_eq!(counted(default_counts), [true, true, true, true, false, false]);
        assert_eq!(counted(all), [true, true, true, true, true, false]);
        assert_eq!(counted(none), [false; 6]);
        assert_eq!(
            (default_counts.outcome_of_answer(false), all.outcome_of_answer(false)),
            (Outcome::Success, Outcome::Failure)
        );
    }
}
