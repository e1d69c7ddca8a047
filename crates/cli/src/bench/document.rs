//! The report as JSON. Names are stable and documented in `docs/bench.md`. Times are in seconds, unless a name says
//! otherwise.

use super::{
    plan::Plan,
    row::{Latency, Row},
    spread::Spread,
};
use herder::efficiency::{
    EfficiencyReport, Verdict, WorkerStart,
    concurrency::{Comparison, Operation},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The JSON document of a measurement.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    herder: &'static str,
    pool: &'a str,
    command: &'a str,
    arguments: &'a Map<String, Value>,
    start: WorkerStart,
    rounds: usize,
    sessions: usize,
    rows: Vec<RowDocument>,
}

#[derive(Debug, Serialize)]
struct RowDocument {
    workers: usize,
    call_slots: usize,
    callers: usize,
    calls_per_second: Spread,
    efficiency: Spread,
    speed_up: Spread,
    ideal_speed_up: f64,
    latency: Quantiles,
    failed: usize,
    runs: Vec<RunDocument>,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct RunDocument {
    calls: usize,
    failed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
    calls_per_second: f64,
    measured: f64,
    ideal: f64,
    efficiency: f64,
    losses: BTreeMap<&'static str, f64>,
    verdict: Verdict,
    peak: usize,
    mean_in_flight: f64,
    overlap: f64,
    span: f64,
    work: f64,
    longest: f64,
    cpu_share: Option<f64>,
    uncontended: Option<f64>,
    comparison: Option<Comparison>,
    cores: f64,
    other_load: Option<f64>,
    steal: Option<f64>,
    too_loaded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<Vec<CallDocument>>,
}

#[derive(Debug, Serialize)]
struct CallDocument {
    worker: String,
    generation: u32,
    queued_ns: u64,
    sent_ns: u64,
    started_ns: u64,
    ended_ns: u64,
    answered_ns: u64,
}

impl<'a> Document<'a> {
    /// Creates the document for these rows. `operations` adds every call.
    pub(super) fn of(plan: &'a Plan, rows: &[Row], operations: bool) -> Self {
        Self {
            herder: env!("CARGO_PKG_VERSION"),
            pool: plan.config.name().as_str(),
            command: &plan.command,
            arguments: &plan.arguments,
            start: plan.start,
            rounds: plan.rounds,
            sessions: plan.sessions,
            rows: rows.iter().map(|row| RowDocument::of(row, operations)).collect(),
        }
    }
}

impl RowDocument {
    fn of(row: &Row, operations: bool) -> Self {
        Self {
            workers: row.workers,
            call_slots: row.call_slots,
            callers: row.callers,
            calls_per_second: row.rate,
            efficiency: row.efficiency,
            speed_up: row.speed_up,
            ideal_speed_up: row.ideal,
            latency: Quantiles::of(row.latency),
            failed: row.failed(),
            runs: row.runs.iter().map(|run| RunDocument::of(run, operations)).collect(),
        }
    }
}

impl Quantiles {
    fn of(latency: Latency) -> Self {
        let Latency { p50, p90, p99, max } = latency;
        let [p50, p90, p99, max] = [p50, p90, p99, max].map(|span| span.as_secs_f64());
        Self { p50, p90, p99, max }
    }
}

impl RunDocument {
    fn of(run: &EfficiencyReport, operations: bool) -> Self {
        let (account, evidence) = (&run.account, &run.account.evidence);
        let begun = run.window.started;
        Self {
            calls: run.operations.len(),
            failed: run.failures.count,
            first_failure: run.failures.first.as_ref().map(ToString::to_string),
            calls_per_second: run.calls_per_second(),
            measured: account.measured.as_secs_f64(),
            ideal: account.ideal.as_secs_f64(),
            efficiency: account.efficiency,
            losses: account.losses.iter().map(|loss| (loss.cause, loss.lost.as_secs_f64())).collect(),
            verdict: run.verdict,
            peak: evidence.peak,
            mean_in_flight: evidence.mean_in_flight(),
            overlap: evidence.overlap.as_secs_f64(),
            span: evidence.span.as_secs_f64(),
            work: evidence.work.as_secs_f64(),
            longest: evidence.longest.as_secs_f64(),
            cpu_share: run.cpu_share,
            uncontended: run.uncontended.map(|uncontended| uncontended.as_secs_f64()),
            comparison: run.comparison,
            cores: run.machine.cores,
            other_load: run.machine.other_load,
            steal: run.machine.steal,
            too_loaded: run.machine.is_loaded(),
            operations: operations.then(|| run.operations.iter().map(|call| CallDocument::of(call, begun)).collect()),
        }
    }
}

impl CallDocument {
    fn of(call: &Operation, begun: u64) -> Self {
        let since = |time: u64| time.saturating_sub(begun);
        Self {
            worker: call.worker.id.to_string(),
            generation: call.worker.generation.0,
            queued_ns: since(call.queued.0),
            sent_ns: since(call.sent.0),
            started_ns: since(call.started.0),
            ended_ns: since(call.ended.0),
            answered_ns: since(call.answered.0),
        }
    }
}
