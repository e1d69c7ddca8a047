//! How a command fails: what is told on standard error, and the exit code. 0 is a success, 1 a failure, 2 a mistake in the
//! arguments or in the configuration, 128 and more a signal.

use crate::{logs, signals::EndSignal};
use anstream::{AutoStream, ColorChoice};
use std::{fmt::Display, io, process::ExitCode};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The arguments, or the configuration, are wrong.
    Usage(String),
    /// It did not work.
    Failed(String),
    /// A call was answered with this problem.
    Problem(serde_json::Value),
    /// A signal ended it, in order.
    Interrupted(EndSignal),
}

/// What a command gives.
pub(crate) type Outcome<T = ()> = Result<T, CommandError>;

impl CommandError {
    /// The arguments, or the configuration, are wrong.
    pub(crate) fn usage(what: impl Display) -> Self {
        Self::Usage(what.to_string())
    }

    /// It did not work.
    pub(crate) fn failed(what: impl Display) -> Self {
        Self::Failed(what.to_string())
    }

    /// Says it on standard error, in colour only on a terminal. Never panics.
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

    /// Its exit code. Arguments that a server called malformed are a mistake in the arguments as well.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Problem(problem) if problem["status"] == 400 => ExitCode::from(2),
            Self::Interrupted(signal) => ExitCode::from(signal.exit_code()),
            Self::Failed(_) | Self::Problem(_) => ExitCode::from(1),
        }
    }
}
