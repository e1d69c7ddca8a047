//! Calls that are sent again (R33).

use super::*;
use crate::{Backoff, RetrySettings};

const SECOND: Duration = Duration::from_secs(1);

/// Two workers; the first wait is a second, without jitter.
fn bench(retry: RetrySettings) -> Bench {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 2);
    settings.retry = RetrySettings { base: SECOND, jitter: 0, ..retry };
    settings.overflow = 0;
    settings.restart.min_uptime = Duration::ZERO; // no death counts, the next process starts at once
    Bench::with(settings)
}

impl Bench {
    /// Sends an idempotent call; its process dies under it.
    fn lose_one(&mut self) -> CallId {
        let (call, fx) = self.call_with(None, None, true);
        let (at, _) = sent(&fx, call).unwrap();
        self.die_and_come_back(at);
        call
    }

    fn die_and_come_back(&mut self, at: WorkerRef) -> Effects {
        let mut fx = self.die(at);
        fx.extend(self.wait(Duration::ZERO));
        while let Some(start) = fx.iter().find_map(|effect| match effect {
            Effect::Start(at) => Some(*at),
            _ => None,
        }) {
            fx.retain(|effect| *effect != Effect::Start(start));
            fx.extend(self.step(Input::Ready { at: start, window: 1, control: false }));
        }
        fx
    }
}

fn earlier(fx: &Effects, id: CallId) -> Vec<WorkerRef> {
    fx.iter()
        .find_map(|effect| match effect {
            Effect::Settle { call, earlier, .. } | Effect::Deliver { call, earlier, .. } if *call == id => {
                Some(earlier.iter().map(|loss| loss.at).collect())
            }
            _ => None,
        })
        .unwrap_or_default()
}

#[test]
fn r33_a_retry_comes_after_its_wait_and_tells_of_what_was_before() {
    let mut bench = bench(RetrySettings::default());
    let call = bench.lose_one();
    assert_eq!(sent(&bench.wait(SECOND - Duration::from_nanos(1)), call), None);
    let fx = bench.wait(Duration::from_nanos(1));
    let again = sent(&fx, call).unwrap();
    let fx = bench.finish(again);
    assert_eq!((routing(&fx, call), earlier(&fx, call)), (Some(Routing::Unrouted), vec![at(1, 1)]));
}

#[test]
fn r33_the_last_attempt_is_the_answer_and_the_others_are_told() {
    let mut bench = bench(RetrySettings::default());
    let call = bench.lose_one();
    let fx = bench.wait(SECOND);
    bench.die_and_come_back(sent(&fx, call).unwrap().0);
    let fx = bench.wait(2 * SECOND);
    let third = sent(&fx, call).unwrap().0;
    let fx = bench.die(third);
    assert!(matches!(settled(&fx, call), Some(CallFailure::WorkerLost(loss)) if loss.at == third && loss.may_have_run));
    assert_eq!(earlier(&fx, call).len(), 2);
}

/// R33: never past the deadline: a call that could only be sent again after it hears of its loss at once.
#[test]
fn r33_no_retry_is_sent_past_the_deadline() {
    let mut bench = bench(RetrySettings {
        backoff: Backoff::Custom(vec![30 * SECOND]),
        max: 60 * SECOND,
        ..RetrySettings::default()
    });
    let (call, fx) = bench.call_with(None, None, true);
    let fx = bench.die(sent(&fx, call).unwrap().0);
    assert!(matches!(settled(&fx, call), Some(CallFailure::WorkerLost(_))), "{fx:?}");
}

/// R35: its caller may leave while it waits, and its deadline may pass while it waits for a worker after that.
#[test]
fn r33_a_call_between_two_attempts_can_be_cancelled_and_runs_out_of_time() {
    let mut bench = bench(RetrySettings::default());
    let call = bench.lose_one();
    let fx = bench.step(Input::Cancel(call));
    assert_eq!(settled(&fx, call), Some(CallFailure::Abandoned));
    assert_eq!(sent(&bench.wait(5 * SECOND), call), None);
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.queue.timeout) = (0, 60 * SECOND);
    let mut bench = Bench::with(settings);
    let (call, fx) = bench.call_with(None, None, true);
    bench.die(sent(&fx, call).unwrap().0); // and nothing starts
    let fx = bench.wait(30 * SECOND);
    assert_eq!(settled(&fx, call), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
    assert_eq!(earlier(&fx, call), [at(1, 1)]);
}

#[test]
fn r33_only_idempotent_calls_without_a_strict_session_are_sent_again() {
    let mut bench = bench(RetrySettings::default());
    let (plain, fx) = bench.call(None);
    let fx = bench.die(sent(&fx, plain).unwrap().0);
    assert!(matches!(settled(&fx, plain), Some(CallFailure::WorkerLost(_))));
    let mut bench = Bench::new(WorkerTypeSettings::enhanced(), 2);
    let (strict, fx) = bench.call_with(Some("ann"), None, true);
    let fx = bench.die(sent(&fx, strict).unwrap().0);
    assert!(matches!(settled(&fx, strict), Some(CallFailure::SessionWorkerLost { .. })), "never across an epoch");
    let (hint, fx) = bench.call_with(Some("bob"), Some(Affinity::Hint), true);
    let fx = bench.die(sent(&fx, hint).unwrap().0);
    assert_eq!(settled(&fx, hint), None);
}

/// R33: the budget is a share of successes and ten besides; it is looked at when the call is lost and again after its wait.
#[test]
fn r33_the_budget_is_pool_wide_and_checked_again_after_the_wait() {
    let mut bench = bench(RetrySettings { budget: 0, ..RetrySettings::default() });
    let lost: Vec<CallId> = (0..12).map(|_| bench.lose_one()).collect();
    assert_eq!(bench.core.status(bench.now).queue.waiting, 12, "all wait: nothing was spent yet");
    let fx = bench.wait(SECOND);
    let out =
        |fx: &Effects| lost.iter().filter(|id| matches!(settled(fx, **id), Some(CallFailure::WorkerLost(_)))).count();
    assert_eq!(out(&fx), 2, "ten are sent");
    assert_eq!(bench.core.status(bench.now).counters.retries, 10);
    let busy = bench.core.process_of(WorkerId(1)).unwrap();
    let fx = bench.die(busy);
    assert_eq!(out(&fx), 1, "it is used up: lost at once");
}

/// R33: each success makes room for its share.
#[test]
fn r33_successes_make_room_in_the_budget() {
    let mut bench = bench(RetrySettings { budget: 500, ..RetrySettings::default() });
    for _ in 0..4 {
        let (call, fx) = bench.call(None);
        bench.finish(sent(&fx, call).unwrap());
    }
    (0..20).for_each(|_| _ = bench.lose_one());
    bench.wait(SECOND);
    assert_eq!(bench.core.status(bench.now).counters.retries, 12, "ten, and half of four");
}

/// R28, R33: a pool that fails answers those that wait for their next attempt, too.
#[test]
fn r33_a_pool_that_fails_answers_calls_between_two_attempts() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.restart.max, settings.retry.base) = (0, 1, 20 * SECOND);
    settings.retry.max = 20 * SECOND;
    let mut bench = Bench::with(settings);
    let (call, fx) = bench.call_with(None, None, true);
    bench.die(sent(&fx, call).unwrap().0);
    bench.wait(Duration::from_millis(100));
    bench.die(at(1, 2)); // a start that failed, and another one
    bench.wait(Duration::from_millis(200));
    let fx = bench.die(at(1, 3));
    assert!(matches!(settled(&fx, call), Some(CallFailure::PoolFailed { .. })), "{fx:?}");
    assert_eq!(earlier(&fx, call), [at(1, 1)]);
}
