//! Health checks: what missed pings lead to.

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

/// R26: missed pings degrade a worker, an answer restores it, and three in a row stop it.
#[test]
fn missed_pings_degrade_and_then_stop_a_worker() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let effects = harness.wait_silent(seconds(36), ProcessActivity::Idle);
    assert!(effects.contains(&Effect::Log(LogEvent::PingMissed(process(1, 1), 1, ProcessActivity::Idle))));
    assert_eq!(
        (worker(&harness).state, worker(&harness).unresponsive),
        (WorkerState::Degraded, Some(ProcessActivity::Idle))
    );
    let (call, effects) = harness.call(None);
    assert_eq!(sent(&effects, call), None, "degraded workers get no new calls");
    let effects = harness.step(Input::Pong { worker: process(1, 1), nonce: 1 });
    assert!(sent(&effects, call).is_some());
    assert_eq!((worker(&harness).health, worker(&harness).unresponsive), (Health::Healthy, None));
    let effects = harness.wait_silent(seconds(60), ProcessActivity::Idle);
    assert!(effects.contains(&Effect::Stop {
        worker: process(1, 1),
        method: StopMethod::Graceful,
        kill_reason: KillReason::Unresponsive
    }));
}

/// R26: a worker that computes for a call and misses pings is busy: neither degraded nor stopped, and logged once. One
/// answer ends this.
#[test]
fn r26_worker_holding_the_gil_for_a_call_stays_healthy() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (call, effects) = harness.call_within(None, seconds(1000));
    let run = sent(&effects, call).unwrap();
    let effects = harness.wait_silent(seconds(300), ProcessActivity::Computing);
    assert_eq!(stopped(&effects), []);
    assert_eq!(
        count(&effects, |effect| matches!(effect, Effect::Log(LogEvent::GilHeld(_)))),
        1,
        "one log line, not one for each ping"
    );
    assert_eq!(count(&effects, |effect| matches!(effect, Effect::Log(LogEvent::PingMissed(..)))), 0);
    assert_eq!(count(&effects, |effect| matches!(effect, Effect::Ping { .. })), 1, "no further pings are sent");
    assert!(count(&effects, |effect| matches!(effect, Effect::Examine { .. })) > 20, "it is examined repeatedly");
    let status = worker(&harness);
    assert_eq!(
        (status.state, status.health, status.unresponsive),
        (WorkerState::Busy, Health::Healthy, Some(ProcessActivity::Computing))
    );
    assert!(routing(&harness.finish(run), call).is_some());
    harness.step(Input::Pong { worker: process(1, 1), nonce: 1 });
    assert_eq!(worker(&harness).unresponsive, None);
    assert_eq!(stopped(&harness.wait_silent(seconds(39), ProcessActivity::Idle)), [], "the count restarts");
}

/// R26, R35: such a worker is ended by the deadline of its call and the timeouts after it.
#[test]
fn r26_worker_holding_the_gil_past_the_deadline_is_killed() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.call(None);
    assert_eq!(stopped(&harness.wait_silent(seconds(34), ProcessActivity::Computing)), []);
    assert_eq!(stopped(&harness.wait_silent(seconds(2), ProcessActivity::Computing)), [KillReason::CancelTimeout]);
}

/// R26: without a call, computing does not excuse missed pings.
#[test]
fn r26_unresponsive_worker_without_calls_is_stopped() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    assert_eq!(stopped(&harness.wait_silent(seconds(60), ProcessActivity::Computing)), [KillReason::Unresponsive]);
}

/// R26: a suspended worker is stopped like an idle one, with its own reason.
#[test]
fn r26_suspended_worker_is_stopped_with_its_own_reason() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    harness.call_within(None, seconds(1000));
    let effects = harness.wait_silent(seconds(44), ProcessActivity::Stopped);
    assert!(effects.contains(&Effect::Log(LogEvent::PingMissed(process(1, 1), 2, ProcessActivity::Stopped))));
    assert_eq!(worker(&harness).state, WorkerState::Degraded);
    assert_eq!(stopped(&harness.wait_silent(seconds(2), ProcessActivity::Stopped)), [KillReason::Stopped]);
}

/// R26: a degraded worker is restored when it is found to compute for a call, as after an answer, and the count of
/// misses restarts.
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

/// R26: an examination without a result counts as a missed ping after its timeout, so that a shell that forgets it does
/// not keep a hanging worker alive.
#[test]
fn r26_examination_without_a_result_is_a_missed_ping() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let effects = harness.wait(seconds(60));
    assert!(effects.contains(&Effect::Log(LogEvent::PingMissed(process(1, 1), 3, ProcessActivity::Unknown))));
    assert_eq!(stopped(&effects), [KillReason::Unresponsive]);
}

/// R26: a late result is ignored if the worker has answered, is being stopped, has exited, or was replaced.
#[test]
fn r26_late_activity_is_ignored() {
    let late = |nonce| Input::Activity { worker: process(1, 1), nonce, activity: ProcessActivity::Stopped };
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let effects = harness.wait(seconds(35));
    assert_eq!(
        effects,
        [Effect::Ping { worker: process(1, 1), nonce: 1 }, Effect::Examine { worker: process(1, 1), nonce: 1 }]
    );
    harness.step(Input::Pong { worker: process(1, 1), nonce: 1 });
    assert_eq!(harness.step(late(1)), [], "it has answered");
    assert_eq!(worker(&harness).health, Health::Healthy);
    assert!(harness.wait(seconds(35)).contains(&Effect::Examine { worker: process(1, 1), nonce: 2 }));
    assert_eq!(harness.step(late(1)), [], "another ping is out");
    harness.step(Input::Kill { worker: process(1, 1), kill_reason: KillReason::Requested });
    assert_eq!(harness.step(late(2)), [], "it is being stopped");
    harness.exit_by_signal(process(1, 1));
    assert_eq!(harness.step(late(2)), [], "it has exited");
    harness.wait(seconds(1));
    harness.step(Input::Ready { worker: process(1, 2), window: 1, control: true, in_order: None });
    assert_eq!(harness.step(late(2)), [], "its replacement is another process");
    assert_eq!((worker(&harness).health, worker(&harness).unresponsive), (Health::Healthy, None));
}

/// A worker that reports that it is unhealthy gets no new calls, its running call ends, and another process replaces it.
#[test]
fn unhealthy_worker_is_replaced_after_its_calls() {
    let mut harness = Harness::new(WorkerTypeSettings::enhanced(), 1);
    let (running, effects) = harness.call_within(None, seconds(1000));
    let attempt = sent(&effects, running).unwrap();
    let effects = harness.step(Input::Unhealthy { worker: process(1, 1) });
    let stop =
        Effect::Stop { worker: process(1, 1), method: StopMethod::AfterCalls, kill_reason: KillReason::Unhealthy };
    assert!(effects.contains(&stop), "{effects:?}");
    assert_eq!((worker(&harness).state, worker(&harness).health), (WorkerState::Terminating, Health::Unhealthy));
    let (waiting, effects) = harness.call_within(None, seconds(1000));
    assert_eq!(sent(&effects, waiting), None);
    assert_eq!(harness.step(Input::Unhealthy { worker: process(1, 1) }), [], "a second report changes nothing");
    let effects = harness.finish(attempt);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Deliver { call, .. } if *call == running)));
    harness.exit(process(1, 1), None, Vec::new());
    let effects = harness.wait(seconds(1)); // the process was young, so the next start waits for the backoff
    assert!(effects.contains(&Effect::Start(process(1, 2))), "{effects:?}");
}

/// R35: a call that hangs in an unhealthy worker is interrupted and killed as in any other.
#[test]
fn r35_abandoned_call_does_not_keep_an_unhealthy_worker() {
    let mut harness = Harness::new(WorkerTypeSettings::Basic, 1);
    let (hangs, effects) = harness.call_within(None, seconds(1000));
    let (worker, wire) = sent(&effects, hangs).unwrap();
    harness.step(Input::Unhealthy { worker });
    harness.step(Input::Cancel(hangs));
    assert!(harness.wait(seconds(1)).contains(&Effect::Cancel { worker, wire, interrupt: true }));
    let kill = Effect::Stop { worker, method: StopMethod::Kill, kill_reason: KillReason::Unhealthy };
    assert!(harness.wait(seconds(4)).contains(&kill), "`cancel.kill` has passed");
}
