//! Tests of the judge itself: it accepts a correct history and reports each answer that is forbidden.

use super::judge::{Call, CallOutcome, Entry, ExecutionLog, Judge, Kill, Tally};
use crate::pools::steps::process;
use herder::{
    session::{RebindReason, Routing},
    status::WorkerRef,
};

struct Case {
    calls: Vec<Call>,
    kills: Vec<Kill>,
    execution_log: ExecutionLog,
}

type Change = fn(&mut Case);

const LOST: Routing = Routing::Rebound(RebindReason::WorkerLost);

/// Returns the first process of a slot, and its pid.
fn first_process(worker: u32) -> (WorkerRef, u32) {
    (process(worker, 1), 10 * worker)
}

fn ran(worker: u32, count: u64, routing: Routing) -> CallOutcome {
    let (worker_ref, pid) = first_process(worker);
    CallOutcome::Ran { worker: worker_ref, pid, count, routing }
}

fn loss_reported(worker: u32, may_have_run: bool) -> CallOutcome {
    CallOutcome::LossReported { worker: first_process(worker).0, may_have_run }
}

/// Returns a correct history: worker 1 dies with two pending calls, worker 2 with none.
fn correct_case() -> Case {
    let call = |number, first, noticed, end| Call { number, first, noticed, end };
    let kill = |worker, admitted| Kill { worker: first_process(worker).0, pid: first_process(worker).1, admitted };
    let calls = vec![
        call(1, 1, 0, ran(1, 1, Routing::New)),
        call(2, 1, 0, ran(1, 2, Routing::Hit)),
        call(3, 3, 0, loss_reported(1, true)),
        call(4, 3, 0, loss_reported(1, false)),
        call(5, 3, 0, ran(2, 1, LOST)),
        call(6, 6, 2, loss_reported(2, false)),
        call(7, 6, 2, ran(3, 1, LOST)),
    ];
    let began = [(1, 10, 0), (2, 10, 1), (3, 10, 2), (5, 20, 0), (7, 30, 0)];
    let execution_log = began.map(|(number, pid, before)| (number, vec![Entry { pid, before }])).into();
    Case { calls, kills: vec![kill(1, 4), kill(2, 5)], execution_log }
}

impl Case {
    fn verdict(&self) -> Result<Tally, String> {
        Judge::new(&self.kills, &self.execution_log).judge(&self.calls)
    }

    /// Replaces the answer of a call.
    fn set_end(&mut self, number: usize, end: CallOutcome) {
        if let CallOutcome::Ran { pid, count, .. } = end {
            self.execution_log.insert(number as u64, vec![Entry { pid, before: count - 1 }]);
        }
        self.calls[number - 1].end = end;
    }
}

#[test]
fn a_correct_history_is_counted() {
    let tally = Tally {
        ran: 4,
        loss_reported: 3,
        loss_reported_next: 1,
        loss_reported_again: 1,
        may_have_run: 1,
        had_begun: 1,
    };
    assert_eq!(correct_case().verdict(), Ok(tally));
}

/// R20, R21: each forbidden answer, alone in a correct history, is reported with its reason.
#[test]
fn each_forbidden_answer_is_reported() {
    let changes: [(&str, Change); 17] = [
        ("the call ran on a worker without the session's state, and no loss was reported", |case| {
            case.set_end(6, ran(3, 1, LOST));
        }),
        ("the call ran on a worker without the session's state, and no loss was reported", |case| {
            case.set_end(2, ran(2, 2, Routing::Hit));
        }),
        ("the count does not follow from the state", |case| case.set_end(2, ran(1, 1, Routing::Hit))),
        ("the call did not run exactly once, in that process and on that state", |case| {
            _ = case.execution_log.remove(&2);
        }),
        ("the count of a new session is not 1, or its routing is wrong", |case| {
            case.set_end(1, ran(1, 2, Routing::New));
        }),
        ("the call was admitted before the death, but got no loss report", |case| case.set_end(4, ran(2, 1, LOST))),
        ("the count of a new state is not 1, or its routing is wrong", |case| case.set_end(5, ran(2, 3, LOST))),
        ("a process answered after its loss was reported", |case| case.set_end(5, ran(1, 1, LOST))),
        ("a loss without a pending call is reported to more than one call", |case| {
            case.set_end(7, loss_reported(2, false));
        }),
        ("a loss is reported again to a later call", |case| case.calls[3].first = 4),
        ("a loss is reported a second time", |case| case.set_end(7, loss_reported(1, false))),
        ("the session's state was in another process", |case| case.set_end(3, loss_reported(2, true))),
        ("the call was sent to a process that the pool knew to be dead", |case| {
            case.set_end(6, loss_reported(2, true));
        }),
        ("two calls of a session were sent at the same time", |case| case.set_end(4, loss_reported(1, true))),
        ("the call ran, but its loss report excludes this", |case| case.set_end(3, loss_reported(1, false))),
        ("the call ran more than once", |case| {
            case.execution_log.get_mut(&3).unwrap().push(Entry { pid: 10, before: 2 });
        }),
        ("the reported process was not killed", |case| case.set_end(6, loss_reported(3, false))),
    ];
    for (why, change) in changes {
        let mut case = correct_case();
        change(&mut case);
        let verdict = case.verdict().unwrap_err();
        assert!(verdict.starts_with(why), "expected {why:?}, got {verdict}");
    }
}
