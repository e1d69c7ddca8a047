//! The table `[traces]`: where the spans of calls are exported, and of which calls.

use super::error::ProblemCollector;
use super::names::unknown;
use std::{fmt, str::FromStr};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const KEYS: [&str; 3] = ["endpoint", "sample", "service_name"];
const ENDPOINT: &str = "the address of a collector with OTLP over HTTP, such as \"http://127.0.0.1:4318\"";
const SAMPLE: &str = "a number from 0 to 1, such as 0.01";
const SERVICE_NAME: &str = "a name of 1 to 256 characters";
/// The path of an endpoint that has none.
const PATH: &str = "/v1/traces";

/// Where the traces of calls are exported.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Traces {
    /// The collector. Default: none, and no span is recorded.
    pub endpoint: Option<TracesEndpoint>,
    /// The share of calls that are recorded, from 0 to 1, among those that belong to no trace. A call that belongs to one is
    /// recorded if its `traceparent` has the sampled flag. Default: 1.
    pub sample: f64,
    /// The name of this service in traces. Default: `herder`.
    pub service_name: String,
}

impl Default for Traces {
    fn default() -> Self {
        Self { endpoint: None, sample: 1.0, service_name: "herder".into() }
    }
}

/// The address of an OpenTelemetry collector: `http://HOST[:PORT][/PATH]`. Without a path, it is `/v1/traces`.
///
/// ```
/// use herder::config::TracesEndpoint;
/// let endpoint: TracesEndpoint = "http://127.0.0.1:4318".parse().unwrap();
/// assert_eq!(endpoint.url(), "http://127.0.0.1:4318/v1/traces");
/// assert!("https://127.0.0.1:4318".parse::<TracesEndpoint>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracesEndpoint(String);

/// The error for an invalid address of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid endpoint; allowed: {ENDPOINT} (without TLS: run a collector on this machine)")]
pub struct InvalidTracesEndpoint;

impl TracesEndpoint {
    /// Returns the URL to which spans are sent.
    pub fn url(&self) -> String {
        self.0.clone()
    }
}

impl FromStr for TracesEndpoint {
    type Err = InvalidTracesEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("http://").ok_or(InvalidTracesEndpoint)?;
        let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>@?#\\".contains(&byte));
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        if !is_plain || host.is_empty() || host.len() > 512 {
            return Err(InvalidTracesEndpoint);
        }
        let path = if path.is_empty() { PATH.to_owned() } else { format!("/{path}") };
        Ok(Self(format!("http://{host}{path}")))
    }
}

impl fmt::Display for TracesEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the table. Problems are reported; an invalid key keeps its default.
pub(super) fn read(report: &mut ProblemCollector<'_>, table: &DeTable<'_>) -> Traces {
    let mut traces = Traces::default();
    for (name, value) in table {
        let key = name.get_ref().as_ref();
        let refused = match key {
            "endpoint" => {
                endpoint(value).map(|endpoint| traces.endpoint = Some(endpoint)).is_none().then_some(ENDPOINT)
            }
            "sample" => share(value).map(|share| traces.sample = share).is_none().then_some(SAMPLE),
            "service_name" => name_of(value).map(|name| traces.service_name = name).is_none().then_some(SERVICE_NAME),
            _ => {
                report.add(&name.span(), format!("traces.{key}"), unknown(key, &KEYS));
                continue;
            }
        };
        if let Some(allowed) = refused {
            let given = report.quote(&value.span());
            report.add(&value.span(), format!("traces.{key}"), format!("{given} is invalid; allowed: {allowed}"));
        }
    }
    traces
}

fn endpoint(value: &Spanned<DeValue<'_>>) -> Option<TracesEndpoint> {
    value.get_ref().as_str()?.parse().ok()
}

fn share(value: &Spanned<DeValue<'_>>) -> Option<f64> {
    let text = match value.get_ref() {
        DeValue::Float(float) => float.as_str(),
        DeValue::Integer(integer) => integer.as_str(),
        _ => return None,
    };
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

fn name_of(value: &Spanned<DeValue<'_>>) -> Option<String> {
    let name = value.get_ref().as_str()?;
    let fits = (1..=256).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    fn problems(traces: &str) -> String {
        let text = format!("[traces]\n{traces}\n[pools.a]\napp = 'a.py:app'\n");
        Config::from_toml(&text, Path::new("."))
            .map_or_else(|error| error.to_string(), |config| format!("{:?}", config.traces))
    }

    #[test]
    fn the_table_is_read_and_its_values_are_checked() {
        let valid = problems("endpoint = 'http://collector:4318/'\nsample = 0.01\nservice_name = 'shop'");
        assert!(valid.contains("\"http://collector:4318/v1/traces\"") && valid.contains("sample: 0.01"), "{valid}");
        for (given, expected) in [
            (
                "endpoint = 'https://c'",
                "herder.toml:2:12: traces.endpoint: 'https://c' is invalid; allowed: the address",
            ),
            ("sample = 2", "herder.toml:2:10: traces.sample: 2 is invalid; allowed: a number from 0 to 1"),
            ("sample = '1'", "traces.sample: '1' is invalid"),
            ("service_name = ''", "traces.service_name: '' is invalid"),
            ("endpont = 1", "traces.endpont: unknown key; did you mean `endpoint`?"),
        ] {
            assert!(problems(given).contains(expected), "{}", problems(given));
        }
    }
}
