//! The log as text: the fields of an event after its message. Holds no state.

use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::format::{DefaultVisitor, FormatFields, Writer},
};

/// Writes the fields of an event as text, as `tracing_subscriber` does, but the own fields of a log record as `{n=1, tags=["a"]}`
/// instead of JSON in a quoted text.
pub(super) struct TextFields;

struct TextVisitor<'writer>(DefaultVisitor<'writer>);

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match object(field, value) {
            Some(object) => {
                let pairs: Vec<_> = object.iter().map(|(name, value)| format!("{name}={value}")).collect();
                self.0.record_debug(field, &format_args!("{{{}}}", pairs.join(", ")));
            }
            None => self.0.record_str(field, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.record_debug(field, value);
    }
}

/// Returns the own fields of a log record, if the field contains them.
fn object(field: &Field, value: &str) -> Option<Map<String, Value>> {
    let is_record = field.name() == "fields" && value.starts_with('{');
    is_record.then(|| serde_json::from_str(value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{captured::Captured, format::WORKER};

    #[test]
    fn the_own_fields_of_a_record_are_readable_as_text() {
        let lines = Captured::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().fmt_fields(TextFields);
        tracing::subscriber::with_default(subscriber.with_writer(lines.clone()).finish(), || {
            let fields = r#"{"n":1,"item":"green tea","tags":["a"]}"#;
            tracing::warn!(target: WORKER, fields, text = "a b", logger = "shop", "order lost");
            tracing::warn!(target: WORKER, fields = "no object", "second");
        });
        let text = lines.text();
        let expected = " WARN herder::worker: order lost fields={item=\"green tea\", n=1, tags=[\"a\"]} text=\"a b\" logger=\"shop\"\n \
                        WARN herder::worker: second fields=\"no object\"\n";
        assert_eq!(text, expected);
    }
}
