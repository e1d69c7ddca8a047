//! The report as people read it: a table, and below it what to do about what was lost. Prints nothing itself.

use super::{
    advice::advice,
    plan::Plan,
    row::Row,
    spread::{Spread, digits, percent, time},
};
use crate::table::aligned;
use herder::{
    concurrency::{Gain, Inconclusive},
    efficiency::{EfficiencyReport, Verdict, WorkerStart},
};

/// Of the time of all lanes; below it a row needs no words.
const MIN_REPORTED_SHARE: f64 = 0.1;

/// All of it.
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
    let sessions = if plan.sessions > 0 { format!(", {} sessions", plan.sessions) } else { String::new() };
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

/// The verdict by overlap, for each number of workers.
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

/// Why it can't be told whether that was quicker than one after the other, if so. The load is told once, for all.
fn gain(row: &Row) -> String {
    match row.middle().comparison.map(|comparison| comparison.verdict) {
        None | Some(Gain::Proven | Gain::Inconclusive(Inconclusive::OneCallSlot | Inconclusive::Loaded { .. })) => {
            String::new()
        }
        Some(Gain::Inconclusive(why)) => format!("; the speed-up is inconclusive: {why}"),
    }
}

/// Whether others had so much of the machine that the figures tell more about them, and which rows have no run without that.
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
    let struck: Vec<_> = runs.iter().filter(|run| run.machine.has_steal()).collect();
    struck.first()?;
    let steal = percent(Spread::of(struck.iter().filter_map(|run| run.machine.steal)).median);
    let (count, all) = (struck.len(), runs.len());
    Some(format!(
        "in {count} of {all} runs the hypervisor withheld the cores for about {steal} of the time (\"steal\")"
    ))
}

/// Which rows are about a run without that, and which can't be.
fn qualified_rows(rows: &[Row]) -> String {
    let struck: Vec<_> = rows.iter().filter(|row| row.middle().machine.is_loaded()).collect();
    let counts: Vec<_> = struck.iter().map(|row| row.workers.to_string()).collect();
    match counts.as_slice() {
        [] => "Efficiency, losses and advice are from the other runs.".into(),
        all if all.len() == rows.len() => "No run is unaffected: measure again on an idle machine.".into(),
        some => format!(
            "Efficiency, losses and advice are from the other runs; {} workers have no other run.",
            some.join(", ")
        ),
    }
}

/// `1 worker`, `2 workers`.
pub(super) fn workers(count: usize) -> String {
    format!("{count} worker{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{one_worker, plan, rows, two_workers};
    use super::*;
    use herder::concurrency::{Comparison, Losses};
    use insta::assert_snapshot;
    use std::time::Duration;

    fn render(reports: Vec<Vec<EfficiencyReport>>) -> String {
        render_report(&plan(&["--command", "sleep", "--args", "{\"ms\": 10}"]), &rows(reports))
    }

    #[test]
    fn report_text_matches_its_snapshot() {
        assert_snapshot!(render(vec![vec![one_worker()], vec![two_workers()]]));
    }

    /// Words are for what is worth them, and begin with what was lost most.
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
        let words = text.lines().find(|line| line.contains("efficient.")).unwrap();
        assert!(
            words.starts_with(
                "2 workers, 20 % efficient. cores 75 %: workers waited for a free core. 2 workers want 2.02 cores, the machine has \
                 2.00, of which others keep 0.50 busy: more workers than cores gain nothing for calls that compute. dispatch 10 %: "
            ),
            "{words}"
        );
        assert!(!words.contains("gil"), "1 % is not worth a word: {words}");
    }

    /// A shortage of cores has three reasons.
    #[test]
    fn cores_are_short_for_one_of_three_reasons() {
        let words = |cpu_share: f64, other_load| {
            let mut run = two_workers();
            run.account.efficiency = 0.5;
            run.account.losses = Losses { cores: Duration::from_millis(9), ..Losses::default() };
            (run.cpu_share, run.machine.other_load) = ((cpu_share > 0.0).then_some(cpu_share), Some(other_load));
            let text = render(vec![vec![run]]);
            text.lines().find_map(|line| line.split_once("he machine has ")).unwrap().1.to_owned()
        };
        assert_eq!(
            words(1.5, 1.0),
            "2.00, of which others keep 1.00 busy: more workers than cores gain nothing for calls that compute."
        );
        assert_eq!(words(0.1, 1.9), "2.00, of which others keep 1.90 busy: measure on a machine that has less to do.");
        assert_eq!(words(0.0, 0.1), "2.00: more workers than cores gain nothing where Python computes.");
        assert_eq!(words(0.9, 0.1), "2.00: that is enough, but callers and the pool need some of it, too.");
    }

    #[test]
    fn loaded_machine_is_reported() {
        let mut run = two_workers();
        assert!(!render(vec![vec![run.clone()]]).contains("Too loaded"));
        run.machine.other_load = Some(1.5);
        let text = render(vec![vec![run.clone(), two_workers()]]);
        assert!(
            text.contains("Too loaded to tell: in 1 of 2 runs others kept about 1.50 of 2.00 cores busy"),
            "{text}"
        );
        assert!(text.ends_with("Efficiency, losses and advice are from the other runs."), "{text}");
        let text = render(vec![vec![run.clone()], vec![two_workers()]]);
        assert!(text.ends_with("of the other runs; with 2 workers there is none."), "{text}");
        let text = render(vec![vec![run]]);
        assert!(text.ends_with("No run is unaffected: measure again on an idle machine."), "{text}");
    }

    /// A host that gives cores to others is not a process that keeps them busy.
    #[test]
    fn steal_time_is_reported_separately() {
        let mut run = two_workers();
        run.machine.steal = Some(0.02);
        assert!(!render(vec![vec![run.clone()]]).contains("Too loaded"));
        (run.machine.other_load, run.machine.steal) = (Some(0.2), Some(0.1));
        let text = render(vec![vec![run, two_workers()]]);
        assert!(
            text.contains(
                "Too loaded to tell: in 1 of 2 runs the host of this virtual machine gave its cores to others for about 10 % of the time"
            ),
            "{text}"
        );
        assert!(!text.contains("others kept"), "{text}");
    }

    #[test]
    fn inconclusive_comparison_states_its_reason() {
        let mut run = two_workers();
        let verdict = Gain::Inconclusive(Inconclusive::Inconsistent { low: 0.9, high: 1.5 });
        run.comparison = Some(Comparison { pairs: 5, speed_up: 1.2, low: 0.9, high: 1.5, verdict });
        let text = render(vec![vec![run]]);
        assert!(
            text.contains("can't be told: the pairs don't agree: parallel was 0.90 to 1.50 times as quick"),
            "{text}"
        );
    }
}
