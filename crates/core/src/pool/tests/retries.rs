//! Retries (R33).

use super::*;
use crate::{Backoff, RetrySettings};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a pool with two workers, whose first wait is a second, without jitter.
fn harness(retry: RetrySettings) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.retry = RetrySettings { base: SECOND, jitter: 0, ..retry };
    settings.overflow = 0;
    // No death is early, so that the next process starts at once.
    settings.restart.min_uptime = Duration::ZERO;
    Harness::with(settings)
}

impl Harness {
    /// Sends an idempotent call whose process dies.
    fn lose_one(&mut self) -> CallId {
        let (call, effects) = self.call_with(None, None, true);
        let (worker, _) = sent(&effects, call).unwrap();
        self.exit_and_restart(worker);
        call
    }

    fn exit_and_restart(&mut self, worker: WorkerRef) -> Effects {
        let mut effects = self.exit_by_signal(worker);
        effects.extend(self.wait(Duration::ZERO));
        while let Some(start) = effects.iter().find_map(|effect| match effect {
            Effect::Start(worker) => Some(*worker),
            _ => None,
        }) {
            effects.retain(|effect| *effect != Effect::Start(start));
            effects.extend(self.step(Input::Ready { worker: start, window: 1, control: false, in_order: None }));
        }
        effects
    }
}

fn earlier(effects: &Effects, id: CallId) -> Vec<WorkerRef> {
    effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Settle { call, earlier, .. } | Effect::Deliver { call, earlier, .. } if *call == id => {
                Some(earlier.iter().map(|loss| loss.worker).collect())
            }
            _ => None,
        })
        .unwrap_or_default()
}

#[test]
fn r33_retry_is_sent_after_its_backoff_and_lists_earlier_attempts() {
    let mut harness = harness(RetrySettings::default());
    let call = harness.lose_one();
    assert_eq!(sent(&harness.wait(SECOND - Duration::from_nanos(1)), call), None);
    let effects = harness.wait(Duration::from_nanos(1));
    let again = sent(&effects, call).unwrap();
    let effects = harness.finish(again);
    assert_eq!((routing(&effects, call), earlier(&effects, call)), (Some(Routing::Unrouted), vec![process(1, 1)]));
}

#[test]
fn r33_failure_is_the_last_loss_and_lists_earlier_ones() {
    let mut harness = harness(RetrySettings::default());
    let call = harness.lose_one();
    let effects = harness.wait(SECOND);
    harness.exit_and_restart(sent(&effects, call).unwrap().0);
    let effects = harness.wait(2 * SECOND);
    let third = sent(&effects, call).unwrap().0;
    let effects = harness.exit_by_signal(third);
    assert!(
        matches!(settled(&effects, call), Some(CallFailure::WorkerLost(loss)) if loss.worker == third && loss.may_have_run)
    );
    assert_eq!(earlier(&effects, call).len(), 2);
}

/// R33: a call that could be retried only after its deadline fails at once.
#[test]
fn r33_no_retry_is_sent_past_the_deadline() {
    let mut harness = harness(RetrySettings {
        backoff: Backoff::Custom(vec![30 * SECOND]),
        max: 60 * SECOND,
        ..RetrySettings::default()
    });
    let (call, effects) = harness.call_with(None, None, true);
    let effects = harness.exit_by_signal(sent(&effects, call).unwrap().0);
    assert!(matches!(settled(&effects, call), Some(CallFailure::WorkerLost(_))), "{effects:?}");
}

/// R35: a call in backoff can be abandoned, and its deadline can pass while it waits for a worker after that.
#[test]
fn r33_call_in_backoff_can_be_abandoned_and_can_time_out() {
    let mut harness = harness(RetrySettings::default());
    let call = harness.lose_one();
    let effects = harness.step(Input::Cancel(call));
    assert_eq!(settled(&effects, call), Some(CallFailure::Abandoned));
    assert_eq!(sent(&harness.wait(5 * SECOND), call), None);
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout) = (0, 60 * SECOND);
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call_with(None, None, true);
    // No other process starts.
    harness.exit_by_signal(sent(&effects, call).unwrap().0);
    let effects = harness.wait(30 * SECOND);
    assert_eq!(settled(&effects, call), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
    assert_eq!(earlier(&effects, call), [process(1, 1)]);
}

#[test]
fn r33_only_idempotent_calls_without_a_strict_session_are_sent_again() {
    let mut harness = harness(RetrySettings::default());
    let (plain, effects) = harness.call(None);
    let effects = harness.exit_by_signal(sent(&effects, plain).unwrap().0);
    assert!(matches!(settled(&effects, plain), Some(CallFailure::WorkerLost(_))));
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (strict, effects) = harness.call_with(Some("ann"), None, true);
    let effects = harness.exit_by_signal(sent(&effects, strict).unwrap().0);
    assert!(
        matches!(settled(&effects, strict), Some(CallFailure::SessionWorkerLost { .. })),
        "strict calls are never retried in another epoch"
    );
    let (hint, effects) = harness.call_with(Some("bob"), Some(Affinity::Hint), true);
    let effects = harness.exit_by_signal(sent(&effects, hint).unwrap().0);
    assert_eq!(settled(&effects, hint), None);
}

/// R33: the budget is a fraction of successes plus ten. It is checked when the call is lost, and again after the wait.
#[test]
fn r33_the_budget_is_pool_wide_and_checked_again_after_the_wait() {
    let mut harness = harness(RetrySettings { budget: 0, ..RetrySettings::default() });
    let lost: Vec<CallId> = (0..12).map(|_| harness.lose_one()).collect();
    assert_eq!(harness.core.status(harness.now).queue.waiting, 12, "all wait, and none of the budget is spent");
    let effects = harness.wait(SECOND);
    let count_lost = |effects: &Effects| {
        lost.iter().filter(|id| matches!(settled(effects, **id), Some(CallFailure::WorkerLost(_)))).count()
    };
    assert_eq!(count_lost(&effects), 2, "the budget allows ten of twelve retries");
    assert_eq!(harness.core.status(harness.now).counters.retries, 10);
    let busy = harness.core.process_of(WorkerId(1)).unwrap();
    let effects = harness.exit_by_signal(busy);
    assert_eq!(count_lost(&effects), 1, "the budget is used up, so the call fails at once");
}

/// R33: each success adds a fraction to the budget.
#[test]
fn r33_successes_increase_the_budget() {
    let mut harness = harness(RetrySettings { budget: 500, ..RetrySettings::default() });
    for _ in 0..4 {
        let (call, effects) = harness.call(None);
        harness.finish(sent(&effects, call).unwrap());
    }
    (0..20).for_each(|_| _ = harness.lose_one());
    harness.wait(SECOND);
    assert_eq!(harness.core.status(harness.now).counters.retries, 12, "ten, and half of four successes");
}

/// R28, R33: a pool that fails also fails the calls in backoff.
#[test]
fn r33_failed_pool_fails_calls_in_backoff() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max, settings.retry.base) = (0, 1, 20 * SECOND);
    settings.retry.max = 20 * SECOND;
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call_with(None, None, true);
    harness.exit_by_signal(sent(&effects, call).unwrap().0);
    harness.wait(Duration::from_millis(100));
    // A failed start, and the next one fails too.
    harness.exit_by_signal(process(1, 2));
    harness.wait(Duration::from_millis(200));
    let effects = harness.exit_by_signal(process(1, 3));
    assert!(matches!(settled(&effects, call), Some(CallFailure::PoolFailed { .. })), "{effects:?}");
    assert_eq!(earlier(&effects, call), [process(1, 1)]);
}
