//! Liveness: what a silent process is taken for.

use super::*;
use crate::{Health, WorkerState, WorkerStatus};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn worker(harness: &Harness) -> WorkerStatus {
    harness.core.status(harness.now).workers.remove(0)
}

fn stopped(effects: &Effects) -> Vec<KillReason> {
    let kill_reason = |effect: &Effect| match effect {
        Effect::Stop { kill_reason, .. } => Some(*kill_reason),
        _ => None,
    };
    effects.iter().filter_map(kill_reason).collect()
}

fn count(effects: &Effects, what: impl Fn(&Effect) -> bool) -> usize {
    effects.iter().filter(|effect| what(effect)).count()
}

/// R26: misses degrade, a pong restores, three misses end the worker.
#[test]
fn missed_pings_degrade_and_then_end_a_worker() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let effects = harness.wait_silent(seconds(36), ProcessActivity::Idle);
    assert!(effects.contains(&Effect::Log(LogEvent::PingMissed(at(1, 1), 1, ProcessActivity::Idle))));
    assert_eq!(
        (worker(&harness).state, worker(&harness).unresponsive),
        (WorkerState::Degraded, Some(ProcessActivity::Idle))
    );
    let (call, effects) = harness.call(None);
    assert_eq!(sent(&effects, call), None, "degraded workers get nothing new");
    let effects = harness.step(Input::Pong { worker: at(1, 1), nonce: 1 });
    assert!(sent(&effects, call).is_some());
    assert_eq!((worker(&harness).health, worker(&harness).unresponsive), (Health::Healthy, None));
    let effects = harness.wait_silent(seconds(60), ProcessActivity::Idle);
    assert!(effects.contains(&Effect::Stop {
        worker: at(1, 1),
        method: StopMethod::Graceful,
        kill_reason: KillReason::Unresponsive
    }));
}

/// R26: silent and computing for a call is busy: neither degraded nor ended, and told once; its first pong is enough.
#[test]
fn r26_a_worker_bound_by_the_gil_is_busy() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (call, effects) = harness.call_within(None, seconds(1000));
    let run = sent(&effects, call).unwrap();
    let effects = harness.wait_silent(seconds(300), ProcessActivity::Computing);
    assert_eq!(stopped(&effects), []);
    assert_eq!(
        count(&effects, |effect| matches!(effect, Effect::Log(LogEvent::GilHeld(_)))),
        1,
        "one line, not one a ping"
    );
    assert_eq!(count(&effects, |effect| matches!(effect, Effect::Log(LogEvent::PingMissed(..)))), 0);
    assert_eq!(count(&effects, |effect| matches!(effect, Effect::Ping { .. })), 1, "no heap of pings for it to answer");
    assert!(count(&effects, |effect| matches!(effect, Effect::Examine { .. })) > 20, "it is looked at again and again");
    let status = worker(&harness);
    assert_eq!(
        (status.state, status.health, status.unresponsive),
        (WorkerState::Busy, Health::Healthy, Some(ProcessActivity::Computing))
    );
    assert!(routing(&harness.finish(run), call).is_some());
    harness.step(Input::Pong { worker: at(1, 1), nonce: 1 });
    assert_eq!(worker(&harness).unresponsive, None);
    assert_eq!(stopped(&harness.wait_silent(seconds(39), ProcessActivity::Idle)), [], "the count begins anew");
}

/// R26, R35: the deadline of what it computes for, and the patience after it, end it.
#[test]
fn r26_worker_holding_the_gil_past_the_deadline_is_killed() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.call(None);
    assert_eq!(stopped(&harness.wait_silent(seconds(34), ProcessActivity::Computing)), []);
    assert_eq!(stopped(&harness.wait_silent(seconds(2), ProcessActivity::Computing)), [KillReason::CancelTimeout]);
}

/// R26: without a call nothing explains what it computes.
#[test]
fn r26_unresponsive_worker_without_calls_is_ended() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    assert_eq!(stopped(&harness.wait_silent(seconds(60), ProcessActivity::Computing)), [KillReason::Unresponsive]);
}

/// R26: as a stuck one, but it says so.
#[test]
fn r26_a_stopped_worker_is_ended_as_stopped() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.call_within(None, seconds(1000));
    let effects = harness.wait_silent(seconds(44), ProcessActivity::Stopped);
    assert!(effects.contains(&Effect::Log(LogEvent::PingMissed(at(1, 1), 2, ProcessActivity::Stopped))));
    assert_eq!(worker(&harness).state, WorkerState::Degraded);
    assert_eq!(stopped(&harness.wait_silent(seconds(2), ProcessActivity::Stopped)), [KillReason::Stopped]);
}

/// R26: a miss is forgiven when it is seen to compute for a call after all, as after a pong; and misses in a row begin anew.
#[test]
fn r26_computing_restores_a_degraded_worker() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (call, _) = harness.call_within(None, seconds(1000));
    harness.wait_silent(seconds(41), ProcessActivity::Idle);
    assert_eq!(worker(&harness).state, WorkerState::Degraded);
    let effects = harness.wait_silent(seconds(5), ProcessActivity::Computing);
    assert_eq!(count(&effects, |effect| matches!(effect, Effect::Log(LogEvent::GilHeld(_)))), 1);
    assert_eq!((worker(&harness).state, worker(&harness).health), (WorkerState::Busy, Health::Healthy));
    assert_eq!(stopped(&harness.wait_silent(seconds(10), ProcessActivity::Idle)), []);
    assert_eq!(stopped(&harness.wait_silent(seconds(5), ProcessActivity::Idle)), [KillReason::Unresponsive]);
    assert_eq!(settled(&harness.effects, call), None);
}

/// R26: an examination that nobody answers is answered by its own time: a shell that forgets it keeps no stuck worker alive.
#[test]
fn r26_an_examination_without_an_answer_is_a_miss() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let effects = harness.wait(seconds(60));
    assert!(effects.contains(&Effect::Log(LogEvent::PingMissed(at(1, 1), 3, ProcessActivity::Unknown))));
    assert_eq!(stopped(&effects), [KillReason::Unresponsive]);
}

/// R26: a late answer concerns nobody: not who has answered since, is being ended, or has died, and not its successor.
#[test]
fn r26_late_activity_is_ignored() {
    let late = |nonce| Input::Activity { worker: at(1, 1), nonce, activity: ProcessActivity::Stopped };
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let effects = harness.wait(seconds(35));
    assert_eq!(effects, [Effect::Ping { worker: at(1, 1), nonce: 1 }, Effect::Examine { worker: at(1, 1), nonce: 1 }]);
    harness.step(Input::Pong { worker: at(1, 1), nonce: 1 });
    assert_eq!(harness.step(late(1)), [], "it answered meanwhile");
    assert_eq!(worker(&harness).health, Health::Healthy);
    assert!(harness.wait(seconds(35)).contains(&Effect::Examine { worker: at(1, 1), nonce: 2 }));
    assert_eq!(harness.step(late(1)), [], "of another ping");
    harness.step(Input::Kill { worker: at(1, 1), kill_reason: KillReason::Requested });
    assert_eq!(harness.step(late(2)), [], "it is being ended");
    harness.die(at(1, 1));
    assert_eq!(harness.step(late(2)), [], "it is gone");
    harness.wait(seconds(1));
    harness.step(Input::Ready { worker: at(1, 2), window: 1, control: true });
    assert_eq!(harness.step(late(2)), [], "its successor is another");
    assert_eq!((worker(&harness).health, worker(&harness).unresponsive), (Health::Healthy, None));
}
