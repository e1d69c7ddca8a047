//! The result of one check.

use serde::Serialize;

/// How serious a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// A server runs, but slower or less safely than it could.
    Warning,
    /// A server does not start, or its calls fail.
    Error,
}

/// The result of one check: what was found and, unless all is well, why it matters and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pool: Option<String>,
    pub(super) level: Level,
    pub(super) found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<String>,
}

impl Check {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, pool: None, level: Level::Ok, found: found.into(), why: None, action: None }
    }

    pub(super) fn warning(
        check: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        let ok = Self::ok(check, found);
        Self { level: Level::Warning, why: Some(why.into()), action: Some(action.into()), ..ok }
    }

    pub(super) fn error(
        check: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { level: Level::Error, ..Self::warning(check, found, why, action) }
    }

    /// Sets the pool that was examined.
    pub(super) fn of(self, pool: &str) -> Self {
        Self { pool: Some(pool.to_owned()), ..self }
    }
}
