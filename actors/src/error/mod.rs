//! The public error: what went wrong with a call or a pool, and what to do about it.
//!
//! Plain data. [`Error`] is in `kinds`; its fields beside the kind are in `exit`, `attempts` and `id`. The fixed properties
//! of each kind are in `table`, the queries for programs in `properties`; `text`, `problem_details`, `log` and `http` (feature
//! `http`) are its output formats. The errors of the core are converted in `shared_state/errors.rs`.

mod attempts;
mod exit;
#[cfg(feature = "http")]
mod http;
mod id;
mod kinds;
mod log;
mod problem_details;
mod properties;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use attempts::{Attempt, Attempts};
pub use exit::ExitReport;
pub use herder_core::{Category, Decision, Incident, Severity, Strategy, decide};
#[cfg(feature = "http")]
pub use http::set_error_detail;
pub use id::ErrorId;
pub use kinds::{Cause, Error, Result};
pub use problem_details::{AttemptProblemDetails, ErrorDetail, InvalidErrorDetail, ProblemDetails};

pub(crate) use exit::{ExitCause, ExitRecord, loss_reason, status_parts};
pub(crate) use kinds::{counted, whole_ms, whole_seconds};
pub(crate) use properties::FailureKind;
