//! The export of traces by `serve` and `dev`: the table `[traces]`. Holds the exporter until the end of the command.

use crate::error::{CommandError, Outcome};
use herder::config::Traces;
#[cfg(feature = "otlp")]
use {
    crate::logs::PROGRAM,
    herder::traces::{Exporter, export},
    std::time::Duration,
};

/// How long the process waits at its end for a collector.
#[cfg(feature = "otlp")]
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The export, if there is one. Dropping it sends what is left.
pub(crate) struct TraceExport {
    #[cfg(feature = "otlp")]
    exporter: Option<Exporter>,
}

impl TraceExport {
    /// Starts the export if an endpoint is set.
    #[cfg(feature = "otlp")]
    pub(crate) fn start(traces: &Traces) -> Outcome<Self> {
        let exporter = traces.endpoint.as_ref().map(|endpoint| {
            tracing::info!(target: PROGRAM, endpoint = endpoint.url(), sample = traces.sample, "traces are exported");
            export(traces)
        });
        Ok(Self { exporter: exporter.transpose().map_err(CommandError::failed)? })
    }

    /// Refuses an endpoint.
    #[cfg(not(feature = "otlp"))]
    pub(crate) fn start(traces: &Traces) -> Outcome<Self> {
        match traces.endpoint {
            None => Ok(Self {}),
            Some(_) => Err(CommandError::usage(
                "this program was built without the feature `otlp`, so it cannot export traces: remove `traces.endpoint`",
            )),
        }
    }
}

#[cfg(feature = "otlp")]
impl Drop for TraceExport {
    fn drop(&mut self) {
        let Some(exporter) = &self.exporter else { return };
        let in_time = exporter.flush(FLUSH_TIMEOUT);
        match (in_time, exporter.dropped()) {
            (true, 0) => {}
            (true, dropped) => tracing::warn!(target: PROGRAM, dropped, "some spans since the start were not exported"),
            (false, dropped) => {
                tracing::warn!(
                    target: PROGRAM,
                    dropped = dropped + exporter.left(),
                    "the collector did not take the last spans within 2 s of the end: they are lost"
                );
            }
        }
    }
}
