//! The headers of a call, parsed into types; `session_sources` reads its session. An invalid header is refused with its name,
//! its value and the allowed values. Pure.

use super::{
    call_header::{CallHeader, parsed},
    refusal::Refusal,
    session_sources::SessionSources,
};
use crate::{Call, Pool, config::duration};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use herder_actors::{Affinity, IfAbsent, SessionId, traces::TraceContext};
use std::time::Duration;

static TIMEOUT: CallHeader = CallHeader::new("Herder-Timeout", HeaderName::from_static("herder-timeout"));
static IDEMPOTENT: CallHeader = CallHeader::new("Herder-Idempotent", HeaderName::from_static("herder-idempotent"));
static IDLE_TIMEOUT: CallHeader =
    CallHeader::new("Herder-Idle-Timeout", HeaderName::from_static("herder-idle-timeout"));
static IF_ABSENT: CallHeader = CallHeader::new("Herder-If-Absent", HeaderName::from_static("herder-if-absent"));
static AFFINITY: CallHeader = CallHeader::new("Herder-Affinity", HeaderName::from_static("herder-affinity"));
/// The headers besides those that name the session.
static OTHERS: [&CallHeader; 5] = [&TIMEOUT, &IDLE_TIMEOUT, &IDEMPOTENT, &IF_ABSENT, &AFFINITY];

/// The headers of W3C Trace Context.
pub(super) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

const ANY_TIMEOUT: &str = "one duration greater than 0s and at most 365 days, such as \"250ms\", \"30s\", \"5m\"";
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The options of a call from its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    session: Option<SessionId>,
    timeout: Option<Duration>,
    idle: Option<Duration>,
    idempotent: Option<bool>,
    if_absent: Option<IfAbsent>,
    affinity: Option<Affinity>,
}

impl Options {
    /// Reads the headers. `has_affinity`: whether the pool routes by session ([`SessionSources::read`]).
    pub(super) fn read(headers: &HeaderMap, sessions: &SessionSources, has_affinity: bool) -> Result<Self, Refusal> {
        // Names of headers are in lower case here, whatever the client sent.
        let mut ours = headers.keys().filter(|key| key.as_str().starts_with("herder-") && key.as_str().len() > 7);
        let mut options = match ours.next() {
            // Most calls end here, so that no header is looked up.
            None if sessions.is_default() => return Ok(Self::default()),
            None => Self::default(),
            Some(first) => {
                check_known(std::iter::once(first).chain(ours), sessions)?;
                Self::of_a_call(headers)?
            }
        };
        options.session = sessions.read(headers, has_affinity)?;
        options.of_a_session(headers, sessions)
    }

    fn of_a_call(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            session: None,
            timeout: parsed(headers, &TIMEOUT, ANY_TIMEOUT, timeout)?,
            idle: parsed(headers, &IDLE_TIMEOUT, ANY_TIMEOUT, timeout)?,
            idempotent: parsed(headers, &IDEMPOTENT, "true, false", |text| text.parse().ok())?,
            if_absent: parsed(headers, &IF_ABSENT, "create, reject", if_absent)?,
            affinity: parsed(headers, &AFFINITY, "strict_queue, hint, strict_fail_fast", affinity)?,
        })
    }

    /// Refuses headers that have no effect without a session, if there is none.
    fn of_a_session(self, headers: &HeaderMap, sessions: &SessionSources) -> Result<Self, Refusal> {
        let needs_session = [(&IF_ABSENT, self.if_absent.is_some()), (&AFFINITY, self.affinity.is_some())];
        match needs_session.into_iter().find(|(_, given)| *given && self.session.is_none()) {
            Some((header, _)) => {
                let value =
                    headers.get(&header.key).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
                Err(Refusal::BadHeader {
                    name: header.name.clone().into_owned(),
                    value: value.unwrap_or_default(),
                    allowed: if sessions.is_default() {
                        "only together with Herder-Session"
                    } else {
                        "only together with a session"
                    },
                })
            }
            None => Ok(self),
        }
    }

    /// Returns the call's timeout, if it is set.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Refuses a header that has no effect without a stream, if the client takes none.
    pub(super) fn check_stream(&self, is_stream: bool) -> Result<(), Refusal> {
        match self.idle.filter(|_| !is_stream) {
            Some(idle) => Err(Refusal::BadHeader {
                name: IDLE_TIMEOUT.name.clone().into_owned(),
                value: duration::show(idle),
                allowed: "only together with `Accept: text/event-stream` or `Accept: application/x-ndjson`",
            }),
            None => Ok(()),
        }
    }

    /// Returns whether a stream has a deadline for the whole: by default, unless only the time between its items is limited.
    pub(super) fn limits_all(&self) -> bool {
        self.timeout.is_some() || self.idle.is_none()
    }

    /// Applies the options to a call, except for the timeout: a part of that has already passed.
    pub(super) fn apply<T>(self, mut call: Call<T>) -> Call<T> {
        let Self { session, timeout: _, idle, idempotent, if_absent, affinity } = self;
        if let Some(idle) = idle {
            call = call.idle(idle);
        }
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
    let parent = headers.get(&TRACE_PARENT);
    if let Some(parent) = parent {
        call = forward_trace(headers, parent, names, call);
    }
    if names.is_empty() {
        return call;
    }
    let is_of_trace = |name: &HeaderName| parent.is_some() && (*name == TRACE_PARENT || *name == TRACE_STATE);
    let is_forwarded = |name: &HeaderName| names.iter().any(|each| **each == *name.as_str()) && !is_of_trace(name);
    for (name, value) in headers.iter().filter(|(name, _)| is_forwarded(name)) {
        call = call.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    call
}

/// Adds the headers of the trace to a call. If they are not valid, no trace goes on, and they are headers like others: `names` has
/// those that the pool forwards.
fn forward_trace<T>(headers: &HeaderMap, parent: &HeaderValue, names: &[Box<str>], mut call: Call<T>) -> Call<T> {
    let parent = String::from_utf8_lossy(parent.as_bytes());
    let is_valid = TraceContext::parse(&parent, None).is_some() && headers.get_all(&TRACE_PARENT).count() == 1;
    let is_forwarded = |name: &HeaderName| is_valid || names.iter().any(|each| **each == *name.as_str());
    for name in [&TRACE_PARENT, &TRACE_STATE].into_iter().filter(|name| is_forwarded(name)) {
        for value in headers.get_all(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            // The pool would refuse the call. A trace is no reason for that.
            if is_valid && value.chars().any(|char| char.is_control() && char != '\t') {
                continue;
            }
            call = call.header(name.as_str(), &value);
        }
    }
    call
}

/// Refuses an unknown `Herder-` header: a misspelled `Herder-Session` would run the call without its session.
fn check_known<'a>(mut ours: impl Iterator<Item = &'a HeaderName>, sessions: &SessionSources) -> Result<(), Refusal> {
    let known = |key: &HeaderName| sessions.has_header(key) || OTHERS.iter().any(|known| known.key == *key);
    match ours.find(|key| !known(key)) {
        Some(name) => {
            let known: Vec<_> = sessions.header_names().chain(OTHERS.iter().map(|header| &*header.name)).collect();
            Err(Refusal::UnknownHeader { name: name.as_str().into(), known: known.join(", ") })
        }
        None => Ok(()),
    }
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
        Options::read(&map, &SessionSources::default(), true).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn every_header_is_read() {
        let options = read(&[
            ("Herder-Session", "änn"),
            (&*TIMEOUT.name, "1m 30s"),
            (&*IDLE_TIMEOUT.name, "5s"),
            (&*IDEMPOTENT.name, "true"),
            (&*IF_ABSENT.name, "reject"),
            (&*AFFINITY.name, "strict_fail_fast"),
        ]);
        let expected = Options {
            session: SessionId::new("änn").ok(),
            timeout: Some(Duration::from_secs(90)),
            idle: Some(Duration::from_secs(5)),
            idempotent: Some(true),
            if_absent: Some(IfAbsent::Reject),
            affinity: Some(Affinity::StrictFailFast),
        };
        assert_eq!(options, Ok(expected));
        assert_eq!(read(&[("Accept", "*/*")]), Ok(Options::default()));
    }

    /// A server whose sessions come only from another header refuses `Herder-Session`: otherwise a client could choose a
    /// session that its proxy did not set.
    #[test]
    fn only_the_configured_headers_name_the_session() {
        let mut sessions = SessionSources::default();
        sessions.set_headers(["X-Session-Id".parse().unwrap()]);
        let read = |name: &'static str, more: Option<&'static str>| {
            let mut map = HeaderMap::new();
            for name in std::iter::once(name).chain(more) {
                map.append(HeaderName::from_static(name), HeaderValue::from_static("hint"));
            }
            Options::read(&map, &sessions, true).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(read("x-session-id", None).unwrap().session, SessionId::new("hint").ok());
        assert!(read("x-session-id", Some("herder-affinity")).unwrap().affinity.is_some());
        let alone = read("herder-affinity", None).unwrap_err();
        assert_eq!(alone, "the header `Herder-Affinity` is \"hint\"; allowed: only together with a session");
        let other = read("herder-session", None).unwrap_err();
        assert!(
            other.starts_with("unknown header `herder-session`; allowed: X-Session-Id, Herder-Timeout, "),
            "{other}"
        );
    }

    #[test]
    fn bad_values_are_refused_with_the_allowed_ones() {
        let cases = [
            (
                vec![(&*TIMEOUT.name, "5")],
                r#"the header `Herder-Timeout` is "5"; allowed: one duration greater than 0s "#,
            ),
            (vec![(&*TIMEOUT.name, "0s")], r#"the header `Herder-Timeout` is "0s"; allowed: "#),
            (vec![(&*TIMEOUT.name, "366d")], r#"the header `Herder-Timeout` is "366d"; allowed: "#),
            (vec![(&*IDEMPOTENT.name, "yes")], r#"the header `Herder-Idempotent` is "yes"; allowed: true, false"#),
            (
                vec![("Herder-Session", "")],
                r#"the header `Herder-Session` is ""; allowed: one value of 1 to 256 bytes"#,
            ),
            (
                vec![("Herder-Session", "a"), ("Herder-Session", "b")],
                r#"the header `Herder-Session` is "a, b"; allowed: one value of 1 to 256 bytes"#,
            ),
            (
                vec![("Herder-Session", "a"), (&*IF_ABSENT.name, "maybe")],
                r#"the header `Herder-If-Absent` is "maybe"; allowed: create, reject"#,
            ),
            (
                vec![("Herder-Session", "a"), (&*AFFINITY.name, "Hint")],
                r#"the header `Herder-Affinity` is "Hint"; allowed: strict_queue, hint, "#,
            ),
            (
                vec![(&*AFFINITY.name, "hint")],
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
