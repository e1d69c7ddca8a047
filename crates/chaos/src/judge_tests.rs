//! Tests of the judge: it accepts a valid history and finds each kind of violation.

use crate::{
    answer::{Answer, CallKind, CallOutcome},
    execution_log::{Runs, record},
    judge::Judge,
};
use herder::{
    chaos::Figures,
    session::{RebindReason, Routing},
    status::{Generation, WorkerId, WorkerRef},
};

struct Case {
    answers: Vec<Answer>,
    /// The execution log: call, attempt and event of each record.
    log: Vec<(u64, u64, &'static str)>,
}

type Change = fn(&mut Case);

const LOST: Routing = Routing::Rebound(RebindReason::WorkerLost);

fn worker_ref(worker: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(worker), generation: Generation(1) }
}

fn ok(id: u64, worker: u32, routing: Routing, count: u64) -> CallOutcome {
    CallOutcome::Ok { worker: worker_ref(worker), routing, attempts: 1, echo: id, count }
}

fn error(slug: &str, worker: u32, may_have_run: bool) -> CallOutcome {
    CallOutcome::error(slug, may_have_run, Some(worker_ref(worker)))
}

/// Returns a valid history. Of two calls without a session, one was retried. One session loses worker 1 with two calls pending,
/// then worker 2 with none.
fn valid_history() -> Case {
    let call = |id, session, burst, kind, outcome| Answer { id, session, burst, kind, outcome };
    let retried = CallOutcome::Ok { worker: worker_ref(2), routing: Routing::Unrouted, attempts: 2, echo: 2, count: 0 };
    let answers = vec![
        call(1, 0, 0, CallKind::Once, ok(1, 1, Routing::Unrouted, 0)),
        call(2, 0, 0, CallKind::Idempotent, retried),
        call(3, 1, 3, CallKind::Once, ok(3, 1, Routing::New, 1)),
        call(4, 1, 4, CallKind::Once, ok(4, 1, Routing::Hit, 2)),
        call(5, 1, 5, CallKind::Once, error("session-worker-lost", 1, true)),
        call(6, 1, 5, CallKind::Once, error("session-worker-lost", 1, false)),
        call(7, 1, 7, CallKind::Once, ok(7, 2, LOST, 1)),
        call(8, 1, 8, CallKind::Once, error("session-worker-lost", 2, false)),
        call(9, 1, 9, CallKind::Once, ok(9, 3, LOST, 1)),
        call(10, 0, 0, CallKind::Once, error("worker-lost", 1, true)),
        call(11, 0, 0, CallKind::Once, CallOutcome::Abandoned),
        call(12, 0, 0, CallKind::Once, CallOutcome::error("queue-full", false, None)),
    ];
    let mut log = vec![(2, 20, "begins"), (5, 50, "begins"), (10, 100, "begins"), (11, 110, "begins")];
    log.extend([1, 2, 3, 4, 7, 9].map(|id| [(id, id, "begins"), (id, id, "ends")]).into_iter().flatten());
    Case { answers, log }
}

impl Case {
    fn verdict(&self) -> (Figures, Vec<String>) {
        let text: String = self.log.iter().map(|(id, attempt, event)| record(*id, *attempt, event)).collect();
        let runs = Runs::read(text.as_bytes()).unwrap();
        let mut judge = Judge::new(12, 2, &runs);
        self.answers.iter().for_each(|answer| judge.observe(answer));
        let (figures, descriptions) = judge.verdict();
        (Figures { recovered: true, ok_share_not_in_flight: 1.0, ..figures }, descriptions)
    }

    fn set_outcome(&mut self, id: usize, outcome: CallOutcome) {
        self.answers[id - 1].outcome = outcome;
    }
}

#[test]
fn valid_history_has_no_violations() {
    let (figures, descriptions) = valid_history().verdict();
    assert_eq!((figures.violations(), descriptions), (Vec::new(), Vec::new()));
    assert_eq!((figures.calls, figures.ok, figures.refused, figures.worker_lost), (12, 6, 1, 4));
    assert_eq!(figures.in_flight_at_kill, 3, "one was retried, two were lost and may have run");
    assert_eq!((figures.answers["abandoned"], figures.answers["session-worker-lost"]), (1, 3));
}

/// The success rate of calls that no kill affected excludes abandoned calls and calls in flight.
#[test]
fn success_rate_excludes_abandoned_calls_and_calls_in_flight() {
    let case = valid_history();
    let runs = Runs::read(&b""[..]).unwrap();
    let mut judge = Judge::new(12, 2, &runs);
    case.answers.iter().for_each(|answer| judge.observe(answer));
    let share = judge.verdict().0.ok_share_not_in_flight;
    assert_eq!(
        share,
        5.0 / 8.0,
        "two calls with a reported loss that did not run, and one refused call, did not succeed"
    );
}

/// R36, R41, R20, R33: each kind of violation is found and counted in its figure.
#[test]
fn each_kind_of_violation_is_found() {
    let cases: [(&str, &str, Change); 21] = [
        ("lost", "never answered", |case| _ = case.answers.remove(0)),
        ("lost", "", |case| case.set_outcome(11, CallOutcome::Lost)),
        ("duplicated", "answered twice", |case| case.answers.push(case.answers[10].clone())),
        ("duplicated", "the answer of another call", |case| case.set_outcome(1, ok(4, 1, Routing::Unrouted, 0))),
        ("duplicated", "could not be decoded", |case| case.set_outcome(1, CallOutcome::error("decode", true, None))),
        ("double_runs", "the call ran twice", |case| case.log.push((1, 12, "begins"))),
        ("double_runs", "the call ran twice", |case| case.log.push((11, 111, "begins"))),
        ("double_runs", "the call ran twice", |case| case.log.push((2, 2, "begins"))),
        ("double_runs", "the call ran twice", |case| {
            case.answers[3].kind = CallKind::Idempotent;
            case.log.push((4, 41, "begins"));
        }),
        ("may_have_run_violations", "wrong about whether the call ran", |case| case.log.push((12, 12, "begins"))),
        ("may_have_run_violations", "wrong about whether the call ran", |case| case.log.push((6, 6, "begins"))),
        ("may_have_run_violations", "wrong about whether the call ran", |case| case.log.retain(|entry| entry.0 != 1)),
        ("window_violations", "more than the worker's window", |case| {
            case.set_outcome(11, error("worker-lost", 1, true));
        }),
        ("session_violations", "the count does not follow from the state", |case| {
            case.set_outcome(4, ok(4, 1, Routing::Hit, 1));
        }),
        ("session_violations", "ran on a worker without its state", |case| {
            case.set_outcome(4, ok(4, 2, Routing::Hit, 2));
        }),
        ("session_violations", "a new state without a reported loss", |case| case.set_outcome(4, ok(4, 2, LOST, 1))),
        ("session_violations", "the count of a new session is not 1", |case| {
            case.set_outcome(3, ok(3, 1, Routing::New, 2));
        }),
        ("session_violations", "the count of a new state is not 1", |case| case.set_outcome(9, ok(9, 3, LOST, 3))),
        ("session_violations", "a state continues that was reported lost", |case| {
            case.set_outcome(9, ok(9, 2, Routing::Hit, 2));
        }),
        ("session_violations", "reported again to a later call", |case| case.answers[5].burst = 6),
        ("session_violations", "the reported loss names another worker", |case| {
            case.set_outcome(8, error("session-worker-lost", 3, false));
        }),
    ];
    for (figure, why, change) in cases {
        let mut case = valid_history();
        change(&mut case);
        let (figures, descriptions) = case.verdict();
        let violations = figures.violations();
        let all = descriptions.join("\n");
        assert!(violations.iter().any(|line| line.starts_with(figure)), "{figure}: {why}: {violations:?} {all}");
        assert!(all.contains(why), "expected {why:?} in: {all}");
    }
}

/// The effect of abandoned and late calls is unknown to their callers: they may have counted, within bounds.
#[test]
fn uncertain_counts_are_bounded() {
    let violations_of = |outcome: CallOutcome, events: &[&'static str], after: u64| {
        let mut case = valid_history();
        case.set_outcome(4, outcome);
        case.log.retain(|entry| entry.0 != 4);
        case.log.extend(events.iter().map(|event| (4, 4, *event)));
        case.answers.truncate(4);
        let next = Answer { id: 5, session: 1, burst: 5, kind: CallKind::Once, outcome: ok(5, 1, Routing::Hit, after) };
        case.answers.push(next);
        case.log.push((5, 50, "ends"));
        case.verdict().0.session_violations
    };
    let late = || CallOutcome::error("deadline-exceeded", true, None);
    assert_eq!(violations_of(late(), &["begins", "ends"], 3), Some(0), "the call ended, so it counted");
    assert_eq!(violations_of(late(), &["begins", "ends"], 2), Some(1), "a call that ended must have counted");
    assert_eq!(violations_of(late(), &["begins"], 2), Some(0), "the call started, so it may not have counted");
    assert_eq!(violations_of(late(), &["begins"], 3), Some(0), "the call started, so it may have counted");
    assert_eq!(violations_of(late(), &[], 3), Some(1), "the call did not start, so it cannot have counted");
    assert_eq!(violations_of(CallOutcome::Abandoned, &["begins"], 4), Some(1), "one call counts at most once");
}

/// A call whose deadline passed after its dispatch, before it started, has bound its session. The next call finds an empty
/// state there.
#[test]
fn call_that_did_not_start_may_have_bound_its_session() {
    let violations_after = |outcome: CallOutcome| {
        let mut case = valid_history();
        case.answers.truncate(6);
        let call = |id, outcome| Answer { id, session: 1, burst: id, kind: CallKind::ShortDeadline, outcome };
        case.answers.extend([call(7, outcome), call(8, ok(8, 2, Routing::Hit, 1))]);
        case.log.retain(|entry| entry.0 != 7);
        case.log.extend([(8, 8, "begins"), (8, 8, "ends")]);
        case.verdict().0.session_violations
    };
    assert_eq!(violations_after(CallOutcome::error("deadline-exceeded", true, None)), Some(0));
    assert_eq!(
        violations_after(CallOutcome::error("deadline-exceeded", false, None)),
        Some(1),
        "this call was never sent"
    );
}
