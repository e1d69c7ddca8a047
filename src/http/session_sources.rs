//! Reads the session of a call from the configured headers and the configured cookie. Holds only their names.

use super::{
    call_header::{CallHeader, parsed},
    refusal::Refusal,
};
use crate::config::{SessionCookie, SessionHeader};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use herder_actors::SessionId;

/// The header that pools of both types read.
pub(super) static SESSION: CallHeader = CallHeader::new("Herder-Session", HeaderName::from_static("herder-session"));
const ANY_SESSION: &str = "one value of 1 to 256 bytes of UTF-8 without control characters";

/// The names of the headers and of the cookie from which the session of a call is read.
#[derive(Clone, Debug)]
pub(super) struct SessionSources {
    headers: Vec<CallHeader>,
    cookie: Option<SessionCookie>,
}

impl Default for SessionSources {
    fn default() -> Self {
        Self { headers: vec![SESSION.clone()], cookie: None }
    }
}

impl SessionSources {
    pub(super) fn set_headers(&mut self, names: impl IntoIterator<Item = SessionHeader>) {
        let header = |name: SessionHeader| {
            let key = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
            Some(CallHeader { name: name.as_str().to_owned().into(), key })
        };
        self.headers = names.into_iter().filter_map(header).collect();
    }

    pub(super) fn set_cookie(&mut self, name: SessionCookie) {
        self.cookie = Some(name);
    }

    /// Returns whether a request without any `Herder-` header has no session.
    pub(super) fn is_default(&self) -> bool {
        self.cookie.is_none() && matches!(self.headers.as_slice(), [only] if only.key == SESSION.key)
    }

    /// Returns whether the session can be read from this header.
    pub(super) fn has_header(&self, key: &HeaderName) -> bool {
        self.headers.iter().any(|header| header.key == *key)
    }

    /// Returns the names of the headers, as they were configured.
    pub(super) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|header| &*header.name)
    }

    /// Returns the name of the header that clients are told to send.
    pub(super) fn first_header(&self) -> &str {
        self.header_names().next().unwrap_or(&SESSION.name)
    }

    /// Returns the session that the request names; refuses it if two sources name different sessions. Without session
    /// affinity, only `Herder-Session` is read: a cookie, or a header of a proxy, is sent to all pools alike, and pools
    /// without affinity do not have what they are for.
    pub(super) fn read(&self, headers: &HeaderMap, has_affinity: bool) -> Result<Option<SessionId>, Refusal> {
        let mut found = None;
        for header in self.headers.iter().filter(|header| has_affinity || header.key == SESSION.key) {
            if let Some(session) = parsed(headers, header, ANY_SESSION, |text| SessionId::new(text).ok())? {
                agree(&mut found, &header.name, session)?;
            }
        }
        if let Some(cookie) = self.cookie.as_ref().filter(|_| has_affinity) {
            for value in values(headers, cookie.as_str()) {
                agree(&mut found, "Cookie", session_of(cookie, value)?)?;
            }
        }
        Ok(found.map(|(_, session)| session))
    }
}

/// Keeps the first session, or refuses another one.
fn agree<'a>(found: &mut Option<(&'a str, SessionId)>, name: &'a str, session: SessionId) -> Result<(), Refusal> {
    match found {
        Some((first, earlier)) if *earlier != session => {
            Err(Refusal::SessionsDiffer { first: (*first).into(), second: name.into() })
        }
        Some(_) => Ok(()),
        None => {
            *found = Some((name, session));
            Ok(())
        }
    }
}

/// Returns the values of a cookie, without surrounding quotes. An empty value stands for no cookie.
fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let values = pairs.filter_map(move |pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let unquoted = values.map(|value| match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    });
    unquoted.filter(|value| !value.is_empty())
}

fn session_of(cookie: &SessionCookie, value: &[u8]) -> Result<SessionId, Refusal> {
    let session = std::str::from_utf8(value).ok().and_then(|text| SessionId::new(text).ok());
    session.ok_or_else(|| Refusal::BadHeader {
        name: "Cookie".into(),
        value: format!("{}={}", cookie.as_str(), String::from_utf8_lossy(value)),
        allowed: ANY_SESSION,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn read(sources: &SessionSources, headers: &[(&str, &str)], has_affinity: bool) -> Result<Option<String>, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.to_lowercase().parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let session = sources.read(&map, has_affinity).map_err(|refusal| refusal.to_string())?;
        Ok(session.map(|session| session.as_str().to_owned()))
    }

    fn sources() -> SessionSources {
        let mut sources = SessionSources::default();
        sources.set_headers(["Herder-Session", "X-Session-Id"].map(|name| name.parse().unwrap()));
        sources.set_cookie("sid".parse().unwrap());
        sources
    }

    #[test]
    fn the_session_is_read_from_headers_and_the_cookie() {
        let ann = Ok(Some("ann".to_owned()));
        for headers in [
            &[("Herder-Session", "ann")][..],
            &[("x-session-id", "ann")],
            &[("Cookie", "sid=ann")],
            &[("Cookie", "other=1; sid=\"ann\"; sid2=bob")],
            &[("Cookie", "sid=; xsid=bob"), ("Cookie", "sid=ann")],
            &[("X-Session-Id", "ann"), ("Cookie", "sid=ann"), ("Herder-Session", "ann")],
        ] {
            assert_eq!(read(&sources(), headers, true), ann, "{headers:?}");
        }
        for headers in [&[("Cookie", "sid=")][..], &[("Cookie", "SID=ann; sid; =")], &[("Accept", "*/*")], &[]] {
            assert_eq!(read(&sources(), headers, true), Ok(None), "{headers:?}");
        }
    }

    #[test]
    fn different_sessions_are_refused() {
        let refused = |headers: &[(&str, &str)]| read(&sources(), headers, true).unwrap_err();
        let two = refused(&[("Herder-Session", "ann"), ("X-Session-Id", "bob")]);
        assert!(two.starts_with("`Herder-Session` and `X-Session-Id` name different sessions"), "{two}");
        let cookie = refused(&[("X-Session-Id", "ann"), ("Cookie", "sid=bob")]);
        assert!(cookie.starts_with("`X-Session-Id` and `Cookie` name different sessions"), "{cookie}");
        assert!(
            refused(&[("Cookie", "sid=ann; sid=bob")]).starts_with("`Cookie` and `Cookie` name different sessions")
        );
        let again = refused(&[("X-Session-Id", "ann"), ("X-Session-Id", "ann")]);
        assert!(again.starts_with("the header `X-Session-Id` is \"ann, ann\"; allowed: one value of 1 to"), "{again}");
        let long = refused(&[("Cookie", &format!("sid={}", "x".repeat(257)))]);
        assert!(long.starts_with("the header `Cookie` is \"sid=xxx"), "{long}");
    }

    /// R9: a pool without session affinity reads only `Herder-Session`, and no cookie.
    #[test]
    fn r9_without_affinity_only_the_default_header_is_read() {
        let headers = [("X-Session-Id", "ann"), ("Cookie", "sid=bob; sid=eve")];
        assert_eq!(read(&sources(), &headers, false), Ok(None));
        let tracked = [("Herder-Session", "tim"), headers[0], headers[1]];
        assert_eq!(read(&sources(), &tracked, false), Ok(Some("tim".into())));
    }
}
