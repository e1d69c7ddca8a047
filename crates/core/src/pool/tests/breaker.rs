//! The breaker in the pool (R34): what takes a permit, what gives it back. The state chart itself is tested beside it.

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

    /// A call whose deadline passes while it runs, and that then ends.
    fn time_out(&mut self) {
        let (call, effects) = self.call(None);
        let sent = sent(&effects, call).unwrap();
        let effects = self.wait(Duration::from_secs(30));
        assert!(settled(&effects, call).is_some());
        self.finish(sent);
    }
}

#[test]
fn r34_timeouts_open_it_and_a_trial_closes_it() {
    let mut harness = harness();
    harness.time_out();
    assert_eq!(harness.breaker(), BreakerState::Closed);
    harness.time_out();
    let (call, effects) = harness.call(Some("ann"));
    let retry_at = harness.now + Duration::from_secs(60);
    assert_eq!(settled(&effects, call), Some(CallFailure::BreakerOpen { retry_at }));
    assert_eq!(harness.core.status(harness.now).active_sessions, 0, "a refused call begins no session");
    harness.wait(Duration::from_secs(60));
    let (trial, effects) = harness.call(None);
    let trial_sent = sent(&effects, trial).unwrap();
    let (second, effects) = harness.call(None);
    assert!(matches!(settled(&effects, second), Some(CallFailure::BreakerOpen { .. })), "one trial at a time");
    harness.finish(trial_sent);
    assert_eq!(harness.breaker(), BreakerState::Closed);
}

/// R34: an exception of the application is an answer: it closes the breaker as a result does.
#[test]
fn r34_exceptions_are_answers() {
    let mut harness = harness();
    for _ in 0..9 {
        let (call, effects) = harness.call(None);
        let (worker, wire) = sent(&effects, call).unwrap();
        harness.step(Input::Final { worker, wire, ok: false });
    }
    assert_eq!(harness.breaker(), BreakerState::Closed);
}

/// R34, the origin stuck half-open: whatever becomes of a trial, its permit comes back.
#[test]
fn r34_a_trial_that_comes_to_nothing_makes_room_for_the_next() {
    let mut harness = harness();
    harness.time_out();
    harness.time_out();
    harness.wait(Duration::from_secs(60));
    for _ in 0..5 {
        let (trial, effects) = harness.call(None);
        let trial_sent = sent(&effects, trial).unwrap();
        harness.step(Input::Cancel(trial)); // its caller leaves
        harness.finish(trial_sent);
    }
    let (absent, effects) = harness.call_absent("nobody");
    assert!(
        matches!(settled(&effects, absent), Some(CallFailure::SessionNotFound(_))),
        "refused after its permit: {effects:?}"
    );
    let (trial, effects) = harness.call(None);
    harness.finish(sent(&effects, trial).unwrap());
    assert_eq!(harness.breaker(), BreakerState::Closed);
}

#[test]
fn r34_it_is_recorded_and_reset_by_hand() {
    let mut harness = harness();
    assert!(harness.core.record_outcome(harness.now, Outcome::Failure));
    assert!(harness.core.record_outcome(harness.now, Outcome::Failure));
    assert_eq!(harness.breaker(), BreakerState::Open);
    assert!(harness.core.reset_breaker());
    assert_eq!(harness.breaker(), BreakerState::Closed);
    let mut without = Harness::new(WorkerTypeSettings::Basic, 1);
    assert!(without.core.breaker(without.now).is_none() && !without.core.reset_breaker());
}
