//! The form of the log: text, or JSON with one object on each line. Holds no state.

use serde::Serialize;
use serde_json::{Map, Value};
use std::{fmt, io::IsTerminal, mem};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FmtContext,
        format::{DefaultVisitor, FormatEvent, FormatFields, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// The target of log lines and log records of workers.
pub(super) const WORKER: &str = "herder::worker";
/// The longest line, in bytes. A longer one is cut.
pub(super) const LONGEST: usize = 64 * 1024;
/// The maximum length of a text in a line that would be too long, in characters.
const CUT: usize = 2 * 1024;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// The form of the log as it is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

impl LogFormat {
    /// Returns the form of what is written to this stream.
    pub(crate) fn on(self, stream: &impl IsTerminal) -> Format {
        match self {
            Self::Auto if stream.is_terminal() => Format::Text,
            Self::Text => Format::Text,
            Self::Auto | Self::Json => Format::Json,
        }
    }
}

/// Writes each event as one JSON object: `timestamp`, `level`, `target`, `message`, and the fields of the event.
pub(super) struct JsonFormat;

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    target: &'a str,
    message: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Line<'_> {
    /// Creates a line with the current time.
    fn new<'a>(level: Level, target: &'a str, message: String, fields: Map<String, Value>) -> Line<'a> {
        let mut timestamp = String::new();
        // If the time cannot be formatted, the line is written without it.
        _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        Line { timestamp, level: level.as_str(), target, message, fields }
    }

    /// Returns the line with its line break. Long texts are cut if the line would be too long: the writer would cut the line
    /// itself, and half an object is no JSON.
    fn encode(mut self) -> String {
        let mut text = self.to_json();
        if text.len() > LONGEST {
            cut(&mut self.message);
            self.fields.values_mut().for_each(cut_value);
            self.fields.insert("truncated".into(), true.into());
            text = self.to_json();
        }
        text + "\n"
    }

    fn to_json(&self) -> String {
        // Cannot fail: all keys are strings, and no number is infinite.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Returns a line of Herder that is no event.
pub(super) fn line(level: Level, target: &str, message: String, fields: Map<String, Value>) -> String {
    Line::new(level, target, message, fields).encode()
}

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (mut fields, metadata) = (Fields::of(event), event.metadata());
        if metadata.target() == WORKER {
            fields.expand();
        }
        let message = mem::take(&mut fields.message);
        writer.write_str(&Line::new(*metadata.level(), metadata.target(), message, fields.others).encode())
    }
}

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

/// The fields of an event.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) others: Map<String, Value>,
}

impl Fields {
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
    fn expand(&mut self) {
        if let Some(Value::String(text)) = self.others.get("fields")
            && let Ok(object) = serde_json::from_str::<Map<String, Value>>(text)
        {
            self.others.insert("fields".into(), object.into());
        }
    }

    fn insert(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name @ ("timestamp" | "level" | "target"), value) => _ = self.others.insert(format!("{name}_"), value),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Returns the lines that are logged by `log`, each parsed.
    fn logged(log: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().event_format(JsonFormat).with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_is_one_object_with_its_fields() {
        let lines = logged(|| {
            let fields = r#"{"n":1,"tags":["a"]}"#;
            tracing::warn!(target: WORKER, worker = %"shop/w1.1", attempt = 7_u64, fields, traceback = "a\nb", "order \u{1b} lost");
            tracing::info!(level = "own", ok = true, ratio = 0.5, text = ?"quoted", missing = None::<&str>, "second");
        });
        assert_eq!(lines.len(), 2);
        let first = lines[0].as_object().unwrap();
        assert_eq!(first["level"], "WARN");
        assert_eq!(first["target"], WORKER);
        assert_eq!(first["message"], "order \u{1b} lost");
        assert_eq!(first["worker"], "shop/w1.1");
        assert_eq!(first["attempt"], 7);
        assert_eq!(first["fields"], serde_json::json!({ "n": 1, "tags": ["a"] }));
        assert_eq!(first["traceback"], "a\nb");
        assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(
            (&lines[1]["level"], &lines[1]["level_"], &lines[1]["ok"]),
            (&"INFO".into(), &"own".into(), &true.into())
        );
        assert!(lines[1].get("missing").is_none());
    }

    #[test]
    fn the_own_fields_of_a_record_are_readable_as_text() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().fmt_fields(TextFields);
        tracing::subscriber::with_default(subscriber.with_writer(lines.clone()).finish(), || {
            let fields = r#"{"n":1,"item":"green tea","tags":["a"]}"#;
            tracing::warn!(target: WORKER, fields, text = "a b", logger = "shop", "order lost");
            tracing::warn!(target: WORKER, fields = "no object", "second");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let expected = " WARN herder::worker: order lost fields={item=\"green tea\", n=1, tags=[\"a\"]} text=\"a b\" logger=\"shop\"\n \
                        WARN herder::worker: second fields=\"no object\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_still_json() {
        let long = "\u{e9}".repeat(LONGEST);
        let lines = logged(
            || tracing::info!(target: WORKER, fields = format!(r#"{{"a":"{long}"}}"#), traceback = long, "{long}"),
        );
        assert_eq!(lines[0]["truncated"], true);
        assert_eq!(lines[0]["message"].as_str().unwrap().chars().count(), CUT);
        assert!(lines[0].to_string().len() < LONGEST);
    }
}
