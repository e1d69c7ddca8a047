//! What all runs amount to: how often each test ran and failed, how many executions and whole runs failed. Pure.

use super::ledger::Run;
use crate::interval::Interval;
use std::collections::BTreeMap;

/// How often something was tried, and how often it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Count {
    pub(crate) failed: u64,
    pub(crate) of: u64,
}

/// Apart: on the machine as it was, and under load.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) idle: Count,
    pub(crate) loaded: Count,
}

/// One test.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Test {
    pub(crate) counts: Counts,
    /// The seeds of the runs in which it failed.
    pub(crate) seeds: Vec<u64>,
}

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whole runs; one failed if a test did.
    pub(crate) runs: Counts,
    /// Executions of tests.
    pub(crate) executions: Counts,
    /// By part and name.
    pub(crate) tests: BTreeMap<(String, String), Test>,
    /// In how many runs a part was run.
    pub(crate) parts: BTreeMap<String, u64>,
}

impl Count {
    fn note(&mut self, failed: bool) {
        self.of += 1;
        self.failed += u64::from(failed);
    }

    pub(crate) fn rate(self) -> f64 {
        self.failed as f64 / self.of as f64
    }

    pub(crate) fn interval(self) -> Interval {
        Interval::clopper_pearson(self.failed, self.of)
    }
}

impl Counts {
    pub(crate) fn all(&self) -> Count {
        Count { failed: self.idle.failed + self.loaded.failed, of: self.idle.of + self.loaded.of }
    }

    fn note(&mut self, loaded: bool, failed: bool) {
        if loaded { &mut self.loaded } else { &mut self.idle }.note(failed);
    }
}

impl Tally {
    pub(crate) fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let mut tally = Self::default();
        runs.into_iter().for_each(|run| tally.add(run));
        tally
    }

    fn add(&mut self, run: &Run) {
        self.runs.note(run.loaded, run.failures() > 0);
        for (part, outcome) in &run.parts {
            *self.parts.entry(part.clone()).or_default() += 1;
            for name in &outcome.ran {
                let failed = outcome.failures.iter().any(|failure| failure.test == *name);
                let test = self.tests.entry((part.clone(), name.clone())).or_default();
                test.counts.note(run.loaded, failed);
                test.seeds.extend(failed.then_some(run.seed));
                self.executions.note(run.loaded, failed);
            }
        }
    }

    /// The tests that failed, the one that failed most often first.
    pub(crate) fn failing(&self) -> Vec<(&(String, String), &Test)> {
        let mut failing: Vec<_> = self.tests.iter().filter(|(_, test)| !test.seeds.is_empty()).collect();
        failing.sort_by(|a, b| b.1.counts.all().rate().total_cmp(&a.1.counts.all().rate()));
        failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flake::events::{Failure, Outcome};

    fn run(seed: u64, loaded: bool, tests: &[(&str, &str, bool)]) -> Run {
        let mut parts: BTreeMap<String, Outcome> = BTreeMap::new();
        for (part, test, failed) in tests {
            let outcome = parts.entry((*part).into()).or_default();
            outcome.ran.insert((*test).into());
            outcome.failures.extend(failed.then(|| Failure { test: (*test).into(), output: String::new() }));
        }
        Run { seed, loaded, begun: 0, seconds: 0.0, load_average: [None; 2], parts }
    }

    #[test]
    fn r49_tests_runs_and_executions_are_counted_apart_under_load() {
        let runs = [
            run(1, false, &[("p", "a", false), ("p", "b", true), ("q", "a", true)]),
            run(2, true, &[("p", "a", false), ("p", "b", true)]),
            run(3, false, &[("p", "a", false), ("p", "b", false)]),
        ];
        let tally = Tally::of(&runs);
        assert_eq!(tally.runs, Counts { idle: Count { failed: 1, of: 2 }, loaded: Count { failed: 1, of: 1 } });
        assert_eq!(tally.executions, Counts { idle: Count { failed: 2, of: 5 }, loaded: Count { failed: 1, of: 2 } });
        assert_eq!(tally.parts, BTreeMap::from([("p".into(), 3), ("q".into(), 1)]));
        let failing: Vec<_> = tally
            .failing()
            .into_iter()
            .map(|((part, name), test)| (&**part, &**name, test.counts.all().of, &*test.seeds))
            .collect();
        assert_eq!(failing, [("q", "a", 1, &[1][..]), ("p", "b", 3, &[1, 2])]);
    }

    /// A test that fails at random, one time in twenty, among such as never do.
    #[test]
    fn r49_the_reported_interval_holds_the_rate_of_a_test_that_fails_at_random() {
        const RATE: f64 = 0.05;
        let mut random = fastrand::Rng::with_seed(5);
        let held = (0..200).filter(|_| {
            let runs: Vec<_> = (0..100)
                .map(|at| run(at, at % 5 == 0, &[("p", "a", random.f64() < RATE), ("p", "b", false)]))
                .collect();
            let tally = Tally::of(&runs);
            let (a, b) =
                (&tally.tests[&("p".into(), "a".into())].counts, &tally.tests[&("p".into(), "b".into())].counts);
            assert!(b.all().interval().holds(0.0) && !b.all().interval().holds(RATE));
            a.all().interval().holds(RATE) && tally.runs.all().interval().holds(RATE)
        });
        assert!(held.count() >= 184, "95 of 100, less two standard deviations");
    }
}
