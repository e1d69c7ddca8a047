//! Why a configuration is refused. Holds the three things a reader needs, and nothing of where the value came from.

use std::fmt::Display;

/// A setting that can't be: which key, what was given, and what is allowed.
///
/// The key is spelled as in TOML (`queue.limit`), which is also the path of builder methods (`queue`, then `limit`).
///
/// ```
/// use herder_actors::PoolConfig;
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
    /// A refusal of this key: for those who read configurations and find what no single key shows.
    pub fn new(key: &'static str, given: impl Display, allowed: impl Display) -> Self {
        Self { key, given: given.to_string(), allowed: allowed.to_string() }
    }

    /// The key's path, as in `queue.limit`; `name` for the pool's name.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// The value that was given, or `not set`.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What is allowed there.
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}
