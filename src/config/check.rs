//! Compares a parsed file with the table of keys: names, types, bounds, and the keys that only enhanced pools have.
//! Changes nothing and does not stop at the first problem: it reports every problem of the file.

use super::error::ProblemCollector;
use super::names::{is_group, nearest, unknown_in_pool};
use super::{batches, duration};
use herder_actors::schema::{Key, KeyType, Scope};
use herder_actors::{InvalidConfig, WorkerType};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// The kind of table that a key is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The table `[defaults]`.
    Defaults,
    /// The table of a pool with this worker type.
    Pool(WorkerType),
}

/// The check of one table of keys.
pub(super) struct Check<'r, 't> {
    /// Collects the problems.
    pub(super) report: &'r mut ProblemCollector<'t>,
    /// The path of the table, such as `pools.models`.
    pub(super) at: &'r str,
    /// The kind of the table.
    pub(super) owner: Owner,
}

impl Check<'_, '_> {
    /// Checks a pool's table, or the defaults, with all nested tables.
    pub(super) fn table(&mut self, table: &DeTable<'_>) {
        self.entries("", table);
    }

    fn entries(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            self.entry(prefix, &path, name, value);
        }
    }

    // A quoted name that contains a dot is a single name in TOML, not a path. No key of Herder is such a name. Without
    // this check `"queue.limit"` would be found in the table of keys, pass, and then be ignored, because the value is
    // looked up by its path.
    fn entry(&mut self, prefix: &str, path: &str, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let dotted = name.get_ref().as_ref().contains('.');
        let place =
            if dotted { format!("{}.{:?}", self.at, name.get_ref().as_ref()) } else { format!("{}.{path}", self.at) };
        if let Some(key) = Key::find(path).filter(|_| !dotted) {
            if let (KeyType::Batches(_), Ok(())) = (key.kind, self.fits_here(key, value)) {
                batches::check(self.report, key, &place, value);
            } else if let Err(message) = self.fits_here(key, value).and_then(|()| self.fits(key, value)) {
                let span = if message.is_about_key { name.span() } else { value.span() };
                self.report.add(&span, place, message.text);
            }
        } else if dotted || !is_group(path) {
            self.report.add(&name.span(), place, unknown_in_pool(prefix, name.get_ref().as_ref()));
        } else if let Some(group) = value.get_ref().as_table() {
            self.entries(path, group);
        } else {
            let given = self.report.quote(&value.span());
            self.report.add(&value.span(), place, format!("{given} is not a table; allowed: {}", group_example(path)));
        }
    }

    /// Checks that the key is allowed in this table.
    fn fits_here(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<(), Message> {
        let off = matches!(value.get_ref(), DeValue::Boolean(false));
        match (key.scope, self.owner) {
            (Scope::Own, Owner::Defaults) => Err(Message::key("cannot be set in [defaults]; set it in each pool")),
            (Scope::Enhanced, Owner::Pool(WorkerType::Basic)) if !off => {
                let at = self.at;
                Err(Message::key(format!(
                    "only for enhanced pools; set `worker_type = \"enhanced\"` in [{at}], or remove it"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the value has the key's type and is within its bounds.
    fn fits(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<(), Message> {
        let span = value.span();
        let value = value.get_ref();
        let wrong_type = || self.refuse(key, &span, "");
        match key.kind {
            KeyType::Count(row) => self.bounded(key, &span, value, |n| row.take(Some(n))),
            KeyType::Derived(row) => self.bounded(key, &span, value, |n| row.take(Some(n), || n)),
            KeyType::CountOr(row) => match value.as_str() {
                Some(word) => self.one_of(&span, word, row.words, &key.kind.allowed()),
                None => self.bounded(key, &span, value, |n| row.take(n)),
            },
            KeyType::Span(row) => match value {
                DeValue::String(text) => {
                    let parsed = duration::parse(text).map_err(|why| self.refuse(key, &span, &why))?;
                    row.take(Some(parsed)).map(drop).map_err(|_| self.out_of_bounds(key, &span))
                }
                DeValue::Integer(number) => Err(self.refuse(key, &span, &unit_missing(number))),
                _ => Err(wrong_type()),
            },
            KeyType::Choice(row) => match value.as_str() {
                Some(word) => self.one_of(&span, word, row.words, &key.kind.allowed()),
                None => Err(wrong_type()),
            },
            KeyType::Flag(_) => value.is_bool().then_some(()).ok_or_else(wrong_type),
            KeyType::Text(_) => value.is_str().then_some(()).ok_or_else(wrong_type),
            KeyType::List(_) => is_list_of_strings(value).then_some(()).ok_or_else(wrong_type),
            KeyType::Words(row) => self.words(key, &span, value, row.words),
            KeyType::Spans(_) => self.spans(key, &span, value),
            KeyType::Share(row) => match number(value) {
                Some(share) => row.take(Some(share)).map(drop).map_err(|_| self.out_of_bounds(key, &span)),
                None => Err(wrong_type()),
            },
            KeyType::Map(_) => check_map(value),
            KeyType::Batches(_) => Ok(()), // `batches::check` reports each of its problems
        }
    }

    fn one_of(&self, span: &Range<usize>, word: &str, words: &[&str], allowed: &str) -> Result<(), Message> {
        if words.contains(&word) { Ok(()) } else { Err(self.invalid_word(span, nearest(word, words), allowed)) }
    }

    fn words(&self, key: &Key, span: &Range<usize>, value: &DeValue<'_>, words: &[&str]) -> Result<(), Message> {
        let Some(items) = value.as_array().filter(|_| is_list_of_strings(value)) else {
            return Err(self.refuse(key, span, ""));
        };
        let invalid = items.iter().find(|item| item.get_ref().as_str().is_none_or(|word| !words.contains(&word)));
        let Some(invalid) = invalid else { return Ok(()) };
        let meant = invalid.get_ref().as_str().and_then(|word| nearest(word, words));
        Err(self.invalid_word(&invalid.span(), meant, &key.kind.allowed()))
    }

    fn spans(&self, key: &Key, span: &Range<usize>, value: &DeValue<'_>) -> Result<(), Message> {
        let Some(items) = value.as_array().filter(|_| is_list_of_strings(value)) else {
            return Err(self.refuse(key, span, ""));
        };
        for text in items.iter().filter_map(|item| item.get_ref().as_str()) {
            duration::parse(text).map_err(|why| self.refuse(key, span, &format!("{text:?}: {why}")))?;
        }
        Ok(())
    }

    fn bounded(
        &self,
        key: &Key,
        span: &Range<usize>,
        value: &DeValue<'_>,
        take: impl FnOnce(usize) -> Result<usize, InvalidConfig>,
    ) -> Result<(), Message> {
        let Some(number) = value.as_integer() else { return Err(self.refuse(key, span, "")) };
        let number =
            usize::from_str_radix(number.as_str(), number.radix()).map_err(|_| self.out_of_bounds(key, span))?;
        take(number).map(drop).map_err(|_| self.out_of_bounds(key, span))
    }

    fn out_of_bounds(&self, key: &Key, span: &Range<usize>) -> Message {
        Message::value(format!("{} is out of bounds; allowed: {}", self.report.quote(span), key.kind.allowed()))
    }

    fn refuse(&self, key: &Key, span: &Range<usize>, why: &str) -> Message {
        let (given, kind, allowed) = (self.report.quote(span), article(key.kind.type_name()), key.kind.allowed());
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        Message::value(format!("{given} is not {kind}{why}; allowed: {allowed}"))
    }

    fn invalid_word(&self, span: &Range<usize>, meant: Option<&str>, allowed: &str) -> Message {
        let given = self.report.quote(span);
        let hint = meant.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
        Message::value(format!("{given} is invalid{hint}; allowed: {allowed}").replace("?; a", "? A"))
    }
}

/// A problem's text, and whether it is about the key or about its value.
struct Message {
    text: String,
    is_about_key: bool,
}

impl Message {
    fn key(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_about_key: true }
    }

    fn value(text: String) -> Self {
        Self { text, is_about_key: false }
    }
}

fn unit_missing(number: &DeInteger<'_>) -> String {
    format!("add a unit, such as \"{number}s\"")
}

/// Returns a float or an integer as `f64`.
fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64),
        _ => None,
    }
}

fn is_list_of_strings(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|array| array.iter().all(|item| item.get_ref().is_str()))
}

/// Checks a table of strings, such as `env`. Messages contain the names of variables, but never their values, which may
/// be secrets.
fn check_map(value: &DeValue<'_>) -> Result<(), Message> {
    let Some(table) = value.as_table() else {
        return Err(Message::value("is not a table of strings; allowed: { NAME = \"value\" }".into()));
    };
    match table.iter().find(|(_, value)| !value.get_ref().is_str()) {
        Some((name, value)) => {
            let (name, kind) = (name.get_ref(), value.get_ref().type_str());
            Err(Message::value(format!("the value of `{name}` is a TOML {kind}, not a string; put it in quotes")))
        }
        None => Ok(()),
    }
}

fn article(noun: &str) -> String {
    let article = match noun {
        "true or false" => "",
        _ if noun.starts_with(['a', 'e', 'i', 'o', 'u']) => "an ",
        _ => "a ",
    };
    format!("{article}{noun}")
}

fn group_example(path: &str) -> String {
    let names = super::names::names_under(path);
    format!("{{ {} }}", names.iter().map(|name| format!("{name} = ..")).collect::<Vec<_>>().join(", "))
}
