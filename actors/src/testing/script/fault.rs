//! What a scripted command does instead of giving a value. Plain data.

use crate::testing::{
    ExitStatus,
    wire::{WorkerError, WorkerErrorKind},
};

/// Why a command of a script gives no value.
///
/// ```
/// use herder_actors::testing::{Fault, Script};
///
/// let script = Script::new().command("sell", async |call| match call.argument::<String>("item")?.as_str() {
///     "tea" => Ok("sold".into()),
///     "tar" => Err(Fault::rejected("we have none").code("unknown_item")), // Error::Rejected, with the code
///     "bug" => Err(Fault::raised("KeyError", "'bug'")),                   // Error::Exception
///     "exit" => Err(Fault::exit(3)),                                      // Error::WorkerLost, as of a process that ended
///     "crash" => Err(Fault::killed(11)),
///     _ => Err(Fault::garbage(*b"no frame")),                             // the same, for a broken protocol
/// });
/// # drop(script);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The worker answers with this error, and lives on.
    Error(WorkerError),
    /// The process ends.
    Ends(ExitStatus),
    /// These bytes come in place of an answer.
    Bytes(Vec<u8>),
}

impl Fault {
    /// The handler raised an exception of this type, as in `KeyError`.
    pub fn raised(type_name: &str, message: &str) -> Self {
        let error = WorkerError::new(WorkerErrorKind::Exception, message);
        Self(Kind::Error(WorkerError { type_name: Some(type_name.into()), ..error }))
    }

    /// The handler said no on purpose.
    pub fn rejected(message: &str) -> Self {
        Self(Kind::Error(WorkerError::new(WorkerErrorKind::Rejected, message)))
    }

    /// The arguments do not fit.
    pub fn bad_arguments(message: &str) -> Self {
        Self(Kind::Error(WorkerError::new(WorkerErrorKind::BadArguments, message)))
    }

    /// The same error with a code that callers can tell it by.
    #[must_use]
    pub fn code(mut self, code: &str) -> Self {
        if let Kind::Error(error) = &mut self.0 {
            error.code = Some(code.into());
        }
        self
    }

    /// The process exits in the middle of the call, with this code.
    pub fn exit(code: i32) -> Self {
        Self(Kind::Ends(ExitStatus::Code(code)))
    }

    /// The process is killed in the middle of the call, by this signal: 9, or 11 for a crash in C code.
    pub fn killed(signal: i32) -> Self {
        Self(Kind::Ends(ExitStatus::Signal(signal)))
    }

    /// The worker breaks the protocol: these bytes come in place of an answer.
    pub fn garbage(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}
