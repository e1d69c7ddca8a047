//! Logs: to standard error, what of them is chosen by `HERDER_LOG`. What workers print is among them.

use crate::failure::{Failure, Outcome};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// Starts logging; `default` is what is logged unless `HERDER_LOG` says otherwise.
pub(crate) fn start(default: &str) -> Outcome {
    let chosen = std::env::var("HERDER_LOG").ok().filter(|text| !text.is_empty());
    let filter = EnvFilter::try_new(chosen.as_deref().unwrap_or(default)).map_err(|error| {
        Failure::usage(format_args!("HERDER_LOG: {error}; allowed: such as `debug` or `info,herder_actors=trace`"))
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    logs.with_ansi(io::stderr().is_terminal()).try_init().map_err(Failure::failed)
}
