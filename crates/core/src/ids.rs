//! The identifiers, each a type of its own, so that a generation cannot be used where an epoch is required. All parsing
//! of identifiers is in this file.

use serde::Serialize;
use std::{fmt, str::FromStr, sync::Arc};

/// The maximum length of a pool name, in characters.
pub const POOL_NAME_MAX: usize = 64;

/// The name of a pool: 1 to 64 of `a-z`, `A-Z`, `0-9`, `_` and `-`, starting with a letter or digit.
///
/// The alphabet is small because the name becomes part of paths, of metric labels and of the registered name
/// `{pool}_session_affinity`.
///
/// ```
/// # use herder_core::PoolName;
/// assert_eq!("models".parse::<PoolName>().unwrap().as_str(), "models");
/// assert!("no spaces".parse::<PoolName>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PoolName(Arc<str>);

/// The error for a string that is not a valid pool name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a pool name; allowed: 1 to {POOL_NAME_MAX} letters, digits, `_` or `-`, starting with a letter or digit"
)]
pub struct InvalidPoolName(pub String);

impl PoolName {
    /// Returns the name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name under which the affinity actor of this pool is registered.
    pub fn affinity_name(&self) -> String {
        format!("{}_session_affinity", self.0)
    }
}

impl FromStr for PoolName {
    type Err = InvalidPoolName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.len() <= POOL_NAME_MAX && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if fits && plain { Ok(Self(text.into())) } else { Err(InvalidPoolName(text.into())) }
    }
}

/// The number of a slot in its pool, displayed as `w2`. Base workers have the ids 1 to `pool_size`; overflow workers
/// have the ids after those.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// The number of a process within its slot, from 1. A [`WorkerId`] and a generation together identify one process and
/// are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Generation(pub u32);

/// The identity of one process: its slot and its generation.
///
/// ```
/// # use herder_core::{Generation, WorkerId, WorkerRef};
/// let process = WorkerRef { id: WorkerId(2), generation: Generation(1) };
/// assert_eq!(process.to_string(), "w2.1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct WorkerRef {
    /// The slot.
    #[serde(rename = "worker")]
    pub id: WorkerId,
    /// The number of the process within its slot.
    pub generation: Generation,
}

/// The number of one life of a session's state. It rises whenever the state is lost or ended. State is keyed by session
/// and epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Epoch(pub u64);

/// The number of a call within its pool, in the order of admission.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct CallId(pub u64);

/// The id that the frames of one attempt carry. Each attempt has a new one; none is used twice in the life of a pool. 0
/// means no call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct WireId(pub u64);

/// A hash of a call's command and arguments: calls with equal commands and arguments have the same fingerprint.
/// Displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

/// The error for a string that is not a valid fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fingerprint; allowed: 16 hexadecimal digits")]
pub struct InvalidFingerprint(pub String);

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Fingerprint).ok_or_else(|| InvalidFingerprint(text.into()))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for WorkerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The error for a string that is not a valid worker id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a worker id; allowed: `w` and a number, such as `w2`")]
pub struct InvalidWorkerId(pub String);

impl FromStr for WorkerId {
    type Err = InvalidWorkerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix('w').and_then(|digits| digits.parse().ok());
        number.map(WorkerId).ok_or_else(|| InvalidWorkerId(text.into()))
    }
}

macro_rules! impl_display {
    ($($type:ident: $format:literal, $name:literal;)*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($name, "({})"), self)
            }
        }
    )*};
}

impl_display! {
    PoolName: "{}", "PoolName";
    WorkerId: "w{}", "WorkerId";
    Generation: "{}", "Generation";
    Epoch: "{}", "Epoch";
    CallId: "{}", "CallId";
    WireId: "{}", "WireId";
    Fingerprint: "{:016x}", "Fingerprint";
}

impl fmt::Display for WorkerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.generation)
    }
}

/// Identifies the row of a session until the session is removed. The key of a removed row finds nothing, even if the
/// row's number is in use again. Only the session table makes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowKey {
    pub(crate) index: u32,
    pub(crate) stamp: u32,
}

#[cfg(test)]
impl RowKey {
    /// Returns a key for tests that need no row.
    pub(crate) fn of(index: u32) -> Self {
        Self { index, stamp: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_names_outside_the_alphabet_are_rejected() {
        for good in ["a", "models", "V2-pool_1", "9lives"] {
            assert!(good.parse::<PoolName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn worker_ids_print_and_parse() {
        assert_eq!(WorkerId(7).to_string().parse(), Ok(WorkerId(7)));
        assert!("7".parse::<WorkerId>().is_err());
    }

    #[test]
    fn fingerprints_print_and_parse() {
        assert_eq!(Fingerprint(0xab).to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(Fingerprint(0xab)));
        for bad in ["", "ab", "+0000000000000ab", "00000000000000abc"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
