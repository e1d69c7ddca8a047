//! Deliberately faulty shells. Each one violates one rule, and the checker must find the shortest path to the
//! violation. A checker that found none here would prove nothing in the other tests.

use super::{configurations, pool::Pool, processes::Process, rules, state::State};
use herder_core::{CallFailure, CallId, Effect, Generation, Input, LogEvent, WireId, WorkerId, WorkerRef};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A final frame that arrives after its call was settled is delivered to the caller.
    LateAnswerDelivered,
    /// The core is notified of a final frame at the deadline, while the worker still runs the call.
    SlotFreedAtDeadline,
    /// A passed deadline is not reported to the caller.
    DeadlineNotDelivered,
    /// The core is not notified of exits.
    ExitNotReported,
    /// The core is not notified of abandoned calls.
    CancelNotReported,
    /// The core is notified of an answer to a ping that was missed.
    FakePong,
    /// The core is not notified that the sessions of a worker must be removed.
    RemovalNotReported,
    /// A lost call whose deadline passed during its backoff is sent.
    RetriedLate,
    /// A lost call is sent again, although the core did not request it.
    RetriedWithoutRequest,
    /// The core does not receive which calls a process had when it died.
    SuspectsNotReported,
    /// The core does not receive the sessions of calls.
    SessionsHidden,
    /// The core is not notified that a reload is to begin.
    ReloadNotReported,
    /// A process that is being stopped is not stopped sooner.
    SecondStopIgnored,
    /// The core is notified that all answers of a process were read, although some were not.
    AnswersMissed,
}

impl State {
    /// Does what the faulty shell does in addition to the effects.
    pub(crate) fn apply_fault(&mut self, pool: &Pool, fault: Fault, effects: &[Effect]) {
        for effect in effects {
            match (fault, effect) {
                (Fault::LateAnswerDelivered, Effect::Log(LogEvent::LateAnswer(_, wire))) => self.answer_again(*wire),
                (
                    Fault::SlotFreedAtDeadline,
                    Effect::Settle { call, failure: CallFailure::DeadlineExceeded { .. }, .. },
                ) => {
                    self.free_early(pool, *call);
                }
                (
                    Fault::DeadlineNotDelivered,
                    Effect::Settle { call, failure: CallFailure::DeadlineExceeded { .. }, .. },
                ) => {
                    self.call(*call).answers -= 1;
                }
                (Fault::RetriedLate, Effect::Settle { call, failure: CallFailure::DeadlineExceeded { .. }, .. })
                    if self.call(*call).runs > 0 && !self.is_running(*call) =>
                {
                    self.send_without_request(pool, *call);
                }
                (Fault::RetriedWithoutRequest, Effect::Settle { call, failure: CallFailure::WorkerLost(_), .. }) => {
                    self.send_without_request(pool, *call);
                }
                (Fault::FakePong, Effect::Log(LogEvent::PingMissed(worker, ..))) => {
                    self.step(pool, Input::Pong { worker: *worker, nonce: 0 }, None);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn ignores_stop(&self, pool: &Pool, worker: WorkerRef) -> bool {
        let is_stopping = |process: &Process| process.stopping;
        pool.fault == Some(Fault::SecondStopIgnored) && self.fakes.processes.get(&worker).is_some_and(is_stopping)
    }

    pub(crate) fn hides_exits(&self, pool: &Pool) -> bool {
        pool.fault == Some(Fault::ExitNotReported)
    }

    /// No call is retried in the models with this fault, so the n-th wire id belongs to the n-th call.
    fn answer_again(&mut self, wire: WireId) {
        self.call(CallId(wire.0)).answers += 1;
    }

    fn is_running(&self, id: CallId) -> bool {
        self.fakes.unfinished().any(|(.., attempt)| attempt.call == id)
    }

    fn send_without_request(&mut self, pool: &Pool, id: CallId) {
        let first = WorkerRef { id: WorkerId(1), generation: Generation(1) };
        self.on_send(pool, first, id, WireId(1 << 40), None, None);
    }

    fn free_early(&mut self, pool: &Pool, id: CallId) {
        let attempt = self.fakes.unfinished().find(|(.., attempt)| attempt.call == id);
        if let Some((worker, wire, _)) = attempt {
            self.report_false_final(pool, worker, wire);
        }
    }

    fn report_false_final(&mut self, pool: &Pool, worker: WorkerRef, wire: WireId) {
        self.step(pool, Input::Final { worker, wire, ok: false, ran: Duration::ZERO }, None);
    }
}

/// Returns the number of steps of the shortest path to a state that violates this rule.
fn counterexample(pool: Pool, fault: Fault, rule: &'static str) -> usize {
    let pool = Pool { fault: Some(fault), ..pool };
    let path = configurations::shortest(&pool, rule).unwrap_or_else(|| panic!("{fault:?} does not violate: {rule}"));
    eprint!("{fault:?} violates \"{rule}\". {path}");
    path.into_actions().len()
}

/// I1, R36
#[test]
fn a_late_answer_that_is_delivered_is_found() {
    let steps = counterexample(configurations::basic(), Fault::LateAnswerDelivered, rules::TWICE);
    assert_eq!(steps, 4, "ready, submit, cancel, answer");
}

/// I2
#[test]
fn slot_freed_at_the_deadline_is_found() {
    let steps = counterexample(configurations::basic(), Fault::SlotFreedAtDeadline, rules::WINDOW);
    assert_eq!(steps, 4, "ready, submit, deadline, submit");
}

/// I3
#[test]
fn next_call_started_at_the_deadline_is_found() {
    let steps = counterexample(configurations::strict(), Fault::SlotFreedAtDeadline, rules::OVERLAP);
    assert_eq!(steps, 4, "ready, submit, deadline, submit");
}

/// I1
#[test]
fn a_call_that_is_never_answered_is_found() {
    let steps = counterexample(configurations::basic(), Fault::DeadlineNotDelivered, rules::NEVER);
    assert!(steps >= 3, "submit, deadline, and the rest");
}

/// I4
#[test]
fn a_binding_to_a_dead_worker_is_found() {
    let steps = counterexample(configurations::strict(), Fault::ExitNotReported, rules::LOOKUP);
    assert_eq!(steps, 3, "ready, submit, death");
}

/// R14
#[test]
fn a_session_that_stays_bound_is_found() {
    let steps = counterexample(configurations::removed(), Fault::RemovalNotReported, rules::RELEASED);
    assert_eq!(steps, 2, "bind, remove");
}

/// R26
#[test]
fn a_call_to_a_worker_that_missed_a_ping_is_found() {
    let steps = counterexample(configurations::health_gated(), Fault::FakePong, rules::HEALTH);
    assert!(steps >= 3, "ping, silence, miss, submit");
}

/// R33
#[test]
fn a_retry_at_the_deadline_is_found() {
    let steps = counterexample(configurations::retrying(0), Fault::RetriedLate, rules::LATE);
    assert!(steps >= 3, "submit, death, deadline");
}

/// R33
#[test]
fn a_retry_beyond_the_budget_is_found() {
    let steps = counterexample(configurations::retrying(10), Fault::RetriedWithoutRequest, rules::BUDGET);
    assert!(steps >= 2, "submit, death");
}

/// R34
#[test]
fn a_permit_that_is_not_returned_is_found() {
    let steps = counterexample(configurations::breaking(), Fault::CancelNotReported, rules::TRIALS);
    assert!(steps >= 4, "a failure, time, a trial, and its cancel");
}

/// R36
#[test]
fn queue_without_fairness_is_found() {
    let steps = counterexample(configurations::shared(), Fault::SessionsHidden, rules::FAIR);
    assert!(steps >= 6, "one running call, three waiting, two answered");
}

/// R20
#[test]
fn answers_that_were_not_read_are_found() {
    let pool = configurations::without_deadlines(configurations::in_advance(&[configurations::ANY_WORKER]));
    let steps = counterexample(pool, Fault::AnswersMissed, rules::RUNS);
    assert_eq!(steps, 8, "one call that shows that calls are short, two more, a death, and the next process");
}

/// R19
#[test]
fn batch_with_two_calls_of_a_session_is_found() {
    let steps = counterexample(configurations::batches_of_sessions(), Fault::SessionsHidden, rules::BATCH);
    assert_eq!(steps, 2, "two submissions");
}

/// R31
#[test]
fn reload_that_never_ends_is_found() {
    let steps = counterexample(configurations::reloaded(), Fault::ReloadNotReported, rules::RELOADS);
    assert_eq!(steps, 1, "reload");
}

/// R31
#[test]
fn old_worker_that_has_time_for_calls_in_a_closing_pool_is_found() {
    let steps = counterexample(configurations::reloaded(), Fault::SecondStopIgnored, rules::STOPS);
    assert_eq!(steps, 3, "reload, ready, shutdown");
}

/// R37
#[test]
fn missing_quarantine_is_found() {
    let steps = counterexample(configurations::poisoned(), Fault::SuspectsNotReported, rules::POISON);
    assert!(steps >= 4, "two deaths, and a third submission");
}
