//! Writes the metrics as text, by `prometheus-client`.

use super::{
    catalog::Metric,
    samples::{Sample, Value, samples},
    snapshot::Snapshot,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use std::fmt;

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
    registry.register_collector(Box::new(snapshot));
    match format {
        Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
        Format::OpenMetrics => text::encode(&mut text, &registry)?,
    }
    Ok(text)
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
