//! Calls that are sent again (R33).

use super::*;
use crate::{Backoff, RetrySettings};

const SECOND: Duration = Duration::from_secs(1);

/// Two workers; the first wait is a second, without jitter.
fn harness(retry: RetrySettings) -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.retry = RetrySettings { base: SECOND, jitter: 0, ..retry };
    settings.overflow = 0;
    settings.restart.min_uptime = Duration::ZERO; // no death counts, the next process starts at once
    Harness::with(settings)
}

impl Harness {
    /// Sends an idempotent call; its process dies under it.
    fn lose_one(&mut self) -> CallId {
        let (call, effects) = self.call_with(None, None, true);
        let (worker, _) = sent(&effects, call).unwrap();
        self.die_and_come_back(worker);
        call
    }

    fn die_and_come_back(&mut self, worker: WorkerRef) -> Effects {
        let mut effects = self.die(worker);
        effects.extend(self.wait(Duration::ZERO));
        while let Some(start) = effects.iter().find_map(|effect| match effect {
            Effect::Start(worker) => Some(*worker),
            _ => None,
        }) {
            effects.retain(|effect| *effect != Effect::Start(start));
            effects.extend(self.step(Input::Ready { worker: start, window: 1, control: false }));
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
    assert_eq!((routing(&effects, call), earlier(&effects, call)), (Some(Routing::Unrouted), vec![at(1, 1)]));
}

#[test]
fn r33_the_last_attempt_is_the_answer_and_the_others_are_told() {
    let mut harness = harness(RetrySettings::default());
    let call = harness.lose_one();
    let effects = harness.wait(SECOND);
    harness.die_and_come_back(sent(&effects, call).unwrap().0);
    let effects = harness.wait(2 * SECOND);
    let third = sent(&effects, call).unwrap().0;
    let effects = harness.die(third);
    assert!(
        matches!(settled(&effects, call), Some(CallFailure::WorkerLost(loss)) if loss.worker == third && loss.may_have_run)
    );
    assert_eq!(earlier(&effects, call).len(), 2);
}

/// R33: never past the deadline: a call that could only be sent again after it hears of its loss at once.
#[test]
fn r33_no_retry_is_sent_past_the_deadline() {
    let mut harness = harness(RetrySettings {
        backoff: Backoff::Custom(vec![30 * SECOND]),
        max: 60 * SECOND,
        ..RetrySettings::default()
    });
    let (call, effects) = harness.call_with(None, None, true);
    let effects = harness.die(sent(&effects, call).unwrap().0);
    assert!(matches!(settled(&effects, call), Some(CallFailure::WorkerLost(_))), "{effects:?}");
}

/// R35: its caller may leave while it waits, and its deadline may pass while it waits for a worker after that.
#[test]
fn r33_a_call_between_two_attempts_can_be_cancelled_and_runs_out_of_time() {
    let mut harness = harness(RetrySettings::default());
    let call = harness.lose_one();
    let effects = harness.step(Input::Cancel(call));
    assert_eq!(settled(&effects, call), Some(CallFailure::Abandoned));
    assert_eq!(sent(&harness.wait(5 * SECOND), call), None);
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout) = (0, 60 * SECOND);
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call_with(None, None, true);
    harness.die(sent(&effects, call).unwrap().0); // and nothing starts
    let effects = harness.wait(30 * SECOND);
    assert_eq!(settled(&effects, call), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
    assert_eq!(earlier(&effects, call), [at(1, 1)]);
}

#[test]
fn r33_only_idempotent_calls_without_a_strict_session_are_sent_again() {
    let mut harness = harness(RetrySettings::default());
    let (plain, effects) = harness.call(None);
    let effects = harness.die(sent(&effects, plain).unwrap().0);
    assert!(matches!(settled(&effects, plain), Some(CallFailure::WorkerLost(_))));
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 2);
    let (strict, effects) = harness.call_with(Some("ann"), None, true);
    let effects = harness.die(sent(&effects, strict).unwrap().0);
    assert!(matches!(settled(&effects, strict), Some(CallFailure::SessionWorkerLost { .. })), "never across an epoch");
    let (hint, effects) = harness.call_with(Some("bob"), Some(Affinity::Hint), true);
    let effects = harness.die(sent(&effects, hint).unwrap().0);
    assert_eq!(settled(&effects, hint), None);
}

/// R33: the budget is a share of successes and ten besides; it is looked at when the call is lost and again after its wait.
#[test]
fn r33_the_budget_is_pool_wide_and_checked_again_after_the_wait() {
    let mut harness = harness(RetrySettings { budget: 0, ..RetrySettings::default() });
    let lost: Vec<CallId> = (0..12).map(|_| harness.lose_one()).collect();
    assert_eq!(harness.core.status(harness.now).queue.waiting, 12, "all wait: nothing was spent yet");
    let effects = harness.wait(SECOND);
    let out = |effects: &Effects| {
        lost.iter().filter(|id| matches!(settled(effects, **id), Some(CallFailure::WorkerLost(_)))).count()
    };
    assert_eq!(out(&effects), 2, "ten are sent");
    assert_eq!(harness.core.status(harness.now).counters.retries, 10);
    let busy = harness.core.process_of(WorkerId(1)).unwrap();
    let effects = harness.die(busy);
    assert_eq!(out(&effects), 1, "it is used up: lost at once");
}

/// R33: each success makes room for its share.
#[test]
fn r33_successes_make_room_in_the_budget() {
    let mut harness = harness(RetrySettings { budget: 500, ..RetrySettings::default() });
    for _ in 0..4 {
        let (call, effects) = harness.call(None);
        harness.finish(sent(&effects, call).unwrap());
    }
    (0..20).for_each(|_| _ = harness.lose_one());
    harness.wait(SECOND);
    assert_eq!(harness.core.status(harness.now).counters.retries, 12, "ten, and half of four");
}

/// R28, R33: a pool that fails answers those that wait for their next attempt, too.
#[test]
fn r33_a_pool_that_fails_answers_calls_between_two_attempts() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max, settings.retry.base) = (0, 1, 20 * SECOND);
    settings.retry.max = 20 * SECOND;
    let mut harness = Harness::with(settings);
    let (call, effects) = harness.call_with(None, None, true);
    harness.die(sent(&effects, call).unwrap().0);
    harness.wait(Duration::from_millis(100));
    harness.die(at(1, 2)); // a start that failed, and another one
    harness.wait(Duration::from_millis(200));
    let effects = harness.die(at(1, 3));
    assert!(matches!(settled(&effects, call), Some(CallFailure::PoolFailed { .. })), "{effects:?}");
    assert_eq!(earlier(&effects, call), [at(1, 1)]);
}
