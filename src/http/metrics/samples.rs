//! The values of each metric at the time of a request. Reads a snapshot; holds no state.

use super::{
    catalog::{Metric, Part},
    snapshot::{Snapshot, SnapshotOfPool},
};
use herder_actors::{
    BatchStatus, BreakerState, CommandMetrics, Exemplar, FeatureUse, Histogram, Measurements, PoolMetrics, PoolState,
    Status, TIME_BOUNDS, WorkerState,
};
use std::{borrow::Cow, time::Duration};

/// The upper bounds of the buckets of sizes, in bytes. All of them are bounds of [`Histogram`], so that the counts are exact.
const SIZES: [u64; 8] = [100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// The labels of a series.
pub(super) type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    pub(super) value: Value,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Count(u64),
    Number(f64),
    /// The number of values in each bucket, by its upper bound.
    Histogram {
        sum: f64,
        count: u64,
        buckets: Vec<(f64, u64)>,
    },
}

/// Returns the series of a metric. Their labels are those of its description.
pub(super) fn samples(metric: Metric, snapshot: &Snapshot) -> Vec<Sample> {
    let description = metric.description();
    let series = match description.part {
        Part::Server => of_server(metric, snapshot),
        Part::Pool | Part::Breaker | Part::FeatureUse | Part::SessionAffinity | Part::WorkerMetrics => {
            of_pools(metric, snapshot)
        }
    };
    let names = || description.part.labels().iter().chain(description.labels).copied();
    series.into_iter().map(|(values, value)| Sample { labels: names().zip(values).collect(), value }).collect()
}

/// The values of the labels and the value of each series.
type Series = Vec<(Vec<Cow<'static, str>>, Value)>;

fn of_pools(metric: Metric, snapshot: &Snapshot) -> Series {
    let mut all = Vec::new();
    for pool in &snapshot.pools {
        let series = match &pool.measured {
            Some(measured) => of_pool(metric, pool, measured),
            None if metric == Metric::Up => vec![(vec![], Value::Count(0))],
            None => Vec::new(),
        };
        let own = || [Cow::from(pool.name.clone()), pool.worker_type.into()];
        all.extend(series.into_iter().map(|(more, value)| (own().into_iter().chain(more).collect(), value)));
    }
    all
}

fn of_server(metric: Metric, snapshot: &Snapshot) -> Series {
    let one = |value| vec![(vec![], value)];
    let pools_of = |worker_type: &str| snapshot.pools.iter().filter(|pool| pool.worker_type == worker_type).count();
    match metric {
        Metric::Build => vec![(vec![env!("CARGO_PKG_VERSION").into()], Value::Count(1))],
        Metric::Pools => ["basic", "enhanced"]
            .into_iter()
            .filter(|worker_type| pools_of(worker_type) > 0)
            .map(|worker_type| (vec![worker_type.into()], number(pools_of(worker_type))))
            .collect(),
        Metric::BufferedBytes => one(number(snapshot.buffered_bytes)),
        Metric::BufferLimit => one(number(snapshot.buffer_limit)),
        Metric::LogLinesDropped => snapshot.dropped_log_lines.map(Value::Count).map(one).unwrap_or_default(),
        Metric::SpansDropped => snapshot.dropped_spans.map(Value::Count).map(one).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Returns the exemplars of the buckets of [`Metric::RunTime`], in the order of its samples.
pub(super) fn exemplars(snapshot: &Snapshot) -> Vec<Option<Exemplar>> {
    let measured = snapshot.pools.iter().filter_map(|pool| pool.measured.as_ref());
    let commands = measured.flat_map(|measured| measured.metrics.commands());
    let of_command = |command: &CommandMetrics| {
        command.exemplars().map_or_else(|| vec![None; TIME_BOUNDS.len() + 1], <[Option<Exemplar>]>::to_vec)
    };
    commands.filter(|command| command.run_time().is_some()).flat_map(of_command).collect()
}

/// Returns the series of one pool, without the labels of the pool.
fn of_pool(metric: Metric, pool: &SnapshotOfPool, measured: &Measurements) -> Series {
    let Measurements { status, metrics, .. } = measured;
    let core = metrics.processes().since_start(&status.counters, status.breaker.as_ref());
    let one = |value| vec![(vec![], value)];
    match metric {
        Metric::Up => one(Value::Count(1)),
        Metric::State => one_of(&POOL_STATES, status.state),
        Metric::Features => features(pool, status),
        Metric::BaseWorkers => one(number(status.pool_size as usize)),
        Metric::Workers => workers(status),
        Metric::Starts => one(Value::Count(metrics.processes().starts())),
        Metric::Restarts => one(Value::Count(metrics.processes().restarts())),
        Metric::Exits => counts(metrics.processes().exits()),
        Metric::Memory => one(Value::Count(status.memory_bytes)),
        Metric::Cpu => one(seconds(metrics.processes().exited_cpu(), status.cpu_seconds)),
        Metric::Calls => calls(metrics),
        Metric::QueueWait => histograms(metrics, &TIME_BOUNDS, 1e6, CommandMetrics::queue_wait),
        Metric::RunTime => histograms(metrics, &TIME_BOUNDS, 1e6, CommandMetrics::run_time),
        Metric::ArgumentBytes => histograms(metrics, &SIZES, 1.0, CommandMetrics::argument_bytes),
        Metric::ResultBytes => histograms(metrics, &SIZES, 1.0, CommandMetrics::result_bytes),
        Metric::Retries => one(Value::Count(core.retries)),
        Metric::Shed => one(Value::Count(core.shed)),
        Metric::LateAnswers => one(Value::Count(core.late_answers)),
        Metric::Running => one(number(status.running.count)),
        Metric::Waiting => one(number(status.queue.waiting)),
        Metric::QueueLimit => one(number(status.queue.limit)),
        Metric::Capacity => one(number(status.queue.capacity)),
        Metric::Quarantined => one(number(status.quarantined)),
        Metric::BreakerState => {
            status.breaker.map(|breaker| one_of(&BREAKER_STATES, breaker.state)).unwrap_or_default()
        }
        Metric::BreakerOpened => status.breaker.map(|_| one(Value::Count(core.breaker_opened))).unwrap_or_default(),
        Metric::Lag => one(histogram(metrics.timer_lag(), &TIME_BOUNDS, 1e6)),
        Metric::Rebuilds => one(Value::Count(metrics.processes().rebuilds())),
        Metric::Streamed => feature_use(metrics, |feature_use| feature_use.streams),
        Metric::Batches => batches(measured, |earlier| earlier.earlier_batches, |since| since.batches),
        Metric::BatchedCalls => batches(measured, |earlier| earlier.earlier_batched_calls, |since| since.calls),
        Metric::WithBuffers => feature_use(metrics, |feature_use| feature_use.with_buffers),
        Metric::BufferBytes => feature_use(metrics, |feature_use| feature_use.buffer_bytes),
        Metric::SlabBytes => status.buffers.map(|buffers| one(Value::Count(buffers.slab_bytes))).unwrap_or_default(),
        Metric::SlabLimit => {
            status.buffers.map(|buffers| one(Value::Count(buffers.slab_limit_bytes))).unwrap_or_default()
        }
        Metric::Sessions => metrics.sessions().map(|_| one(number(status.active_sessions))).unwrap_or_default(),
        Metric::SessionEvents => session_events(metrics, core.sessions_expired),
        Metric::WorkerMemory => of_workers(status, |worker, _| {
            worker.activity.as_ref().map(|_| Value::Count(worker.resident_bytes.unwrap_or(0)))
        }),
        Metric::WorkerCpu => worker_cpu(status, metrics),
        Metric::Build
        | Metric::Pools
        | Metric::BufferedBytes
        | Metric::BufferLimit
        | Metric::LogLinesDropped
        | Metric::SpansDropped => vec![],
    }
}

const POOL_STATES: [(PoolState, &str); 6] = [
    (PoolState::Idle, "idle"),
    (PoolState::Starting, "starting"),
    (PoolState::Running, "running"),
    (PoolState::Failed, "failed"),
    (PoolState::Draining, "draining"),
    (PoolState::Stopped, "stopped"),
];
const BREAKER_STATES: [(BreakerState, &str); 3] =
    [(BreakerState::Closed, "closed"), (BreakerState::Open, "open"), (BreakerState::HalfOpen, "half_open")];
/// Without the degraded state, which only pools with `state_machine` have.
const WORKER_STATES: [(WorkerState, &str); 4] = [
    (WorkerState::Initializing, "initializing"),
    (WorkerState::Ready, "ready"),
    (WorkerState::Busy, "busy"),
    (WorkerState::Terminating, "terminating"),
];

/// Returns 1 for the current one of several values, and 0 for the others.
fn one_of<T: PartialEq + Copy>(values: &[(T, &'static str)], current: T) -> Series {
    values.iter().map(|(value, name)| (vec![(*name).into()], Value::Count(u64::from(*value == current)))).collect()
}

fn counts(counts: impl Iterator<Item = (&'static str, u64)>) -> Series {
    counts.map(|(name, count)| (vec![name.into()], Value::Count(count))).collect()
}

fn features(pool: &SnapshotOfPool, status: &Status) -> Series {
    let flags = status.features;
    let all = [
        ("session_affinity", flags.session_affinity),
        ("worker_metrics", flags.worker_metrics),
        ("state_machine", flags.state_machine),
        ("breaker", status.breaker.is_some()),
        ("batches", !status.batches.is_empty()),
        ("overflow", status.overflow > 0),
        ("lazy", pool.is_lazy),
        ("template", pool.has_template),
    ];
    counts(all.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| (name, 1)))
}

fn workers(status: &Status) -> Series {
    let degraded = status.features.state_machine.then_some((WorkerState::Degraded, "degraded"));
    let states = WORKER_STATES.into_iter().chain(degraded);
    states
        .map(|(state, name)| {
            let count = status.workers.iter().filter(|worker| worker.status.state == state).count();
            (vec![name.into()], number(count))
        })
        .collect()
}

/// Returns the calls of each command: those with a result even if there are none, so that a rate has a start.
fn calls(metrics: &PoolMetrics) -> Series {
    let of_command = |command: &CommandMetrics| {
        let ok = Some(("ok", command.ok())).filter(|_| !command.is_other());
        let name = command.name().to_owned();
        let outcomes: Vec<_> = ok.into_iter().chain(command.errors()).collect();
        outcomes
            .into_iter()
            .map(move |(outcome, count)| (vec![name.clone().into(), outcome.into()], Value::Count(count)))
    };
    metrics.commands().flat_map(of_command).collect()
}

/// Returns the counts of the commands that have used a feature.
fn feature_use(metrics: &PoolMetrics, count: fn(&FeatureUse) -> u64) -> Series {
    let named = |command: &CommandMetrics| {
        let count = command.feature_use().map(count).filter(|count| *count > 0)?;
        Some((vec![command.name().to_owned().into()], Value::Count(count)))
    };
    metrics.commands().filter_map(named).collect()
}

/// Returns the counts of the commands that have run in batches, before and since the last rebuild of the state.
fn batches(
    Measurements { status, metrics, .. }: &Measurements,
    earlier: fn(&FeatureUse) -> u64,
    since: fn(&BatchStatus) -> u64,
) -> Series {
    let named = |command: &CommandMetrics| {
        let since = status.batches.get(command.name()).map_or(0, since);
        let count = command.feature_use().map_or(0, earlier) + since;
        (count > 0).then(|| (vec![command.name().to_owned().into()], Value::Count(count)))
    };
    metrics.commands().filter_map(named).collect()
}

fn histograms(
    metrics: &PoolMetrics,
    bounds: &[u64],
    per_unit: f64,
    of_command: fn(&CommandMetrics) -> Option<&Histogram>,
) -> Series {
    let named = |command: &CommandMetrics| {
        let value = histogram(of_command(command)?, bounds, per_unit);
        Some((vec![command.name().to_owned().into()], value))
    };
    metrics.commands().filter_map(named).collect()
}

fn histogram(histogram: &Histogram, bounds: &[u64], per_unit: f64) -> Value {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = bounds
        .iter()
        .map(|bound| {
            let count = histogram.count_up_to(*bound);
            (*bound as f64 / per_unit, count - std::mem::replace(&mut below, count))
        })
        .collect();
    buckets.push((f64::INFINITY, histogram.count() - below));
    Value::Histogram { sum: histogram.sum() as f64 / per_unit, count: histogram.count(), buckets }
}

fn session_events(metrics: &PoolMetrics, expired: u64) -> Series {
    let Some(sessions) = metrics.sessions() else { return Vec::new() };
    let events = [
        ("bound", sessions.bound),
        ("hit", sessions.hit),
        ("rebound_worker_lost", sessions.rebound_worker_lost),
        ("rebound_expired", sessions.rebound_expired),
        ("rebound_busy", sessions.rebound_busy),
        ("expired", expired),
        ("lost", sessions.lost),
    ];
    counts(events.into_iter())
}

/// Returns a series of each worker that has a value. Only pools with `worker_metrics` have values.
fn of_workers(status: &Status, value: impl Fn(&herder_actors::WorkerEntry, usize) -> Option<Value>) -> Series {
    let all = status.workers.iter();
    let slot = |worker: &herder_actors::WorkerEntry| (worker.status.id.0 as usize).saturating_sub(1);
    all.filter_map(|worker| Some((vec![worker.status.id.to_string().into()], value(worker, slot(worker))?))).collect()
}

fn worker_cpu(status: &Status, metrics: &PoolMetrics) -> Series {
    let Some(slots) = metrics.slots() else { return Vec::new() };
    of_workers(status, |worker, slot| {
        let exited = slots.get(slot).map(|slot| slot.exited_cpu()).unwrap_or_default();
        Some(seconds(exited, worker.cpu_seconds.unwrap_or(0.0)))
    })
}

/// Returns the CPU time of exited and of live processes in hundredths, the steps of the system. An inexact sum could be
/// less than an earlier one (0.7 + 0.1 < 0.8), and Prometheus would take that for a counter that began anew.
fn seconds(exited: Duration, live: f64) -> Value {
    Value::Number(((exited.as_secs_f64() + live) * 100.0).round() / 100.0)
}

fn number(value: usize) -> Value {
    Value::Count(value as u64)
}
