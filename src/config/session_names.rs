//! The names of the headers and of the cookie from which the server reads the session of a call. Pure data.

use std::str::FromStr;

/// What [`SessionHeader`] allows.
pub(super) const HEADERS: &str = "the name of a header, or a list of 1 to 8 different names, such as [\"Herder-Session\", \
                                  \"X-Session-Id\"]; no other name that begins with `Herder-`, and no standard header";
/// What [`SessionCookie`] allows.
pub(super) const COOKIE: &str = "the name of a cookie: 1 to 64 letters, digits or any of !#$%&'*+-.^_`|~";
/// The header that `herder call` and other clients of Herder send.
const DEFAULT: &str = "Herder-Session";
/// Headers that mean something else.
const STANDARD: [&str; 10] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "origin",
    "transfer-encoding",
];

/// The name of a header whose value is the session of a call. The case of letters does not count.
///
/// ```
/// use herder::config::SessionHeader;
/// let header: SessionHeader = "X-Session-Id".parse().unwrap();
/// assert_eq!(header.as_str(), "X-Session-Id");
/// for other in ["", "two words", "Herder-Timeout", "Cookie"] {
///     assert!(other.parse::<SessionHeader>().is_err(), "{other}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHeader(String);

/// The name of a cookie whose value is the session of a call. The case of letters counts.
///
/// ```
/// use herder::config::SessionCookie;
/// let cookie: SessionCookie = "sid".parse().unwrap();
/// assert_eq!(cookie.as_str(), "sid");
/// assert!("a=b".parse::<SessionCookie>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie(String);

/// The error for a name that cannot be that of a header or cookie with a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is invalid; allowed: {allowed}")]
pub struct InvalidSessionName {
    given: String,
    allowed: &'static str,
}

impl SessionHeader {
    /// Returns the name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SessionHeader {
    /// `Herder-Session`.
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl FromStr for SessionHeader {
    type Err = InvalidSessionName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let is_other =
            STANDARD.contains(&lower.as_str()) || lower.starts_with("herder-") && !text.eq_ignore_ascii_case(DEFAULT);
        if is_token(text) && !is_other {
            return Ok(Self(text.into()));
        }
        Err(InvalidSessionName { given: text.into(), allowed: HEADERS })
    }
}

impl SessionCookie {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionCookie {
    type Err = InvalidSessionName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_token(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidSessionName { given: text.into(), allowed: COOKIE })
        }
    }
}

/// Returns whether the text is a `token` of RFC 9110, of at most 64 characters.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_part)
}
