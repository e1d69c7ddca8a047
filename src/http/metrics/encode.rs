//! Writes the metrics as text, by `prometheus-client`, and adds the exemplars.

use super::{
    catalog::Metric,
    samples::{Sample, Value, exemplars, samples},
    snapshot::Snapshot,
};
use herder_actors::Exemplar;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use std::{
    fmt::{self, Write},
    time::SystemTime,
};

/// How the samples begin that can have an exemplar.
const RUN_TIME_BUCKET: &str = "herder_call_run_seconds_bucket{";

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The Prometheus text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Returns the text of all metrics.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub(super) fn text(snapshot: Snapshot, format: Format) -> Result<String, fmt::Error> {
    let (mut registry, mut text) = (Registry::default(), String::new());
    // The Prometheus text format has no exemplars.
    let exemplars = if format == Format::OpenMetrics { exemplars(&snapshot) } else { Vec::new() };
    registry.register_collector(Box::new(snapshot));
    match format {
        Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
        Format::OpenMetrics => text::encode(&mut text, &registry)?,
    }
    if exemplars.iter().all(Option::is_none) { Ok(text) } else { with_exemplars(&text, &exemplars) }
}

/// Adds the exemplars to the samples of the run times, which are in the same order. `prometheus-client` cannot be given exemplars
/// for histograms that it does not count itself.
#[expect(clippy::disallowed_methods, reason = "the format has system time")]
fn with_exemplars(text: &str, exemplars: &[Option<Exemplar>]) -> Result<String, fmt::Error> {
    let (mut with, mut exemplars) = (String::with_capacity(text.len() + 128 * exemplars.len()), exemplars.iter());
    for line in text.lines() {
        with.push_str(line);
        if line.starts_with(RUN_TIME_BUCKET)
            && let Some(Some(exemplar)) = exemplars.next()
        {
            let Exemplar { trace, span, run_us, at, .. } = exemplar;
            let run = *run_us as f64 / 1e6;
            let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
            let (seconds, millis) = (at / 1000, at % 1000);
            write!(with, " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {run} {seconds}.{millis:03}")?;
        }
        with.push('\n');
    }
    Ok(with)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in Metric::ALL {
            let samples = samples(*metric, self);
            if samples.is_empty() {
                continue; // no pool has the feature
            }
            let description = metric.description();
            let unit = description.unit.map(|unit| Unit::Other(unit.into()));
            let help = format!("{}.", description.help);
            let mut family = encoder.encode_descriptor(description.name, &help, unit.as_ref(), description.kind)?;
            samples.iter().try_for_each(|sample| encode(&mut family, description.kind, sample))?;
        }
        Ok(())
    }
}

fn encode(family: &mut MetricEncoder<'_>, kind: MetricType, Sample { labels, value }: &Sample) -> fmt::Result {
    if kind == MetricType::Info {
        return family.encode_info(labels);
    }
    let mut series = family.encode_family(labels)?;
    match (kind, value) {
        (_, Value::Histogram { sum, count, buckets }) => {
            series.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
        (MetricType::Counter, Value::Count(count)) => series.encode_counter::<NoLabelSet, _, f64>(count, None),
        (MetricType::Counter, Value::Number(number)) => series.encode_counter::<NoLabelSet, _, f64>(number, None),
        (_, Value::Count(count)) => series.encode_gauge(count),
        (_, Value::Number(number)) => series.encode_gauge(number),
    }
}
