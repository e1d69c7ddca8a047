//! Shells that are wrong on purpose. Each breaks one rule, and the checker has to find the shortest way to it: a checker that
//! stays green here would prove nothing above.

use super::{configurations, pool::Pool, rules, state::State};
use herder_core::{CallFailure, CallId, Effect, Generation, Input, LogEvent, WireId, WorkerId, WorkerRef};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A frame that comes after its call was settled is handed to the caller all the same.
    LateAnswerDelivered,
    /// The core hears of a final frame at the deadline, while the worker still runs the call.
    FreedAtDeadline,
    /// Nobody hears of a deadline that passed.
    DeadlineUntold,
    /// The core does not hear of deaths.
    DeathUnheard,
    /// The core does not hear that a caller left.
    AbandonUnheard,
    /// The core is told of a pong when a ping was missed.
    PongMadeUp,
    /// The core does not hear that a worker's sessions are to be removed.
    RemovalUnheard,
    /// A call that was lost, and met its deadline while it waited to be sent again, is sent.
    RetriedLate,
    /// A call that is lost is sent again, whatever the core says.
    RetriedUnasked,
    /// The core does not hear what a process had when it died.
    SuspectsUntold,
    /// The core does not hear whose calls are whose.
    SessionsHidden,
}

impl State {
    /// What the faulty shell does besides carrying out the effects.
    pub(crate) fn apply_fault(&mut self, pool: &Pool, fault: Fault, effects: &[Effect]) {
        for effect in effects {
            match (fault, effect) {
                (Fault::LateAnswerDelivered, Effect::Log(LogEvent::LateAnswer(_, wire))) => self.answer_again(*wire),
                (
                    Fault::FreedAtDeadline,
                    Effect::Settle { call, failure: CallFailure::DeadlineExceeded { .. }, .. },
                ) => {
                    self.free_early(pool, *call);
                }
                (Fault::DeadlineUntold, Effect::Settle { call, failure: CallFailure::DeadlineExceeded { .. }, .. }) => {
                    self.call(*call).answers -= 1;
                }
                (Fault::RetriedLate, Effect::Settle { call, failure: CallFailure::DeadlineExceeded { .. }, .. })
                    if self.call(*call).runs > 0 && !self.is_running(*call) =>
                {
                    self.send_unasked(pool, *call);
                }
                (Fault::RetriedUnasked, Effect::Settle { call, failure: CallFailure::WorkerLost(_), .. }) => {
                    self.send_unasked(pool, *call);
                }
                (Fault::PongMadeUp, Effect::Log(LogEvent::PingMissed(worker, ..))) => {
                    self.step(pool, Input::Pong { worker: *worker, nonce: 0 }, None);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn is_unheard(&self, pool: &Pool) -> bool {
        pool.fault == Some(Fault::DeathUnheard)
    }

    /// In the models with this fault no call is sent twice, so that the n-th attempt is the n-th call's.
    fn answer_again(&mut self, wire: WireId) {
        self.call(CallId(wire.0)).answers += 1;
    }

    fn is_running(&self, id: CallId) -> bool {
        self.fakes.unfinished().any(|(.., attempt)| attempt.call == id)
    }

    fn send_unasked(&mut self, pool: &Pool, id: CallId) {
        let first = WorkerRef { id: WorkerId(1), generation: Generation(1) };
        self.sent(pool, first, id, WireId(1 << 40), None);
    }

    fn free_early(&mut self, pool: &Pool, id: CallId) {
        let attempt = self.fakes.unfinished().find(|(.., attempt)| attempt.call == id);
        if let Some((worker, wire, _)) = attempt {
            self.pretend_final(pool, worker, wire);
        }
    }

    fn pretend_final(&mut self, pool: &Pool, worker: WorkerRef, wire: WireId) {
        self.step(pool, Input::Final { worker, wire, ok: false }, None);
    }
}

/// The steps of the shortest way to a state that breaks this rule.
fn counterexample(pool: Pool, fault: Fault, rule: &'static str) -> usize {
    let pool = Pool { fault: Some(fault), ..pool };
    let path = configurations::shortest(&pool, rule).unwrap_or_else(|| panic!("{fault:?} breaks nothing: {rule}"));
    eprint!("{fault:?} breaks \"{rule}\". {path}");
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
    let steps = counterexample(configurations::basic(), Fault::FreedAtDeadline, rules::WINDOW);
    assert_eq!(steps, 4, "ready, submit, deadline, submit");
}

/// I3
#[test]
fn next_call_started_at_the_deadline_is_found() {
    let steps = counterexample(configurations::strict(), Fault::FreedAtDeadline, rules::OVERLAP);
    assert_eq!(steps, 4, "ready, submit, deadline, submit");
}

/// I1
#[test]
fn a_call_that_is_never_answered_is_found() {
    let steps = counterexample(configurations::basic(), Fault::DeadlineUntold, rules::NEVER);
    assert!(steps >= 3, "submit, deadline, and rest");
}

/// I4
#[test]
fn a_binding_to_a_dead_worker_is_found() {
    let steps = counterexample(configurations::strict(), Fault::DeathUnheard, rules::LOOKUP);
    assert_eq!(steps, 3, "ready, submit, death");
}

/// R14
#[test]
fn a_session_that_stays_bound_is_found() {
    let steps = counterexample(configurations::removed(), Fault::RemovalUnheard, rules::RELEASED);
    assert_eq!(steps, 2, "bind, remove");
}

/// R26
#[test]
fn a_call_to_a_worker_that_missed_a_ping_is_found() {
    let steps = counterexample(configurations::health_gated(), Fault::PongMadeUp, rules::HEALTH);
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
    let steps = counterexample(configurations::retrying(10), Fault::RetriedUnasked, rules::BUDGET);
    assert!(steps >= 2, "submit, death");
}

/// R34
#[test]
fn a_permit_that_is_not_returned_is_found() {
    let steps = counterexample(configurations::breaking(), Fault::AbandonUnheard, rules::TRIALS);
    assert!(steps >= 4, "a failure, time, a trial, and its caller leaves");
}

/// R36
#[test]
fn queue_without_fairness_is_found() {
    let steps = counterexample(configurations::shared(), Fault::SessionsHidden, rules::FAIR);
    assert!(steps >= 6, "a call that runs, three that wait, two that are answered");
}

/// R37
#[test]
fn missing_quarantine_is_found() {
    let steps = counterexample(configurations::poisoned(), Fault::SuspectsUntold, rules::POISON);
    assert!(steps >= 4, "two deaths, and a third submission");
}
