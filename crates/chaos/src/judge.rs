//! The judge: decides after a run whether the answers that callers received agree with the workers' execution log. Works on
//! these two inputs alone; has no access to the pool.

use crate::{
    answer::{Answer, CallKind, CallOutcome},
    execution_log::Runs,
    session::Session,
};
use herder::{chaos::Figures, status::WorkerRef};
use std::collections::BTreeMap;

/// The maximum number of violations that are described.
const MAX_DESCRIBED: usize = 50;
/// The names of the errors of calls that were not admitted.
const REFUSED: [&str; 9] = [
    "queue-full",
    "session-queue-full",
    "overloaded",
    "breaker-open",
    "poison-call",
    "pool-failed",
    "pool-closed",
    "session-quota",
    "worker-busy",
];

/// The judge of a run: compares each answer with the execution log after the run has ended, and counts the violations. It must
/// observe the answers of a session in the order of its calls.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    runs: &'a Runs,
    /// The maximum number of calls that are lost with a worker.
    window: u64,
    answered: Vec<bool>,
    sessions: BTreeMap<u64, Session>,
    losses: BTreeMap<WorkerRef, u64>,
    /// The numbers of calls that were not in flight at a kill: those that succeeded, and all.
    not_in_flight: (u64, u64),
    figures: Figures,
    descriptions: Vec<String>,
}

impl<'a> Judge<'a> {
    /// Creates a judge for a run of this many calls.
    pub(crate) fn new(calls: u64, window: u64, runs: &'a Runs) -> Self {
        let zero = Some(0);
        let figures = Figures {
            calls,
            duplicated: zero,
            double_runs: zero,
            may_have_run_violations: zero,
            session_violations: zero,
            ..Figures::default()
        };
        Self {
            runs,
            window,
            answered: vec![false; usize::try_from(calls).unwrap_or(0) + 1],
            sessions: BTreeMap::new(),
            losses: BTreeMap::new(),
            not_in_flight: (0, 0),
            figures,
            descriptions: Vec::new(),
        }
    }

    /// Checks one answer.
    pub(crate) fn observe(&mut self, answer: &Answer) {
        let twice = match usize::try_from(answer.id).ok().and_then(|id| self.answered.get_mut(id)) {
            Some(answered) => std::mem::replace(answered, true),
            None => true,
        };
        self.check(answer, |figures| &mut figures.duplicated, twice, "answered twice or never submitted");
        self.count_answer(answer);
        self.check_runs(answer);
        if answer.session > 0 {
            let run = self.runs.of(answer.id);
            let session = self.sessions.entry(answer.session).or_default();
            let before = session.clone();
            if let Err(why) = session.observe(answer, run) {
                self.check(
                    answer,
                    |figures| &mut figures.session_violations,
                    true,
                    &format!("{why}, after {before:?}"),
                );
            }
        }
    }

    /// Returns the figures of the calls and a description of each violation.
    pub(crate) fn verdict(mut self) -> (Figures, Vec<String>) {
        let unanswered: Vec<usize> = (1..self.answered.len()).filter(|id| !self.answered[*id]).collect();
        self.figures.lost += unanswered.len() as u64;
        self.descriptions.extend(unanswered.iter().take(MAX_DESCRIBED).map(|id| format!("call {id}: never answered")));
        for (worker, lost) in &self.losses {
            if *lost > self.window {
                self.figures.window_violations += 1;
                self.descriptions.push(format!("{worker}: {lost} calls lost, more than the worker's window"));
            }
        }
        let (ok, all) = self.not_in_flight;
        #[expect(clippy::cast_precision_loss, reason = "an approximate share")]
        let share = if all == 0 { 1.0 } else { ok as f64 / all as f64 };
        self.figures.ok_share_not_in_flight = share;
        (self.figures, self.descriptions)
    }

    fn count_answer(&mut self, answer: &Answer) {
        let name = match &answer.outcome {
            CallOutcome::Ok { .. } => "ok",
            CallOutcome::Error { slug, .. } => slug,
            CallOutcome::Abandoned => "abandoned",
            CallOutcome::Lost => "lost",
        };
        let figures = &mut self.figures;
        match figures.answers.get_mut(name) {
            Some(count) => *count += 1,
            None => _ = figures.answers.insert(name.into(), 1),
        }
        // At a kill, a call was with the worker if it was retried afterwards, or if it was lost and may have run.
        let in_flight = match &answer.outcome {
            CallOutcome::Ok { attempts, .. } => *attempts > 1,
            CallOutcome::Error { may_have_run, slug, worker: Some(worker) } if slug.ends_with("worker-lost") => {
                figures.worker_lost += 1;
                if *may_have_run {
                    *self.losses.entry(*worker).or_default() += 1;
                }
                *may_have_run
            }
            _ => false,
        };
        let ok = matches!(answer.outcome, CallOutcome::Ok { .. });
        figures.ok += u64::from(ok);
        figures.lost += u64::from(answer.outcome == CallOutcome::Lost);
        figures.refused += u64::from(REFUSED.contains(&name) && !may_have_run(&answer.outcome));
        figures.in_flight_at_kill += u64::from(in_flight);
        let expected =
            matches!(answer.kind, CallKind::Once | CallKind::Idempotent) && answer.outcome != CallOutcome::Abandoned;
        if expected && !in_flight {
            self.not_in_flight.0 += u64::from(ok);
            self.not_in_flight.1 += 1;
        }
    }

    /// Compares how often the call ran with the answer of its caller.
    fn check_runs(&mut self, answer: &Answer) {
        let run = self.runs.of(answer.id);
        // A call of a session changes the state of the session, so it must not run twice even if its command is idempotent.
        let twice = run.repeated || (run.began > 1 && (answer.kind != CallKind::Idempotent || answer.session > 0));
        self.check(answer, |figures| &mut figures.double_runs, twice, "the call ran twice");
        let wrong = match &answer.outcome {
            CallOutcome::Ok { .. } => run.began == 0 || run.ended == 0,
            CallOutcome::Error { may_have_run, .. } => !may_have_run && run.began > 0,
            CallOutcome::Abandoned | CallOutcome::Lost => false,
        };
        self.check(
            answer,
            |figures| &mut figures.may_have_run_violations,
            wrong,
            "the answer is wrong about whether the call ran",
        );
        if let CallOutcome::Ok { echo, .. } = answer.outcome {
            self.check(
                answer,
                |figures| &mut figures.duplicated,
                echo != answer.id,
                "received the answer of another call",
            );
        }
        let undecodable = matches!(&answer.outcome, CallOutcome::Error { slug, .. } if slug == "decode");
        self.check(answer, |figures| &mut figures.duplicated, undecodable, "the answer could not be decoded");
    }

    /// Counts a violation in the figure that `figure` selects, and describes it, if `violated`.
    fn check(&mut self, answer: &Answer, figure: fn(&mut Figures) -> &mut Option<u64>, violated: bool, why: &str) {
        if !violated {
            return;
        }
        let count = figure(&mut self.figures);
        *count = count.map(|count| count + 1);
        if self.descriptions.len() < MAX_DESCRIBED {
            self.descriptions.push(format!("call {}: {why}: {answer:?}, {:?}", answer.id, self.runs.of(answer.id)));
        }
    }
}

fn may_have_run(outcome: &CallOutcome) -> bool {
    !matches!(outcome, CallOutcome::Error { may_have_run: false, .. })
}
