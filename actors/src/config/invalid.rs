//! The error of an invalid configuration: key, value, and allowed values. It does not know where the value came from.

use std::fmt::Display;

/// An invalid setting: the key, the given value, and the allowed values.
///
/// The key is spelled as in TOML (`queue.limit`), which is also the path of builder methods (`queue`, then `limit`).
///
/// ```
/// # use herder_actors::PoolConfig;
/// let error = PoolConfig::basic("carts").app("carts.py:app").pool_size(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "`pool_size` is 0; allowed: 1 to 1024");
/// assert_eq!(error.key(), "pool_size");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {given}; allowed: {allowed}")]
pub struct InvalidConfig {
    key: &'static str,
    given: String,
    allowed: String,
}

impl InvalidConfig {
    /// Creates the error of this key: for readers of configurations whose checks concern several keys.
    pub fn new(key: &'static str, given: impl Display, allowed: impl Display) -> Self {
        Self { key, given: given.to_string(), allowed: allowed.to_string() }
    }

    /// Returns the path of the key, such as `queue.limit`; `name` for the pool's name.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// Returns the given value, or `not set`.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// Returns the allowed values.
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}
