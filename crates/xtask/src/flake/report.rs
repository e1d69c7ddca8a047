//! The report on all runs, as text. Reads tallies, changes nothing.

use super::{
    ledger::Run,
    tally::{Count, Counts, Tally},
};
use crate::interval::Interval;
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

/// What `--report` prints.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    ledgers: &'a BTreeMap<String, Vec<Run>>,
    tally: Tally,
}

impl<'a> Report<'a> {
    pub(crate) fn on(ledgers: &'a BTreeMap<String, Vec<Run>>) -> Self {
        Self { ledgers, tally: Tally::of(ledgers.values().flatten()) }
    }

    /// Whether no test failed in any run.
    pub(crate) fn clean(&self) -> bool {
        self.tally.runs.all().failed == 0
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (revision, runs) in self.ledgers {
            writeln!(f, "revision {revision}: {}", revision_line(runs))?;
        }
        writeln!(f, "\n{:<22}{:>10} of{:>8}   rate, and where it lies with 95 % confidence", "", "failed", "")?;
        section(f, "runs", &self.tally.runs)?;
        section(f, "executions of a test", &self.tally.executions)?;
        self.failing(f)?;
        self.rare(f)
    }
}

impl Report<'_> {
    fn failing(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let failing = self.tally.failing();
        if failing.is_empty() {
            return writeln!(f, "\nno test failed");
        }
        writeln!(f, "\nfailures by test")?;
        for ((part, name), test) in failing {
            writeln!(f, "{part} {name}\n{}", line("", test.counts.all()))?;
            let (idle, loaded) = (test.counts.idle, test.counts.loaded);
            let seeds: Vec<_> = test.seeds.iter().map(ToString::to_string).collect();
            writeln!(
                f,
                "    idle {}/{}, loaded {}/{}; seeds {}",
                idle.failed,
                idle.of,
                loaded.failed,
                loaded.of,
                seeds.join(" ")
            )?;
        }
        Ok(())
    }

    /// What did not run in every run.
    fn rare(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let all = self.tally.runs.all().of;
        for (part, runs) in self.tally.parts.iter().filter(|(_, runs)| **runs < all) {
            writeln!(f, "{part}: in {runs} of {all} runs only")?;
        }
        Ok(())
    }
}

fn revision_line(runs: &[Run]) -> String {
    let loaded = runs.iter().filter(|run| run.loaded).count();
    let hours = runs.iter().map(|run| run.seconds).sum::<f64>() / 3600.0;
    let averages: Vec<_> = runs.iter().flat_map(|run| run.load_average).flatten().collect();
    let average = averages.iter().sum::<f64>() / averages.len().max(1) as f64;
    format!("{} runs, {loaded} of them under load; {hours:.1} h; the load average was {average:.1}", runs.len())
}

fn section(f: &mut Formatter<'_>, title: &str, counts: &Counts) -> fmt::Result {
    writeln!(f, "{}", line(title, counts.all()))?;
    writeln!(f, "{}", line("  idle", counts.idle))?;
    writeln!(f, "{}", line("  under load", counts.loaded))
}

fn line(title: &str, count: Count) -> String {
    let Count { failed, of } = count;
    let rate =
        if of == 0 { "none ran".into() } else { format!("{} %, {}", percent(count.rate()), within(count.interval())) };
    format!("{title:<22}{failed:>10} of{of:>8}   {rate}")
}

fn within(interval: Interval) -> String {
    format!("{} to {} %", percent(interval.low), percent(interval.high))
}

/// Two digits that count, whatever the size.
fn percent(rate: f64) -> String {
    let percent = 100.0 * rate;
    let digits = if percent == 0.0 { 0 } else { (1.0 - percent.abs().log10().floor()).clamp(0.0, 9.0) as usize };
    format!("{percent:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flake::events::{Failure, Outcome};

    fn run(seed: u64, loaded: bool, failed: bool) -> Run {
        let failures = failed.then(|| Failure { test: "b".into(), output: String::new() }).into_iter().collect();
        let ran = ["a", "b"].map(String::from).into();
        let mut parts = BTreeMap::from([("p".into(), Outcome { ran, failures, ..Outcome::default() })]);
        if seed == 1 {
            parts.insert("rare".into(), Outcome::default());
        }
        Run { seed, loaded, begun: 0, seconds: 1800.0, load_average: [Some(1.0), Some(3.0)], parts }
    }

    #[test]
    fn r49_a_report() {
        let runs = (1..=20).map(|seed| run(seed, seed % 4 == 0, seed == 8)).collect();
        let ledgers = BTreeMap::from([("abc".to_owned(), runs)]);
        let report = Report::on(&ledgers);
        let wanted = "\
revision abc: 20 runs, 5 of them under load; 10.0 h; the load average was 2.0

                          failed of           rate, and where it lies with 95 % confidence
runs                           1 of      20   5.0 %, 0.13 to 25 %
  idle                         0 of      15   0 %, 0 to 22 %
  under load                   1 of       5   20 %, 0.51 to 72 %
executions of a test           1 of      40   2.5 %, 0.063 to 13 %
  idle                         0 of      30   0 %, 0 to 12 %
  under load                   1 of      10   10 %, 0.25 to 45 %

failures by test
p b
                               1 of      20   5.0 %, 0.13 to 25 %
    idle 0/15, loaded 1/5; seeds 8
rare: in 1 of 20 runs only
";
        assert_eq!(report.to_string(), wanted);
        assert!(!report.clean());
    }

    #[test]
    fn of_no_runs_nothing_is_said() {
        let ledgers = BTreeMap::new();
        let report = Report::on(&ledgers);
        assert!(report.clean() && report.to_string().contains("none ran"), "{report}");
    }
}
