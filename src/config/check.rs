//! Compares a parsed file with the table of keys: names, types, bounds, and what only an enhanced pool has. Changes nothing,
//! stops at nothing: every problem of the file is reported.

use super::duration;
use super::error::ProblemCollector;
use super::names::{is_group, nearest, unknown_in_pool};
use herder_actors::schema::{Key, KeyType, Scope};
use herder_actors::{InvalidConfig, WorkerType};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// Whose keys are being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The defaults of all pools.
    Defaults,
    /// A pool of this type.
    Pool(WorkerType),
}

/// A table of keys being checked.
pub(super) struct Check<'r, 't> {
    /// Where problems go.
    pub(super) report: &'r mut ProblemCollector<'t>,
    /// Where the table is: `pools.models`.
    pub(super) at: &'r str,
    /// Whose it is.
    pub(super) owner: Owner,
}

impl Check<'_, '_> {
    /// Checks a pool's table, or the defaults.
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

    // A quoted name with a dot in it is one name in TOML, not a path: it is never a key of ours.
    fn entry(&mut self, prefix: &str, path: &str, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let dotted = name.get_ref().as_ref().contains('.');
        let place =
            if dotted { format!("{}.{:?}", self.at, name.get_ref().as_ref()) } else { format!("{}.{path}", self.at) };
        if let Some(key) = Key::find(path).filter(|_| !dotted) {
            if let Err(message) = self.fits_here(key, value).and_then(|()| self.fits(key, value)) {
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

    /// Whether the key may stand in this table at all.
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

    /// Whether the value is of the key's type and within its bounds.
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
            KeyType::List(_) => texts(value).then_some(()).ok_or_else(wrong_type),
            KeyType::Words(row) => self.words(key, &span, value, row.words),
            KeyType::Spans(_) => self.spans(key, &span, value),
            KeyType::Share(row) => match number(value) {
                Some(share) => row.take(Some(share)).map(drop).map_err(|_| self.out_of_bounds(key, &span)),
                None => Err(wrong_type()),
            },
            KeyType::Map(_) => text_map(value),
        }
    }

    fn one_of(&self, span: &Range<usize>, word: &str, words: &[&str], allowed: &str) -> Result<(), Message> {
        if words.contains(&word) { Ok(()) } else { Err(self.not_a_word(span, nearest(word, words), allowed)) }
    }

    fn words(&self, key: &Key, span: &Range<usize>, value: &DeValue<'_>, words: &[&str]) -> Result<(), Message> {
        let Some(items) = value.as_array().filter(|_| texts(value)) else { return Err(self.refuse(key, span, "")) };
        let stranger = items.iter().find(|item| item.get_ref().as_str().is_none_or(|word| !words.contains(&word)));
        let Some(stranger) = stranger else { return Ok(()) };
        let meant = stranger.get_ref().as_str().and_then(|word| nearest(word, words));
        Err(self.not_a_word(&stranger.span(), meant, &key.kind.allowed()))
    }

    fn spans(&self, key: &Key, span: &Range<usize>, value: &DeValue<'_>) -> Result<(), Message> {
        let Some(items) = value.as_array().filter(|_| texts(value)) else { return Err(self.refuse(key, span, "")) };
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

    fn not_a_word(&self, span: &Range<usize>, meant: Option<&str>, allowed: &str) -> Message {
        let given = self.report.quote(span);
        let hint = meant.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
        Message::value(format!("{given} is invalid{hint}; allowed: {allowed}").replace("?; a", "? A"))
    }
}

/// What is wrong, and whether it is the key that is wrong there, or its value.
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

/// A number, with or without a fraction.
fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64),
        _ => None,
    }
}

fn texts(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|array| array.iter().all(|item| item.get_ref().is_str()))
}

/// Values of an environment may be secrets: messages name their variable, and never show them.
fn text_map(value: &DeValue<'_>) -> Result<(), Message> {
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
