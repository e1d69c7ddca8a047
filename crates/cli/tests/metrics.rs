//! `GET /metrics` of a server with a basic and an enhanced pool: both formats by a strict parser, and the values.

#![expect(clippy::panic, reason = "these are tests")]

use crate::{
    support::{APP, Reply, Server, folder, get, post, wait_until},
    traces::{self, Collector, TRACE},
};
use herder::testing::{Signal, signal};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, SystemTime},
};

const CONFIG: &str = "[pools.plain]\napp = 'plain.py:app'\npool_size = 1\noverflow = 0\n\
     [pools.carts]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 2\noverflow = 0\n\
     breaker = { enabled = true, failure_threshold = 1000 }\npoison = { enabled = false }\nrestart = { max = 1000, backoff = '5ms' }\n\
     [traces]\nendpoint = 'http://127.0.0.1:9'\nsample = 0.0\n";
/// The app of the basic pool. It uses what most apps do not use.
const PLAIN: &str = r#"
import os
import herder
app = herder.App()

@app.command
def pid(): return os.getpid()

@app.command
def fail(): raise ValueError("on purpose")

@app.command
def rows():
    yield from range(3)

@app.batch(max_batch_size=4, max_wait=0)
def together(items): return [len(items)] * len(items)

@app.command
def size(data): return len(data)
"#;
const OPENMETRICS: &str = "application/openmetrics-text";

/// The name of a sample with its labels.
type Series = (String, BTreeMap<String, String>);

/// The series of an answer.
#[derive(Debug, Default)]
struct Scrape {
    /// The type of each family by the name of its samples, without the suffixes of histograms.
    families: BTreeMap<String, String>,
    series: BTreeMap<Series, f64>,
    exemplars: BTreeMap<Series, Exemplar>,
}

/// The exemplar of a bucket.
#[derive(Debug)]
struct Exemplar {
    labels: BTreeMap<String, String>,
    value: f64,
    at: SystemTime,
}

impl Exemplar {
    /// Reads `{labels} value timestamp`, by the rules of OpenMetrics.
    fn of(text: &str) -> Self {
        let (labels, numbers) = text.strip_prefix('{').unwrap().split_once("} ").unwrap();
        let (value, at) = numbers.split_once(' ').unwrap();
        let labels = parse_labels(labels);
        let length: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        assert!(length <= 128, "{text}");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(at.parse().unwrap());
        Self { labels, value: value.parse().unwrap(), at }
    }
}

impl Scrape {
    fn of(server: &Server, accept: &str) -> Self {
        let reply = get("/metrics").header("Accept", accept).send(server.address);
        let is_openmetrics = accept.contains(OPENMETRICS);
        let expected = if is_openmetrics {
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        } else {
            "text/plain; version=0.0.4; charset=utf-8"
        };
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(expected)), "{reply:?}");
        let text = match is_openmetrics {
            true => reply.body.strip_suffix("# EOF\n").unwrap(),
            false => &reply.body,
        };
        assert!(text.ends_with('\n') && !text.contains("# EOF"));
        let mut scrape = Self::default();
        scrape.parse(text, is_openmetrics);
        scrape
    }

    /// Parses the lines: for each family its help, its type, its unit in OpenMetrics, then its samples.
    fn parse(&mut self, text: &str, is_openmetrics: bool) {
        let (mut family, mut kind) = ("", "");
        for line in text.lines() {
            match line.strip_prefix("# ").map(|comment| comment.splitn(3, ' ').collect::<Vec<_>>()) {
                Some(words) => match words[..] {
                    ["HELP", name, help] => {
                        assert!(help.ends_with('.') && name.starts_with("herder"), "{line}");
                        family = name;
                    }
                    ["TYPE", name, of] => {
                        assert_eq!(name, family, "{line}");
                        kind = of;
                        let samples = match kind {
                            "counter" if is_openmetrics => format!("{name}_total"),
                            "info" => format!("{name}_info"),
                            _ => name.to_owned(),
                        };
                        assert_eq!(self.families.insert(samples, of.to_owned()), None, "{line}");
                    }
                    ["UNIT", name, unit] => assert!(is_openmetrics && name == family && name.ends_with(unit), "{line}"),
                    _ => panic!("{line}"),
                },
                None => self.sample(line, family, kind, is_openmetrics),
            }
        }
    }

    fn sample(&mut self, line: &str, family: &str, kind: &str, is_openmetrics: bool) {
        let (sample, exemplar) = match line.split_once(" # ") {
            Some((sample, exemplar)) => (sample, Some(Exemplar::of(exemplar))),
            None => (line, None),
        };
        let (series, value) = sample.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').unwrap())),
            None => (series, BTreeMap::new()),
        };
        let suffixes: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            "counter" => &["", "_total"],
            "info" => &["_info"],
            "gauge" => &["", "_info"],
            _ => panic!("{kind}"),
        };
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        assert!(suffixes.contains(&suffix), "{line}");
        assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{line}");
        let value: f64 = value.parse().unwrap();
        assert!(value >= 0.0 && value.is_finite(), "{line}");
        let series = (name.to_owned(), labels);
        if let Some(exemplar) = exemplar {
            assert!(is_openmetrics && suffix == "_bucket", "{line}");
            self.exemplars.insert(series.clone(), exemplar);
        }
        let is_new = self.series.insert(series, value).is_none();
        assert!(is_new, "twice: {line}");
    }

    /// Returns the sum of the series of a name that have these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matching = self.series.iter().filter(|((series, of), _)| {
            series == name && labels.iter().all(|(key, value)| of.get(*key).is_some_and(|given| given == value))
        });
        matching.map(|(_, value)| value).sum()
    }

    /// Checks that the buckets of each histogram increase up to its count.
    fn check_histograms(&self) {
        let mut buckets: BTreeMap<Series, Vec<(f64, f64, Option<f64>)>> = BTreeMap::new();
        for ((name, labels), value) in &self.series {
            let Some(family) = name.strip_suffix("_bucket") else { continue };
            let exemplar = self.exemplars.get(&(name.clone(), labels.clone())).map(|exemplar| exemplar.value);
            let mut labels = labels.clone();
            let bound: f64 = labels.remove("le").unwrap().replace("+Inf", "inf").parse().unwrap();
            buckets.entry((family.to_owned(), labels)).or_default().push((bound, *value, exemplar));
        }
        assert!(!buckets.is_empty());
        for ((family, labels), mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1) && buckets.len() > 5, "{family} {labels:?}: {buckets:?}");
            let count = self.series[&(format!("{family}_count"), labels)];
            let last = buckets.last().unwrap();
            assert_eq!((last.0, last.1), (f64::INFINITY, count), "{family}");
            let mut below = (f64::NEG_INFINITY, 0.0);
            for (bound, count, exemplar) in buckets {
                // The bucket has the value, and so counts it.
                let is_in = |value| below.0 < value && value <= bound && count > below.1;
                assert!(exemplar.is_none_or(is_in), "{family}: {exemplar:?} in {below:?} to {bound}");
                below = (bound, count);
            }
        }
    }
}

fn parse_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap();
        let end = rest.find('"').unwrap(); // no value of this test needs an escape
        assert!(!rest[..end].contains('\\'), "{text}");
        assert_eq!(labels.insert(name.to_owned(), rest[..end].to_owned()), None, "{text}");
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    labels
}

/// Returns the documented metrics by the heading of their table.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = include_str!("../../../docs/metrics.md");
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = "";
    for line in page.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        if let Some((name, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
            metrics.entry(section.to_owned()).or_default().insert(name.to_owned());
        }
    }
    metrics
}

/// Calls until the server has counted what the client has counted.
struct Client<'s> {
    server: &'s Server,
    outcomes: BTreeMap<(String, String), u64>,
}

impl Client<'_> {
    fn call(&mut self, pool: &str, command: &str, session: &str) -> Reply {
        let reply = self.server.call(&format!("{pool}/{command}"), "{}", &[("Herder-Session", session)]);
        let slug = reply.json["type"].as_str().and_then(|text| text.rsplit('/').next()).unwrap_or("ok");
        *self.outcomes.entry((pool.to_owned(), slug.to_owned())).or_default() += 1;
        reply
    }

    /// Uses a stream, a batch, and buffers until one is in a slab. Returns the number of calls with buffers.
    fn use_features(&mut self) -> f64 {
        let rows = self.server.call("plain/rows", "{}", &[("Accept", "application/x-ndjson")]);
        assert_eq!(rows.status, 200);
        assert_eq!(self.call("plain", "together", "ann").result(), 1);
        let mut with_buffers = 0;
        let data = "x".repeat(100_000);
        let body = format!(
            "--B\r\nContent-Disposition: form-data; name=\"data\"; filename=\"data\"\r\n\r\n{data}\r\n--B--\r\n"
        );
        let form = post("/v1/pools/plain/call/size", &body).header("Content-Type", "multipart/form-data; boundary=B");
        wait_until("a buffer is in a slab", || {
            with_buffers += 1;
            assert_eq!(form.send(self.server.address).result(), 100_000);
            Scrape::of(self.server, "*/*").sum("herder_slab_bytes", &[("pool", "plain")]) > 0.0
        });
        *self.outcomes.entry(("plain".into(), "ok".into())).or_default() += with_buffers + 1;
        with_buffers as f64
    }

    /// Kills a worker of the pool `carts` by a signal, and waits for its replacement.
    fn kill(&self, worker: &Value) {
        let workers = |server: &Server| server.get("/v1/pools/carts/workers").json["workers"].take();
        let of = |workers: &Value| workers.as_array().unwrap().iter().find(|w| w["id"] == *worker).unwrap().clone();
        let ready = |workers: &Value| workers.as_array().unwrap().iter().filter(|w| w["state"] == "ready").count();
        let before = of(&workers(self.server));
        signal(before["pid"].as_u64().unwrap() as u32, Signal::KILL).unwrap();
        wait_until("the worker is replaced", || {
            let now = workers(self.server);
            of(&now)["generation"] != before["generation"] && ready(&now) == 2
        });
    }

    fn check(&self, scrape: &Scrape) {
        for ((pool, outcome), count) in &self.outcomes {
            let counted = scrape.sum("herder_calls_total", &[("pool", pool), ("outcome", outcome)]);
            assert_eq!(counted, *count as f64, "{pool} {outcome}");
        }
        let all: u64 = self.outcomes.values().sum();
        assert_eq!(scrape.sum("herder_calls_total", &[]), all as f64);
    }
}

/// R50: each documented metric is scraped with a plausible value, in both formats. Sessions, kills and invented commands add no
/// series, and each call is counted once. A basic pool has no series of enhanced features.
#[test]
fn r50_every_documented_metric_is_scraped() {
    let folder = folder(CONFIG);
    fs::write(folder.path().join("app.py"), APP).unwrap();
    fs::write(folder.path().join("plain.py"), PLAIN).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    let mut client = Client { server: &server, outcomes: BTreeMap::new() };
    let round = |client: &mut Client<'_>, round: u32| {
        for number in 0..10 {
            let session = format!("s{round}-{number}");
            assert_eq!(client.call("carts", "count", &session).status, 200);
            assert_eq!(client.call("carts", "count", &session).status, 200);
            client.call("plain", "pid", &session);
        }
        client.call("plain", "fail", "ann");
        client.call("carts", "fail", &format!("f{round}"));
        client.call("carts", &format!("invented{round}"), "ann");
        let sessions: Vec<_> = (0..10).map(|number| format!("s{round}-{number}")).collect();
        let holds = client.call("carts", "count", &sessions[0]).json["meta"]["worker"].take();
        client.kill(&holds);
        let lost = sessions.iter().filter(|session| client.call("carts", "count", session).status == 410).count();
        assert!(lost >= 1);
        assert_eq!(client.call("carts", "count", &sessions[0]).status, 200, "a new state");
        client.call("carts", "die", "eve");
        wait_until("the worker is replaced", || server.get("/readyz").json["pools"]["carts"]["ready_workers"] == 2);
    };
    let with_buffers = client.use_features();
    round(&mut client, 0);
    let first = Scrape::of(&server, "*/*");
    (1..4).for_each(|number| round(&mut client, number));
    let scrape = Scrape::of(&server, "*/*");
    scrape.check_histograms();
    client.check(&scrape);
    let names = |scrape: &Scrape| scrape.series.keys().cloned().collect::<BTreeSet<_>>();
    let (before, after) = (names(&first), names(&scrape));
    assert_eq!(after.symmetric_difference(&before).collect::<Vec<_>>(), [] as [&Series; 0]);
    let sections = documented();
    assert_eq!(
        scrape.families.keys().cloned().collect::<BTreeSet<_>>(),
        sections.values().flatten().cloned().collect()
    );
    for (name, labels) in names(&scrape) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        let is_enhanced = sections["Enhanced pools"].contains(base);
        let (pool, worker_type) = (labels.get("pool").map(String::as_str), labels.get("worker_type"));
        assert!(!is_enhanced || pool == Some("carts"), "{name} {labels:?}");
        assert!(pool.is_none() || worker_type.unwrap() == if pool == Some("carts") { "enhanced" } else { "basic" });
    }
    check_values(&scrape);
    check_features(&scrape, with_buffers);
    let openmetrics =
        Scrape::of(&server, "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2");
    openmetrics.check_histograms();
    assert_eq!(openmetrics.families.len(), scrape.families.len());
    assert_eq!(openmetrics.series.len(), scrape.series.len());
    assert_eq!(openmetrics.sum("herder_calls_total", &[]), scrape.sum("herder_calls_total", &[]));
    assert_eq!(openmetrics.families["herder_call_run_seconds"], "histogram");
}

/// Only the pool and the commands that have used the features have series of them.
fn check_features(scrape: &Scrape, with_buffers: f64) {
    let only = |name: &str, of: &[(&str, &str)]| {
        let all = scrape.sum(name, &[]);
        assert_eq!(scrape.sum(name, &[("pool", "plain")]), all, "{name}");
        assert_eq!(scrape.sum(name, of), all, "{name}");
        assert_eq!(scrape.series.keys().filter(|(series, _)| series == name).count(), 1, "{name}");
        all
    };
    assert_eq!(only("herder_calls_streamed_total", &[("command", "rows")]), 1.0);
    assert_eq!(only("herder_batches_total", &[("command", "together")]), 1.0);
    assert_eq!(only("herder_batched_calls_total", &[("command", "together")]), 1.0);
    assert_eq!(only("herder_calls_with_buffers_total", &[("command", "size")]), with_buffers);
    assert_eq!(only("herder_call_buffer_bytes_total", &[("command", "size")]), with_buffers * 1e5);
    assert_eq!(only("herder_slab_limit_bytes", &[]), 536_870_912.0);
}

/// R50: the last recorded call of a bucket leads to its exported span, in OpenMetrics only.
#[test]
fn r50_exemplars_lead_to_exported_spans() {
    let collector = Collector::start();
    let server = traces::server(collector.address, "0");
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    server.call("shop/trace", "{}", &[]).result();
    let before = SystemTime::now();
    server.call("shop/fail", "{}", &[("traceparent", &parent)]).problem(500, "exception");
    server.call("shop/fail", "{}", &[]).problem(500, "exception");
    let after = SystemTime::now();
    let scrape = Scrape::of(&server, OPENMETRICS);
    scrape.check_histograms();
    let [((name, of), exemplar)] = scrape.exemplars.iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((name.as_str(), of["command"].as_str()), ("herder_call_run_seconds_bucket", "fail"));
    let spans = collector.until(4);
    let span = spans.iter().find(|span| span["name"] == "shop/fail").unwrap();
    assert_eq!(exemplar.labels["trace_id"], TRACE);
    assert_eq!((&span["traceId"], &span["spanId"]), (&TRACE.into(), &exemplar.labels["span_id"].as_str().into()));
    // The time has whole milliseconds.
    let since = before - Duration::from_millis(1);
    assert!((since..=after).contains(&exemplar.at), "{exemplar:?}");
    assert_eq!(Scrape::of(&server, "*/*").series.len(), scrape.series.len());
}

fn check_values(scrape: &Scrape) {
    let (plain, carts) = ([("pool", "plain")], [("pool", "carts")]);
    let event = |event| scrape.sum("herder_session_events_total", &[("event", event)]);
    assert!(event("bound") >= 40.0 && event("hit") >= 40.0 && event("lost") >= 4.0, "{scrape:?}");
    assert!(event("rebound_worker_lost") >= 4.0 && event("rebound_busy") == 0.0 && event("expired") == 0.0);
    let exits = |cause| scrape.sum("herder_worker_exits_total", &[carts[0], ("cause", cause)]);
    assert_eq!((exits("signal"), exits("exited")), (4.0, 4.0));
    assert_eq!(scrape.sum("herder_worker_restarts_total", &carts), 8.0);
    assert_eq!(scrape.sum("herder_worker_starts_total", &carts), 10.0);
    assert_eq!(scrape.sum("herder_workers", &carts), 2.0);
    assert_eq!(scrape.sum("herder_pool_base_workers", &plain), 1.0);
    for pool in [plain, carts] {
        assert_eq!((scrape.sum("herder_pool_up", &pool), scrape.sum("herder_pool_state", &pool)), (1.0, 1.0));
        assert!(scrape.sum("herder_pool_memory_bytes", &pool) > 1e6);
        assert!(scrape.sum("herder_pool_cpu_seconds_total", &pool) > 0.0);
        assert!(scrape.sum("herder_call_run_seconds_sum", &pool) > 0.0);
        assert!(scrape.sum("herder_call_arguments_bytes_sum", &pool) >= 2.0, "`{{}}`");
        assert_eq!(scrape.sum("herder_queue_limit", &pool), 1000.0);
    }
    let answered = scrape.sum("herder_calls_total", &[plain[0], ("command", "pid"), ("outcome", "ok")]);
    let pid = [plain[0], ("command", "pid")];
    for histogram in ["herder_call_queue_seconds", "herder_call_run_seconds", "herder_call_result_bytes"] {
        assert_eq!(scrape.sum(&format!("{histogram}_count"), &pid), answered, "{histogram}");
    }
    let memory = |slot| scrape.sum("herder_worker_memory_bytes", &[("slot", slot)]);
    assert!(memory("w1") > 1e6 && memory("w2") > 1e6);
    assert!(scrape.sum("herder_worker_cpu_seconds_total", &[("slot", "w2")]) > 0.0);
    // Both have the time of the processes that have exited, and each slot is rounded to hundredths.
    let [of_slots, of_pool] =
        ["worker", "pool"].map(|of| scrape.sum(&format!("herder_{of}_cpu_seconds_total"), &carts));
    assert!((of_slots - of_pool).abs() < 0.03, "{of_slots} {of_pool}");
    assert_eq!(scrape.sum("herder_breaker_state", &[("state", "closed")]), 1.0);
    assert_eq!(scrape.sum("herder_pools", &[]), 2.0);
    assert_eq!(scrape.sum("herder_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(scrape.sum("herder_pool_feature_enabled", &[("feature", "session_affinity")]), 1.0);
    assert!(scrape.sum("herder_http_buffer_limit_bytes", &[]) > 1e6);
}
