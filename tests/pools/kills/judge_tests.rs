//! The judge itself can fail: a history that is right, and each thing that must not be in one.

use super::judge::{Call, End, Entry, ExecutionLog, Judge, Kill, Tally};
use crate::pools::steps::process;
use herder::{RebindReason, Routing, WorkerRef};

struct Case {
    calls: Vec<Call>,
    kills: Vec<Kill>,
    execution_log: ExecutionLog,
}

type Change = fn(&mut Case);

const LOST: Routing = Routing::Rebound(RebindReason::WorkerLost);

/// The process of a slot's first generation, and its pid.
fn at(worker: u32) -> (WorkerRef, u32) {
    (process(worker, 1), 10 * worker)
}

fn ran(worker: u32, count: u64, routing: Routing) -> End {
    let (worker_ref, pid) = at(worker);
    End::Ran { worker: worker_ref, pid, count, routing }
}

fn loss_reported(worker: u32, may_have_run: bool) -> End {
    End::LossReported { worker: at(worker).0, may_have_run }
}

/// Worker 1 dies with two calls pending, worker 2 with none.
fn right() -> Case {
    let call = |number, first, noticed, end| Call { number, first, noticed, end };
    let kill = |worker, admitted| Kill { worker: at(worker).0, pid: at(worker).1, admitted };
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
        Judge::new(&self.kills, &self.execution_log).of(&self.calls)
    }

    fn ends(&mut self, number: usize, end: End) {
        if let End::Ran { pid, count, .. } = end {
            self.execution_log.insert(number as u64, vec![Entry { pid, before: count - 1 }]);
        }
        self.calls[number - 1].end = end;
    }
}

#[test]
fn what_is_right_is_counted() {
    let tally = Tally {
        ran: 4,
        loss_reported: 3,
        loss_reported_next: 1,
        loss_reported_again: 1,
        may_have_run: 1,
        had_begun: 1,
    };
    assert_eq!(right().verdict(), Ok(tally));
}

/// R20, R21: each by itself, and named.
#[test]
fn what_must_not_be_is_found() {
    let wrongs: [(&str, Change); 17] = [
        ("it ran ran on a worker without its state, and nobody was told", |case| case.ends(6, ran(3, 1, LOST))),
        ("it ran ran on a worker without its state, and nobody was told", |case| case.ends(2, ran(2, 2, Routing::Hit))),
        ("the count does not follow from the state", |case| case.ends(2, ran(1, 1, Routing::Hit))),
        ("it did not run once, there and on that state", |case| _ = case.execution_log.remove(&2)),
        ("the count of a new session is not 1, as new", |case| case.ends(1, ran(1, 2, Routing::New))),
        ("it was admitted before the death, and not told", |case| case.ends(4, ran(2, 1, LOST))),
        ("the count of a new state is not 1, and says why", |case| case.ends(5, ran(2, 3, LOST))),
        ("a process answers that was told to be lost", |case| case.ends(5, ran(1, 1, LOST))),
        ("a loss that found no call pending is told to more than one", |case| case.ends(7, loss_reported(2, false))),
        ("a loss is reported again to a later call", |case| case.calls[3].first = 4),
        ("a loss is told again", |case| case.ends(7, loss_reported(1, false))),
        ("its state was in another process", |case| case.ends(3, loss_reported(2, true))),
        ("it was sent to a process that was known to be dead", |case| case.ends(6, loss_reported(2, true))),
        ("two calls of a session were sent at once", |case| case.ends(4, loss_reported(1, true))),
        ("it ran where it can't have", |case| case.ends(3, loss_reported(1, false))),
        ("it ran more than once", |case| case.execution_log.get_mut(&3).unwrap().push(Entry { pid: 10, before: 2 })),
        ("nobody killed that process", |case| case.ends(6, loss_reported(3, false))),
    ];
    for (why, change) in wrongs {
        let mut case = right();
        change(&mut case);
        let verdict = case.verdict().unwrap_err();
        assert!(verdict.starts_with(why), "{why:?} was to be found, not {verdict}");
    }
}
