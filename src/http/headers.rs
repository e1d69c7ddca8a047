//! The headers of a call, parsed into types. An invalid header is refused with its name, its value and the allowed
//! values. Pure.

use super::refusal::Refusal;
use crate::{Call, Pool, config::duration};
use actix_web::http::header::{HeaderMap, HeaderName};
use herder_actors::{Affinity, IfAbsent, SessionId};
use std::time::Duration;

/// A header of a call.
#[derive(Debug)]
struct CallHeader {
    name: &'static str,
    /// The name for lookups.
    key: HeaderName,
}

static SESSION: CallHeader = CallHeader { name: "Herder-Session", key: HeaderName::from_static("herder-session") };
static TIMEOUT: CallHeader = CallHeader { name: "Herder-Timeout", key: HeaderName::from_static("herder-timeout") };
static IDEMPOTENT: CallHeader =
    CallHeader { name: "Herder-Idempotent", key: HeaderName::from_static("herder-idempotent") };
static IF_ABSENT: CallHeader =
    CallHeader { name: "Herder-If-Absent", key: HeaderName::from_static("herder-if-absent") };
static AFFINITY: CallHeader = CallHeader { name: "Herder-Affinity", key: HeaderName::from_static("herder-affinity") };
static ALL: [&CallHeader; 5] = [&SESSION, &TIMEOUT, &IDEMPOTENT, &IF_ABSENT, &AFFINITY];

const ANY_SESSION: &str = "one value of 1 to 256 bytes of UTF-8 without control characters";
const ANY_TIMEOUT: &str = "one duration greater than 0s and at most 365 days, such as \"250ms\", \"30s\", \"5m\"";
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The options of a call from its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    session: Option<SessionId>,
    timeout: Option<Duration>,
    idempotent: Option<bool>,
    if_absent: Option<IfAbsent>,
    affinity: Option<Affinity>,
}

impl Options {
    /// Reads the headers. An unknown `Herder-` header is refused: a misspelled `Herder-Session` would run the call
    /// without its session.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        // Names of headers are in lower case here, whatever the client sent.
        let mut ours = headers.keys().filter(|key| key.as_str().starts_with("herder-") && key.as_str().len() > 7);
        let Some(first) = ours.next() else { return Ok(Self::default()) };
        let known = |key: &HeaderName| ALL.iter().any(|known| known.key == *key);
        if let Some(name) = std::iter::once(first).chain(ours).find(|key| !known(key)) {
            let known = ALL.map(|header| header.name).join(", ");
            return Err(Refusal::UnknownHeader { name: name.as_str().into(), known });
        }
        let options = Self {
            session: parsed(headers, &SESSION, ANY_SESSION, |text| SessionId::new(text).ok())?,
            timeout: parsed(headers, &TIMEOUT, ANY_TIMEOUT, timeout)?,
            idempotent: parsed(headers, &IDEMPOTENT, "true, false", |text| text.parse().ok())?,
            if_absent: parsed(headers, &IF_ABSENT, "create, reject", if_absent)?,
            affinity: parsed(headers, &AFFINITY, "strict_queue, hint, strict_fail_fast", affinity)?,
        };
        options.of_a_session(headers)
    }

    /// Refuses headers that have no effect without a session, if there is none.
    fn of_a_session(self, headers: &HeaderMap) -> Result<Self, Refusal> {
        let needs_session = [(&IF_ABSENT, self.if_absent.is_some()), (&AFFINITY, self.affinity.is_some())];
        match needs_session.into_iter().find(|(_, given)| *given && self.session.is_none()) {
            Some((header, _)) => {
                let value =
                    headers.get(&header.key).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                Err(Refusal::BadHeader {
                    name: header.name,
                    value: value.unwrap_or_default(),
                    allowed: "only together with Herder-Session",
                })
            }
            None => Ok(self),
        }
    }

    /// Returns the call's timeout, if it is set.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Applies the options to a call, except for the timeout: a part of that has already passed.
    pub(super) fn apply<T>(self, mut call: Call<T>) -> Call<T> {
        let Self { session, timeout: _, idempotent, if_absent, affinity } = self;
        if let Some(session) = session {
            call = call.session(session.as_str());
        }
        if let Some(idempotent) = idempotent {
            call = call.idempotent(idempotent);
        }
        if let Some(if_absent) = if_absent {
            call = call.if_absent(if_absent);
        }
        match affinity {
            Some(affinity) => call.affinity(affinity),
            None => call,
        }
    }
}

/// Adds the headers that the pool forwards to a call. Allocates nothing for the others.
pub(super) fn forward<T>(headers: &HeaderMap, pool: &Pool, mut call: Call<T>) -> Call<T> {
    let names = pool.config().forward_headers();
    if names.is_empty() {
        return call;
    }
    for (name, value) in headers.iter().filter(|(name, _)| names.iter().any(|each| **each == *name.as_str())) {
        call = call.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    call
}

/// Parses the value of a header. A header that occurs twice is refused, since it is unclear which one is meant.
fn parsed<T>(
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
        Refusal::BadHeader { name: header.name, value: all.join(", "), allowed }
    })
}

fn timeout(text: &str) -> Option<Duration> {
    duration::parse(text).ok().filter(|span| !span.is_zero() && *span <= LONGEST)
}

fn if_absent(text: &str) -> Option<IfAbsent> {
    match text {
        "create" => Some(IfAbsent::Create),
        "reject" => Some(IfAbsent::Reject),
        _ => None,
    }
}

fn affinity(text: &str) -> Option<Affinity> {
    match text {
        "strict_queue" => Some(Affinity::StrictQueue),
        "hint" => Some(Affinity::Hint),
        "strict_fail_fast" => Some(Affinity::StrictFailFast),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn read(headers: &[(&str, &str)]) -> Result<Options, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                name.to_lowercase().parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        Options::read(&map).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn every_header_is_read() {
        let options = read(&[
            (SESSION.name, "änn"),
            (TIMEOUT.name, "1m 30s"),
            (IDEMPOTENT.name, "true"),
            (IF_ABSENT.name, "reject"),
            (AFFINITY.name, "strict_fail_fast"),
        ]);
        let expected = Options {
            session: SessionId::new("änn").ok(),
            timeout: Some(Duration::from_secs(90)),
            idempotent: Some(true),
            if_absent: Some(IfAbsent::Reject),
            affinity: Some(Affinity::StrictFailFast),
        };
        assert_eq!(options, Ok(expected));
        assert_eq!(read(&[("Accept", "*/*")]), Ok(Options::default()));
    }

    #[test]
    fn bad_values_are_refused_with_the_allowed_ones() {
        let cases = [
            (
                vec![(TIMEOUT.name, "5")],
                r#"the header `Herder-Timeout` is "5"; allowed: one duration greater than 0s "#,
            ),
            (vec![(TIMEOUT.name, "0s")], r#"the header `Herder-Timeout` is "0s"; allowed: "#),
            (vec![(TIMEOUT.name, "366d")], r#"the header `Herder-Timeout` is "366d"; allowed: "#),
            (vec![(IDEMPOTENT.name, "yes")], r#"the header `Herder-Idempotent` is "yes"; allowed: true, false"#),
            (vec![(SESSION.name, "")], r#"the header `Herder-Session` is ""; allowed: one value of 1 to 256 bytes"#),
            (
                vec![(SESSION.name, "a"), (SESSION.name, "b")],
                r#"the header `Herder-Session` is "a, b"; allowed: one value of 1 to 256 bytes"#,
            ),
            (
                vec![(SESSION.name, "a"), (IF_ABSENT.name, "maybe")],
                r#"the header `Herder-If-Absent` is "maybe"; allowed: create, reject"#,
            ),
            (
                vec![(SESSION.name, "a"), (AFFINITY.name, "Hint")],
                r#"the header `Herder-Affinity` is "Hint"; allowed: strict_queue, hint, "#,
            ),
            (
                vec![(AFFINITY.name, "hint")],
                r#"the header `Herder-Affinity` is "hint"; allowed: only together with Herder-Session"#,
            ),
            (vec![("Herder-Sesion", "a")], "unknown header `herder-sesion`; allowed: Herder-Session, Herder-Timeout, "),
        ];
        for (headers, expected) in cases {
            let refusal = read(&headers).expect_err(expected);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
