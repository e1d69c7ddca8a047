//! Judges a run: each call by what its caller was told and by what the workers wrote. Pure; it knows no pool.

use crate::{
    answer::{Answer, CallKind, CallOutcome},
    execution_log::Runs,
    session::Session,
};
use herder::{WorkerRef, chaos::Figures};
use std::collections::BTreeMap;

/// How many violations are written down in words.
const MAX_DESCRIBED: usize = 50;
/// Names of errors that say: not admitted.
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

/// Hears all answers, those of a session in the order of its calls.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    runs: &'a Runs,
    /// Calls that a process may have at once.
    window: u64,
    heard: Vec<bool>,
    sessions: BTreeMap<u64, Session>,
    losses: BTreeMap<WorkerRef, u64>,
    others: (u64, u64),
    figures: Figures,
    descriptions: Vec<String>,
}

impl<'a> Judge<'a> {
    /// Of this many calls.
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
            heard: vec![false; usize::try_from(calls).unwrap_or(0) + 1],
            sessions: BTreeMap::new(),
            losses: BTreeMap::new(),
            others: (0, 0),
            figures,
            descriptions: Vec::new(),
        }
    }

    /// One answer more.
    pub(crate) fn observe(&mut self, answer: &Answer) {
        let twice = match usize::try_from(answer.id).ok().and_then(|id| self.heard.get_mut(id)) {
            Some(heard) => std::mem::replace(heard, true),
            None => true,
        };
        self.count(answer, |figures| &mut figures.duplicated, twice, "answered twice or never submitted");
        self.counted(answer);
        self.ran(answer);
        if answer.session > 0 {
            let run = self.runs.of(answer.id);
            let session = self.sessions.entry(answer.session).or_default();
            let before = session.clone();
            if let Err(why) = session.observe(answer, run) {
                self.count(
                    answer,
                    |figures| &mut figures.session_violations,
                    true,
                    &format!("{why}, after {before:?}"),
                );
            }
        }
    }

    /// The figures of the calls, and what was wrong, in words.
    pub(crate) fn verdict(mut self) -> (Figures, Vec<String>) {
        let silent: Vec<usize> = (1..self.heard.len()).filter(|id| !self.heard[*id]).collect();
        self.figures.lost += silent.len() as u64;
        self.descriptions.extend(silent.iter().take(MAX_DESCRIBED).map(|id| format!("call {id}: never answered")));
        for (worker, lost) in &self.losses {
            if *lost > self.window {
                self.figures.window_violations += 1;
                self.descriptions.push(format!("{worker}: {lost} calls lost, more than the worker's window"));
            }
        }
        let (ok, all) = self.others;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = if all == 0 { 1.0 } else { ok as f64 / all as f64 };
        self.figures.ok_share_not_in_flight = share;
        (self.figures, self.descriptions)
    }

    fn counted(&mut self, answer: &Answer) {
        let name = match &answer.end {
            CallOutcome::Ok { .. } => "ok",
            CallOutcome::Error { slug, .. } => slug,
            CallOutcome::Abandoned => "left",
            CallOutcome::Lost => "lost",
        };
        let figures = &mut self.figures;
        match figures.answers.get_mut(name) {
            Some(count) => *count += 1,
            None => _ = figures.answers.insert(name.into(), 1),
        }
        let in_flight = match &answer.end {
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
        let ok = matches!(answer.end, CallOutcome::Ok { .. });
        figures.ok += u64::from(ok);
        figures.lost += u64::from(answer.end == CallOutcome::Lost);
        figures.refused += u64::from(REFUSED.contains(&name) && !may_have_run(&answer.end));
        figures.in_flight_at_kill += u64::from(in_flight);
        let expected =
            matches!(answer.kind, CallKind::Once | CallKind::Idempotent) && answer.end != CallOutcome::Abandoned;
        if expected && !in_flight {
            self.others.0 += u64::from(ok);
            self.others.1 += 1;
        }
    }

    /// How often it ran, beside what its caller was told.
    fn ran(&mut self, answer: &Answer) {
        let run = self.runs.of(answer.id);
        let twice = run.repeated || (run.began > 1 && (answer.kind != CallKind::Idempotent || answer.session > 0));
        self.count(answer, |figures| &mut figures.double_runs, twice, "the call ran twice");
        let lied = match &answer.end {
            CallOutcome::Ok { .. } => run.began == 0 || run.ended == 0,
            CallOutcome::Error { may_have_run, .. } => !may_have_run && run.began > 0,
            CallOutcome::Abandoned | CallOutcome::Lost => false,
        };
        self.count(
            answer,
            |figures| &mut figures.may_have_run_violations,
            lied,
            "the answer is wrong about whether the call ran",
        );
        if let CallOutcome::Ok { echo, .. } = answer.end {
            self.count(
                answer,
                |figures| &mut figures.duplicated,
                echo != answer.id,
                "received the answer of another call",
            );
        }
        let garbled = matches!(&answer.end, CallOutcome::Error { slug, .. } if slug == "decode");
        self.count(answer, |figures| &mut figures.duplicated, garbled, "the answer could not be decoded");
    }

    fn count(&mut self, answer: &Answer, of: fn(&mut Figures) -> &mut Option<u64>, is_so: bool, why: &str) {
        if !is_so {
            return;
        }
        let count = of(&mut self.figures);
        *count = count.map(|count| count + 1);
        if self.descriptions.len() < MAX_DESCRIBED {
            self.descriptions.push(format!("call {}: {why}: {answer:?}, {:?}", answer.id, self.runs.of(answer.id)));
        }
    }
}

fn may_have_run(end: &CallOutcome) -> bool {
    !matches!(end, CallOutcome::Error { may_have_run: false, .. })
}
