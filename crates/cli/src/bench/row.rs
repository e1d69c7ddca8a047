//! The results for one number of workers, compared with those for the smallest number. Derived from the reports.

use super::spread::Spread;
use crate::error::{CommandError, Outcome};
use hdrhistogram::Histogram;
use herder::efficiency::EfficiencyReport;
use serde::Serialize;
use std::time::Duration;

/// The number of significant digits of a quantile.
const DIGITS: u8 = 3;

/// The results for one number of workers.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) workers: usize,
    pub(super) call_slots: usize,
    pub(super) callers: usize,
    /// The calls per second.
    pub(super) rate: Spread,
    pub(super) efficiency: Spread,
    /// The calls per second relative to the smallest number of workers, in the same round.
    pub(super) speed_up: Spread,
    /// The speed-up if each worker did as much as in the smallest pool.
    pub(super) ideal: f64,
    pub(super) latency: Latency,
    /// One report for each round; at least one.
    pub(super) runs: Vec<EfficiencyReport>,
    middle: usize,
}

/// How long callers waited for an answer, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: Duration,
    pub(super) p90: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

/// Creates a row for each number of workers. Runs are compared within a round, because those ran shortly after each
/// other.
pub(super) fn rows(reports: Vec<Vec<EfficiencyReport>>) -> Outcome<Vec<Row>> {
    let baseline: Vec<f64> = reports.first().into_iter().flatten().map(EfficiencyReport::calls_per_second).collect();
    let fewest = reports.first().and_then(|runs| runs.first()).map_or(1, |run| run.workers);
    reports.into_iter().map(|runs| Row::of(runs, &baseline, fewest)).collect()
}

impl Row {
    fn of(runs: Vec<EfficiencyReport>, baseline: &[f64], fewest: usize) -> Outcome<Self> {
        let speed_up =
            runs.iter().zip(baseline).map(|(run, baseline)| run.calls_per_second() / baseline.max(f64::MIN_POSITIVE));
        let (speed_up, rates) = (Spread::of(speed_up), Spread::of(runs.iter().map(EfficiencyReport::calls_per_second)));
        let efficiency = Spread::of(runs.iter().map(|run| run.account.efficiency));
        let middle = middle(&runs).ok_or_else(|| CommandError::failed("no run was measured"))?;
        let (workers, call_slots, callers) =
            (runs[middle].workers, runs[middle].account.call_slots, runs[middle].callers);
        let (latency, ideal) = (Latency::of(&runs)?, workers as f64 / fewest as f64);
        Ok(Self { workers, call_slots, callers, rate: rates, efficiency, speed_up, ideal, latency, runs, middle })
    }

    /// Returns the run for charts and advice: the one with the median rate among the runs on an unloaded machine, or
    /// among all if there is none. The choice of these runs depends only on the machine, and not on how well the pool
    /// did.
    pub(super) fn middle(&self) -> &EfficiencyReport {
        &self.runs[self.middle]
    }

    /// Returns the number of failed calls of all rounds.
    pub(super) fn failed(&self) -> usize {
        self.runs.iter().map(|run| run.failures.count).sum()
    }
}

/// Returns the index of the middle run; `None` if there are no runs.
fn middle(runs: &[EfficiencyReport]) -> Option<usize> {
    let all: Vec<usize> = (0..runs.len()).collect();
    let unloaded: Vec<usize> = all.iter().copied().filter(|at| !runs[*at].machine.is_loaded()).collect();
    let mut order = if unloaded.is_empty() { all } else { unloaded };
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
        let span = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        Ok(Self { p50: span(0.5), p90: span(0.9), p99: span(0.99), max: Duration::from_nanos(histogram.max()) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{one_worker, rows, two_workers};
    use super::*;

    /// The speed-up is calculated within a round: in the second round everything takes twice as long, but the speed-up
    /// is the same.
    #[test]
    fn the_speed_up_compares_runs_of_the_same_round() {
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

    /// A run on a loaded machine is not chosen, whether it was the fastest or the slowest.
    #[test]
    fn the_middle_run_is_one_on_an_unloaded_machine() {
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
