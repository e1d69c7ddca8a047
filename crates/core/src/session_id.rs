//! The id of a session. Short ids, UUIDs among them, are stored inline: a lookup among a million sessions follows no
//! pointer to the string, and the removal of a session frees no memory.

use serde::{Serialize, Serializer};
use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    num::NonZero,
    str::FromStr,
    sync::Arc,
};

/// The longest session id, in bytes of UTF-8.
pub const SESSION_ID_MAX: usize = 256;
/// The longest id that is stored inline, in bytes.
const INLINE: usize = 39;

/// The id of a session: 1 to 256 bytes of UTF-8 without control characters. Clones of an id longer than 39 bytes share
/// one string.
///
/// ```
/// # use herder_core::SessionId;
/// assert_eq!(SessionId::new("ann").unwrap().as_str(), "ann");
/// assert!(SessionId::new("").is_err());
/// ```
#[derive(Clone)]
pub struct SessionId(Repr);

#[derive(Clone)]
enum Repr {
    Short { len: NonZero<u8>, bytes: [u8; INLINE] },
    Long(Arc<str>),
}

/// The error for a string that is not a valid session id. States the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid session id: {0}; allowed: 1 to 256 bytes without control characters")]
pub struct InvalidSessionId(&'static str);

impl SessionId {
    /// Parses a session id.
    ///
    /// # Errors
    /// Returns [`InvalidSessionId`] if the string is empty, longer than [`SESSION_ID_MAX`] bytes, or contains control
    /// characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidSessionId> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(InvalidSessionId("it is empty"));
        }
        if text.len() > SESSION_ID_MAX {
            return Err(InvalidSessionId("it is longer than 256 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidSessionId("it contains control characters"));
        }
        Ok(Self(Repr::new(text)))
    }

    /// Returns the id as a string.
    pub fn as_str(&self) -> &str {
        // The bytes are those of a complete `str`, so they are valid UTF-8.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Returns the bytes of the string.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(len.get()).min(INLINE)],
            Repr::Long(text) => text.as_bytes(),
        }
    }
}

impl Repr {
    fn new(text: &str) -> Self {
        let len = u8::try_from(text.len()).ok().filter(|len| usize::from(*len) <= INLINE).and_then(NonZero::new);
        let Some(len) = len else { return Self::Long(text.into()) };
        let mut bytes = [0; INLINE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self::Short { len, bytes }
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl AsRef<[u8]> for SessionId {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Compares the strings. [`Borrow`] requires that equality, order and hash are those of the string.
impl PartialEq for SessionId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // The same, since the bytes after the string are zero. A comparison of all bytes needs no call.
            (Repr::Short { len, bytes }, Repr::Short { len: other_len, bytes: other_bytes }) => {
                len == other_len && bytes == other_bytes
            }
            _ => self.has_bytes_of(other),
        }
    }
}

impl SessionId {
    #[cold]
    fn has_bytes_of(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for SessionId {}

impl Ord for SessionId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for SessionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn session_ids_are_bounded_and_printable() {
        assert!(SessionId::new("ann@example.org ☕").is_ok());
        assert!(SessionId::new("x".repeat(256)).is_ok());
        assert!(SessionId::new("x".repeat(257)).is_err());
        assert!(SessionId::new("a\nb").is_err());
    }

    /// Equality, order and hash are those of the string, whether it is stored inline or not.
    #[test]
    fn ids_compare_and_hash_as_their_string() {
        let texts: Vec<String> = (1..=80).map(|n| "é".repeat(n)).chain((1..=50).map(|n| "a".repeat(n))).collect();
        let hasher = foldhash::quality::FixedState::with_seed(1);
        for text in &texts {
            let id = SessionId::new(text).unwrap();
            assert_eq!((id.as_str(), id.to_string().as_str()), (text.as_str(), text.as_str()));
            assert_eq!(hasher.hash_one(&id), hasher.hash_one(text.as_str()));
            for other in &texts {
                assert_eq!(id.cmp(&SessionId::new(other).unwrap()), text.cmp(other));
                assert_eq!(id == SessionId::new(other).unwrap(), text == other);
            }
        }
        assert_eq!(size_of::<SessionId>(), 40);
    }
}
