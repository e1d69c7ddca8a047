//! The judge itself can fail: a history that is right, and each thing that must not be in one.

use crate::{
    answer::{Answer, CallKind, CallOutcome},
    execution_log::{Runs, record},
    judge::Judge,
};
use herder::{Generation, RebindReason, Routing, WorkerId, WorkerRef, chaos::Figures};

struct Case {
    answers: Vec<Answer>,
    /// Call, attempt, what.
    ledger: Vec<(u64, u64, &'static str)>,
}

type Change = fn(&mut Case);

const LOST: Routing = Routing::Rebound(RebindReason::WorkerLost);

fn at(worker: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(worker), generation: Generation(1) }
}

fn ok(id: u64, worker: u32, routing: Routing, count: u64) -> CallOutcome {
    CallOutcome::Ok { worker: at(worker), routing, attempts: 1, echo: id, count }
}

fn told(slug: &str, worker: u32, may_have_run: bool) -> CallOutcome {
    CallOutcome::error(slug, may_have_run, Some(at(worker)))
}

/// Two calls without a session, one of them sent again; a session whose worker 1 dies with two calls pending, then worker 2 with none.
fn right() -> Case {
    let call = |id, session, burst, kind, end| Answer { id, session, burst, kind, end };
    let sent_again = CallOutcome::Ok { worker: at(2), routing: Routing::Unrouted, attempts: 2, echo: 2, count: 0 };
    let answers = vec![
        call(1, 0, 0, CallKind::Once, ok(1, 1, Routing::Unrouted, 0)),
        call(2, 0, 0, CallKind::Idempotent, sent_again),
        call(3, 1, 3, CallKind::Once, ok(3, 1, Routing::New, 1)),
        call(4, 1, 4, CallKind::Once, ok(4, 1, Routing::Hit, 2)),
        call(5, 1, 5, CallKind::Once, told("session-worker-lost", 1, true)),
        call(6, 1, 5, CallKind::Once, told("session-worker-lost", 1, false)),
        call(7, 1, 7, CallKind::Once, ok(7, 2, LOST, 1)),
        call(8, 1, 8, CallKind::Once, told("session-worker-lost", 2, false)),
        call(9, 1, 9, CallKind::Once, ok(9, 3, LOST, 1)),
        call(10, 0, 0, CallKind::Once, told("worker-lost", 1, true)),
        call(11, 0, 0, CallKind::Once, CallOutcome::Abandoned),
        call(12, 0, 0, CallKind::Once, CallOutcome::error("queue-full", false, None)),
    ];
    let mut ledger = vec![(2, 20, "begins"), (5, 50, "begins"), (10, 100, "begins"), (11, 110, "begins")];
    ledger.extend([1, 2, 3, 4, 7, 9].map(|id| [(id, id, "begins"), (id, id, "ends")]).into_iter().flatten());
    Case { answers, ledger }
}

impl Case {
    fn verdict(&self) -> (Figures, Vec<String>) {
        let account: String = self.ledger.iter().map(|(id, attempt, what)| record(*id, *attempt, what)).collect();
        let runs = Runs::read(account.as_bytes()).unwrap();
        let mut judge = Judge::new(12, 2, &runs);
        self.answers.iter().for_each(|answer| judge.observe(answer));
        let (figures, words) = judge.verdict();
        (Figures { recovered: true, ok_share_not_in_flight: 1.0, ..figures }, words)
    }

    fn ends(&mut self, id: usize, end: CallOutcome) {
        self.answers[id - 1].end = end;
    }
}

#[test]
fn what_is_right_is_counted() {
    let (figures, words) = right().verdict();
    assert_eq!((figures.broken(), words), (Vec::new(), Vec::new()));
    assert_eq!((figures.calls, figures.ok, figures.refused, figures.worker_lost), (12, 6, 1, 4));
    assert_eq!(figures.in_flight_at_kill, 3, "one sent again, two lost that may have run");
    assert_eq!((figures.answers["left"], figures.answers["session-worker-lost"]), (1, 3));
}

/// The share of the calls that no kill concerned counts neither those that left nor those in flight.
#[test]
fn the_share_of_the_others() {
    let case = right();
    let runs = Runs::read(&b""[..]).unwrap();
    let mut judge = Judge::new(12, 2, &runs);
    case.answers.iter().for_each(|answer| judge.observe(answer));
    let share = judge.verdict().0.ok_share_not_in_flight;
    assert_eq!(share, 5.0 / 8.0, "told of a loss that did not run, twice, and refused: not ok");
}

/// R36, R41, R20, R33: each kind of violation by itself, under its name, and under no other.
#[test]
fn what_must_not_be_is_found() {
    let violations: [(&str, &str, Change); 21] = [
        ("lost", "never answered", |case| _ = case.answers.remove(0)),
        ("lost", "", |case| case.ends(11, CallOutcome::Lost)),
        ("duplicated", "answered twice", |case| case.answers.push(case.answers[10].clone())),
        ("duplicated", "the answer of another call", |case| case.ends(1, ok(4, 1, Routing::Unrouted, 0))),
        ("duplicated", "could not be decoded", |case| case.ends(1, CallOutcome::error("decode", true, None))),
        ("double_runs", "the call ran twice", |case| case.ledger.push((1, 12, "begins"))),
        ("double_runs", "the call ran twice", |case| case.ledger.push((11, 111, "begins"))),
        ("double_runs", "the call ran twice", |case| case.ledger.push((2, 2, "begins"))),
        ("double_runs", "the call ran twice", |case| {
            case.answers[3].kind = CallKind::Idempotent;
            case.ledger.push((4, 41, "begins"));
        }),
        ("may_have_run_violations", "wrong about whether the call ran", |case| case.ledger.push((12, 12, "begins"))),
        ("may_have_run_violations", "wrong about whether the call ran", |case| case.ledger.push((6, 6, "begins"))),
        ("may_have_run_violations", "wrong about whether the call ran", |case| {
            case.ledger.retain(|entry| entry.0 != 1)
        }),
        ("window_violations", "more than the worker's window", |case| case.ends(11, told("worker-lost", 1, true))),
        ("session_violations", "the count does not follow from the state", |case| {
            case.ends(4, ok(4, 1, Routing::Hit, 1))
        }),
        ("session_violations", "ran on a worker without its state", |case| case.ends(4, ok(4, 2, Routing::Hit, 2))),
        ("session_violations", "a new state without a reported loss", |case| case.ends(4, ok(4, 2, LOST, 1))),
        ("session_violations", "the count of a new session is not 1", |case| case.ends(3, ok(3, 1, Routing::New, 2))),
        ("session_violations", "the count of a new state is not 1", |case| case.ends(9, ok(9, 3, LOST, 3))),
        ("session_violations", "a state continues that was reported lost", |case| {
            case.ends(9, ok(9, 2, Routing::Hit, 2))
        }),
        ("session_violations", "reported again to a later call", |case| case.answers[5].burst = 6),
        ("session_violations", "the reported loss names another worker", |case| {
            case.ends(8, told("session-worker-lost", 3, false))
        }),
    ];
    for (figure, why, change) in violations {
        let mut case = right();
        change(&mut case);
        let (figures, words) = case.verdict();
        let broken = figures.broken();
        let all = words.join("\n");
        assert!(broken.iter().any(|line| line.starts_with(figure)), "{figure}: {why}: {broken:?} {all}");
        assert!(all.contains(why), "{why:?} was to be found, not {all}");
    }
}

/// What a caller does not know is no violation: calls that left, or ran out of time, may have counted.
#[test]
fn uncertain_counts_are_bounded() {
    let session = |end: CallOutcome, ran: &[&'static str], after: u64| {
        let mut case = right();
        case.ends(4, end);
        case.ledger.retain(|entry| entry.0 != 4);
        case.ledger.extend(ran.iter().map(|what| (4, 4, *what)));
        case.answers.truncate(4);
        let next = Answer { id: 5, session: 1, burst: 5, kind: CallKind::Once, end: ok(5, 1, Routing::Hit, after) };
        case.answers.push(next);
        case.ledger.push((5, 50, "ends"));
        case.verdict().0.session_violations
    };
    let late = || CallOutcome::error("deadline-exceeded", true, None);
    assert_eq!(session(late(), &["begins", "ends"], 3), Some(0), "it ran to its end: it counted");
    assert_eq!(session(late(), &["begins", "ends"], 2), Some(1), "and must have");
    assert_eq!(session(late(), &["begins"], 2), Some(0), "it began: it may have");
    assert_eq!(session(late(), &["begins"], 3), Some(0), "or not");
    assert_eq!(session(late(), &[], 3), Some(1), "it did not begin: it can't have");
    assert_eq!(session(CallOutcome::Abandoned, &["begins"], 4), Some(1), "no more than one");
}

/// A call that was sent and out of time before it began has bound its session: the next one finds an empty state there.
#[test]
fn a_call_that_did_not_begin_may_have_bound_its_session() {
    let next = |end: CallOutcome| {
        let mut case = right();
        case.answers.truncate(6);
        let call = |id, end| Answer { id, session: 1, burst: id, kind: CallKind::ShortDeadline, end };
        case.answers.extend([call(7, end), call(8, ok(8, 2, Routing::Hit, 1))]);
        case.ledger.retain(|entry| entry.0 != 7);
        case.ledger.extend([(8, 8, "begins"), (8, 8, "ends")]);
        case.verdict().0.session_violations
    };
    assert_eq!(next(CallOutcome::error("deadline-exceeded", true, None)), Some(0));
    assert_eq!(next(CallOutcome::error("deadline-exceeded", false, None)), Some(1), "this one was never sent");
}
