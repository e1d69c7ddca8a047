//! The catalog of metrics follows the rules of Prometheus and is documented, and the number of series is bounded.

use super::{
    catalog::{Description, Metric, Part},
    encode::{self, Format},
    samples::{Sample, Value, samples},
    snapshot::{Snapshot, SnapshotOfPool},
};
use crate::{
    Pool,
    testing::{Fault, Script, ScriptedPool, TestContext, VirtualClock, scripted_on, wait_until, with_timeout},
};
use herder_actors::{Health, PoolConfig, Restart, Sessions};
use prometheus_client::metrics::MetricType;
use serde_json::{Value as Json, json};
use std::{collections::BTreeSet, env, fs, path::PathBuf, time::Duration};

const HEADINGS: &str = "| metric | type | labels | meaning |";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Returns the name of a metric as queries use it.
fn full_name(description: &Description) -> String {
    let unit = description.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
    let suffix = match description.kind {
        MetricType::Counter => "_total",
        MetricType::Info => "_info",
        _ => "",
    };
    format!("{}{unit}{suffix}", description.name)
}

#[test]
fn r50_names_and_labels_follow_the_rules() {
    let mut names = BTreeSet::new();
    for metric in Metric::ALL {
        let description = metric.description();
        let name = full_name(&description);
        assert!(name.starts_with("herder_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(!description.name.ends_with("_total") && !description.help.ends_with('.'), "{name}");
        let is_base_unit = matches!(description.unit, None | Some("seconds" | "bytes"));
        assert!(is_base_unit && names.insert(name.clone()), "{name}");
        let labels: Vec<_> = description.part.labels().iter().chain(description.labels).copied().collect();
        assert!(labels.iter().all(|label| !["pid", "generation", "session", "call"].contains(label)), "{name}");
        let has_slot = labels.contains(&"slot");
        assert!(!has_slot || (description.kind != MetricType::Histogram && !labels.contains(&"command")), "{name}");
        assert_eq!(has_slot, description.part == Part::WorkerMetrics, "{name}");
    }
}

/// Returns the row of a metric in `docs/metrics.md`.
fn row(metric: Metric) -> String {
    let description = metric.description();
    let labels = description.part.labels().iter().chain(description.labels);
    let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { "none".into() } else { labels.join(", ") };
    format!("| `{}` | {} | {labels} | {} |", full_name(&description), description.kind.as_str(), description.help)
}

/// The tables of `docs/metrics.md`. `HERDER_BLESS=1` writes them.
#[test]
fn r50_the_page_lists_all_metrics() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = fs::read_to_string(&file).unwrap();
    let (mut expected, mut section, mut in_table) = (Vec::new(), None, false);
    for line in page.lines() {
        section = match line {
            "## The server" => Some(vec![Part::Server]),
            "## All pools" => Some(vec![Part::Pool, Part::Breaker, Part::FeatureUse]),
            "## Enhanced pools" => Some(vec![Part::SessionAffinity, Part::WorkerMetrics]),
            _ => section,
        };
        in_table &= line.starts_with('|');
        if !in_table {
            expected.push(line.to_owned());
        } else if line.starts_with("|---") {
            let parts = section.take().unwrap();
            let belongs = |metric: &&Metric| parts.contains(&metric.description().part);
            expected.push(line.to_owned());
            expected.extend(Metric::ALL.iter().filter(belongs).map(|metric| row(*metric)));
        }
        in_table |= line == HEADINGS;
    }
    let expected = expected.join("\n") + "\n";
    if env::var_os("HERDER_BLESS").is_some() {
        return fs::write(file, expected).unwrap();
    }
    assert!(Metric::ALL.iter().all(|metric| expected.contains(&row(*metric))), "a table is missing");
    assert_eq!(page, expected, "docs/metrics.md differs; HERDER_BLESS=1 writes it");
}

/// The dashboard and the alert rules use metrics that exist.
#[test]
fn r50_the_files_for_grafana_and_prometheus_use_documented_metrics() {
    let names: BTreeSet<String> = Metric::ALL.iter().map(|metric| full_name(&metric.description())).collect();
    for file in ["grafana/herder.json", "prometheus/herder-alerts.yml", "prometheus/herder-alerts.test.yml"] {
        let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contrib").join(file)).unwrap();
        let words =
            text.split(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|word| word.starts_with("herder_"));
        let used: BTreeSet<&str> = words.map(|word| word.strip_suffix("_bucket").unwrap_or(word)).collect();
        let unknown: Vec<_> = used.iter().filter(|name| !names.contains(**name)).collect();
        assert!(unknown.is_empty() && used.len() > 5, "{file}: {unknown:?}");
    }
}

fn script() -> Script {
    Script::new()
        .command("ok", async |_| Ok(Json::Null))
        .command("refuse", async |_| Err(Fault::rejected("not today")))
        .command("die", async |_| Err(Fault::exit(3)))
}

async fn snapshot(pools: &[&ScriptedPool]) -> Snapshot {
    let mut measured = Vec::new();
    for pool in pools {
        measured.push(SnapshotOfPool::of(pool).await);
    }
    Snapshot { pools: measured, buffered_bytes: 0, buffer_limit: 1, dropped_log_lines: Some(0), dropped_spans: Some(0) }
}

/// Returns the number of series, and the sum of all counters of calls.
fn series_and_calls(snapshot: &Snapshot) -> (usize, u64) {
    let all: Vec<_> = Metric::ALL.iter().flat_map(|metric| samples(*metric, snapshot)).collect();
    let calls = samples(Metric::Calls, snapshot).into_iter().map(|sample| match sample.value {
        Value::Count(count) => count,
        Value::Number(_) | Value::Histogram { .. } => 0,
    });
    (all.len(), calls.sum())
}

/// Calls with new sessions and invented commands, and deaths. Returns the number of calls.
async fn churn(pool: &ScriptedPool, clock: &VirtualClock, hour: u32) -> u64 {
    for number in 0..5 {
        let session = format!("s{hour}-{number}");
        assert!(pool.call::<Json>("ok", &json!({})).session(&session).await.is_ok());
        assert!(pool.call::<Json>("refuse", &json!({})).session(&session).await.is_err());
        assert!(pool.call::<Json>(&format!("invented{hour}-{number}"), &json!({})).await.is_err());
    }
    for session in [None, Some("ann")] {
        let call = pool.call::<Json>("die", &json!({}));
        let lost = if let Some(session) = session { call.session(session).await } else { call.await };
        assert!(lost.is_err());
        clock.advance(MINUTE).await; // the restart waits for its backoff
        // Only a worker that is ready answers. The next hour would pass for one that still starts, too: it would be killed
        // for that, which is another cause of an exit.
        assert!(pool.call::<Json>("ok", &json!({})).await.is_ok());
    }
    5 * 3 + 2 * 2
}

/// R50: during a day in which sessions come and go, workers die and callers invent commands, the number of series stays the same
/// and each call is counted once. A basic pool has no series of enhanced features.
#[tokio::test]
async fn r50_a_day_of_churn_adds_no_series() {
    let clock = VirtualClock::new();
    let sessions = Sessions::new().timeout(HOUR / 2).cleanup_interval(HOUR / 2);
    let restart = Restart::new().max(1000);
    let health = Health::new().interval(10 * MINUTE); // each ping is a stop of the clock
    let of = |context: &TestContext| -> Result<PoolConfig, _> {
        context.enhanced().app("app:app").pool_size(1).sessions(sessions).restart(restart).health(health).build()
    };
    let enhanced = scripted_on(&clock, "churned", script(), of).await;
    let of =
        |context: &TestContext| context.basic().app("app:app").pool_size(1).restart(restart).health(health).build();
    let basic = scripted_on(&clock, "plain", script(), of).await;
    let (mut calls, mut first) = (0, None);
    for hour in 0..24 {
        for pool in [&enhanced, &basic] {
            calls += churn(pool, &clock, hour).await;
        }
        clock.advance(HOUR).await;
        let (series, counted) = series_and_calls(&snapshot(&[&enhanced, &basic]).await);
        assert_eq!(counted, calls, "hour {hour}");
        // Each outcome and each cause of an exit has been seen after two hours.
        if hour >= 2 {
            assert_eq!(*first.get_or_insert(series), series, "hour {hour}");
        }
    }
    let only_basic = snapshot(&[&basic]).await;
    for metric in Metric::ALL {
        let is_used = matches!(metric.description().part, Part::Server | Part::Pool);
        assert!(is_used || samples(*metric, &only_basic).is_empty(), "{metric:?}");
    }
    let text = encode::text(only_basic, Format::OpenMetrics).unwrap();
    assert!(text.ends_with("# EOF\n") && !text.contains("session") && !text.contains("slot"), "{text}");
    enhanced.shutdown_and_check().await;
    basic.shutdown_and_check().await;
}

/// Returns the whole seconds that the calls of a command have taken in all.
fn seconds_of(metric: Metric, command: &str, snapshot: &Snapshot) -> Option<u64> {
    let is_of = |sample: &Sample| sample.labels.contains(&("command", command.to_owned().into()));
    match samples(metric, snapshot).into_iter().find(is_of).map(|sample| sample.value) {
        Some(Value::Histogram { sum, .. }) => Some(sum as u64),
        _ => None,
    }
}

/// R50: the time in the queue and the time in the worker are two histograms. A pool that has ended is down, and has no other series.
#[tokio::test]
async fn r50_waits_and_runs_are_told_apart_and_a_pool_that_has_ended_is_down() {
    let clock = VirtualClock::new();
    let (go, gate) = tokio::sync::watch::channel(false);
    let script = Script::new().command("run", async |_| Ok(Json::Null)).command("hold", async move |_| {
        gate.clone().wait_for(|is_open| *is_open).await.unwrap();
        Ok(Json::Null)
    });
    let of = |context: &TestContext| context.basic().app("app:app").pool_size(1).overflow(0).build();
    let pool = scripted_on(&clock, "timed", script, of).await;
    let call = |command: &str| tokio::spawn(pool.call::<Json>(command, &json!({})).reply().into_future());
    let calls = [call("hold"), call("run")];
    let is_busy = async || {
        let queue = pool.status().await.unwrap().queue;
        (queue.in_flight, queue.waiting) == (1, 1)
    };
    wait_until("one call runs, and the other waits", is_busy).await;
    clock.advance(Duration::from_secs(2)).await;
    go.send(true).unwrap();
    for call in calls {
        with_timeout("an answer", call).await.unwrap().unwrap();
    }
    let taken = snapshot(&[&pool]).await;
    let seconds =
        [("hold", Metric::QueueWait), ("hold", Metric::RunTime), ("run", Metric::QueueWait), ("run", Metric::RunTime)]
            .map(|(command, metric)| seconds_of(metric, command, &taken));
    assert_eq!(seconds, [0, 2, 2, 0].map(Some));
    let ended = Pool::clone(&pool);
    pool.shutdown_and_check().await;
    let down = Snapshot { pools: vec![SnapshotOfPool::of(&ended).await], ..snapshot(&[]).await };
    for metric in Metric::ALL.iter().filter(|metric| metric.description().part != Part::Server) {
        let values: Vec<_> = samples(*metric, &down).into_iter().map(|sample| sample.value).collect();
        let expected = if *metric == Metric::Up { vec![Value::Count(0)] } else { Vec::new() };
        assert_eq!(values, expected, "{metric:?}");
    }
}
