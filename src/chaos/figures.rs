//! The results of a run, shown as a table or as one line of JSON.

use herder_actors::inspect;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write, process, time::Duration};

/// A summary of durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spans {
    /// The number of durations.
    pub count: usize,
    /// The median; `None` if there are no durations.
    pub median: Option<f64>,
    /// The longest duration; `None` if there are no durations.
    pub max: Option<f64>,
}

impl Spans {
    /// Summarizes `spans`. Sorts them in place.
    pub fn of(spans: &mut [Duration]) -> Self {
        spans.sort_unstable();
        let millis = |span: &Duration| (span.as_secs_f64() * 10_000.0).round() / 10.0;
        let median = spans.get(spans.len() / 2).map(millis);
        Self { count: spans.len(), median, max: spans.last().map(millis) }
    }
}

/// The results of a run. A figure that the run cannot measure is `None`, such as `double_runs` for a worker that keeps
/// no log of its executions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The seed of all random choices.
    pub seed: u64,
    /// The time during which calls were made, in seconds.
    pub seconds: f64,
    /// The number of calls.
    pub calls: u64,
    /// The number of calls that succeeded.
    pub ok: u64,
    /// The number of calls that the pool refused without sending them to a worker.
    pub refused: u64,
    /// The number of calls for each outcome: `ok`, the names of the errors, `abandoned` for calls that their caller
    /// abandoned, and `lost`.
    pub answers: BTreeMap<String, u64>,
    /// The number of calls that were not answered in time: within their deadline and another minute.
    pub lost: u64,
    /// The number of calls that were answered twice, or with the answer to another call.
    pub duplicated: Option<u64>,
    /// The number of calls that ran twice although they are not idempotent or belong to a strict session.
    pub double_runs: Option<u64>,
    /// The number of errors that denied a run although the call had run, and of results of calls that had not run.
    pub may_have_run_violations: Option<u64>,
    /// The number of violations of session guarantees: an answer from the state of another session, calls out of order,
    /// or a loss that was not reported exactly once.
    pub session_violations: Option<u64>,
    /// The number of processes that lost more calls than they may have at once.
    pub window_violations: u64,
    /// The number of worker processes that still existed after the pool had ended.
    pub orphans: u64,
    /// The number of zombie children.
    pub zombies: u64,
    /// The number of descriptors that were open after the pool's end but not before its start.
    pub leaked_descriptors: u64,
    /// The median time from a kill until the slot has a ready worker again.
    pub replacement_ms_median: Option<f64>,
    /// The longest time from a kill until the slot has a ready worker again.
    pub replacement_ms_max: Option<f64>,
    /// The median time from a kill until all base workers are ready. If kills follow each other closely, it includes
    /// the later kills.
    pub recovery_ms_median: Option<f64>,
    /// The longest time from a kill until all base workers are ready.
    pub recovery_ms_max: Option<f64>,
    /// Whether all base workers were ready at the end.
    pub recovered: bool,
    /// How often the pool failed because of its restart limit, `restart.max`.
    #[serde(default)]
    pub pool_failures: u64,
    /// The growth of the host's resident memory after the warm-up, in megabytes.
    pub rss_growth_mb: f64,
    /// The number of workers that were killed.
    pub kills: u64,
    /// The number of faults of each kind.
    pub faults: BTreeMap<String, u64>,
    /// The number of calls that failed with `worker-lost` or `session-worker-lost`.
    pub worker_lost: u64,
    /// The number of calls that were on a worker when it died. They were lost or retried.
    pub in_flight_at_kill: u64,
    /// The share of successes among the other calls: those that were not in flight at a kill, not abandoned, not asked
    /// to fail, and had no deadline of only a few milliseconds. For a worker that does not cooperate in the run, an
    /// error of the handler counts as a success.
    pub ok_share_not_in_flight: f64,
}

/// The smallest allowed `ok_share_not_in_flight`.
const SHARE: f64 = 0.95;

impl Figures {
    /// Describes each figure that is not as required, one per line. Empty if there is no violation.
    pub fn violations(&self) -> Vec<String> {
        let zeros = [
            ("lost", self.lost),
            ("duplicated", self.duplicated.unwrap_or(0)),
            ("double_runs", self.double_runs.unwrap_or(0)),
            ("may_have_run_violations", self.may_have_run_violations.unwrap_or(0)),
            ("session_violations", self.session_violations.unwrap_or(0)),
            ("window_violations", self.window_violations),
            ("orphans", self.orphans),
            ("zombies", self.zombies),
            ("leaked_descriptors", self.leaked_descriptors),
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

    /// Returns the results as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the results as a table.
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

/// Returns the number of open descriptors of this process.
pub fn open_descriptors() -> u64 {
    inspect::descriptors(process::id()).len() as u64
}

/// Returns the resident memory of this process in bytes; 0 on systems without `/proc`.
pub fn own_resident_bytes() -> u64 {
    inspect::resident_bytes(process::id()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Figures);

    fn valid() -> Figures {
        Figures { recovered: true, ok_share_not_in_flight: 0.99, ..Figures::default() }
    }

    #[test]
    fn violations_name_each_nonzero_figure() {
        assert_eq!(valid().violations(), Vec::<String>::new());
        let changes: [(&str, Change); 11] = [
            ("lost is 1", |figures| figures.lost = 1),
            ("duplicated is 1", |figures| figures.duplicated = Some(1)),
            ("double_runs is 2", |figures| figures.double_runs = Some(2)),
            ("may_have_run_violations is 1", |figures| figures.may_have_run_violations = Some(1)),
            ("session_violations is 1", |figures| figures.session_violations = Some(1)),
            ("window_violations is 1", |figures| figures.window_violations = 1),
            ("orphans is 1", |figures| figures.orphans = 1),
            ("zombies is 1", |figures| figures.zombies = 1),
            ("leaked_descriptors is 1", |figures| figures.leaked_descriptors = 1),
            ("the pool had not recovered at the end", |figures| figures.recovered = false),
            ("ok_share_not_in_flight is 0.9400", |figures| figures.ok_share_not_in_flight = 0.94),
        ];
        for (expected, change) in changes {
            let mut figures = valid();
            change(&mut figures);
            assert!(
                matches!(&figures.violations()[..], [only] if only.starts_with(expected)),
                "{expected}: {:?}",
                figures.violations()
            );
        }
    }

    /// If the pool failed because of its own restart limit, the report says so, with the key to change.
    #[test]
    fn a_restart_limit_that_was_met_is_named() {
        let failed = |share| Figures { pool_failures: 2, ok_share_not_in_flight: share, ..valid() };
        assert_eq!(failed(0.99).violations(), Vec::<String>::new(), "it fails as configured");
        let broken = failed(0.5).violations();
        assert!(
            broken.len() == 2
                && broken[1].starts_with("the pool failed 2 times because of its restart limit: raise `restart.max`"),
            "{broken:?}"
        );
        assert!(
            failed(0.99).table().contains("pool failed          2 times")
                && valid().table().contains("pool failed          no")
        );
    }

    #[test]
    fn unknown_figures_are_null_and_no_violation() {
        assert!(valid().json().contains("\"double_runs\":null") && valid().table().contains("unknown"));
        let spans = Spans::of(&mut [3, 1, 2].map(Duration::from_millis));
        assert_eq!((spans.median, spans.max, Spans::of(&mut []).max), (Some(2.0), Some(3.0), None));
    }
}
