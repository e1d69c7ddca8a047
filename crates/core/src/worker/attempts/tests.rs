//! Tests of the attempts of one process.

use super::*;
use crate::{Routing, calls::CallKey};

fn attempt(wire: u64) -> Attempt {
    Attempt {
        wire: WireId(wire),
        holder: SlotHolder::Call(CallKey::of(CallId(wire))),
        sent: Timestamp(0),
        since: Timestamp(0),
        routing: Routing::Unrouted,
        session: None,
        is_taken_back: false,
        is_stream: false,
    }
}

fn wires(attempts: &Attempts) -> Vec<u64> {
    attempts.iter().map(|attempt| attempt.wire.0).collect()
}

/// Attempts finish in any order, and the others stay in the order of the sends.
#[test]
fn attempts_are_in_the_order_of_the_sends() {
    let mut attempts = Attempts::default();
    let (mut model, mut random) = (Vec::new(), 5usize);
    for wire in 1..2000 {
        attempts.push(attempt(wire), 9999);
        model.push(wire);
        random = random.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(7);
        // Grows to a few hundred attempts, then shrinks.
        for step in 0..if wire < 1000 { random >> 40 & 1 } else { 2 } {
            if model.is_empty() {
                break;
            }
            let finished = model.remove((random >> (33 + step)) % model.len());
            assert_eq!(attempts.remove(WireId(finished)).map(|attempt| attempt.wire.0), Some(finished));
            assert_eq!(attempts.remove(WireId(finished)), None);
        }
        assert!(attempts.is_consistent(), "{attempts:?}");
        assert_eq!((attempts.len(), wires(&attempts)), (model.len(), model.clone()));
    }
}

#[test]
fn answers_contradict_an_order_if_too_many_older_attempts_are_unfinished() {
    let mut attempts = Attempts::default();
    (1..=5).for_each(|wire| _ = attempts.push(attempt(wire), 9));
    attempts.remove(WireId(1));
    assert!(!attempts.contradict_order(1));
    attempts.remove(WireId(4));
    assert!(attempts.contradict_order(1) && attempts.contradict_order(2) && !attempts.contradict_order(3));
    attempts.abandon(WireId(2));
    attempts.set_escalation(WireId(2), Escalation::Withdrawn { kill: None });
    assert!(attempts.contradict_order(1) && !attempts.contradict_order(2));
    attempts.remove(WireId(3));
    assert!(!attempts.contradict_order(1), "attempt 5 may have begun, as the first that is left");
}

#[test]
fn attempts_that_differ_only_in_what_finished_before_are_equal() {
    let (mut left, mut right) = (Attempts::default(), Attempts::default());
    [1, 2, 3].into_iter().for_each(|wire| _ = left.push(attempt(wire), 9));
    [1, 3].into_iter().for_each(|wire| _ = right.push(attempt(wire), 9));
    assert_ne!(left, right);
    left.remove(WireId(2));
    assert_eq!(left, right);
}

/// I8: the next step that is due is found without looking at the attempts, however they change.
#[test]
fn i8_attempts_with_a_time_are_those_that_are_due() {
    let mut attempts = Attempts::default();
    (1..=4).for_each(|wire| _ = attempts.push(attempt(wire), 9));
    assert_eq!(attempts.next_due(), None);
    (1..=3).for_each(|wire| assert!(attempts.abandon(WireId(wire))));
    assert_eq!(attempts.next_due(), None, "the worker has not answered");
    attempts.set_escalation(WireId(1), Escalation::Interrupt(Timestamp(7)));
    attempts.set_escalation(WireId(2), Escalation::Kill(Timestamp(5)));
    attempts.set_escalation(WireId(3), Escalation::Withdrawn { kill: None });
    attempts.set_escalation(WireId(4), Escalation::Kill(Timestamp(1)));
    assert_eq!(attempts.next_due(), Some((Timestamp(5), WireId(2))), "the call of attempt 4 is not settled");
    assert!(attempts.is_consistent(), "{attempts:?}");
    attempts.set_escalation(WireId(1), Escalation::Kill(Timestamp(3)));
    assert_eq!(attempts.next_due(), Some((Timestamp(3), WireId(1))));
    attempts.remove(WireId(1));
    attempts.set_escalation(WireId(2), Escalation::Withdrawn { kill: None });
    assert!(attempts.next_due().is_none() && attempts.is_consistent(), "{attempts:?}");
}

/// R37: with a concurrency of 2, the third attempt that was not withdrawn has not begun.
#[test]
fn as_many_attempts_may_run_as_the_worker_runs_at_a_time() {
    let mut attempts = Attempts::default();
    (1..=4).for_each(|wire| _ = attempts.push(attempt(wire), 9));
    assert!(attempts.abandon(WireId(1)));
    attempts.set_escalation(WireId(1), Escalation::Withdrawn { kill: None });
    let running = |concurrency| {
        let may_run = attempts.may_run(concurrency);
        attempts.iter().map(may_run).collect::<Vec<bool>>()
    };
    assert_eq!(running(0), [false, false, false, false]);
    assert_eq!(running(2), [false, true, true, false]);
    assert_eq!(running(3), [false, true, true, true]);
    assert_eq!(running(9), [false, true, true, true]);
    assert_eq!(attempts.oldest_running().map(|attempt| attempt.wire), Some(WireId(2)));
}
