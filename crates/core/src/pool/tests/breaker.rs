//! The breaker of a pool (R34): which calls take and return permits. Its state machine is tested in `breaker.rs`.

use super::*;
use crate::{BreakerSettings, BreakerState, Outcome};

fn harness() -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    settings.breaker = Some(BreakerSettings {
        failure_threshold: 2,
        success_threshold: 1,
        half_open_max_calls: 1,
        ..BreakerSettings::default()
    });
    settings.overflow = 0;
    (settings.queue.limit, settings.health.interval) = (1, Duration::MAX);
    Harness::with(settings)
}

impl Harness {
    fn breaker(&self) -> BreakerState {
        self.core.breaker(self.now).unwrap().state
    }

    /// Runs a call whose deadline passes before its final frame.
    fn time_out(&mut self) {
        let (call, effects) = self.call(None);
        let sent = sent(&effects, call).unwrap();
        let effects = self.wait(Duration::from_secs(30));
        assert!(settled(&effects, call).is_some());
        self.finish(sent);
    }
}

#[test]
fn r34_timeouts_open_the_breaker_and_a_trial_closes_it() {
    let mut harness = harness();
    harness.time_out();
    assert_eq!(harness.breaker(), BreakerState::Closed);
    harness.time_out();
    let (call, effects) = harness.call(Some("ann"));
    let retry_at = harness.now + Duration::from_secs(60);
    assert_eq!(settled(&effects, call), Some(CallFailure::BreakerOpen { retry_at }));
    assert_eq!(harness.core.status(harness.now).active_sessions, 0, "a refused call creates no session");
    harness.wait(Duration::from_secs(60));
    let (trial, effects) = harness.call(None);
    let trial_sent = sent(&effects, trial).unwrap();
    let (second, effects) = harness.call(None);
    assert!(matches!(settled(&effects, second), Some(CallFailure::BreakerOpen { .. })), "one trial at a time");
    harness.finish(trial_sent);
    assert_eq!(harness.breaker(), BreakerState::Closed);
}

/// R34: an exception of the application is an answer, and counts as success.
#[test]
fn r34_exceptions_count_as_success() {
    let mut harness = harness();
    for _ in 0..9 {
        let (call, effects) = harness.call(None);
        let (worker, wire) = sent(&effects, call).unwrap();
        harness.step(Input::Final { worker, wire, ok: false, ran: Duration::ZERO });
    }
    assert_eq!(harness.breaker(), BreakerState::Closed);
}

/// R34: every trial returns its permit, whatever happens to it. (The original implementation stayed half-open forever.)
#[test]
fn r34_trial_without_outcome_returns_its_permit() {
    let mut harness = harness();
    harness.time_out();
    harness.time_out();
    harness.wait(Duration::from_secs(60));
    for _ in 0..5 {
        let (trial, effects) = harness.call(None);
        let trial_sent = sent(&effects, trial).unwrap();
        // The caller abandons the trial.
        harness.step(Input::Cancel(trial));
        harness.finish(trial_sent);
    }
    let (absent, effects) = harness.call_absent("unknown");
    assert!(
        matches!(settled(&effects, absent), Some(CallFailure::SessionNotFound(_))),
        "refused after it took a permit: {effects:?}"
    );
    let (trial, effects) = harness.call(None);
    harness.finish(sent(&effects, trial).unwrap());
    assert_eq!(harness.breaker(), BreakerState::Closed);
}

#[test]
fn r34_breaker_can_be_recorded_and_reset_by_message() {
    let mut harness = harness();
    assert!(harness.core.record_outcome(harness.now, Outcome::Failure));
    assert!(harness.core.record_outcome(harness.now, Outcome::Failure));
    assert_eq!(harness.breaker(), BreakerState::Open);
    assert!(harness.core.reset_breaker());
    assert_eq!(harness.breaker(), BreakerState::Closed);
    let mut without = Harness::new(WorkerTypeSettings::Basic, 1);
    assert!(without.core.breaker(without.now).is_none() && !without.core.reset_breaker());
}
