//! The breaker in the pool (R34): what takes a permit, what gives it back. The state chart itself is tested beside it.

use super::*;
use crate::{BreakerSettings, BreakerState, Outcome};

fn bench() -> Bench {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    settings.breaker = Some(BreakerSettings {
        failure_threshold: 2,
        success_threshold: 1,
        half_open_max_calls: 1,
        ..BreakerSettings::default()
    });
    settings.overflow = 0;
    (settings.queue.limit, settings.health.interval) = (1, Duration::MAX);
    Bench::with(settings)
}

impl Bench {
    fn breaker(&self) -> BreakerState {
        self.core.breaker(self.now).unwrap().state
    }

    /// A call whose deadline passes while it runs, and that then ends.
    fn time_out(&mut self) {
        let (call, fx) = self.call(None);
        let sent = sent(&fx, call).unwrap();
        let fx = self.wait(Duration::from_secs(30));
        assert!(settled(&fx, call).is_some());
        self.finish(sent);
    }
}

#[test]
fn r34_timeouts_open_it_and_a_trial_closes_it() {
    let mut bench = bench();
    bench.time_out();
    assert_eq!(bench.breaker(), BreakerState::Closed);
    bench.time_out();
    let (call, fx) = bench.call(Some("ann"));
    let retry_at = bench.now + Duration::from_secs(60);
    assert_eq!(settled(&fx, call), Some(CallFailure::BreakerOpen { retry_at }));
    assert_eq!(bench.core.status(bench.now).active_sessions, 0, "a refused call begins no session");
    bench.wait(Duration::from_secs(60));
    let (trial, fx) = bench.call(None);
    let trial_sent = sent(&fx, trial).unwrap();
    let (second, fx) = bench.call(None);
    assert!(matches!(settled(&fx, second), Some(CallFailure::BreakerOpen { .. })), "one trial at a time");
    bench.finish(trial_sent);
    assert_eq!(bench.breaker(), BreakerState::Closed);
}

/// R34: an exception of the application is an answer: it closes the breaker as a result does.
#[test]
fn r34_exceptions_are_answers() {
    let mut bench = bench();
    for _ in 0..9 {
        let (call, fx) = bench.call(None);
        let (at, wire) = sent(&fx, call).unwrap();
        bench.step(Input::Final { at, wire, ok: false });
    }
    assert_eq!(bench.breaker(), BreakerState::Closed);
}

/// R34, the origin stuck half-open: whatever becomes of a trial, its permit comes back.
#[test]
fn r34_a_trial_that_comes_to_nothing_makes_room_for_the_next() {
    let mut bench = bench();
    bench.time_out();
    bench.time_out();
    bench.wait(Duration::from_secs(60));
    for _ in 0..5 {
        let (trial, fx) = bench.call(None);
        let trial_sent = sent(&fx, trial).unwrap();
        bench.step(Input::Cancel(trial)); // its caller leaves
        bench.finish(trial_sent);
    }
    let (absent, fx) = bench.call_absent("nobody");
    assert!(matches!(settled(&fx, absent), Some(CallFailure::SessionNotFound(_))), "refused after its permit: {fx:?}");
    let (trial, fx) = bench.call(None);
    bench.finish(sent(&fx, trial).unwrap());
    assert_eq!(bench.breaker(), BreakerState::Closed);
}

#[test]
fn r34_it_is_recorded_and_reset_by_hand() {
    let mut bench = bench();
    assert!(bench.core.record_outcome(bench.now, Outcome::Failure));
    assert!(bench.core.record_outcome(bench.now, Outcome::Failure));
    assert_eq!(bench.breaker(), BreakerState::Open);
    assert!(bench.core.reset_breaker());
    assert_eq!(bench.breaker(), BreakerState::Closed);
    let mut without = Bench::new(WorkerTypeSettings::Basic, 1);
    assert!(without.core.breaker(without.now).is_none() && !without.core.reset_breaker());
}
