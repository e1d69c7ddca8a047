//! The fields of an event in memory, for what cannot be written field by field. Holds no state.

use serde_json::{Map, Value};
use std::fmt;
use tracing::{
    Event,
    field::{Field, Visit},
};

/// The maximum length of a text in a line that would be too long, in characters.
const CUT: usize = 2 * 1024;

/// The fields of an event.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) others: Map<String, Value>,
}

impl Fields {
    pub(super) fn new<'a>(message: &str, others: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let others = others.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { message: message.to_owned(), others }
    }

    /// Returns the fields of an event.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    /// Returns the text of a field; empty if the event has no such text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.others.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Replaces the text of a log record's own fields by the object.
    pub(super) fn expand(&mut self) {
        if let Some(Value::String(text)) = self.others.get("fields")
            && let Ok(object) = serde_json::from_str::<Map<String, Value>>(text)
        {
            self.others.insert("fields".into(), object.into());
        }
    }

    /// Cuts long texts, and adds a field that says so.
    pub(super) fn cut(&mut self) {
        cut(&mut self.message);
        self.others.values_mut().for_each(cut_value);
        self.others.insert("truncated".into(), true.into());
    }

    fn insert(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", value) => self.message = value.to_string(),
            (name, value) => _ = self.others.insert(name.to_owned(), value),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}

fn cut_value(value: &mut Value) {
    match value {
        Value::String(text) => cut(text),
        Value::Object(_) | Value::Array(_) => *value = Value::Null,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(CUT) {
        text.truncate(end);
    }
}
