//! Tests of the decisions about starts, without processes.

use super::*;
use crate::{ExitStatus, Generation, ProcessExit, Settings, WorkerRef, WorkerTypeSettings, worker::Attempts};
use std::time::Duration;

const AT: Timestamp = Timestamp(1_000_000_000_000);
const BASE: WorkerId = WorkerId(1);
const OVERFLOW: WorkerId = WorkerId(2);

/// One base and one overflow worker. The second restart is one too many.
fn restarts() -> Restarts {
    let settings = RestartSettings { max: 1, ..Settings::new(WorkerTypeSettings::Basic, 1).restart };
    Restarts::new(settings, 1, 1)
}

fn dead(id: WorkerId, kill_reason: Option<KillReason>, live_since: Option<Timestamp>) -> DeadProcess {
    let exit = ProcessExit { status: ExitStatus::Signal(9), kill_reason };
    let worker = WorkerRef { id, generation: Generation(1) };
    DeadProcess { worker, exit, live_since, attempts: Attempts::default(), in_order: None, unwritten: None }
}

fn failed() -> Restarts {
    let mut restarts = restarts();
    restarts.exited(AT, &dead(BASE, None, None), false);
    let after = restarts.exited(AT, &dead(BASE, None, None), false);
    assert_eq!(after, AfterExit::CancelStarts(Some(restarts.due())));
    restarts
}

/// R27, R28
#[test]
fn r28_early_deaths_wait_longer_and_longer_and_then_the_pool_fails() {
    let mut restarts = restarts();
    let ms = Duration::from_millis(1);
    let after = restarts.exited(AT, &dead(BASE, None, Some(AT)), false);
    assert_eq!(after, AfterExit::StartAt(AT + 100 * ms));
    let mut busy = dead(BASE, None, Some(AT));
    busy.attempts.push(attempt(), 1);
    assert_eq!(restarts.exited(AT, &busy, false), AfterExit::StartAt(AT + 200 * ms), "a call is to blame");
    let after = restarts.exited(AT, &dead(BASE, None, Some(Timestamp(0))), false);
    assert_eq!(after, AfterExit::StartAt(AT), "it had lived long enough");
    assert!(matches!(restarts.exited(AT, &dead(BASE, None, None), false), AfterExit::CancelStarts(Some(_))));
    assert!(!restarts.is_running() && restarts.check_open(AT, true).is_ok() && restarts.check_open(AT, false).is_err());
}

fn attempt() -> crate::worker::Attempt {
    crate::worker::Attempt {
        wire: crate::WireId(1),
        holder: crate::worker::SlotHolder::Call(crate::calls::CallKey::of(crate::CallId(1))),
        sent: AT,
        since: AT,
        routing: crate::Routing::Unrouted,
        session: None,
        is_taken_back: false,
        is_stream: false,
    }
}

/// R28, I7: the probe decides, once it is gone.
#[test]
fn r28_only_the_end_of_the_probe_makes_the_pool_fail_again() {
    let mut restarts = failed();
    let probe_at = restarts.due();
    assert_eq!(restarts.phase_end(probe_at), Some(PhaseEnd::Probe));
    assert_eq!(restarts.probe(probe_at, Some(BASE)), Probe::Start(BASE));
    assert_eq!(restarts.exited(probe_at, &dead(BASE, None, None), true), AfterExit::Nothing, "another one runs");
    let after = restarts.exited(probe_at, &dead(BASE, None, None), false);
    assert_eq!(after, AfterExit::CancelStarts(Some(probe_at + Duration::from_secs(60))), "twice as long");
    restarts.probe(restarts.due(), Some(BASE));
    assert!(restarts.ready(BASE) && restarts.is_running() && !restarts.ready(BASE));
}

/// R28: a process that was killed on request does not make the pool fail, whether it was ready or not, and a probe that was killed
/// is started again. The slot waits longer each time all the same.
#[test]
fn r28_requested_kills_never_make_the_pool_fail() {
    let (ms, requested) = (Duration::from_millis(1), Some(KillReason::Requested));
    let mut restarts = restarts();
    for (live_since, wait) in [(Some(AT), 100), (None, 200), (Some(AT), 400)] {
        assert_eq!(restarts.exited(AT, &dead(BASE, requested, live_since), false), AfterExit::StartAt(AT + wait * ms));
    }
    assert!(restarts.is_running());
    let mut restarts = failed();
    let probe_at = restarts.due();
    restarts.probe(probe_at, Some(BASE));
    let ready = dead(BASE, requested, Some(probe_at));
    assert_eq!(restarts.exited(probe_at, &ready, true), AfterExit::Nothing, "it was not the probe");
    let after = restarts.exited(probe_at, &dead(BASE, requested, None), false);
    assert_eq!(after, AfterExit::StartAt(probe_at + 800 * ms));
    assert!(restarts.ready(BASE), "the probe decides");
}

/// R30: a pool that drains never runs again, and ends its drain, its wait for the workers and itself in that order.
#[test]
fn r30_drain_is_never_left_for_another_life() {
    let mut restarts = failed();
    assert!(restarts.drain(AT + Duration::from_secs(2)) && restarts.drain(AT + Duration::from_secs(9)));
    assert_eq!(restarts.due(), AT + Duration::from_secs(2), "a second shutdown can only be earlier");
    assert!(!restarts.ready(BASE) && restarts.is_draining());
    (0..9).for_each(|_| _ = restarts.exited(AT, &dead(BASE, None, None), false));
    assert!(restarts.is_draining(), "it does not fail any more");
    restarts.close(AT);
    assert!(!restarts.drain(AT) && !restarts.may_start() && restarts.phase_end(AT) == Some(PhaseEnd::Closing));
    restarts.stop();
    assert_eq!((restarts.due(), restarts.pool_state(1)), (Timestamp::NEVER, PoolState::Stopped));
}

/// R12, R58
#[test]
fn r12_overflow_workers_never_make_the_pool_fail_and_share_one_backoff() {
    let mut restarts = restarts();
    for _ in 0..9 {
        let after = restarts.exited(AT, &dead(OVERFLOW, None, None), false);
        assert_eq!(after, AfterExit::CancelOverflowStarts);
    }
    assert!(restarts.is_running());
    assert_eq!(restarts.next_overflow_start(AT, true, [OVERFLOW].into_iter()), None, "one at a time");
    let next = restarts.next_overflow_start(AT, false, [OVERFLOW].into_iter());
    assert_eq!(next, Some((OVERFLOW, AT + Duration::from_millis(100))));
    restarts.ready(OVERFLOW);
    assert_eq!(restarts.next_overflow_start(AT, true, [OVERFLOW].into_iter()), Some((OVERFLOW, AT)));
}
