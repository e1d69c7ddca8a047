//! The form of the log: text, or JSON with one object on each line. Holds no state.

use std::io::IsTerminal;

/// The target of log lines and log records of workers.
pub(super) const WORKER: &str = "herder::worker";
/// The longest line, in bytes. A longer one is cut.
pub(super) const LONGEST: usize = 64 * 1024;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// The form of the log as it is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

impl LogFormat {
    /// Returns the form of what is written to this stream.
    pub(crate) fn on(self, stream: &impl IsTerminal) -> Format {
        match self {
            Self::Auto if stream.is_terminal() => Format::Text,
            Self::Text => Format::Text,
            Self::Auto | Self::Json => Format::Json,
        }
    }
}
