//! Reads the query of a request, and refuses one that is invalid.

use super::refusal::Refusal;
use actix_web::{HttpRequest, web};
use serde::de::DeserializeOwned;
use std::fmt::Display;

/// The query of a request, and what it may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    text: &'a str,
    allowed: &'static str,
}

impl<'a> Query<'a> {
    pub(super) fn of(request: &'a HttpRequest, allowed: &'static str) -> Self {
        Self { text: request.query_string(), allowed }
    }

    pub(super) fn text(self) -> &'a str {
        self.text
    }

    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        let parsed = web::Query::from_query(self.text);
        parsed.map(web::Query::into_inner).map_err(|error| self.refuse(error))
    }

    /// Returns the refusal of the query, with what is allowed.
    pub(super) fn refuse(self, error: impl Display) -> Refusal {
        Refusal::BadQuery { query: self.text.into(), message: format!("{error}; allowed: {}", self.allowed) }
    }
}
