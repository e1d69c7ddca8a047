//! Abandoned attempts (R35): which are asked to stop, interrupted, or lead to the end of their worker.

use super::*;
use crate::{Fingerprint, PoisonSettings};

const SECOND: Duration = Duration::from_secs(1);

/// One worker that accepts several calls and runs one at a time. It is interrupted after 1 s and killed after 5 s, the
/// defaults.
fn pipelined() -> Harness {
    let mut settings = Settings::new(WorkerTypeSettings::Basic, 1);
    (settings.overflow, settings.pipeline, settings.health.interval) = (0, 4.into(), Duration::MAX);
    settings.poison = Some(PoisonSettings { max_worker_deaths: 1, quarantine: Duration::from_secs(600) });
    let mut harness =
        Harness { core: Core::new(settings, 1, Timestamp(0)), now: Timestamp(0), effects: Vec::new(), calls: 0 };
    harness.step(Input::Tick);
    harness.step(Input::Ready { worker: process(1, 1), window: 4, control: true, in_order: None });
    harness
}

impl Harness {
    fn sent_call(&mut self) -> (CallId, WireId) {
        let (call, effects) = self.call(None);
        (call, sent(&effects, call).unwrap().1)
    }

    fn report_state(&mut self, wire: WireId, state: AttemptState) -> Effects {
        self.step(Input::AttemptState { worker: process(1, 1), wire, state })
    }

    fn finish_wire(&mut self, wire: WireId) -> Effects {
        self.finish((process(1, 1), wire))
    }
}

fn interrupt_effect(wire: WireId) -> Effect {
    Effect::Cancel { worker: process(1, 1), wire, interrupt: true }
}

fn kill_effect() -> Effect {
    Effect::Stop { worker: process(1, 1), method: StopMethod::Kill, kill_reason: KillReason::CancelTimeout }
}

/// R35, R36: a call that waits in its worker behind a running one is abandoned. Whatever the worker answers to the
/// cancel, it is not killed, since the running call is not at fault.
#[test]
fn r35_withdrawn_attempt_kills_no_worker() {
    for answer in [None, Some(AttemptState::Withdrawn)] {
        let mut harness = pipelined();
        let (running, first) = harness.sent_call();
        let (waiting, second) = harness.sent_call();
        let effects = harness.step(Input::Cancel(waiting));
        assert!(effects.contains(&Effect::Cancel { worker: process(1, 1), wire: second, interrupt: false }));
        answer.map(|state| harness.report_state(second, state));
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

/// R35: if the worker does not answer, its oldest attempt is assumed to run, and its timeouts start when it becomes the
/// oldest.
#[test]
fn r35_without_an_answer_the_oldest_attempt_is_assumed_to_run() {
    let mut harness = pipelined();
    let (_, first) = harness.sent_call();
    let (waiting, second) = harness.sent_call();
    harness.step(Input::Cancel(waiting));
    assert_eq!(harness.wait(3 * SECOND), []);
    harness.finish_wire(first);
    assert_eq!(harness.wait(SECOND), [interrupt_effect(second)]);
    assert_eq!(harness.wait(4 * SECOND), [kill_effect()]);
}

/// R35: an attempt that could not be sent makes the next one the oldest, as a final frame does.
#[test]
fn r35_timeouts_start_when_the_oldest_attempt_could_not_be_sent() {
    let mut harness = pipelined();
    let (_, first) = harness.sent_call();
    let (waiting, second) = harness.sent_call();
    harness.step(Input::Cancel(waiting));
    harness.step(Input::SendFailed { worker: process(1, 1), wire: first });
    assert_eq!(harness.wait(SECOND), [interrupt_effect(second)]);
    assert_eq!(harness.wait(4 * SECOND), [kill_effect()]);
}

/// R35: a worker that withdrew its oldest attempt and never sends its final frame is blocked by something else. It is
/// killed, and no call is suspected.
#[test]
fn r35_worker_is_killed_if_a_withdrawn_attempt_never_finishes() {
    let mut harness = pipelined();
    let (_, first) = harness.sent_call();
    let (call, second) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.report_state(second, AttemptState::Withdrawn);
    assert_eq!(harness.wait(25 * SECOND), [], "the call before it still runs");
    harness.finish_wire(first);
    assert_eq!(harness.wait(65 * SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill_effect()]);
    let payload = Suspect { wire: second, fingerprint: Fingerprint(7), command: "predict".into() };
    harness.exit(process(1, 1), Some(KillReason::CancelTimeout), vec![payload]);
    assert!(harness.core.quarantine_entries(harness.now).is_empty());
}

/// R35: a withdrawn attempt is skipped: the one after it is the oldest.
#[test]
fn r35_withdrawn_attempt_is_not_assumed_to_run() {
    let mut harness = pipelined();
    let (one, first) = harness.sent_call();
    let (two, second) = harness.sent_call();
    harness.step(Input::Cancel(one));
    harness.step(Input::Cancel(two));
    assert_eq!(harness.report_state(first, AttemptState::Withdrawn), []);
    assert_eq!(harness.wait(SECOND), [interrupt_effect(second)]);
}

/// R35: a worker that runs several calls reports which. The timeouts apply to that attempt, even if others are older.
#[test]
fn r35_running_attempt_is_interrupted_and_then_killed() {
    let mut harness = pipelined();
    harness.sent_call();
    let (call, second) = harness.sent_call();
    harness.step(Input::Cancel(call));
    assert_eq!(harness.wait(10 * SECOND), []);
    harness.report_state(second, AttemptState::Running);
    assert_eq!(harness.wait(SECOND), [interrupt_effect(second)]);
    // The answer to the interrupt does not restart the timeouts.
    harness.report_state(second, AttemptState::Running);
    assert_eq!(harness.wait(4 * SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill_effect()]);
}

/// R35: the timeouts count from the last answer that changed the state. Timers of an earlier state have no effect.
#[test]
fn r35_timers_from_before_the_answer_are_ignored() {
    let half = Duration::from_millis(500);
    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.wait(half);
    harness.report_state(wire, AttemptState::Withdrawn);
    harness.report_state(wire, AttemptState::Running);
    assert_eq!(harness.wait(SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [interrupt_effect(wire)]);
    harness.wait(half);
    harness.report_state(wire, AttemptState::Finished);
    assert_eq!(harness.wait(4 * SECOND - half), [kill_effect()], "the kill timeout is not restarted");

    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.report_state(wire, AttemptState::Withdrawn);
    harness.wait(60 * SECOND);
    harness.report_state(wire, AttemptState::Finished);
    assert_eq!(
        harness.wait(5 * SECOND - Duration::from_millis(1)),
        [],
        "the timeout of the withdrawn state does not apply"
    );
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill_effect()]);
}

/// R35: a handler that has ended is not interrupted, but the worker is killed if the final frame does not arrive.
#[test]
fn r35_finished_attempt_is_not_interrupted() {
    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.report_state(wire, AttemptState::Finished);
    assert_eq!(harness.wait(5 * SECOND - Duration::from_millis(1)), []);
    assert_eq!(harness.wait(Duration::from_millis(1)), [kill_effect()]);
}

/// R35: the reported state of a call that is not abandoned, of an unknown one, or of a finished one is ignored.
#[test]
fn r35_states_of_other_attempts_are_ignored() {
    let mut harness = pipelined();
    let (call, wire) = harness.sent_call();
    for state in [AttemptState::Running, AttemptState::Withdrawn, AttemptState::Finished] {
        harness.report_state(wire, state);
        harness.report_state(WireId(77), state);
        harness.step(Input::AttemptState { worker: process(1, 9), wire, state });
    }
    assert_eq!(harness.wait(10 * SECOND), []);
    let effects = harness.finish_wire(wire);
    assert!(routing(&effects, call).is_some());
}

/// R37: only attempts that may have run are suspected: not withdrawn ones, and not those behind the running one.
#[test]
fn r37_attempt_that_had_not_begun_is_not_suspected() {
    let payload = |wire: WireId| Suspect { wire, fingerprint: Fingerprint(wire.0), command: "predict".into() };
    let watched = |harness: &Harness| {
        harness.core.quarantine_entries(harness.now).iter().map(|each| each.fingerprint).collect::<Vec<_>>()
    };
    let mut harness = pipelined();
    let wires: Vec<WireId> = (0..3).map(|_| harness.sent_call().1).collect();
    harness.exit(process(1, 1), None, wires.iter().copied().map(payload).collect());
    assert_eq!(watched(&harness), [Fingerprint(wires[0].0)], "the worker runs one call at a time");

    let mut harness = pipelined();
    let (call, first) = harness.sent_call();
    let (_, second) = harness.sent_call();
    harness.step(Input::Cancel(call));
    harness.report_state(first, AttemptState::Withdrawn);
    harness.exit(process(1, 1), None, vec![payload(first), payload(second)]);
    assert_eq!(watched(&harness), [Fingerprint(second.0)]);
}

/// R34, R37: a call that could not be sent is no outcome for the breaker, the statistics and the quarantine.
#[test]
fn r34_call_that_could_not_be_sent_counts_as_no_outcome() {
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
    assert!(sent(&effects, call).is_some(), "its call slot and its session are free");
}

/// R35: a call that was abandoned before the shell reported that it could not be sent leaves its session and its call
/// slot free.
#[test]
fn r35_abandoned_call_that_could_not_be_sent_frees_its_session() {
    let mut harness = Harness::with(Settings::new(WorkerTypeSettings::enhanced(), 1));
    let (call, effects) = harness.call(Some("ann"));
    let (worker, wire) = sent(&effects, call).unwrap();
    let (next, effects) = harness.call(Some("ann"));
    assert_eq!(sent(&effects, next), None);
    harness.step(Input::Cancel(call));
    let effects = harness.step(Input::SendFailed { worker, wire });
    assert!(sent(&effects, next).is_some(), "{effects:?}");
}
