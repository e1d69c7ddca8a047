//! Why a request was refused before it came to a pool, as `application/problem+json`. Pure data.

use crate::{Category, Incident, PoolHealth, Severity, Strategy, decide};
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;

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
    #[error("the query `{query}`: {message}")]
    BadQuery {
        /// The whole query.
        query: String,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// The body did not arrive.
    #[error("the body could not be read: {message}")]
    BadBody {
        /// Why.
        message: String,
    },
    /// No token.
    #[error("a token is needed: send `Authorization: Bearer TOKEN`")]
    TokenMissing,
    /// Not the token.
    #[error("the token of `Authorization` is not this server's")]
    TokenWrong,
    /// A page of another site sent it.
    #[error("`Origin: {origin}` is another site")]
    ForeignOrigin {
        /// Which.
        origin: String,
    },
    /// A page of another site caused it.
    #[error("`Sec-Fetch-Site: {site}`: sent on behalf of another site; allowed: same-origin, none")]
    ForeignSite {
        /// The header's value.
        site: String,
    },
    /// It was meant for a host that this server is not.
    #[error("`Host: {host}` is not a host of this server; name it in `server.hosts` if it is")]
    ForeignHost {
        /// Which.
        host: String,
    },
    /// Nothing is there.
    #[error("there is nothing at {path}")]
    NoRoute {
        /// The path.
        path: String,
    },
    /// No such payload ended a worker.
    #[error("{message}")]
    NotWatched {
        /// Which.
        message: String,
    },
    /// Something is there, but not for this method.
    #[error("{method} does not go with {path}; allowed: {allowed}")]
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
struct Problem<'a> {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    category: Category,
    severity: Severity,
    strategy: Strategy,
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
            Self::TokenMissing => "token-missing",
            Self::TokenWrong => "token-wrong",
            Self::ForeignOrigin { .. } => "foreign-origin",
            Self::ForeignSite { .. } => "foreign-site",
            Self::ForeignHost { .. } => "foreign-host",
            Self::NoRoute { .. } => "no-route",
            Self::NotWatched { .. } => "not-watched",
            Self::WrongMethod { .. } => "wrong-method",
            Self::NotReady { .. } => "not-ready",
        }
    }

    fn problem(&self) -> Problem<'_> {
        let not_ready = matches!(self, Self::NotReady { .. });
        let (category, severity) = match not_ready {
            true => (Category::Initialization, Severity::Major),
            false => (Category::Python, Severity::Minor),
        };
        let decision = decide(Incident { category, severity, attempt: 1, all_workers: not_ready, repeatable: true });
        Problem {
            r#type: format!("https://herder.invalid/errors/{}", self.slug()),
            title: self.slug().replace('-', " "),
            status: self.status_code().as_u16(),
            detail: self.to_string(),
            category,
            severity: decision.severity,
            strategy: decision.strategy,
            retryable: not_ready,
            may_have_run: false,
            pools: self.pools(),
            allowed: match self {
                Self::BadHeader { allowed, .. } | Self::WrongMethod { allowed, .. } => Some(allowed),
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
            Self::BadHeader { .. } | Self::UnknownHeader { .. } | Self::BadQuery { .. } | Self::BadBody { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin { .. } | Self::ForeignSite { .. } | Self::ForeignHost { .. } => StatusCode::FORBIDDEN,
            Self::NoRoute { .. } | Self::NotWatched { .. } => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
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
            // Where the next request begins is not known: the connection takes none.
            Self::BadBody { .. } => _ = response.force_close(),
            _ => {}
        }
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.body(serde_json::to_string(&self.problem()).unwrap_or_default())
    }
}
