//! The report as text: a table, followed by advice for the losses. Prints nothing.

use super::{
    advice::advice,
    plan::Plan,
    row::Row,
    spread::{Spread, digits, percent, time, workers},
};
use crate::{table::aligned, units::counted};
use herder::efficiency::{
    EfficiencyReport, Verdict, WorkerStart,
    concurrency::{Gain, Inconclusive},
};

/// The smallest loss, as a share of the call slots' time, for which a row gets advice.
const MIN_REPORTED_SHARE: f64 = 0.1;

/// Returns the complete report.
pub(super) fn render_report(plan: &Plan, rows: &[Row]) -> String {
    let mut parts = vec![heading(plan), table(rows)];
    parts.extend(
        rows.iter()
            .filter(|row| row.middle().account.efficiency < 1.0 - MIN_REPORTED_SHARE)
            .map(|row| advice(plan, row)),
    );
    parts.push(overlap(rows));
    parts.extend(load(rows));
    parts.join("\n\n")
}

fn heading(plan: &Plan) -> String {
    let start = match plan.start {
        WorkerStart::Warm => "warm",
        WorkerStart::Cold => "cold, from the pool's start",
    };
    let sessions =
        if plan.sessions > 0 { format!(", {}", counted(plan.sessions as u64, "session")) } else { String::new() };
    let rounds = if plan.rounds == 1 { "one round".into() } else { format!("the median of {} rounds", plan.rounds) };
    format!("pool {}, {}{sessions}; {start}; {rounds}", plan.config.name(), plan.call())
}

fn table(rows: &[Row]) -> String {
    let titles =
        ["WORKERS", "CALLERS", "CALLS/S", "P50", "P99", "EFFICIENCY", "SPEED-UP", "IDEAL", "AT ONCE", "LARGEST LOSS"];
    let cells: Vec<_> = rows.iter().map(line).collect();
    aligned(&titles, &cells)
}

fn line(row: &Row) -> Vec<String> {
    let account = &row.middle().account;
    let lost = account
        .losses
        .largest()
        .map_or_else(|| "nothing".into(), |loss| format!("{}, {}", loss.cause, percent(account.share(loss.lost))));
    vec![
        row.workers.to_string(),
        row.callers.to_string(),
        digits(row.rate.median),
        time(row.latency.p50),
        time(row.latency.p99),
        percent(account.efficiency),
        format!("{} ({} to {})", digits(row.speed_up.median), digits(row.speed_up.min), digits(row.speed_up.max)),
        digits(row.ideal),
        format!("{} of {}", account.evidence.peak, row.call_slots),
        lost,
    ]
}

/// Returns the verdict by overlap, for each number of workers.
fn overlap(rows: &[Row]) -> String {
    let lines = rows.iter().map(|row| format!("{}: {}{}", workers(row.workers), verdict(row), gain(row)));
    lines.collect::<Vec<_>>().join("\n")
}

fn verdict(row: &Row) -> String {
    let evidence = row.middle().account.evidence;
    match &row.middle().verdict {
        Verdict::Serialized(_) if row.call_slots == 1 => {
            "one call at a time, because there is only one call slot".into()
        }
        Verdict::Serialized(serialized) => serialized.to_string(),
        Verdict::Concurrent(_) => format!(
            "calls overlapped: up to {} at once, {} on average",
            evidence.peak,
            digits(evidence.mean_in_flight())
        ),
    }
}

/// Returns why the speed-up is inconclusive, if it is. The load of the machine is reported once, for all rows.
fn gain(row: &Row) -> String {
    match row.middle().comparison.map(|comparison| comparison.verdict) {
        None | Some(Gain::Proven | Gain::Inconclusive(Inconclusive::OneCallSlot | Inconclusive::Loaded { .. })) => {
            String::new()
        }
        Some(Gain::Inconclusive(why)) => format!("; the speed-up is inconclusive: {why}"),
    }
}

/// Returns a note if other processes used so much of the machine that the timings are unreliable, with the rows that
/// have no other run.
fn load(rows: &[Row]) -> Option<String> {
    let runs: Vec<&EfficiencyReport> = rows.iter().flat_map(|row| &row.runs).collect();
    let causes: Vec<String> = [busy(&runs), steal(&runs)].into_iter().flatten().collect();
    (!causes.is_empty()).then(|| {
        format!(
            "Unreliable timings: {}. That the calls overlapped is certain; how long they took is not. {}",
            causes.join("; "),
            qualified_rows(rows)
        )
    })
}

fn busy(runs: &[&EfficiencyReport]) -> Option<String> {
    let loaded: Vec<_> = runs.iter().filter(|run| run.machine.is_loaded() && !run.machine.has_steal()).collect();
    let cores = digits(loaded.first()?.machine.cores);
    let other_load = digits(Spread::of(loaded.iter().filter_map(|run| run.machine.other_load)).median);
    Some(format!("in {} of {} runs other processes used about {other_load} of {cores} cores", loaded.len(), runs.len()))
}

fn steal(runs: &[&EfficiencyReport]) -> Option<String> {
    let affected: Vec<_> = runs.iter().filter(|run| run.machine.has_steal()).collect();
    affected.first()?;
    let steal = percent(Spread::of(affected.iter().filter_map(|run| run.machine.steal)).median);
    let (count, all) = (affected.len(), runs.len());
    Some(format!(
        "in {count} of {all} runs the hypervisor withheld the cores for about {steal} of the time (\"steal\")"
    ))
}

/// Returns which rows have no run on an idle machine.
fn qualified_rows(rows: &[Row]) -> String {
    let affected: Vec<_> = rows.iter().filter(|row| row.middle().machine.is_loaded()).collect();
    let counts: Vec<_> = affected.iter().map(|row| row.workers.to_string()).collect();
    match counts.as_slice() {
        [] => "Efficiency, losses and advice are from the other runs.".into(),
        all if all.len() == rows.len() => "No run is unaffected: measure again on an idle machine.".into(),
        some => format!(
            "Efficiency, losses and advice are from the other runs; with {} workers there is no other run.",
            some.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{one_worker, plan, rows, two_workers};
    use super::*;
    use herder::efficiency::concurrency::{Comparison, Losses};
    use insta::assert_snapshot;
    use std::time::Duration;

    fn render(reports: Vec<Vec<EfficiencyReport>>) -> String {
        render_report(&plan(&["--command", "sleep", "--args", "{\"ms\": 10}"]), &rows(reports))
    }

    #[test]
    fn report_text_matches_its_snapshot() {
        assert_snapshot!(render(vec![vec![one_worker()], vec![two_workers()]]));
    }

    /// Small losses get no advice; the largest loss comes first.
    #[test]
    fn rows_with_large_losses_get_advice() {
        let mut run = two_workers();
        run.account.efficiency = 0.91;
        assert!(!render(vec![vec![run.clone()]]).contains("efficient."));
        run.account.efficiency = 0.2;
        run.account.measured = Duration::from_secs(1);
        let lost = |millis| Duration::from_millis(millis);
        run.account.losses = Losses { cores: lost(1500), dispatch: lost(200), gil: lost(10), ..Losses::default() };
        (run.cpu_share, run.machine.other_load) = (Some(1.01), Some(0.5));
        let text = render(vec![vec![run]]);
        let advice = text.lines().find(|line| line.contains("efficient.")).unwrap();
        assert!(
            advice.starts_with(
                "2 workers, 20 % efficient. cores 75 %: workers waited for a free core. 2 workers need 2.02 cores; the machine has \
                 2.00, of which other processes use 0.50: more workers than cores do not help calls that compute. dispatch 10 %: "
            ),
            "{advice}"
        );
        assert!(!advice.contains("gil"), "1 % gets no advice: {advice}");
    }

    /// The advice for a lack of cores names the cause: too many workers, other processes, or callers and the pool.
    #[test]
    fn advice_names_the_cause_of_a_lack_of_cores() {
        let advice = |cpu_share: f64, other_load| {
            let mut run = two_workers();
            run.account.efficiency = 0.5;
            run.account.losses = Losses { cores: Duration::from_millis(9), ..Losses::default() };
            (run.cpu_share, run.machine.other_load) = ((cpu_share > 0.0).then_some(cpu_share), Some(other_load));
            let text = render(vec![vec![run]]);
            text.lines().find_map(|line| line.split_once("he machine has ")).unwrap().1.to_owned()
        };
        assert_eq!(
            advice(1.5, 1.0),
            "2.00, of which other processes use 1.00: more workers than cores do not help calls that compute."
        );
        assert_eq!(advice(0.1, 1.9), "2.00, of which other processes use 1.90: measure on an idle machine.");
        assert_eq!(advice(0.0, 0.1), "2.00: more workers than cores do not help if Python computes.");
        assert_eq!(
            advice(0.9, 0.1),
            "2.00: this is enough for the workers, but callers and the pool also need CPU time."
        );
    }

    #[test]
    fn loaded_machine_is_reported() {
        let mut run = two_workers();
        assert!(!render(vec![vec![run.clone()]]).contains("Unreliable timings"));
        run.machine.other_load = Some(1.5);
        let text = render(vec![vec![run.clone(), two_workers()]]);
        assert!(
            text.contains("Unreliable timings: in 1 of 2 runs other processes used about 1.50 of 2.00 cores"),
            "{text}"
        );
        assert!(text.ends_with("Efficiency, losses and advice are from the other runs."), "{text}");
        let text = render(vec![vec![run.clone()], vec![two_workers()]]);
        assert!(text.ends_with("from the other runs; with 2 workers there is no other run."), "{text}");
        let text = render(vec![vec![run]]);
        assert!(text.ends_with("No run is unaffected: measure again on an idle machine."), "{text}");
    }

    /// Steal is not reported as the load of other processes.
    #[test]
    fn steal_time_is_reported_separately() {
        let mut run = two_workers();
        run.machine.steal = Some(0.02);
        assert!(!render(vec![vec![run.clone()]]).contains("Unreliable timings"));
        (run.machine.other_load, run.machine.steal) = (Some(0.2), Some(0.1));
        let text = render(vec![vec![run, two_workers()]]);
        assert!(
            text.contains(
                "Unreliable timings: in 1 of 2 runs the hypervisor withheld the cores for about 10 % of the time"
            ),
            "{text}"
        );
        assert!(!text.contains("other processes used"), "{text}");
    }

    #[test]
    fn inconclusive_comparison_states_its_reason() {
        let mut run = two_workers();
        let verdict = Gain::Inconclusive(Inconclusive::Inconsistent { low: 0.9, high: 1.5 });
        run.comparison = Some(Comparison { pairs: 5, speed_up: 1.2, low: 0.9, high: 1.5, verdict });
        let text = render(vec![vec![run]]);
        assert!(text.contains("the speed-up is inconclusive: "), "{text}");
    }
}
