//! Abandoned attempts (R35): who is asked, interrupted and killed for, and who is not.

use super::*;
use crate::{Fingerprint, PoisonSettings};

const SECOND: Duration = Duration::from_secs(1);

/// One worker that takes several calls at once and runs one; the default patience: interrupt after 1 s, kill after 5 s.
fn pipelined() -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.pipeline, settings.health.interval) = (0, 4, Duration::MAX);
    settings.poison = Some(PoisonSettings { max_worker_deaths: 1, quarantine: Duration::from_secs(600) });
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    harness.step(Input::Tick);
    harness.step(Input::Ready { worker: at(1, 1), window: 4, control: true });
    harness
}

impl Harness {
    fn sent_call(&mut self) -> (CallId, WireId) {
        let (call, effects) = self.call(None);
        (call, sent(&effects, call).unwrap().1)
    }

    fn says(&mut self, wire: WireId, state: AttemptState) -> Effects {
        self.step(Input::AttemptState { worker: at(1, 1), wire, state })
    }

    fn finish_wire(&mut self, wire: WireId) -> Effects {
        self.finish((at(1, 1), wire))
    }
}

fn interrupts(wire: WireId) -> Effect {
    Effect::Cancel { worker: at(1, 1), wire, interrupt: true }
}

fn kill() -> Effect {
    Effect::Stop { worker: at(1, 1), method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }
}

/// R35, R36: a call that waits in its worker behind one that runs is abandoned. Whatever the worker says of it, or if it says nothing, the
/// worker lives: the call that runs is not to blame.
#[test]
fn r35_withdrawn_attempt_kills_no_worker() {
    for answer in [None, Some(AttemptState::Withdrawn)] {
        let mut harness = pipelined();
        let (running, first) = harness.sent_call();
        let (waiting, second) = harness.sent_call();
        let effects = harness.step(Input::Cancel(waiting));
        assert!(effects.contains(&Effect::Cancel { worker: at(1, 1), wire: second, interrupt: false }));
        answer.map(|state| harness.says(second, state));
        assert_eq!(harness.wait(12 * SECOND), [], "{answer:?}");
        assert!(
            harness
                .finish_wire(first)
                .iter()
                .any(|effects| matches!(effects, Effect::Deliver { call, .. } if *call == running))
        );
        harness.finish_wire(second);
        assert_eq!(harness.wait(SECOND), [], "{answer:?}");
    }
}

/// R35: of a worker that says nothing, the oldest attempt is taken to run: its patience begins when it becomes the oldest.
#[test]
fn r35_without_a_word_the_oldest_attempt_is_taken_to_run() {
    let mut harness = pipelined();
    let (_, first) = harness.sent_call();
    let (waiting, second) = harness.sent_call();
    harness.step(Input::Cancel(waiting));
    assert_eq!(harness.wait(3 * SECOND), []);
    harness.finish_wire(first);
    assert_eq!(harness.wait(SECOND), [interrupts(second)]);
    assert_eq!(harness.wait(4 * SECOND), [kill()]);
}

/// R35: a worker that withdrew its oldest attempt and never ends it is held up by something else, and is killed; nobody is suspected.
#[test]
fn r35_a_withdrawn_attempt_whose_end_never_comes_costs_its_worker() {
    let mut harness = pipelined();
    let (_, first) = harness.sent_call();
    let (call, second) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.says(second, AttemptState::Withdrawn);
    assert_eq!(harness.wait(25 * SECOND), [], "the call before it runs");
    harness.finish_wire(first);
    assert_eq!(harness.wait(65 * SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill()]);
    let payload = Suspect { wire: second, fingerprint: Fingerprint(7), command: "predict".into() };
    harness.end(at(1, 1), Some(KillReason::CancelTimeout), vec![payload]);
    assert!(harness.core.quarantine_entries(harness.now).is_empty());
}

/// R35: an attempt that was withdrawn is passed over: the one behind it is the oldest.
#[test]
fn r35_a_withdrawn_attempt_is_not_taken_to_run() {
    let mut harness = pipelined();
    let (one, first) = harness.sent_call();
    let (two, second) = harness.sent_call();
    harness.step(Input::Cancel(one));
    harness.step(Input::Cancel(two));
    assert_eq!(harness.says(first, AttemptState::Withdrawn), []);
    assert_eq!(harness.wait(SECOND), [interrupts(second)]);
}

/// R35: a worker that runs several calls says which: that one is interrupted and killed for, whatever is older.
#[test]
fn r35_an_attempt_that_is_said_to_run_has_its_patience() {
    let mut harness = pipelined();
    harness.sent_call();
    let (call, second) = harness.sent_call();
    harness.step(Input::Cancel(call));
    assert_eq!(harness.wait(10 * SECOND), []);
    harness.says(second, AttemptState::Running);
    assert_eq!(harness.wait(SECOND), [interrupts(second)]);
    harness.says(second, AttemptState::Running); // again, in answer to the interrupt: the patience goes on
    assert_eq!(harness.wait(4 * SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill()]);
}

/// R35: the times run from the answer that counts: a timer of an earlier one interrupts and kills nobody.
#[test]
fn r35_a_timer_from_before_the_answer_means_nothing() {
    let half = Duration::from_millis(500);
    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.wait(half);
    harness.says(wire, AttemptState::Withdrawn);
    harness.says(wire, AttemptState::Running);
    assert_eq!(harness.wait(SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [interrupts(wire)]);
    harness.wait(half);
    harness.says(wire, AttemptState::Finished);
    assert_eq!(harness.wait(4 * SECOND - half), [kill()], "its time to be killed goes on");

    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.says(wire, AttemptState::Withdrawn);
    harness.wait(60 * SECOND);
    harness.says(wire, AttemptState::Finished);
    assert_eq!(
        harness.wait(5 * SECOND - Duration::from_millis(1)),
        [],
        "not when the withdrawn attempt's time is over"
    );
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill()]);
}

/// R35: a handler that has ended is not interrupted; an answer that never comes still has an end.
#[test]
fn r35_an_attempt_that_is_said_to_have_finished_is_not_interrupted() {
    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.says(wire, AttemptState::Finished);
    assert_eq!(harness.wait(5 * SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill()]);
}

/// R35: what a worker says of a call whose caller waits, of one it never had, or after its final frame, means nothing.
#[test]
fn r35_a_word_about_any_other_attempt_means_nothing() {
    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    for state in [AttemptState::Running, AttemptState::Withdrawn, AttemptState::Finished] {
        harness.says(wire, state);
        harness.says(WireId(77), state);
        harness.step(Input::AttemptState { worker: at(1, 9), wire, state });
    }
    assert_eq!(harness.wait(10 * SECOND), []);
    let effects = harness.finish_wire(wire);
    assert!(routing(&effects, call).is_some());
}

/// R37: only what may have run is suspected: not what was withdrawn, nor what waited behind the call that ran.
#[test]
fn r37_an_attempt_that_had_not_begun_is_no_suspect() {
    let payload = |wire: WireId| Suspect { wire, fingerprint: Fingerprint(wire.0), command: "predict".into() };
    let watched = |harness: &Harness| {
        harness.core.quarantine_entries(harness.now).iter().map(|each| each.fingerprint).collect::<Vec<_>>()
    };
    let mut harness = pipelined();
    let wires: Vec<WireId> = (0..3).map(|_| harness.sent_call().1).collect();
    harness.end(at(1, 1), None, wires.iter().copied().map(payload).collect());
    assert_eq!(watched(&harness), [Fingerprint(wires[0].0)], "it ran one at a time");

    let mut harness = pipelined();
    let (call, first) = harness.sent_call();
    let (_, second) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.says(first, AttemptState::Withdrawn);
    harness.end(at(1, 1), None, vec![payload(first), payload(second)]);
    assert_eq!(watched(&harness), [Fingerprint(second.0)]);
}

/// R34, R37: a call that could not be sent is nobody's answer: the breaker, the statistics and the quarantine know nothing of it.
#[test]
fn r34_a_call_that_was_not_sent_counts_as_no_answer() {
    let mut settings = Settings::new(WorkerTypeSettings::enhanced(), 1);
    settings.breaker = Some(crate::BreakerSettings::default());
    settings.health.interval = Duration::MAX;
    let mut harness = Harness::with(settings);
    let before = harness.core.status(harness.now);
    for _ in 0..10 {
        let (call, effects) = harness.call(Some("ann"));
        let (worker, wire) = sent(&effects, call).unwrap();
        assert_eq!(harness.step(Input::SendFailed { worker, wire }), []);
    }
    let after = harness.core.status(harness.now);
    assert_eq!(after.breaker, before.breaker);
    assert_eq!((after.counters.failed, after.counters.failed_by_pool, after.counters.submitted), (0, 10, 10));
    let served =
        |status: &PoolStatus| status.workers.iter().map(|w| (w.operations, w.metrics.clone())).collect::<Vec<_>>();
    assert_eq!(served(&after), served(&before));
    let (call, effects) = harness.call(Some("ann"));
    assert!(sent(&effects, call).is_some(), "its place and its session's turn are free");
}
