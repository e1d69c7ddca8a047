//! What a key of the configuration can be: the types of the rows of the one table of keys, and the checks of their bounds.
//! Holds no values of any pool.

use super::InvalidConfig;
use std::{fmt, time::Duration};

pub use super::table::TABLE;

/// The longest duration any key takes: 365 days.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The row of `sessions.grace`: its default is wanted where [`Expiry::TwoPhase`](super::Expiry) is built from a text.
pub const SESSIONS_GRACE: Span = super::table::SESSIONS_GRACE;

/// One key of a pool's configuration: a row of [`TABLE`].
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its path within the pool, as in `queue.limit`.
    pub path: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// Its type, default and bounds.
    pub kind: KeyType,
    /// What it does, in a few words.
    pub about: &'static str,
}

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In any pool, and as a default for all of them.
    Any,
    /// In any pool's own table, but not as a default.
    Own,
    /// In enhanced pools, and as a default for those.
    Enhanced,
}

/// A key's type, default and bounds.
#[derive(Clone, Copy, Debug)]
pub enum KeyType {
    /// A number.
    Count(Count),
    /// A number whose default follows from something else.
    Derived(Derived),
    /// A number, or one of a few words.
    CountOr(CountOr),
    /// A duration.
    Span(Span),
    /// One of a few words.
    Choice(Choice),
    /// True or false.
    Flag(Flag),
    /// A text.
    Text(Text),
    /// A list of texts.
    List(Text),
    /// A list of a few words.
    Words(Words),
    /// A list of durations.
    Spans(Text),
    /// A share: a number from 0 on.
    Share(Share),
    /// A table from text to text.
    Map(Text),
}

/// A number with a fixed default.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// The key's path.
    pub path: &'static str,
    /// What it is when it isn't set.
    pub default: usize,
    /// The least it can be.
    pub min: usize,
    /// The most it can be.
    pub max: usize,
}

/// A number whose default follows from something else.
#[derive(Clone, Copy, Debug)]
pub struct Derived {
    /// The key's path.
    pub path: &'static str,
    /// The default as a rule.
    pub rule: &'static str,
    /// The least it can be.
    pub min: usize,
    /// The most it can be.
    pub max: usize,
}

/// A number, or one of a few words.
#[derive(Clone, Copy, Debug)]
pub struct CountOr {
    /// The key's path.
    pub path: &'static str,
    /// The default: one of the words.
    pub default: &'static str,
    /// The words.
    pub words: &'static [&'static str],
    /// The least the number can be.
    pub min: usize,
    /// The most the number can be.
    pub max: usize,
}

/// A duration: over zero, and at most [`LONGEST`].
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The key's path.
    pub path: &'static str,
    /// What it is when it isn't set.
    pub default: Duration,
}

/// One of a few words.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The key's path.
    pub path: &'static str,
    /// What it is when it isn't set, one of the words or a rule that picks one.
    pub default: &'static str,
    /// The words.
    pub words: &'static [&'static str],
}

/// Any of a few words.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The key's path.
    pub path: &'static str,
    /// What it is when it isn't set.
    pub default: &'static [&'static str],
    /// The words.
    pub words: &'static [&'static str],
}

/// A share of something: 0.25 is a quarter. In thousandths here, so that it is exact.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The key's path.
    pub path: &'static str,
    /// What it is when it isn't set, in thousandths.
    pub default: u32,
    /// The most it can be, in thousandths.
    pub max: u32,
}

/// True or false.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The key's path.
    pub path: &'static str,
    /// What it is when it isn't set.
    pub default: bool,
}

/// A text, a list or a table of texts.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The key's path.
    pub path: &'static str,
    /// The default as a rule.
    pub default: &'static str,
    /// What it can be.
    pub allowed: &'static str,
}

impl Key {
    /// The row of this path, if there is one.
    pub fn find(path: &str) -> Option<&'static Self> {
        TABLE.iter().find(|key| key.path == path)
    }

    /// The last part of the path: `limit` of `queue.limit`.
    pub fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

impl KeyType {
    /// The type's name, as a reader of TOML would say it.
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
        }
    }

    /// The default, as it would be written, or as a rule.
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
            Self::Text(row) | Self::List(row) | Self::Spans(row) | Self::Map(row) => row.default.into(),
        }
    }

    /// What is allowed there.
    pub fn allowed(&self) -> String {
        match self {
            Self::Count(Count { min, max, .. }) | Self::Derived(Derived { min, max, .. }) => range(*min, *max),
            Self::CountOr(row) => format!("{}, {}", quoted(row.words), range(row.min, row.max)),
            Self::Span(_) => SPAN_ALLOWED.into(),
            Self::Choice(row) => quoted(row.words),
            Self::Words(row) => format!("any of {}", quoted(row.words)),
            Self::Share(row) => format!("0 to {}", thousandths(row.max)),
            Self::Flag(_) => "true, false".into(),
            Self::Text(row) | Self::List(row) | Self::Spans(row) | Self::Map(row) => row.allowed.into(),
        }
    }
}

const SPAN_ALLOWED: &str = "a duration greater than 0s and at most 365 days, such as \"250ms\", \"30s\", \"5m\"";

impl Count {
    /// The number, or the default.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn take(&self, given: Option<usize>) -> Result<usize, InvalidConfig> {
        within(self.path, given.unwrap_or(self.default), self.min, self.max)
    }

    /// As [`take`](Self::take), in 32 bits: for keys whose bounds fit.
    pub(super) fn take_u32(&self, given: Option<usize>) -> Result<u32, InvalidConfig> {
        narrow(self.path, self.take(given)?)
    }
}

impl Derived {
    /// The number, or what the rule gave.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn take(&self, given: Option<usize>, rule: impl FnOnce() -> usize) -> Result<usize, InvalidConfig> {
        within(self.path, given.unwrap_or_else(|| rule().clamp(self.min, self.max)), self.min, self.max)
    }

    /// As [`take`](Self::take), in 32 bits: for keys whose bounds fit.
    pub(super) fn take_u32(&self, given: Option<usize>, rule: impl FnOnce() -> usize) -> Result<u32, InvalidConfig> {
        narrow(self.path, self.take(given, rule)?)
    }
}

impl CountOr {
    /// The number.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn take(&self, given: usize) -> Result<usize, InvalidConfig> {
        within(self.path, given, self.min, self.max)
    }
}

impl Span {
    /// The duration, or the default.
    ///
    /// # Errors
    /// When it is zero or longer than [`LONGEST`].
    pub fn take(&self, given: Option<Duration>) -> Result<Duration, InvalidConfig> {
        let span = given.unwrap_or(self.default);
        let fits = !span.is_zero() && span <= LONGEST;
        if fits { Ok(span) } else { Err(InvalidConfig::new(self.path, shown(span), SPAN_ALLOWED)) }
    }
}

impl Share {
    /// The share in thousandths, or the default.
    ///
    /// # Errors
    /// When it is out of bounds, or no number.
    pub fn take(&self, given: Option<f64>) -> Result<u32, InvalidConfig> {
        let Some(share) = given else { return Ok(self.default) };
        let fits = (0.0..=f64::from(self.max) / 1000.0).contains(&share);
        // In bounds: neither negative, nor too large, nor not a number.
        if fits {
            Ok((share * 1000.0).round() as u32)
        } else {
            Err(InvalidConfig::new(self.path, share, KeyType::Share(*self).allowed()))
        }
    }
}

impl Flag {
    /// The flag, or the default.
    pub fn take(&self, given: Option<bool>) -> bool {
        given.unwrap_or(self.default)
    }
}

/// A duration as configuration spells it: `1m 30s`.
pub(super) fn shown(span: Duration) -> impl fmt::Display {
    humantime::format_duration(span)
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

/// `0.25` of 250.
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
