//! The error a worker answers with. Holds no state.

use serde::{Deserialize, Serialize};

/// What went wrong in a worker, as it tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerError {
    /// What kind of error it is.
    pub kind: WorkerErrorKind,
    /// What a human should read.
    pub message: String,
    /// The exception's type, as in `KeyError`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// The code of a deliberate no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The stack, as text of many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
}

impl WorkerError {
    /// An error with nothing but its kind and message.
    pub fn new(kind: WorkerErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), type_name: None, code: None, traceback: None }
    }
}

/// The kinds of errors. One that a later version added counts as an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerErrorKind {
    /// The handler said no on purpose.
    Rejected,
    /// There is no such command.
    UnknownCommand,
    /// The arguments do not fit the handler.
    BadArguments,
    /// The payload is not valid JSON, or is not an object.
    Malformed,
    /// The result can't be encoded as JSON.
    Unencodable,
    /// The call was cancelled or interrupted.
    Cancelled,
    /// The encoded result is larger than a frame may be.
    TooLarge,
    /// The application could not be loaded.
    StartFailed,
    /// The handler raised; also every kind this version does not know.
    #[serde(other)]
    Exception,
}
