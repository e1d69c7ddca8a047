//! The refusals of requests that did not reach a pool, as `application/problem+json`. Pure data.

use crate::body_buffers::Full;
use crate::config::duration;
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use herder_actors::{Category, Generation, Incident, PoolHealth, Severity, Strategy, WorkerRef, decide};
use serde::Serialize;
use std::time::Duration;

/// The reason why a request was refused before it reached a pool.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A `Herder-` header has an invalid value.
    #[error("the header `{name}` is {value:?}; allowed: {allowed}")]
    BadHeader {
        /// The name of the header.
        name: String,
        /// The value that was sent.
        value: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// The request has an unknown `Herder-` header. A misspelled header would otherwise change silently what the call
    /// does.
    #[error("unknown header `{name}`; allowed: {known}")]
    UnknownHeader {
        /// The name of the header.
        name: String,
        /// The known headers.
        known: String,
    },
    /// Two headers, or a header and a cookie, name different sessions.
    #[error("`{first}` and `{second}` name different sessions; send one of them, or the same session in both")]
    SessionsDiffer {
        /// The name of the header that was read first.
        first: String,
        /// The name of the other header.
        second: String,
    },
    /// The query has an unknown key or an invalid value.
    #[error("invalid query `{query}`: {message}")]
    BadQuery {
        /// The complete query.
        query: String,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// The body is incomplete or malformed.
    #[error("cannot read the request body: {message}")]
    BadBody {
        /// The reason.
        message: String,
    },
    /// The body arrived too slowly. The connection closes.
    #[error(
        "the request body is too slow: {received} bytes have arrived; the next {step} bytes, or the end of the body, must arrive within {} (`server.body_timeout`)",
        duration::show(*timeout)
    )]
    BodyTimeout {
        /// The timeout.
        timeout: Duration,
        /// The number of bytes after which the timeout starts again.
        step: usize,
        /// The number of bytes that arrived.
        received: usize,
    },
    /// The server's `buffer_limit` has no space for this body or result.
    #[error(
        "no buffer space for {needed} bytes: {used} of {limit} bytes are in use (`server.buffer_limit`), and a part is reserved for small bodies; {}",
        if *may_have_run { "the call has run, but its result is lost" } else { "retry later" }
    )]
    BuffersFull {
        /// The number of bytes without space.
        needed: usize,
        /// The number of bytes in use.
        used: usize,
        /// The limit.
        limit: usize,
        /// Whether the bytes are a result, which means that the handler has run.
        may_have_run: bool,
    },
    /// As many clients as are allowed read `/v1/events` already.
    #[error(
        "{limit} clients read the events of this server, which is the maximum; close other readers, or retry later"
    )]
    TooManyReaders {
        /// The maximum.
        limit: usize,
    },
    /// The request has no token.
    #[error("a token is required; send `Authorization: Bearer TOKEN`")]
    TokenMissing,
    /// The request has a wrong token.
    #[error("the token in `Authorization` is wrong")]
    TokenWrong,
    /// The role of the request's token may not use the route.
    #[error("this token has the role `{role}`, which may only {allowed}; this route needs the token of {needed}")]
    WrongRole {
        /// The role of the token.
        role: &'static str,
        /// What the role may do.
        allowed: &'static str,
        /// The roles that may use the route, with the keys of their tokens.
        needed: &'static str,
    },
    /// The request was sent by a page of another site, according to `Origin`.
    #[error("requests from another site (`Origin: {origin}`) are refused")]
    ForeignOrigin {
        /// The value of the header.
        origin: String,
    },
    /// The request was caused by a page of another site, according to `Sec-Fetch-Site`.
    #[error("requests from another site (`Sec-Fetch-Site: {site}`) are refused; allowed: same-origin, none")]
    ForeignSite {
        /// The value of the header.
        site: String,
    },
    /// The request names a host that is not this server.
    #[error("`Host: {host}` is not allowed; if it is a name of this server, add it to `server.hosts`")]
    ForeignHost {
        /// The value of the header.
        host: String,
    },
    /// There is no route with this path.
    #[error("not found: {path}")]
    NoRoute {
        /// The path.
        path: String,
    },
    /// The page with this path is off.
    #[error("{page} is off on this server; turn it on with `--{option} true`, or `{option} = true` in `[server]`")]
    PageOff {
        /// The page.
        page: &'static str,
        /// The name of the option and of the key.
        option: &'static str,
    },
    /// The bytes are not a valid HTTP request. The connection closes.
    #[error("not a valid HTTP request: {message}")]
    BadRequest {
        /// The reason.
        message: String,
    },
    /// The head of the request did not arrive in time. The connection closes.
    #[error("the head of the request was not complete within {limit:?} (`server.head_timeout`)")]
    HeadTimeout {
        /// The timeout.
        limit: Duration,
    },
    /// The head of the request is too long. The connection closes.
    #[error("the head of the request is too large; allowed: {allowed}")]
    HeadTooLarge {
        /// The allowed size and number of headers.
        allowed: &'static str,
    },
    /// The server does not support the HTTP version of the request, such as HTTP/2 without TLS. The connection closes.
    #[error("this server supports HTTP/1.1 and HTTP/1.0 only")]
    WrongVersion,
    /// The header `Expect` has a value that the server does not support. The connection closes.
    #[error("`Expect: {expect}` is not supported; allowed: 100-continue")]
    UnmetExpectation {
        /// The value of the header.
        expect: String,
    },
    /// No call with this fingerprint is quarantined or suspected.
    #[error("{message}")]
    NotQuarantined {
        /// The message, with the fingerprint.
        message: String,
    },
    /// The process is not the present one of its slot.
    #[error("worker process {process} is not running{}; read the workers again", current.map(|now| format!(": the generation of {} is {now}", process.id)).unwrap_or_default())]
    WrongGeneration {
        /// The process that was named.
        process: WorkerRef,
        /// The generation of the present process, if it is known.
        current: Option<Generation>,
    },
    /// The route does not accept this method.
    #[error("{method} is not allowed for {path}; allowed: {allowed}")]
    WrongMethod {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// The allowed methods.
        allowed: &'static str,
    },
    /// At least one pool has no ready worker.
    #[error("not ready: {reason}")]
    NotReady {
        /// The pools without a ready worker, with the reasons that may be shown.
        reason: String,
        /// The health of each pool, by name.
        pools: Vec<(String, Option<PoolHealth>)>,
    },
}

/// The members of the problem document of a refusal.
#[derive(Serialize)]
struct RefusalProblem<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    category: RefusalCategory,
    severity: Severity,
    strategy: Strategy,
    /// The strategy for an idempotent call, if it is a different one.
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy_if_idempotent: Option<Strategy>,
    retryable: bool,
    may_have_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pools: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a str>,
}

/// The category of a refusal: one of those of errors, or `request`.
#[derive(Serialize)]
#[serde(untagged)]
enum RefusalCategory {
    Error(Category),
    /// The request itself is wrong. No pool was asked, so none of the categories of errors applies.
    Request(&'static str),
}

impl Full {
    /// Returns the refusal. `may_have_run` is true if the body without space is a result.
    pub(super) fn refusal(self, may_have_run: bool) -> Refusal {
        let Self { needed, used, limit } = self;
        Refusal::BuffersFull { needed, used, limit, may_have_run }
    }
}

impl Refusal {
    /// Returns the name of the refusal for programs: the last part of the problem's `type`.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::BadHeader { .. } => "bad-header",
            Self::UnknownHeader { .. } => "unknown-header",
            Self::SessionsDiffer { .. } => "sessions-differ",
            Self::BadQuery { .. } => "bad-query",
            Self::BadBody { .. } => "bad-body",
            Self::BodyTimeout { .. } => "body-timeout",
            Self::BuffersFull { .. } => "buffers-full",
            Self::TooManyReaders { .. } => "too-many-readers",
            Self::TokenMissing => "token-missing",
            Self::TokenWrong => "token-wrong",
            Self::WrongRole { .. } => "wrong-role",
            Self::ForeignOrigin { .. } => "foreign-origin",
            Self::ForeignSite { .. } => "foreign-site",
            Self::ForeignHost { .. } => "foreign-host",
            Self::NoRoute { .. } | Self::PageOff { .. } => "no-route",
            Self::BadRequest { .. } => "bad-request",
            Self::HeadTimeout { .. } => "head-timeout",
            Self::HeadTooLarge { .. } => "head-too-large",
            Self::WrongVersion => "wrong-version",
            Self::UnmetExpectation { .. } => "unmet-expectation",
            Self::NotQuarantined { .. } => "not-quarantined",
            Self::WrongGeneration { .. } => "wrong-generation",
            Self::WrongMethod { .. } => "wrong-method",
            Self::NotReady { .. } => "not-ready",
        }
    }

    fn problem(&self) -> RefusalProblem<'_> {
        let not_ready = matches!(self, Self::NotReady { .. });
        let may_have_run = matches!(self, Self::BuffersFull { may_have_run: true, .. });
        let (shown, severity) = match self {
            Self::NotReady { .. } => (RefusalCategory::Error(Category::Initialization), Severity::Major),
            Self::BodyTimeout { .. } => (RefusalCategory::Error(Category::Timeout), Severity::Minor),
            Self::BuffersFull { .. } | Self::TooManyReaders { .. } => {
                (RefusalCategory::Error(Category::Resource), Severity::Minor)
            }
            _ => (RefusalCategory::Request("request"), Severity::Minor),
        };
        let category = match shown {
            RefusalCategory::Error(category) => category,
            // The same request gets the same answer, as the same code gives the same error.
            RefusalCategory::Request(_) => Category::Python,
        };
        let decide =
            |repeatable| decide(Incident { category, severity, attempt: 1, all_workers: not_ready, repeatable });
        let (decision, if_idempotent) = (decide(!may_have_run), decide(true));
        RefusalProblem {
            r#type: format!("https://herder.invalid/errors/{}", self.slug()),
            title: self.slug().replace('-', " "),
            status: self.status_code().as_u16(),
            detail: self.to_string(),
            category: shown,
            severity: decision.severity,
            strategy: decision.strategy,
            strategy_if_idempotent: Some(if_idempotent.strategy).filter(|other| *other != decision.strategy),
            retryable: matches!(
                self,
                Self::NotReady { .. }
                    | Self::BodyTimeout { .. }
                    | Self::BuffersFull { .. }
                    | Self::TooManyReaders { .. }
            ),
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
            | Self::SessionsDiffer { .. }
            | Self::BadQuery { .. }
            | Self::BadBody { .. }
            | Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::HeadTimeout { .. } | Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::WrongVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnmetExpectation { .. } => StatusCode::EXPECTATION_FAILED,
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::WrongRole { .. }
            | Self::ForeignOrigin { .. }
            | Self::ForeignSite { .. }
            | Self::ForeignHost { .. } => StatusCode::FORBIDDEN,
            Self::NoRoute { .. } | Self::PageOff { .. } | Self::NotQuarantined { .. } => StatusCode::NOT_FOUND,
            Self::WrongGeneration { .. } => StatusCode::CONFLICT,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotReady { .. } | Self::BuffersFull { .. } | Self::TooManyReaders { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
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
            Self::NotReady { .. } | Self::TooManyReaders { .. } => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            Self::BuffersFull { may_have_run: true, .. } => _ = response.insert_header((header::RETRY_AFTER, "1")),
            Self::BuffersFull { .. } => _ = response.insert_header((header::RETRY_AFTER, "1")).force_close(),
            // The position of the next request on the connection is unknown, or has not arrived. The connection must
            // close: the rest of this body would be parsed as a request.
            Self::BadBody { .. } | Self::BodyTimeout { .. } => _ = response.force_close(),
            _ => {}
        }
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.body(serde_json::to_string(&self.problem()).unwrap_or_default())
    }
}
