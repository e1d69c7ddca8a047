//! Errors of commands: their output on standard error, and the exit codes. 0 is success, 1 failure, 2 invalid arguments
//! or configuration, 128 and above a signal.

use crate::{logs, signals::EndSignal};
use anstream::{AutoStream, ColorChoice};
use std::{fmt::Display, io, process::ExitCode};

/// The reason why a command failed.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The arguments or the configuration are invalid.
    Usage(String),
    /// The command failed.
    Failed(String),
    /// A call or request failed with this problem document.
    Problem(serde_json::Value),
    /// The command was stopped gracefully by a signal.
    Interrupted(EndSignal),
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, CommandError>;

impl CommandError {
    /// Creates an error for invalid arguments or configuration.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::Usage(message.to_string())
    }

    /// Creates an error for a failed command.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// Prints the error on standard error, with colors only on a terminal. Never panics.
    pub(crate) fn print(&self) {
        let text = match self {
            Self::Usage(text) | Self::Failed(text) => text.clone(),
            Self::Problem(problem) => crate::problem::render(problem),
            Self::Interrupted(signal) => format!("{}: stopped before completion", signal.name()),
        };
        match AutoStream::choice(&io::stderr()) {
            ColorChoice::Never => logs::write_line(&format!("error: {text}")),
            _ => logs::write_line(&format!("\x1b[1;31merror:\x1b[0m {text}")),
        }
    }

    /// Returns the exit code. Arguments that a server refused as malformed count as invalid arguments.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Problem(problem) if problem["status"] == 400 => ExitCode::from(2),
            Self::Interrupted(signal) => ExitCode::from(signal.exit_code()),
            Self::Failed(_) | Self::Problem(_) => ExitCode::from(1),
        }
    }
}
