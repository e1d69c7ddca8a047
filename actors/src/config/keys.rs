//! The types of configuration keys: the rows of the table of keys, and the checks of their bounds. Holds no values of any
//! pool.

use super::InvalidConfig;
use std::{fmt, time::Duration};

/// The maximum of all durations: 365 days.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One key of a pool's configuration: a row of [`TABLE`](super::schema::TABLE).
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The path within the pool, such as `queue.limit`.
    pub path: &'static str,
    /// In which tables the key is allowed.
    pub scope: Scope,
    /// The type, with default and bounds.
    pub kind: KeyType,
    /// A short description of what the key does.
    pub about: &'static str,
}

/// In which tables a key is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the table of any pool, and in the defaults of all pools.
    Any,
    /// In the table of any pool, but not in defaults.
    Own,
    /// In the tables of enhanced pools, and in the defaults of those.
    Enhanced,
}

/// The type of a key, with default and bounds.
#[derive(Clone, Copy, Debug)]
pub enum KeyType {
    /// A number.
    Count(Count),
    /// A number whose default depends on another value.
    Derived(Derived),
    /// A number, or one of a few strings.
    CountOr(CountOr),
    /// A duration.
    Span(Span),
    /// One of a few strings.
    Choice(Choice),
    /// True or false.
    Flag(Flag),
    /// A string.
    Text(Text),
    /// A list of strings.
    List(Text),
    /// A list of some of a few strings.
    Words(Words),
    /// A list of durations.
    Spans(Text),
    /// A fraction: a number from 0.
    Share(Share),
    /// A table from strings to strings.
    Map(Text),
    /// A table from commands to the limits of their batches.
    Batches(Text),
}

/// A number with a fixed default.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The path of the key.
    pub path: &'static str,
    /// The default.
    pub default: usize,
    /// The minimum.
    pub min: usize,
    /// The maximum.
    pub max: usize,
}

/// A number whose default depends on another value.
#[derive(Clone, Copy, Debug)]
pub struct Derived {
    /// The path of the key.
    pub path: &'static str,
    /// The default as a rule.
    pub rule: &'static str,
    /// The minimum.
    pub min: usize,
    /// The maximum.
    pub max: usize,
}

/// A number, or one of a few strings.
#[derive(Clone, Copy, Debug)]
pub struct CountOr {
    /// The path of the key.
    pub path: &'static str,
    /// The default: one of `words`, or a number.
    pub default: &'static str,
    /// The allowed strings.
    pub words: &'static [&'static str],
    /// The minimum of the number.
    pub min: usize,
    /// The maximum of the number.
    pub max: usize,
}

/// A duration: greater than zero, and at most [`LONGEST`].
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The path of the key.
    pub path: &'static str,
    /// The default.
    pub default: Duration,
}

/// One of a few strings.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The path of the key.
    pub path: &'static str,
    /// The default: one of `words`, or a rule that selects one.
    pub default: &'static str,
    /// The allowed strings.
    pub words: &'static [&'static str],
}

/// Any of a few strings.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The path of the key.
    pub path: &'static str,
    /// The default.
    pub default: &'static [&'static str],
    /// The allowed strings.
    pub words: &'static [&'static str],
}

/// A fraction: 0.25 is a quarter. Stored in thousandths, so that it is exact.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The path of the key.
    pub path: &'static str,
    /// The default, in thousandths.
    pub default: u32,
    /// The maximum, in thousandths.
    pub max: u32,
}

/// True or false.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The path of the key.
    pub path: &'static str,
    /// The default.
    pub default: bool,
}

/// A string, or a list or table of strings.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The path of the key.
    pub path: &'static str,
    /// The default as a rule.
    pub default: &'static str,
    /// The allowed values.
    pub allowed: &'static str,
}

impl Key {
    /// Returns the last part of the path: `limit` of `queue.limit`.
    pub fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

impl KeyType {
    /// Returns the name of the type, in the terms of TOML.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Count(_) | Self::Derived(_) => "integer",
            Self::CountOr(_) => "integer or string",
            Self::Span(_) => "duration",
            Self::Choice(_) | Self::Text(_) => "string",
            Self::Flag(_) => "true or false",
            Self::List(_) => "list of strings",
            Self::Words(_) => "list of strings",
            Self::Spans(_) => "list of durations",
            Self::Share(_) => "number",
            Self::Map(_) => "table of strings",
            Self::Batches(_) => "table of tables",
        }
    }

    /// Returns the default as it is written in TOML, or as a rule.
    pub fn default(&self) -> String {
        match self {
            Self::Count(row) => row.default.to_string(),
            Self::Derived(row) => row.rule.into(),
            Self::Span(row) => shown(row.default).to_string(),
            Self::Choice(row) => row.default.into(),
            Self::CountOr(row) => row.default.into(),
            Self::Flag(row) => row.default.to_string(),
            Self::Words(row) => format!("[{}]", quoted(row.default)),
            Self::Share(row) => thousandths(row.default),
            Self::Text(row) | Self::List(row) | Self::Spans(row) | Self::Map(row) | Self::Batches(row) => {
                row.default.into()
            }
        }
    }

    /// Returns the allowed values.
    pub fn allowed(&self) -> String {
        match self {
            Self::Count(Count { min, max, .. }) | Self::Derived(Derived { min, max, .. }) => range(*min, *max),
            Self::CountOr(row) => format!("{}, {}", quoted(row.words), range(row.min, row.max)),
            Self::Span(_) => SPAN_ALLOWED.into(),
            Self::Choice(row) => quoted(row.words),
            Self::Words(row) => format!("any of {}", quoted(row.words)),
            Self::Share(row) => format!("0 to {}", thousandths(row.max)),
            Self::Flag(_) => "true, false".into(),
            Self::Text(row) | Self::List(row) | Self::Spans(row) | Self::Map(row) | Self::Batches(row) => {
                row.allowed.into()
            }
        }
    }
}

const SPAN_ALLOWED: &str = "a duration greater than 0s and at most 365 days, such as \"250ms\", \"30s\", \"5m\"";

impl Count {
    /// Returns the number, or the default.
    ///
    /// # Errors
    /// Fails if the number is out of bounds.
    pub fn take(&self, given: Option<usize>) -> Result<usize, InvalidConfig> {
        within(self.path, given.unwrap_or(self.default), self.min, self.max)
    }

    /// Like [`take`](Self::take), in 32 bits: for keys whose bounds fit.
    pub(super) fn take_u32(&self, given: Option<usize>) -> Result<u32, InvalidConfig> {
        narrow(self.path, self.take(given)?)
    }
}

impl Derived {
    /// Returns the number, or the result of the rule.
    ///
    /// # Errors
    /// Fails if the number is out of bounds.
    pub fn take(&self, given: Option<usize>, rule: impl FnOnce() -> usize) -> Result<usize, InvalidConfig> {
        within(self.path, given.unwrap_or_else(|| rule().clamp(self.min, self.max)), self.min, self.max)
    }

    /// Like [`take`](Self::take), in 32 bits: for keys whose bounds fit.
    pub(super) fn take_u32(&self, given: Option<usize>, rule: impl FnOnce() -> usize) -> Result<u32, InvalidConfig> {
        narrow(self.path, self.take(given, rule)?)
    }
}

impl CountOr {
    /// Returns the number.
    ///
    /// # Errors
    /// Fails if the number is out of bounds.
    pub fn take(&self, given: usize) -> Result<usize, InvalidConfig> {
        within(self.path, given, self.min, self.max)
    }
}

impl Span {
    /// Returns the duration, or the default.
    ///
    /// # Errors
    /// Fails if the duration is zero or longer than [`LONGEST`].
    pub fn take(&self, given: Option<Duration>) -> Result<Duration, InvalidConfig> {
        let span = given.unwrap_or(self.default);
        let fits = !span.is_zero() && span <= LONGEST;
        if fits { Ok(span) } else { Err(InvalidConfig::new(self.path, shown(span), SPAN_ALLOWED)) }
    }
}

impl Share {
    /// Returns the fraction in thousandths, or the default.
    ///
    /// # Errors
    /// Fails if the fraction is out of bounds or not a number.
    pub fn take(&self, given: Option<f64>) -> Result<u32, InvalidConfig> {
        let Some(share) = given else { return Ok(self.default) };
        let fits = (0.0..=f64::from(self.max) / 1000.0).contains(&share);
        // The range check excludes NaN, so the conversion cannot fail.
        if fits {
            Ok((share * 1000.0).round() as u32)
        } else {
            Err(InvalidConfig::new(self.path, share, KeyType::Share(*self).allowed()))
        }
    }
}

impl Flag {
    /// Returns the flag, or the default.
    pub fn take(&self, given: Option<bool>) -> bool {
        given.unwrap_or(self.default)
    }
}

/// Formats a duration as the configuration spells it: `1m 30s`.
pub(super) fn shown(span: Duration) -> impl fmt::Display {
    humantime::format_duration(span)
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

/// Formats thousandths: `0.25` for 250.
fn thousandths(share: u32) -> String {
    (f64::from(share) / 1000.0).to_string()
}

fn range(min: usize, max: usize) -> String {
    format!("{min} to {max}")
}

fn within(path: &'static str, number: usize, min: usize, max: usize) -> Result<usize, InvalidConfig> {
    let fits = (min..=max).contains(&number);
    if fits { Ok(number) } else { Err(InvalidConfig::new(path, number, range(min, max))) }
}

fn narrow(path: &'static str, number: usize) -> Result<u32, InvalidConfig> {
    u32::try_from(number).map_err(|_| InvalidConfig::new(path, number, range(0, u32::MAX as usize)))
}
