//! How a scripted command fails. Plain data.

use herder_core::ExitStatus;
use herder_wire::{RejectionData, WorkerError, WorkerErrorKind};
use serde_json::Value;

/// Why a scripted command returns no value.
///
/// ```
/// # use herder_actors::testing::{Fault, Script};
///
/// let script = Script::new().command("sell", async |call| match call.argument::<String>("item")?.as_str() {
///     "tea" => Ok("sold".into()),
///     "tar" => Err(Fault::rejected("we have none").code("unknown_item")), // Error::Rejected, with the code
///     "bug" => Err(Fault::raised("KeyError", "'bug'")),                   // Error::Exception
///     "exit" => Err(Fault::exit(3)),                                      // Error::WorkerLost: the process exits
///     "crash" => Err(Fault::killed(11)),                                  // Error::WorkerLost: killed by a signal
///     _ => Err(Fault::garbage(*b"no frame")),                             // Error::WorkerLost: protocol violation
/// });
/// # drop(script);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The worker answers with this error.
    Error(Box<WorkerError>),
    /// The process ends with this status.
    Ends(ExitStatus),
    /// The worker sends these bytes instead of an answer.
    Bytes(Vec<u8>),
}

impl Fault {
    /// The handler raises an exception of this type, such as `KeyError`.
    pub fn raised(type_name: &str, message: &str) -> Self {
        let error = WorkerError::new(WorkerErrorKind::Exception, message);
        Self(Kind::Error(Box::new(WorkerError { type_name: Some(type_name.into()), ..error })))
    }

    /// The handler rejects the call.
    pub fn rejected(message: &str) -> Self {
        Self(Kind::Error(Box::new(WorkerError::new(WorkerErrorKind::Rejected, message))))
    }

    /// The arguments do not match the handler's parameters.
    pub fn bad_arguments(message: &str) -> Self {
        Self(Kind::Error(Box::new(WorkerError::new(WorkerErrorKind::BadArguments, message))))
    }

    /// Adds a code to the error, which callers can check.
    #[must_use]
    pub fn code(mut self, code: &str) -> Self {
        if let Kind::Error(error) = &mut self.0 {
            error.code = Some(code.into());
        }
        self
    }

    /// Adds data to a rejection: JSON of at most 64 KiB. Null, and what is longer, count as none, as from a real worker.
    #[must_use]
    pub fn data(mut self, data: &Value) -> Self {
        if let Kind::Error(error) = &mut self.0 {
            error.data = RejectionData::new(data).unwrap_or_default(); // a `Value` can be encoded
        }
        self
    }

    /// Sets the status of a rejection over HTTP, from 400 to 499.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        if let Kind::Error(error) = &mut self.0 {
            error.status = Some(status);
        }
        self
    }

    /// The process exits with this code during the call.
    pub fn exit(code: i32) -> Self {
        Self(Kind::Ends(ExitStatus::Code(code)))
    }

    /// The process is killed by this signal during the call: 9, or 11 for a crash in C code.
    pub fn killed(signal: i32) -> Self {
        Self(Kind::Ends(ExitStatus::Signal(signal)))
    }

    /// The worker violates the protocol: it sends these bytes instead of an answer.
    pub fn garbage(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}
