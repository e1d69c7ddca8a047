//! Why a request was refused before it came to a pool, as `application/problem+json`. Pure data.

use crate::{Category, Incident, PoolHealth, Severity, Strategy, config::duration, decide};
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use std::time::Duration;

/// Why a request was refused before it came to a pool.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A header of ours has a value that can't be.
    #[error("the header `{name}` is {value:?}; allowed: {allowed}")]
    BadHeader {
        /// Which.
        name: &'static str,
        /// What was sent.
        value: String,
        /// What may be sent.
        allowed: &'static str,
    },
    /// A header that begins as ours do, and is none of them: most likely a typo that would change what a call does.
    #[error("unknown header `{name}`; known: {known}")]
    UnknownHeader {
        /// Which.
        name: String,
        /// All of them.
        known: String,
    },
    /// The query has a key or a value that can't be.
    #[error("invalid query `{query}`: {message}")]
    BadQuery {
        /// The whole query.
        query: String,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// The body did not arrive.
    #[error("cannot read the request body: {message}")]
    BadBody {
        /// Why.
        message: String,
    },
    /// The body took too long.
    #[error(
        "the body did not arrive in time: {received} bytes have come; its next {step} bytes, or its end, must come within {} (`server.body_timeout`)",
        duration::show(*timeout)
    )]
    BodyTimeout {
        /// The limit.
        timeout: Duration,
        /// The number of bytes after which the time begins anew.
        step: usize,
        /// How many bytes came.
        received: usize,
    },
    /// The server's `buffer_limit` has no room for this body or this result.
    #[error(
        "no room for {needed} more bytes of bodies: {used} of {limit} are in use (`server.buffer_limit`), and a part of them is reserved for small bodies; {}",
        if *may_have_run { "the call has run, and its result is lost" } else { "try again later" }
    )]
    BuffersFull {
        /// The number of bytes without room.
        needed: usize,
        /// How many bytes were in use.
        used: usize,
        /// How many may be in use.
        limit: usize,
        /// True of a result: the handler has run.
        may_have_run: bool,
    },
    /// No token.
    #[error("a token is required; send `Authorization: Bearer TOKEN`")]
    TokenMissing,
    /// Not the token.
    #[error("the token in `Authorization` is wrong")]
    TokenWrong,
    /// A page of another site sent it.
    #[error("requests from another site (`Origin: {origin}`) are refused")]
    ForeignOrigin {
        /// Which.
        origin: String,
    },
    /// A page of another site caused it.
    #[error("requests from another site (`Sec-Fetch-Site: {site}`) are refused; allowed: same-origin, none")]
    ForeignSite {
        /// The header's value.
        site: String,
    },
    /// It was meant for a host that this server is not.
    #[error("`Host: {host}` is not allowed; if it is a name of this server, add it to `server.hosts`")]
    ForeignHost {
        /// Which.
        host: String,
    },
    /// Nothing is there.
    #[error("not found: {path}")]
    NoRoute {
        /// The path.
        path: String,
    },
    /// What the client sent is no HTTP request. The connection closes.
    #[error("not a valid HTTP request: {message}")]
    BadRequest {
        /// Why.
        message: String,
    },
    /// The head of the request did not arrive in time. The connection closes.
    #[error("the head of the request was not complete within {limit:?} (`server.head_timeout`)")]
    HeadTimeout {
        /// The time for it.
        limit: Duration,
    },
    /// The head of the request is too long. The connection closes.
    #[error("the head of the request is too large; allowed: {allowed}")]
    HeadTooLarge {
        /// The limits.
        allowed: &'static str,
    },
    /// The server does not support the HTTP version of the request, such as HTTP/2 without TLS. The connection closes.
    #[error("this server supports HTTP/1.1 and HTTP/1.0 only")]
    WrongVersion,
    /// The header `Expect` has a value that the server does not support. The connection closes.
    #[error("`Expect: {expect}` is not supported; allowed: 100-continue")]
    UnmetExpectation {
        /// What.
        expect: String,
    },
    /// No such payload ended a worker.
    #[error("{message}")]
    NotWatched {
        /// Which.
        message: String,
    },
    /// Something is there, but not for this method.
    #[error("{method} is not allowed for {path}; allowed: {allowed}")]
    WrongMethod {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// What goes.
        allowed: &'static str,
    },
    /// A pool has no ready worker.
    #[error("not ready: {reason}")]
    NotReady {
        /// Which pools have no ready worker, and why as far as it is known.
        reason: String,
        /// The health of each pool, by name.
        pools: Vec<(String, Option<PoolHealth>)>,
    },
}

/// The members of a problem that a refusal has.
#[derive(Serialize)]
struct RefusalProblem<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    category: Category,
    severity: Severity,
    strategy: Strategy,
    /// What an idempotent call may do, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy_if_idempotent: Option<Strategy>,
    retryable: bool,
    may_have_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pools: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a str>,
}

impl Refusal {
    /// The refusal as a name for programs: the last part of `type`.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::BadHeader { .. } => "bad-header",
            Self::UnknownHeader { .. } => "unknown-header",
            Self::BadQuery { .. } => "bad-query",
            Self::BadBody { .. } => "bad-body",
            Self::BodyTimeout { .. } => "body-timeout",
            Self::BuffersFull { .. } => "buffers-full",
            Self::TokenMissing => "token-missing",
            Self::TokenWrong => "token-wrong",
            Self::ForeignOrigin { .. } => "foreign-origin",
            Self::ForeignSite { .. } => "foreign-site",
            Self::ForeignHost { .. } => "foreign-host",
            Self::NoRoute { .. } => "no-route",
            Self::BadRequest { .. } => "bad-request",
            Self::HeadTimeout { .. } => "head-timeout",
            Self::HeadTooLarge { .. } => "head-too-large",
            Self::WrongVersion => "wrong-version",
            Self::UnmetExpectation { .. } => "unmet-expectation",
            Self::NotWatched { .. } => "not-watched",
            Self::WrongMethod { .. } => "wrong-method",
            Self::NotReady { .. } => "not-ready",
        }
    }

    fn problem(&self) -> RefusalProblem<'_> {
        let not_ready = matches!(self, Self::NotReady { .. });
        let may_have_run = matches!(self, Self::BuffersFull { may_have_run: true, .. });
        let (category, severity) = match self {
            Self::NotReady { .. } => (Category::Initialization, Severity::Major),
            Self::BodyTimeout { .. } => (Category::Timeout, Severity::Minor),
            Self::BuffersFull { .. } => (Category::Resource, Severity::Minor),
            _ => (Category::Python, Severity::Minor),
        };
        let decide =
            |repeatable| decide(Incident { category, severity, attempt: 1, all_workers: not_ready, repeatable });
        let (decision, if_idempotent) = (decide(!may_have_run), decide(true));
        RefusalProblem {
            r#type: format!("https://herder.invalid/errors/{}", self.slug()),
            title: self.slug().replace('-', " "),
            status: self.status_code().as_u16(),
            detail: self.to_string(),
            category,
            severity: decision.severity,
            strategy: decision.strategy,
            strategy_if_idempotent: Some(if_idempotent.strategy).filter(|other| *other != decision.strategy),
            retryable: matches!(self, Self::NotReady { .. } | Self::BodyTimeout { .. } | Self::BuffersFull { .. }),
            may_have_run,
            pools: self.pools(),
            allowed: match self {
                Self::BadHeader { allowed, .. }
                | Self::WrongMethod { allowed, .. }
                | Self::HeadTooLarge { allowed } => Some(allowed),
                _ => None,
            },
        }
    }

    fn pools(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        let Self::NotReady { pools, .. } = self else { return None };
        let entry = |(name, health): &(String, Option<PoolHealth>)| {
            (name.clone(), serde_json::to_value(health).unwrap_or_default())
        };
        Some(pools.iter().map(entry).collect())
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::BadHeader { .. }
            | Self::UnknownHeader { .. }
            | Self::BadQuery { .. }
            | Self::BadBody { .. }
            | Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::HeadTimeout { .. } | Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::WrongVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnmetExpectation { .. } => StatusCode::EXPECTATION_FAILED,
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin { .. } | Self::ForeignSite { .. } | Self::ForeignHost { .. } => StatusCode::FORBIDDEN,
            Self::NoRoute { .. } | Self::NotWatched { .. } => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotReady { .. } | Self::BuffersFull { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            Self::TokenMissing => _ = response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"herder\"")),
            Self::TokenWrong => {
                let challenge = "Bearer realm=\"herder\", error=\"invalid_token\"";
                response.insert_header((header::WWW_AUTHENTICATE, challenge));
            }
            Self::WrongMethod { allowed, .. } => _ = response.insert_header((header::ALLOW, *allowed)),
            Self::NotReady { .. } => _ = response.insert_header((header::RETRY_AFTER, "1")),
            Self::BuffersFull { may_have_run: true, .. } => _ = response.insert_header((header::RETRY_AFTER, "1")),
            Self::BuffersFull { .. } => _ = response.insert_header((header::RETRY_AFTER, "1")).force_close(),
            // Where the next request begins is not known, or not there yet: the connection takes none.
            Self::BadBody { .. } | Self::BodyTimeout { .. } => _ = response.force_close(),
            _ => {}
        }
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.body(serde_json::to_string(&self.problem()).unwrap_or_default())
    }
}
