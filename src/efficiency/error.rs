//! Why nothing was measured.

use crate::{
    Category, Error, InvalidConfig,
    concurrency::{AccountError, InvalidOperation},
};

/// Why nothing was measured.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MeasureError {
    /// The pool could not be started, or is gone.
    #[error(transparent)]
    Pool(#[from] Error),
    /// The pool's configuration can't be had in the size that is to be measured.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The arguments don't encode as an object.
    #[error("the arguments are invalid: {0}")]
    Arguments(String),
    /// Not one call succeeded.
    #[error("none of {calls} calls succeeded; first error: {first}")]
    AllFailed {
        /// How many were made.
        calls: usize,
        /// The first one's error.
        first: Box<Error>,
    },
    /// The worker's stamps can't be used.
    #[error(transparent)]
    Stamps(#[from] InvalidOperation),
    /// There was nothing to measure.
    #[error(transparent)]
    Nothing(#[from] AccountError),
}

impl MeasureError {
    /// What kind of failure it is.
    pub fn category(&self) -> Category {
        match self {
            Self::Pool(error) => error.category(),
            Self::AllFailed { first, .. } => first.category(),
            Self::Config(_) | Self::Arguments(_) | Self::Nothing(_) => Category::Python,
            Self::Stamps(_) => Category::Communication,
        }
    }

    /// Whether the same measurement may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Pool(error) => error.is_retryable(),
            Self::AllFailed { first, .. } => first.is_retryable(),
            Self::Config(_) | Self::Arguments(_) | Self::Stamps(_) | Self::Nothing(_) => false,
        }
    }
}
