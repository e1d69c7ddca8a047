//! Calls in advance (`pipeline = "auto"`, R71): when they are sent, how they count, and how they return.

use super::*;
use crate::{AttemptState, Pipeline};
use std::num::NonZeroU32;

const MICROS: Duration = Duration::from_micros(1);
const MILLIS: Duration = Duration::from_millis(1);

/// Returns a pool of workers that run one call at a time, in order. None has run a call yet.
fn adaptive(kind: WorkerTypeSettings, size: u32) -> Harness {
    let mut settings = Settings::new(kind, size);
    settings.pipeline = Pipeline::Auto;
    pool_of(settings)
}

fn pool_of(mut settings: Settings) -> Harness {
    (settings.overflow, settings.health.interval) = (0, Duration::MAX);
    let size = settings.pool_size;
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    harness.step(Input::Tick);
    (1..=size).for_each(|worker| harness.ready_in_order(process(worker, 1)));
    harness
}

/// Returns a pool of workers that have each run one short call.
fn short(kind: WorkerTypeSettings, size: u32) -> Harness {
    let mut harness = adaptive(kind, size);
    let sent: Vec<_> = (0..size).filter_map(|_| harness.send()).collect();
    sent.into_iter().for_each(|attempt| _ = harness.finish_after(attempt, MICROS * 100));
    harness
}

impl Harness {
    fn ready_in_order(&mut self, worker: WorkerRef) {
        self.step(Input::Ready { worker, window: 64, control: true, in_order: NonZeroU32::new(1) });
    }

    /// Submits a call and returns its attempt, if it was sent.
    fn send(&mut self) -> Option<(WorkerRef, WireId)> {
        let (call, effects) = self.call(None);
        sent(&effects, call)
    }

    fn finish_after(&mut self, (worker, wire): (WorkerRef, WireId), ran: Duration) -> Effects {
        self.step(Input::Final { worker, wire, ok: true, ran })
    }

    fn answer(&mut self, (worker, wire): (WorkerRef, WireId), state: AttemptState) -> Effects {
        self.step(Input::AttemptState { worker, wire, state })
    }

    /// The final frame of a call that did not run.
    fn not_run(&mut self, (worker, wire): (WorkerRef, WireId)) -> Effects {
        self.step(Input::Final { worker, wire, ok: false, ran: Duration::ZERO })
    }

    fn counts(&self) -> (usize, usize) {
        let queue = self.core.queue_status();
        (queue.in_flight, queue.waiting)
    }
}

fn revoked(effects: &Effects) -> Vec<(WorkerRef, WireId)> {
    let revoke = |effect: &Effect| match effect {
        Effect::Revoke { worker, wire } => Some((*worker, *wire)),
        _ => None,
    };
    effects.iter().filter_map(revoke).collect()
}

fn all_sent(effects: &Effects) -> Vec<(WorkerRef, WireId)> {
    let send = |effect: &Effect| match effect {
        Effect::Send { worker, wire, .. } => Some((*worker, *wire)),
        _ => None,
    };
    effects.iter().filter_map(send).collect()
}

fn delivered(effects: &Effects) -> Option<Delivery> {
    effects.iter().find_map(|effect| match effect {
        Effect::Deliver { delivery, .. } => Some(*delivery),
        _ => None,
    })
}

/// R71: nothing is in advance before the first answer; then the waiting calls follow at once.
#[test]
fn r71_calls_follow_in_advance_once_a_call_was_short() {
    let mut harness = adaptive(WorkerTypeSettings::Basic, 1);
    let first = harness.send().unwrap();
    assert_eq!([harness.send(), harness.send(), harness.send()], [None; 3]);
    let effects = harness.finish_after(first, MICROS * 100);
    assert_eq!(all_sent(&effects).len(), 3);
    assert_eq!(harness.counts(), (1, 2), "those in advance wait");
    let worker = &harness.core.workers(harness.now)[0];
    assert_eq!((worker.in_flight, worker.window, worker.queued), (1, 1, 2));
}

/// R46: a call in advance was sent before the pool counted it as begun. Its worker may have run it by then.
#[test]
fn r46_reply_of_a_call_in_advance_states_when_it_was_sent() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let (first, second) = (harness.send().unwrap(), harness.send().unwrap());
    let sent_at = harness.now;
    harness.wait(MILLIS);
    harness.finish_after(first, MICROS * 100);
    let delivery = delivered(&harness.finish_after(second, MICROS * 100)).unwrap();
    assert_eq!((delivery.sent, delivery.finished), (sent_at, harness.now));
}

/// R71
#[test]
fn r71_long_call_ends_the_sending_in_advance() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let (first, second) = (harness.send().unwrap(), harness.send().unwrap());
    harness.finish_after(first, MILLIS * 3);
    assert_eq!(harness.send(), None);
    harness.finish_after(second, MILLIS * 3);
    assert_eq!(harness.counts(), (1, 0));
}

/// R71: what a worker gave back, or will not begin, does not count as running while a long call delays its final frame.
#[test]
fn r71_calls_that_will_not_begin_are_not_in_flight() {
    for abandoned in [false, true] {
        let mut harness = short(WorkerTypeSettings::Basic, 1);
        harness.send().unwrap();
        let (call, effects) = harness.call(None);
        let attempt = sent(&effects, call).unwrap();
        assert_eq!(harness.counts(), (1, 1));
        harness.wait(MILLIS * 2);
        if abandoned {
            harness.step(Input::Cancel(call));
            assert_eq!(harness.counts(), (1, 0));
        }
        harness.answer(attempt, AttemptState::Withdrawn);
        assert_eq!(harness.counts(), (1, usize::from(!abandoned)));
        assert_eq!(harness.core.workers(harness.now)[0].in_flight, 1);
    }
}

/// R12: a free place comes first, also when a process exits and its calls return.
#[test]
fn r12_no_call_is_in_advance_while_a_worker_has_a_free_place() {
    let mut harness = short(WorkerTypeSettings::Basic, 3);
    let workers: Vec<_> = (0..6).filter_map(|_| harness.send()).map(|(worker, _)| worker.id.0).collect();
    assert_eq!(workers, [1, 2, 3, 1, 2, 3]);
    harness.wait(MILLIS);
    let effects = harness.exit_by_signal(process(3, 1));
    assert_eq!(all_sent(&effects).len(), 1, "what had not begun goes to another worker");
    assert_eq!(harness.counts(), (2, 3));
}

/// R36: calls in advance are in the limit of the queue.
#[test]
fn r36_calls_in_advance_count_as_waiting() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.pipeline, settings.queue.limit) = (Pipeline::Auto, 2);
    let mut harness = pool_of(settings);
    let first = harness.send().unwrap();
    harness.finish_after(first, MICROS);
    assert!((0..3).all(|_| harness.send().is_some()));
    let (refused, effects) = harness.call(None);
    assert_eq!(settled(&effects, refused), Some(CallFailure::QueueFull { limit: 2 }));
}

/// R36: `queue.timeout` applies until a call has begun.
#[test]
fn r36_queue_timeout_takes_a_call_back() {
    let mut harness = short(WorkerTypeSettings::enhanced(), 1);
    // Its session keeps the call in the worker while the slow one runs.
    harness.bind("ann", 1);
    let first = harness.send().unwrap();
    let (strict, effects) = harness.call(Some("ann"));
    let strict_attempt = sent(&effects, strict).unwrap();
    let (call, effects) = harness.call(None);
    let attempt = sent(&effects, call).unwrap();
    let effects = harness.wait(Duration::from_secs(5));
    assert_eq!(revoked(&effects), [attempt], "once, although two reasons arose, and never the strict call");
    let effects = harness.answer(attempt, AttemptState::Withdrawn);
    assert_eq!(settled(&effects, call), Some(CallFailure::QueueTimeout));
    assert_eq!(harness.counts(), (1, 1), "the attempt stays until its frame, but does not run");
    harness.finish_after(first, Duration::from_secs(5));
    assert!(delivered(&harness.finish_after(strict_attempt, MICROS)).is_some());
    assert_eq!(harness.not_run(attempt), [], "not a late answer");
    assert_eq!(harness.counts(), (0, 0));
}

/// R36: a call that the worker has begun is not taken back, and its deadline still applies.
#[test]
fn r36_call_that_has_begun_meanwhile_goes_on() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    harness.send();
    let (call, effects) = harness.call_within(None, Duration::from_secs(7));
    let attempt = sent(&effects, call).unwrap();
    harness.wait(Duration::from_secs(5));
    assert_eq!(harness.answer(attempt, AttemptState::Running), []);
    let effects = harness.wait(Duration::from_secs(3));
    assert_eq!(settled(&effects, call), Some(CallFailure::DeadlineExceeded { may_have_run: true }));
}

/// R71: calls behind a slow one run elsewhere, and count as sent once.
#[test]
fn r71_calls_behind_a_slow_one_run_elsewhere() {
    let mut harness = short(WorkerTypeSettings::Basic, 2);
    let (slow, other) = (harness.send().unwrap(), harness.send().unwrap());
    let behind: Vec<_> = (0..4).filter_map(|_| harness.send()).collect();
    let at_slow: Vec<_> = behind.into_iter().filter(|(worker, _)| *worker == slow.0).collect();
    assert_eq!(at_slow.len(), 2);
    harness.now = harness.now + MILLIS;
    harness.finish_after(other, MICROS * 100);
    let effects = harness.wait(MILLIS);
    assert_eq!(revoked(&effects), at_slow);
    let effects = harness.answer(at_slow[0], AttemptState::Withdrawn);
    let again = all_sent(&effects)[0];
    assert_eq!(again.0, other.0);
    assert_eq!(harness.send().unwrap().0, other.0, "the slow worker gets no more");
    let delivery = delivered(&harness.finish_after(again, MICROS * 100)).unwrap();
    assert_eq!((delivery.worker, delivery.attempts), (other.0, 1));
    assert_eq!(harness.answer(at_slow[0], AttemptState::Withdrawn), [], "a repeated answer changes nothing");
}

/// R71: a worker that goes from call to call is not slow, however long calls are in advance.
#[test]
fn r71_worker_that_finishes_calls_keeps_those_in_advance() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let mut sent: Vec<_> = (0..15).filter_map(|_| harness.send()).collect();
    for _ in 0..50 {
        assert_eq!(revoked(&harness.wait(MICROS * 1500)), []);
        harness.finish_after(sent.remove(0), MICROS * 100);
        sent.extend(harness.send());
    }
    assert_eq!(sent.len(), 15);
}

/// R71: the final frame of a call that was given back may overtake the answer, which is on the other descriptor.
#[test]
fn r71_frame_of_a_call_that_was_given_back_answers_nobody() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let slow = harness.send().unwrap();
    let (call, effects) = harness.call(None);
    let attempt = sent(&effects, call).unwrap();
    assert_eq!(revoked(&harness.wait(MILLIS * 2)), [attempt]);
    harness.finish_after(slow, MILLIS * 5);
    let effects = harness.not_run(attempt);
    let again = sent(&effects, call).unwrap();
    assert_eq!(effects.len(), 1, "{effects:?}");
    assert_eq!(harness.answer(attempt, AttemptState::Withdrawn), []);
    assert!(delivered(&harness.finish(again)).is_some());
    assert_eq!(harness.core.workers(harness.now)[0].operations, 3, "the two others, and the one that ran the call");
}

/// R71: an error of a call that ran is its answer, even if the host wanted the call back.
#[test]
fn r71_error_of_a_call_that_ran_is_delivered() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let slow = harness.send().unwrap();
    let (worker, wire) = harness.send().unwrap();
    harness.wait(MILLIS * 2);
    harness.answer((worker, wire), AttemptState::Running);
    harness.finish_after(slow, MILLIS * 2);
    assert!(delivered(&harness.step(Input::Final { worker, wire, ok: false, ran: MICROS })).is_some());
}

/// R20, R33: what had not begun when a process died is not lost, whether or not it may be retried.
#[test]
fn r20_calls_that_had_not_begun_survive_the_death_of_their_worker() {
    for pipeline in [Pipeline::Auto, Pipeline::Fixed(4)] {
        let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
        settings.pipeline = pipeline;
        let mut harness = pool_of(settings);
        let warm = harness.send().unwrap();
        harness.finish_after(warm, MICROS);
        let (running, _) = harness.call(None);
        let (waiting, effects) = harness.call(None);
        assert!(sent(&effects, waiting).is_some());
        let (abandoned, _) = harness.call(None);
        harness.step(Input::Cancel(abandoned));
        harness.wait(Duration::from_secs(1));
        let effects = harness.exit_by_signal(process(1, 1));
        let loss = settled(&effects, running);
        assert!(matches!(loss, Some(CallFailure::WorkerLost(WorkerLoss { may_have_run: true, .. }))), "{loss:?}");
        assert_eq!((settled(&effects, waiting), harness.counts()), (None, (0, 1)));
        harness.wait(Duration::from_secs(1));
        harness.core.handle(harness.now, Input::Tick, &mut Vec::new());
        let ready = Input::Ready { worker: process(1, 2), window: 1, control: true, in_order: None };
        let again = sent(&harness.step(ready), waiting).unwrap();
        assert_eq!(delivered(&harness.finish(again)).unwrap().attempts, 1);
    }
}

/// R20: without the statement of the process, each of its calls may have begun.
#[test]
fn r20_calls_of_a_process_that_does_not_state_its_order_are_lost() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.pipeline = Pipeline::Fixed(2);
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    harness.step(Input::Tick);
    harness.step(Input::Ready { worker: process(1, 1), window: 2, control: true, in_order: None });
    let calls = [harness.call(None).0, harness.call(None).0];
    let effects = harness.exit_by_signal(process(1, 1));
    assert!(calls.iter().all(|call| matches!(settled(&effects, *call), Some(CallFailure::WorkerLost(_)))));
}

/// R20: if answers of a process may not have been read, they do not show which of its calls began.
#[test]
fn r20_calls_of_a_process_whose_answers_are_unknown_are_lost() {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    settings.pipeline = Pipeline::Fixed(4);
    let mut harness = pool_of(settings);
    let calls = [harness.call(None).0, harness.call(None).0];
    let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason: None };
    let (worker, answers) = (process(1, 1), Answers::Unknown);
    let effects = harness.step(Input::Exited { worker, exit, answers, unwritten: None, suspects: Vec::new() });
    let may_have_run = |call: &CallId| match settled(&effects, *call) {
        Some(CallFailure::WorkerLost(loss)) => loss.may_have_run,
        other => panic!("expected a lost worker: {other:?}"),
    };
    assert!(calls.iter().all(may_have_run));
}

/// R20: a call of which nothing was written to the process is not lost, although the process may begin its calls in any order and
/// its answers are unknown. A strict call fails, since its session is lost, as one that did not run.
#[test]
fn r20_calls_that_were_not_written_did_not_run() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    (settings.overflow, settings.concurrency, settings.pipeline) = (0, 3, Pipeline::Fixed(3));
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    harness.step(Input::Tick);
    harness.step(Input::Ready { worker: process(1, 1), window: 3, control: true, in_order: None });
    let written = harness.call(None).0;
    let (strict, effects) = harness.call(Some("a"));
    let unwritten = sent(&effects, strict).map(|(_, wire)| wire);
    let waiting = harness.call(None).0;
    let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason: None };
    let (worker, answers) = (process(1, 1), Answers::Unknown);
    let effects = harness.step(Input::Exited { worker, exit, answers, unwritten, suspects: Vec::new() });
    assert!(matches!(settled(&effects, written), Some(CallFailure::WorkerLost(loss)) if loss.may_have_run));
    let lost = settled(&effects, strict);
    assert!(matches!(lost, Some(CallFailure::SessionWorkerLost { loss, .. }) if !loss.may_have_run));
    assert_eq!((settled(&effects, waiting), harness.counts()), (None, (0, 1)));
}

/// R20: what a process does shows that it does not begin its calls in order. Then each of them may have run.
#[test]
fn r20_nothing_is_concluded_from_a_statement_that_the_answers_contradict() {
    let (out_of_order, of_no_attempt) = (WireId(3), WireId(99));
    for (answer, lost) in [(out_of_order, 3), (of_no_attempt, 4)] {
        let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
        settings.pipeline = Pipeline::Fixed(4);
        let mut harness = pool_of(settings);
        let calls: Vec<CallId> = (0..4).map(|_| harness.call(None).0).collect();
        harness.finish_after((process(1, 1), answer), MICROS);
        let effects = harness.exit_by_signal(process(1, 1));
        let is_lost = |call: &&CallId| matches!(settled(&effects, **call), Some(CallFailure::WorkerLost(_)));
        assert_eq!(calls.iter().filter(is_lost).count(), lost);
    }
}

/// R71: a process that gave a call back and runs it all the same is sent nothing in advance any more. The call is answered once,
/// by the process that it was sent to then.
#[test]
fn r71_process_that_runs_what_it_gave_back_is_sent_nothing_in_advance() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let running = harness.send().unwrap();
    let (call, effects) = harness.call(None);
    let given_back = sent(&effects, call).unwrap();
    assert_eq!(revoked(&harness.wait(MILLIS * 5)), [given_back]);
    harness.answer(given_back, AttemptState::Withdrawn);
    let effects = harness.finish_after(given_back, MICROS);
    assert!(effects.contains(&Effect::Log(LogEvent::UnknownAnswer(given_back.0, given_back.1))), "{effects:?}");
    assert_eq!(settled(&effects, call), None);
    let again = sent(&harness.finish_after(running, MICROS), call).expect("it is sent again");
    assert_eq!(harness.send(), None, "nothing is sent in advance");
    assert!(harness.finish_after(again, MICROS).iter().any(|effect| matches!(effect, Effect::Deliver { .. })));
}

/// R20: the state of a session is lost even for a call that had not begun, but the error says that the call did not run.
#[test]
fn r20_strict_call_that_had_not_begun_did_not_run() {
    let mut harness = short(WorkerTypeSettings::enhanced(), 1);
    harness.bind("ann", 1);
    harness.send();
    let (strict, effects) = harness.call(Some("ann"));
    assert!(sent(&effects, strict).is_some());
    assert_eq!(revoked(&harness.wait(MILLIS * 50)), [], "no other worker can run it");
    let effects = harness.exit_by_signal(process(1, 1));
    let failure = settled(&effects, strict);
    assert!(
        matches!(failure, Some(CallFailure::SessionWorkerLost { loss: WorkerLoss { may_have_run: false, .. }, .. })),
        "{failure:?}"
    );
}

/// R12: a call that binds its session waits for a worker that runs it at once.
#[test]
fn r12_first_call_of_a_session_is_never_in_advance() {
    for affinity in [Affinity::StrictQueue, Affinity::Hint] {
        let mut harness = short(WorkerTypeSettings::enhanced(), 1);
        let first = harness.send().unwrap();
        let (call, effects) = harness.call_with(Some("ann"), Some(affinity), false);
        assert_eq!(sent(&effects, call), None);
        assert!(harness.send().is_some(), "a call without a session is");
        let effects = harness.finish_after(first, MICROS * 100);
        assert_eq!(sent(&effects, call), None, "the call in advance has the place");
    }
}

/// R19: a fail-fast call does not wait in a worker either.
#[test]
fn r19_fail_fast_call_is_never_in_advance() {
    let mut harness = short(WorkerTypeSettings::enhanced(), 1);
    harness.bind("ann", 1);
    harness.send();
    let (call, effects) = harness.call_with(Some("ann"), Some(Affinity::StrictFailFast), false);
    assert_eq!(settled(&effects, call), Some(CallFailure::WorkerBusy(process(1, 1))));
}

/// R35: a call that is abandoned while it is taken back ends once, and its attempt costs nothing.
#[test]
fn r35_call_that_is_abandoned_while_it_is_taken_back_ends_once() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let slow = harness.send().unwrap();
    let (call, effects) = harness.call(None);
    let attempt = sent(&effects, call).unwrap();
    harness.wait(MILLIS * 2);
    let effects = harness.step(Input::Cancel(call));
    assert_eq!(settled(&effects, call), Some(CallFailure::Abandoned));
    assert_eq!(
        [harness.answer(attempt, AttemptState::Withdrawn), harness.answer(attempt, AttemptState::Withdrawn)],
        [vec![], vec![]]
    );
    harness.finish_after(slow, MILLIS * 3);
    harness.not_run(attempt);
    assert_eq!(harness.counts(), (0, 0));
}

/// R35: a worker that gave a call back and never sends its frame is blocked by something else, and is killed.
#[test]
fn r35_worker_that_never_finishes_what_it_gave_back_is_killed() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let slow = harness.send().unwrap();
    let attempt = harness.send().unwrap();
    harness.wait(MILLIS * 2);
    harness.answer(attempt, AttemptState::Withdrawn);
    harness.finish_after(slow, MILLIS * 3);
    let effects = harness.wait(Duration::from_secs(66));
    let is_kill = |effect: &Effect| matches!(effect, Effect::Stop { kill_reason: KillReason::CancelTimeout, .. });
    assert!(effects.iter().any(is_kill), "{effects:?}");
}

/// R36: a call that was taken back keeps its position among the waiting ones.
#[test]
fn r36_call_that_was_taken_back_is_before_later_ones() {
    let mut harness = short(WorkerTypeSettings::Basic, 1);
    let slow = harness.send().unwrap();
    let (call, effects) = harness.call(None);
    let attempt = sent(&effects, call).unwrap();
    harness.wait(MILLIS * 2);
    let (later, effects) = harness.call(None);
    assert_eq!(sent(&effects, later), None);
    harness.answer(attempt, AttemptState::Withdrawn);
    harness.finish_after(slow, MILLIS * 3);
    let effects = harness.not_run(attempt);
    assert!(sent(&effects, call).is_some() && sent(&effects, later).is_none(), "{effects:?}");
}
