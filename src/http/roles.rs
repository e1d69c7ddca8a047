//! The roles of callers, and the tokens by which they are recognized. Holds only the tokens.

use super::refusal::Refusal;
use crate::config::Token;
use actix_web::http::header::{self, HeaderMap};
use serde::Serialize;
use subtle::ConstantTimeEq;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Call commands, and read their descriptions.
    Call,
    /// Read the metrics.
    Metrics,
    /// Everything.
    Admin,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// Returns the refusal of a token with this role by a route for these roles.
    pub(super) fn refused_by(self, roles: &[Self]) -> Refusal {
        let allowed = match self {
            Self::Call => "call commands and read their descriptions",
            Self::Metrics => "read /metrics",
            Self::Admin => "use every route",
        };
        let needed = if roles.contains(&Self::Call) {
            "administrators (`server.token`), or that of callers (`server.call_token`) if it is a route for calls"
        } else if roles.contains(&Self::Metrics) {
            "administrators (`server.token`) or of metrics (`server.metrics_token`)"
        } else {
            "administrators (`server.token`)"
        };
        Refusal::WrongRole { role: self.name(), allowed, needed }
    }
}

/// The tokens of a server. Without any, every caller is an administrator.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    pub(super) admin: Option<Token>,
    pub(super) call: Option<Token>,
    pub(super) metrics: Option<Token>,
}

impl Tokens {
    /// Returns whether requests must have a token.
    pub(super) fn are_required(&self) -> bool {
        self.admin.is_some() || self.call.is_some() || self.metrics.is_some()
    }

    /// Returns the role of the sender of a request.
    ///
    /// # Errors
    /// Fails if a token is required, and the request has none, another one, or several.
    pub(super) fn role(&self, headers: &HeaderMap) -> Result<Role, Refusal> {
        if !self.are_required() {
            return Ok(Role::Admin);
        }
        let shown = bearer(headers)?;
        // All tokens are compared in constant time, whatever the first comparison results in, so that the response time does
        // not reveal how many characters were right, or of which token.
        let [is_admin, is_call, is_metrics] =
            [&self.admin, &self.call, &self.metrics].map(|token| is_shown(token.as_ref(), shown));
        match (is_admin, is_call, is_metrics) {
            (true, _, _) => Ok(Role::Admin),
            (false, true, _) => Ok(Role::Call),
            (false, false, true) => Ok(Role::Metrics),
            (false, false, false) => Err(Refusal::TokenWrong),
        }
    }
}

fn is_shown(token: Option<&Token>, shown: &[u8]) -> bool {
    token.is_some_and(|token| shown.ct_eq(token.expose().as_bytes()).into())
}

/// Returns the token of a request. A request with two values of `Authorization` is refused: a proxy could have checked the
/// other one.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    const SCHEME: &[u8] = b"Bearer ";
    let mut values = headers.get_all(header::AUTHORIZATION);
    let given = values.next().ok_or(Refusal::TokenMissing)?.as_bytes();
    if values.next().is_some() {
        return Err(Refusal::TokenWrong);
    }
    let (Some(start), Some(shown)) = (given.get(..SCHEME.len()), given.get(SCHEME.len()..)) else {
        return Err(Refusal::TokenMissing);
    };
    if !start.eq_ignore_ascii_case(SCHEME) {
        return Err(Refusal::TokenMissing);
    }
    Ok(shown.trim_ascii())
}
