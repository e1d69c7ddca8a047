//! Errors of commands, and the exit codes: 0 is success, 1 failure, 2 invalid arguments or configuration, 128 and above a
//! signal.

use std::{fmt::Display, process::ExitCode};

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

    /// Returns what happened, without the details of a problem document.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Usage(text) | Self::Failed(text) => text,
            Self::Problem(problem) => problem["detail"].as_str().unwrap_or("an error without details").to_owned(),
            Self::Interrupted(signal) => signal.name().to_owned(),
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

/// A signal that stops a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndSignal {
    Interrupt,
    Terminate,
    /// Its terminal was closed.
    Hangup,
    Quit,
}

impl EndSignal {
    /// Returns the exit code by which shells recognize the signal.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Hangup => 129,
            Self::Quit => 131,
        }
    }

    /// Returns the name of the signal.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Quit => "SIGQUIT",
        }
    }
}
