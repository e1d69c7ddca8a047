//! One number of workers: what its runs gave, beside the least number's. Only derives; all that was seen is in the reports.

use super::spread::Spread;
use crate::error::{CommandError, Outcome};
use hdrhistogram::Histogram;
use herder::efficiency::EfficiencyReport;
use serde::Serialize;
use std::time::Duration;

/// Digits of a quantile.
const DIGITS: u8 = 3;

/// One number of workers.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) workers: usize,
    pub(super) call_slots: usize,
    pub(super) callers: usize,
    /// Calls answered in a second.
    pub(super) rate: Spread,
    pub(super) efficiency: Spread,
    /// By how much more is done in a second than with the least number of workers, round by round.
    pub(super) speed_up: Spread,
    /// What it would be if each worker did as much.
    pub(super) ideal: f64,
    pub(super) latency: Latency,
    /// One for each round, and not none.
    pub(super) runs: Vec<EfficiencyReport>,
    middle: usize,
}

/// How long callers waited for an answer, in all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: Duration,
    pub(super) p90: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

/// A row for each number of workers. Rounds pair: what is compared ran shortly after each other.
pub(super) fn rows(reports: Vec<Vec<EfficiencyReport>>) -> Outcome<Vec<Row>> {
    let least: Vec<f64> = reports.first().into_iter().flatten().map(EfficiencyReport::calls_per_second).collect();
    let fewest = reports.first().and_then(|runs| runs.first()).map_or(1, |run| run.workers);
    reports.into_iter().map(|runs| Row::of(runs, &least, fewest)).collect()
}

impl Row {
    fn of(runs: Vec<EfficiencyReport>, least: &[f64], fewest: usize) -> Outcome<Self> {
        let speed_up = runs.iter().zip(least).map(|(run, least)| run.calls_per_second() / least.max(f64::MIN_POSITIVE));
        let (speed_up, rates) = (Spread::of(speed_up), Spread::of(runs.iter().map(EfficiencyReport::calls_per_second)));
        let efficiency = Spread::of(runs.iter().map(|run| run.account.efficiency));
        let middle = middle(&runs).ok_or_else(|| CommandError::failed("no run was measured"))?;
        let (workers, call_slots, callers) =
            (runs[middle].workers, runs[middle].account.call_slots, runs[middle].callers);
        let (latency, ideal) = (Latency::of(&runs)?, workers as f64 / fewest as f64);
        Ok(Self { workers, call_slots, callers, rate: rates, efficiency, speed_up, ideal, latency, runs, middle })
    }

    /// The run that pictures and words are about: neither the quickest nor the slowest of those in which the machine was not too loaded, or
    /// of all if it always was. Which ones these are does not depend on how well the pool did.
    pub(super) fn middle(&self) -> &EfficiencyReport {
        &self.runs[self.middle]
    }

    /// Calls that failed, in all rounds.
    pub(super) fn failed(&self) -> usize {
        self.runs.iter().map(|run| run.failures.count).sum()
    }
}

/// Which run is the middle one; none of no runs.
fn middle(runs: &[EfficiencyReport]) -> Option<usize> {
    let all: Vec<usize> = (0..runs.len()).collect();
    let calm: Vec<usize> = all.iter().copied().filter(|at| !runs[*at].machine.is_loaded()).collect();
    let mut order = if calm.is_empty() { all } else { calm };
    order.sort_by(|a, b| runs[*a].calls_per_second().total_cmp(&runs[*b].calls_per_second()));
    order.get(order.len().saturating_sub(1) / 2).copied()
}

impl Latency {
    fn of(runs: &[EfficiencyReport]) -> Outcome<Self> {
        let mut histogram = Histogram::<u64>::new(DIGITS).map_err(CommandError::failed)?;
        for operation in runs.iter().flat_map(|run| &run.operations) {
            let nanos = operation.answered.0.saturating_sub(operation.queued.0);
            histogram.record(nanos).map_err(CommandError::failed)?;
        }
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        Ok(Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: Duration::from_nanos(histogram.max()) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{one_worker, rows, two_workers};
    use super::*;

    /// Rounds pair: the second round, in which everything took twice as long, has the same speed-up.
    #[test]
    fn a_speed_up_is_of_runs_of_the_same_round() {
        let slow = |mut run: EfficiencyReport| {
            run.account.measured *= 2;
            run
        };
        let rows = rows(vec![vec![one_worker(), slow(one_worker())], vec![two_workers(), slow(two_workers())]]);
        let one = 54.1 / 31.6;
        for speed_up in [rows[1].speed_up.min, rows[1].speed_up.median, rows[1].speed_up.max] {
            assert!((speed_up - one).abs() < 1e-6, "{speed_up}");
        }
        assert_eq!((rows[0].speed_up.max, rows[0].ideal, rows[1].ideal), (1.0, 1.0, 2.0));
        assert!(rows[1].rate.max > 1.9 * rows[1].rate.min);
    }

    #[test]
    fn latency_includes_the_time_in_the_queue() {
        let row = &rows(vec![vec![two_workers()]])[0];
        let millis = |span: Duration| span.as_secs_f64() * 1e3;
        let Latency { p50, p99, max, .. } = row.latency;
        assert!((millis(p50) - 21.1).abs() < 0.05 && (millis(p99) - 31.1).abs() < 0.05, "{:?}", row.latency);
        assert!(max >= p99);
    }

    #[test]
    fn the_middle_run_is_neither_the_quickest_nor_the_slowest() {
        let lasted = |millis| {
            let mut run = two_workers();
            run.account.measured = Duration::from_millis(millis);
            run
        };
        let row = &rows(vec![vec![lasted(40), lasted(20), lasted(30)]])[0];
        assert_eq!(row.middle().account.measured, Duration::from_millis(30));
    }

    /// Both ways: a loaded run is passed over though it was the quickest, and though it was the slowest.
    #[test]
    fn the_middle_run_is_one_in_which_the_machine_was_calm() {
        let lasted = |millis, steal| {
            let mut run = two_workers();
            (run.account.measured, run.machine.steal) = (Duration::from_millis(millis), Some(steal));
            run
        };
        let middle = |runs| rows(vec![runs])[0].middle().account.measured.as_millis();
        assert_eq!(middle(vec![lasted(40, 0.5), lasted(30, 0.5), lasted(20, 0.01)]), 20);
        assert_eq!(middle(vec![lasted(40, 0.01), lasted(30, 0.5), lasted(20, 0.5)]), 40);
        assert_eq!(middle(vec![lasted(40, 0.5), lasted(20, 0.5), lasted(30, 0.5)]), 30);
    }
}
