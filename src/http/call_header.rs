//! A header of a call, and the value that a request gives it. Pure.

use super::refusal::Refusal;
use actix_web::http::header::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// A header of a call.
#[derive(Clone, Debug)]
pub(super) struct CallHeader {
    /// The name in errors.
    pub(super) name: Cow<'static, str>,
    /// The name for lookups.
    pub(super) key: HeaderName,
}

impl CallHeader {
    pub(super) const fn new(name: &'static str, key: HeaderName) -> Self {
        Self { name: Cow::Borrowed(name), key }
    }
}

/// Parses the value of a header. A header that occurs twice is refused, since it is unclear which one is meant.
pub(super) fn parsed<T>(
    headers: &HeaderMap,
    header: &CallHeader,
    allowed: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let mut given = headers.get_all(&header.key).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(first) = given.next() else { return Ok(None) };
    let second = given.next();
    let value = parse(&first).filter(|_| second.is_none() && !first.contains('\u{fffd}'));
    value.map(Some).ok_or_else(|| {
        let all: Vec<_> = std::iter::once(first).chain(second).chain(given).collect();
        Refusal::BadHeader { name: header.name.clone().into_owned(), value: all.join(", "), allowed }
    })
}
