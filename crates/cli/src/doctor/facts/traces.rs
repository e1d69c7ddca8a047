//! The collector of the table `[traces]`: whether it takes spans.

use crate::client::agent;
use herder::config::TracesEndpoint;
use std::time::Duration;

/// How long the collector may take.
const LIMIT: Duration = Duration::from_secs(2);
/// An export without spans.
const NO_SPANS: &str = r#"{"resourceSpans":[]}"#;

/// What is known about the collector.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub(crate) url: String,
    /// Why it takes no spans.
    pub(crate) problem: Option<String>,
}

impl Collector {
    /// Sends it an export without spans.
    pub(super) fn ask(endpoint: &TracesEndpoint) -> Self {
        let url = endpoint.url();
        let problem = match agent(Some(LIMIT)).post(&url).content_type("application/json").send(NO_SPANS) {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it responded with {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        Self { url, problem }
    }
}
