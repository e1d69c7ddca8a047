//! What a run found, as numbers: the same as a table for people and as one line of JSON.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spans {
    /// How many.
    pub count: usize,
    /// The one in the middle, if there is any.
    pub median: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

impl Spans {
    /// Of these; sorts them.
    pub fn of(spans: &mut [Duration]) -> Self {
        spans.sort_unstable();
        let millis = |span: &Duration| (span.as_secs_f64() * 10_000.0).round() / 10.0;
        let median = spans.get(spans.len() / 2).map(millis);
        Self { count: spans.len(), median, max: spans.last().map(millis) }
    }
}

/// What a run found. A figure that it can't know, such as `double_runs` of a worker that keeps no account of its calls, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What everything was drawn from.
    pub seed: u64,
    /// How long calls were made.
    pub seconds: f64,
    /// Calls made.
    pub calls: u64,
    /// Answered with a result.
    pub ok: u64,
    /// Refused: not one of them was sent to a worker.
    pub refused: u64,
    /// All ends by name: `ok`, the errors' names, and `still_running` for those whose callers went away.
    pub answers: BTreeMap<String, u64>,
    /// Never answered, or not within two minutes after the faults.
    pub lost: u64,
    /// Answered twice, or with another call's answer.
    pub duplicated: Option<u64>,
    /// Calls that ran twice though they are not idempotent, or belong to a strict session.
    pub double_runs: Option<u64>,
    /// Errors that said the call had not run though it had, and results of calls that had not run.
    pub may_have_run_violations: Option<u64>,
    /// Sessions that were answered from another state than theirs, or out of order, or not told of a loss, or told twice.
    pub session_violations: Option<u64>,
    /// Processes with more calls lost than they may have at once.
    pub window_violations: u64,
    /// Processes left when the host had ended.
    pub orphans: u64,
    /// Children that were not waited for.
    pub zombies: u64,
    /// Descriptors open after the pool's end that were not before its start.
    pub leaked_descriptors: u64,
    /// From a kill until its slot has a ready worker again.
    pub replacement_ms_median: Option<f64>,
    /// The longest of these.
    pub replacement_ms_max: Option<f64>,
    /// From a kill until all base workers are ready at once; where kills follow one another closely, over the kills between.
    pub recovery_ms_median: Option<f64>,
    /// The longest of these.
    pub recovery_ms_max: Option<f64>,
    /// Whether the pool was whole in the end, and answered.
    pub recovered: bool,
    /// How often the pool failed by its own limit of restarts, `restart.max`.
    #[serde(default)]
    pub pool_failures: u64,
    /// How much more main memory the host has in the end than after it was warm.
    pub rss_growth_mb: f64,
    /// Workers killed.
    pub kills: u64,
    /// All faults by name.
    pub faults: BTreeMap<String, u64>,
    /// Calls answered `worker-lost` or `session-worker-lost`.
    pub worker_lost: u64,
    /// Calls that were with a worker when it died: lost, or sent again.
    pub in_flight_at_kill: u64,
    /// The share of `ok` among the other calls: those not in flight at a kill, not left, not asked to fail, not hurried by a deadline of
    /// a few milliseconds. Of a worker that knows nothing of chaos an error of the handler's own is as good as `ok`.
    pub ok_share_not_in_flight: f64,
}

/// What must hold.
const SHARE: f64 = 0.95;

impl Figures {
    /// What must be zero and is not, a line each; empty if all is as it should be.
    pub fn broken(&self) -> Vec<String> {
        let zeros = [
            ("lost", self.lost),
            ("duplicated", self.duplicated.unwrap_or(0)),
            ("double_runs", self.double_runs.unwrap_or(0)),
            ("may_have_run_violations", self.may_have_run_violations.unwrap_or(0)),
            ("session_violations", self.session_violations.unwrap_or(0)),
            ("window_violations", self.window_violations),
            ("orphans", self.orphans),
            ("zombies", self.zombies),
            ("leaked_fds", self.leaked_descriptors),
        ];
        let mut broken: Vec<String> = zeros
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} is {count}, not 0"))
            .collect();
        if !self.recovered {
            broken.push("the pool had not recovered at the end".into());
        }
        if self.ok_share_not_in_flight < SHARE {
            broken.push(format!("ok_share_not_in_flight is {:.4}, below {SHARE}", self.ok_share_not_in_flight));
        }
        if self.pool_failures > 0 && !broken.is_empty() {
            let times = times(self.pool_failures);
            broken.push(format!(
                "the pool failed {times} because of its restart limit: raise `restart.max`, or kill less often"
            ));
        }
        broken
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As a table.
    pub fn table(&self) -> String {
        let zero = |count: Option<u64>| count.map_or("unknown".into(), |count| count.to_string());
        let millis = |span: Option<f64>| span.map_or("-".into(), |span| format!("{span:.1} ms"));
        let counts = |all: &BTreeMap<String, u64>| {
            let each: Vec<_> = all.iter().map(|(name, count)| format!("{name} {count}")).collect();
            each.join(", ")
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.calls as f64 / self.seconds.max(0.001);
        let rows = [
            ("calls", format!("{} in {:.1} s ({rate:.0} per second)", self.calls, self.seconds)),
            ("answers", counts(&self.answers)),
            ("faults", counts(&self.faults)),
            ("lost", self.lost.to_string()),
            ("duplicated", zero(self.duplicated)),
            ("ran twice", zero(self.double_runs)),
            ("wrong may_have_run", zero(self.may_have_run_violations)),
            ("session violations", zero(self.session_violations)),
            (
                "in flight at a kill",
                format!("{} calls; {} failed because their worker died", self.in_flight_at_kill, self.worker_lost),
            ),
            ("ok, other calls", format!("{:.2} %", self.ok_share_not_in_flight * 100.0)),
            (
                "replaced",
                format!("median {}, longest {}", millis(self.replacement_ms_median), millis(self.replacement_ms_max)),
            ),
            (
                "recovered",
                format!("median {}, longest {}", millis(self.recovery_ms_median), millis(self.recovery_ms_max)),
            ),
            (
                "pool failed",
                match self.pool_failures {
                    0 => "no".into(),
                    count => format!("{} (restart limit: `restart.max`)", times(count)),
                },
            ),
            ("recovered at the end", if self.recovered { "yes" } else { "NO" }.into()),
            (
                "leaked",
                format!(
                    "{} processes, {} zombies, {} descriptors",
                    self.orphans, self.zombies, self.leaked_descriptors
                ),
            ),
            ("host memory growth", format!("{:+.1} MB", self.rss_growth_mb)),
        ];
        let mut text = String::new();
        for (name, value) in rows {
            let _ = writeln!(text, "{name:<20} {value}");
        }
        text.trim_end().into()
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Figures);

    fn right() -> Figures {
        Figures { recovered: true, ok_share_not_in_flight: 0.99, ..Figures::default() }
    }

    #[test]
    fn violations_name_each_nonzero_figure() {
        assert_eq!(right().broken(), Vec::<String>::new());
        let changes: [(&str, Change); 11] = [
            ("lost is 1", |figures| figures.lost = 1),
            ("duplicated is 1", |figures| figures.duplicated = Some(1)),
            ("double_runs is 2", |figures| figures.double_runs = Some(2)),
            ("may_have_run_violations is 1", |figures| figures.may_have_run_violations = Some(1)),
            ("session_violations is 1", |figures| figures.session_violations = Some(1)),
            ("window_violations is 1", |figures| figures.window_violations = 1),
            ("orphans is 1", |figures| figures.orphans = 1),
            ("zombies is 1", |figures| figures.zombies = 1),
            ("leaked_fds is 1", |figures| figures.leaked_descriptors = 1),
            ("the pool was not whole", |figures| figures.recovered = false),
            ("ok_share_not_in_flight is 0.9400", |figures| figures.ok_share_not_in_flight = 0.94),
        ];
        for (why, change) in changes {
            let mut figures = right();
            change(&mut figures);
            assert!(matches!(&figures.broken()[..], [only] if only.starts_with(why)), "{why}: {:?}", figures.broken());
        }
    }

    /// What follows from the pool's own limit is told with it.
    #[test]
    fn a_restart_limit_that_was_met_is_named() {
        let failed = |share| Figures { pool_failures: 2, ok_share_not_in_flight: share, ..right() };
        assert_eq!(failed(0.99).broken(), Vec::<String>::new(), "it fails as configured");
        let broken = failed(0.5).broken();
        assert!(
            broken.len() == 2 && broken[1].starts_with("the pool failed 2 times by its own restart limit"),
            "{broken:?}"
        );
        assert!(
            failed(0.99).table().contains("pool failed          2 times")
                && right().table().contains("pool failed          no")
        );
    }

    #[test]
    fn unknown_figures_are_null_and_no_violation() {
        assert!(right().json().contains("\"double_runs\":null") && right().table().contains("unknown"));
        let spans = Spans::of(&mut [3, 1, 2].map(Duration::from_millis));
        assert_eq!((spans.median, spans.max, Spans::of(&mut []).max), (Some(2.0), Some(3.0), None));
    }
}
