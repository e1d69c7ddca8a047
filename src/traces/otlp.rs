//! Exports spans to an OpenTelemetry collector: OTLP as JSON over HTTP, from a thread of its own. Holds the client.
//!
//! The pools queue the spans of a call when it is answered and never wait. If the collector is slow or away, the queue is full
//! after [`LIMITS`], and further spans are dropped and counted.

use crate::config::Traces;
use herder_actors::{
    Timestamp, now, thread_builder,
    traces::{AttributeValue, Span, SpanLimits, SpanQueue, start_recording},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    time::{Duration, SystemTime},
};
use ureq::Agent;

/// A request is sent when 512 spans are there, or a second after the first one.
const LIMITS: SpanLimits = SpanLimits { calls: 4096, batch: 512, interval: Duration::from_secs(1) };
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The export could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Traces are exported already: there is one exporter for each process.
    #[error("traces are exported already; call `traces::export` once in a process")]
    Started,
    /// There is no endpoint in the settings.
    #[error("no endpoint is set; set `traces.endpoint` to the address of a collector, such as http://127.0.0.1:4318")]
    NoEndpoint,
    /// The thread that exports could not be started.
    #[error("cannot start the thread that exports traces")]
    Thread(#[source] io::Error),
}

/// Exports the traces of all pools of this process.
#[derive(Clone, Debug)]
pub struct Exporter(&'static SpanQueue);

/// Starts to export the traces of the calls of all pools in this process: those whose caller records its trace (the sampled flag
/// of `traceparent`), and the share `sample` of the calls that belong to no trace.
///
/// # Errors
/// Fails if traces are exported already, without an endpoint, and if the thread cannot be started.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut traces = herder::config::Traces::default();
/// traces.endpoint = Some("http://127.0.0.1:4318".parse()?);
/// traces.sample = 0.01;
/// let exporter = herder::traces::export(&traces)?;
/// // At the end of the program:
/// exporter.flush(std::time::Duration::from_secs(1));
/// # Ok(()) }
/// ```
pub fn export(settings: &Traces) -> Result<Exporter, ExportError> {
    let endpoint = settings.endpoint.as_ref().ok_or(ExportError::NoEndpoint)?;
    let queue = start_recording(settings.sample, LIMITS).ok_or(ExportError::Started)?;
    let agent = Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0);
    let agent = agent.timeout_global(Some(TIMEOUT)).build().into();
    let thread = ExportThread {
        queue,
        agent,
        url: endpoint.url(),
        service_name: settings.service_name.clone(),
        is_failing: false,
    };
    thread_builder("herder-traces").spawn(move || thread.run()).map_err(ExportError::Thread)?;
    Ok(Exporter(queue))
}

impl Exporter {
    /// Returns the number of spans that were dropped: because the queue was full, or because the collector did not accept them.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Returns the number of spans that are not exported yet: those that wait, and those of a request that is not answered. Spans
    /// that are left at the end of the program are lost, and are not in [`dropped`](Self::dropped).
    pub fn left(&self) -> u64 {
        self.0.left()
    }

    /// Sends what is queued, and waits until that is done, but at most this long. Returns whether it was done in time.
    pub fn flush(&self, within: Duration) -> bool {
        self.0.flush(within)
    }
}

/// The state of the thread that exports.
struct ExportThread {
    queue: &'static SpanQueue,
    agent: Agent,
    url: String,
    service_name: String,
    /// Whether the last request failed: only changes are logged.
    is_failing: bool,
}

/// What a collector answers.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: PartialSuccess,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    /// A 64 bit number, which JSON has as a text.
    rejected_spans: serde_json::Value,
}

impl ExportThread {
    /// Exports until the process ends.
    fn run(mut self) {
        loop {
            let spans = self.queue.next_batch();
            self.send(&spans);
        }
    }

    fn send(&mut self, spans: &[Span]) {
        let failure = match self.post(spans) {
            Ok(0) => None,
            Ok(rejected) => Some((rejected, "the collector has rejected spans".to_owned())),
            Err(error) => Some((spans.len() as u64, error)),
        };
        if let Some((lost, _)) = &failure {
            self.queue.count_dropped(*lost);
        }
        match &failure {
            Some((lost, error)) if !self.is_failing => {
                tracing::warn!(
                    url = self.url,
                    lost,
                    error,
                    "spans were not exported; check that a collector listens there"
                );
            }
            None if self.is_failing => tracing::info!(url = self.url, "spans are exported again"),
            _ => {}
        }
        self.is_failing = failure.is_some();
    }

    /// Sends a request. Returns the number of spans that the collector has rejected.
    fn post(&self, spans: &[Span]) -> Result<u64, String> {
        let body = Request::of(&self.service_name, spans).to_json()?;
        let request = self.agent.post(&self.url).content_type("application/json");
        let mut response = request.send(&body[..]).map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("the collector responded with {}", response.status()));
        }
        let body = response.body_mut().read_to_vec().map_err(|error| error.to_string())?;
        let rejected = serde_json::from_slice::<Answer>(&body).unwrap_or_default().partial_success.rejected_spans;
        Ok(rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0))
    }
}

/// `ExportTraceServiceRequest` of OTLP, in JSON: ids are hexadecimal texts, and 64 bit numbers are texts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 1],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<SpanEntry<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanEntry<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<&'a str>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    status: Status<'a>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'a> {
    StringValue(&'a str),
    IntValue(String),
}

#[derive(Serialize)]
struct Status<'a> {
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const KINDS: [u8; 2] = [1, 2];
/// `STATUS_CODE_UNSET` and `STATUS_CODE_ERROR`.
const STATUS_CODES: [u8; 2] = [0, 2];

impl<'a> Request<'a> {
    fn of(service_name: &'a str, spans: &'a [Span]) -> Self {
        let clock = Clock::read();
        let spans = spans.iter().map(|span| SpanEntry::of(span, clock)).collect();
        let scope = Scope { name: "herder", version: env!("CARGO_PKG_VERSION") };
        let name = Attribute { key: "service.name", value: Value::StringValue(service_name) };
        let resource = Resource { attributes: [name] };
        Self { resource_spans: [ResourceSpans { resource, scope_spans: [ScopeSpans { scope, spans }] }] }
    }

    fn to_json(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }
}

impl<'a> SpanEntry<'a> {
    fn of(span: &'a Span, clock: Clock) -> Self {
        let attribute = |(key, value): &'a (&'static str, AttributeValue)| Attribute {
            key,
            value: match value {
                AttributeValue::Text(text) => Value::StringValue(text),
                AttributeValue::Number(number) => Value::IntValue(number.to_string()),
            },
        };
        let error = span.error.map(|error| Attribute { key: "error.type", value: Value::StringValue(error) });
        Self {
            trace_id: format!("{:032x}", span.trace),
            span_id: format!("{:016x}", span.id),
            parent_span_id: span.parent.map(|parent| format!("{parent:016x}")),
            trace_state: span.state.as_deref(),
            name: &span.name,
            kind: KINDS[usize::from(span.is_server)],
            start_time_unix_nano: clock.unix_nanos(span.started).to_string(),
            end_time_unix_nano: clock.unix_nanos(span.ended).to_string(),
            attributes: span.attributes.iter().map(attribute).chain(error).collect(),
            status: Status { code: STATUS_CODES[usize::from(span.error.is_some())], message: span.error },
        }
    }
}

/// The same moment on the monotonic clock and as system time.
#[derive(Clone, Copy)]
struct Clock {
    monotonic: Timestamp,
    unix_nanos: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "collectors expect system time")]
    fn read() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { monotonic: now(), unix_nanos: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX) }
    }

    fn unix_nanos(self, time: Timestamp) -> u64 {
        self.unix_nanos.saturating_sub(self.monotonic.0.saturating_sub(time.0))
    }
}
