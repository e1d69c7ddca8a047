//! A pool's circuit breaker as a state chart (R34): closed, open, half-open. Holds counts; time is an argument; it calls nobody.
//! A call has a permit, and gives it back with an outcome: also one that comes to nothing, so no trial is ever lost.

use crate::{
    ExitStatus, Timestamp,
    failure::{CallFailure, KillReason, WorkerLoss},
    settings::{BreakerSettings, CountedFailures},
};
use serde::Serialize;

/// What a call's end says of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the call was refused, or its caller left.
    Ignored,
}

/// Allows one call. Good for the period of the breaker in which it was given; later its outcome counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Permit(u32);

impl Permit {
    /// In a pool without a breaker.
    pub(crate) const NONE: Self = Self(0);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Counts the periods, from 1: a new one begins with each change of state.
    period: u32,
    opened: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Lets everything through; so many failures in a row.
    Closed { failures: u32 },
    /// Lets nothing through until then.
    Open { until: Timestamp },
    /// Lets a few trials through: so many are out, so many succeeded.
    HalfOpen { out: u32, successes: u32 },
}

/// A breaker as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// Closed, open or half-open.
    pub state: BreakerState,
    /// Failures in a row, while it is closed.
    pub failures: u32,
    /// Trials that succeeded, while it is half-open.
    pub successes: u32,
    /// Trials that are under way.
    pub half_open_calls: u32,
    /// Milliseconds until it lets a trial through, while it is open.
    pub retry_after_ms: u64,
    /// How often it opened.
    pub opened: u64,
    /// Calls it refused.
    pub refused: u64,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls pass, to see how they fare.
    HalfOpen,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 }, period: 1, opened: 0, refused: 0 }
    }

    /// Lets a call through, or says when to come again.
    pub(crate) fn permit(&mut self, now: Timestamp) -> Result<Permit, Timestamp> {
        if let State::Open { until } = self.state
            && until <= now
        {
            self.enter(State::HalfOpen { out: 0, successes: 0 });
        }
        match &mut self.state {
            State::Closed { .. } => Ok(Permit(self.period)),
            State::HalfOpen { out, .. } if *out < self.settings.half_open_max_calls => {
                *out += 1;
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

    /// Takes a permit back.
    pub(crate) fn end(&mut self, now: Timestamp, permit: Permit, outcome: Outcome) {
        if permit.0 != self.period {
            return;
        }
        if let State::HalfOpen { out, .. } = &mut self.state {
            *out -= 1;
        }
        self.record(now, outcome);
    }

    /// Counts an outcome, whoever saw it.
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
                    self.enter(State::Closed { failures: 0 });
                }
            }
            (State::HalfOpen { .. }, Outcome::Failure) => self.open(now),
        }
    }

    /// Closes it, whatever was.
    pub(crate) fn reset(&mut self) {
        self.enter(State::Closed { failures: 0 });
    }

    pub(crate) fn status(&self, now: Timestamp) -> BreakerStatus {
        let (state, failures, successes, trials) = match self.state {
            State::Closed { failures } => (BreakerState::Closed, failures, 0, 0),
            State::Open { until } if until <= now => (BreakerState::HalfOpen, 0, 0, 0),
            State::Open { .. } => (BreakerState::Open, 0, 0, 0),
            State::HalfOpen { out, successes } => (BreakerState::HalfOpen, 0, successes, out),
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

    fn open(&mut self, now: Timestamp) {
        self.opened += 1;
        self.enter(State::Open { until: now + self.settings.open_duration });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.period = self.period.checked_add(1).unwrap_or(1); // 0 is nobody's
    }
}

impl CountedFailures {
    /// What an answer of a worker says: an error result counts only if told.
    pub(crate) fn answer(self, ok: bool) -> Outcome {
        if !ok && self.python { Outcome::Failure } else { Outcome::Success }
    }

    /// What a failure says, by its category.
    pub(crate) fn failure(self, failure: &CallFailure) -> Outcome {
        let counts = match failure {
            CallFailure::QueueTimeout | CallFailure::DeadlineExceeded { .. } => self.timeout,
            CallFailure::WorkerLost(loss) | CallFailure::SessionWorkerLost { loss, .. } => self.loss(loss),
            _ => false,
        };
        if counts { Outcome::Failure } else { Outcome::Ignored }
    }

    fn loss(self, loss: &WorkerLoss) -> bool {
        match loss.end {
            Some(end)
                if end.kill_reason.is_none_or(|kill_reason| kill_reason == KillReason::Requested)
                    && end.status.is_signal() =>
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
            breaker.end(now, permit, Outcome::Failure);
        }
    }

    const OPEN_UNTIL: Timestamp = Timestamp(60_000_000_000);

    /// R34: five failures in a row; a success between them begins anew.
    #[test]
    fn r34_it_opens_after_five_failures_in_a_row() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 4);
        let permit = breaker.permit(Timestamp(0)).unwrap();
        breaker.end(Timestamp(0), permit, Outcome::Success);
        fail(&mut breaker, Timestamp(0), 4);
        assert_eq!(breaker.status(Timestamp(0)).state, BreakerState::Closed);
        fail(&mut breaker, Timestamp(0), 1);
        assert_eq!(breaker.permit(Timestamp(1)), Err(OPEN_UNTIL));
        assert_eq!(breaker.status(Timestamp(1)).state, BreakerState::Open);
    }

    /// R34: after 60 s three trials at most, three successes close it.
    #[test]
    fn r34_three_trials_that_succeed_close_it() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 5);
        let trials: Vec<Permit> = (0..3).map(|_| breaker.permit(OPEN_UNTIL).unwrap()).collect();
        assert_eq!(breaker.permit(OPEN_UNTIL), Err(OPEN_UNTIL), "three are out");
        for trial in trials {
            assert_eq!(breaker.status(OPEN_UNTIL).state, BreakerState::HalfOpen);
            breaker.end(OPEN_UNTIL, trial, Outcome::Success);
        }
        assert_eq!(breaker.status(OPEN_UNTIL).state, BreakerState::Closed);
    }

    #[test]
    fn r34_a_trial_that_fails_opens_it_again() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 5);
        let (first, second) = (breaker.permit(OPEN_UNTIL).unwrap(), breaker.permit(OPEN_UNTIL).unwrap());
        breaker.end(OPEN_UNTIL, first, Outcome::Failure);
        assert_eq!(breaker.permit(OPEN_UNTIL), Err(OPEN_UNTIL + Duration::from_secs(60)));
        breaker.end(OPEN_UNTIL, second, Outcome::Success); // of a period that is over
        assert_eq!((breaker.status(OPEN_UNTIL).state, breaker.opened), (BreakerState::Open, 2));
    }

    /// R34, the origin stuck half-open: trials whose callers leave are given back.
    #[test]
    fn r34_breaker_never_stays_half_open() {
        let mut breaker = breaker();
        fail(&mut breaker, Timestamp(0), 5);
        for _ in 0..100 {
            let trials: Vec<Permit> = (0..3).map(|_| breaker.permit(OPEN_UNTIL).unwrap()).collect();
            trials.into_iter().for_each(|trial| breaker.end(OPEN_UNTIL, trial, Outcome::Ignored));
        }
        assert_eq!(breaker.status(OPEN_UNTIL).half_open_calls, 0);
        assert!(breaker.permit(OPEN_UNTIL).is_ok());
    }

    /// R34: what was let through before it opened says nothing of the trials.
    #[test]
    fn r34_outcomes_of_an_earlier_period_do_not_count() {
        let mut breaker = breaker();
        let early: Vec<Permit> = (0..9).map(|_| breaker.permit(Timestamp(0)).unwrap()).collect();
        for permit in early {
            breaker.end(Timestamp(0), permit, Outcome::Failure);
        }
        assert_eq!(breaker.opened, 1);
        breaker.reset();
        assert!(breaker.permit(Timestamp(0)).is_ok());
        breaker.record(Timestamp(0), Outcome::Failure);
        assert_eq!(breaker.status(Timestamp(0)).failures, 1);
    }

    /// R34: timeouts and connection errors; exceptions and deaths by signal only if told.
    #[test]
    fn r34_failures_are_counted_by_category() {
        let loss = |status, kill_reason| {
            let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
            CallFailure::WorkerLost(WorkerLoss {
                worker,
                end: Some(ProcessExit { status, kill_reason }),
                may_have_run: true,
            })
        };
        let (crash, killed) = (loss(ExitStatus::Code(1), None), loss(ExitStatus::Signal(9), None));
        let hung = loss(ExitStatus::Signal(9), Some(KillReason::Unresponsive));
        let usual = CountedFailures::default();
        let all = CountedFailures { timeout: true, connection: true, signal: true, python: true };
        let none = CountedFailures { timeout: false, connection: false, signal: false, python: false };
        let late = CallFailure::DeadlineExceeded { may_have_run: true };
        let counted = |counts: CountedFailures| {
            let failures =
                [&late, &CallFailure::QueueTimeout, &crash, &hung, &killed, &CallFailure::QueueFull { limit: 1 }];
            failures.map(|failure| counts.failure(failure) == Outcome::Failure)
        };
        assert_eq!(counted(usual), [true, true, true, true, false, false]);
        assert_eq!(counted(all), [true, true, true, true, true, false]);
        assert_eq!(counted(none), [false; 6]);
        assert_eq!((usual.answer(false), all.answer(false)), (Outcome::Success, Outcome::Failure));
    }
}
