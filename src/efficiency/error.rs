//! Errors of measurements.

use herder_actors::{Category, Error, InvalidConfig};
use herder_efficiency::concurrency::{AccountError, InvalidOperation};

/// The reason why nothing was measured.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MeasureError {
    /// The pool could not be started, or has ended.
    #[error(transparent)]
    Pool(#[from] Error),
    /// The pool's configuration is invalid for the measured pool size.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The arguments do not encode as an object.
    #[error("the arguments are invalid: {0}")]
    Arguments(String),
    /// All calls failed.
    #[error("none of {calls} calls succeeded; first error: {first}")]
    AllFailed {
        /// The number of calls.
        calls: usize,
        /// The error of the first call.
        first: Box<Error>,
    },
    /// The worker's stamps are unusable.
    #[error(transparent)]
    Stamps(#[from] InvalidOperation),
    /// There was nothing to measure.
    #[error(transparent)]
    Nothing(#[from] AccountError),
}

impl MeasureError {
    /// Returns the category of the error.
    pub fn category(&self) -> Category {
        match self {
            Self::Pool(error) => error.category(),
            Self::AllFailed { first, .. } => first.category(),
            Self::Config(_) | Self::Arguments(_) | Self::Nothing(_) => Category::Python,
            Self::Stamps(_) => Category::Communication,
        }
    }

    /// Returns whether the same measurement may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Pool(error) => error.is_retryable(),
            Self::AllFailed { first, .. } => first.is_retryable(),
            Self::Config(_) | Self::Arguments(_) | Self::Stamps(_) | Self::Nothing(_) => false,
        }
    }
}
