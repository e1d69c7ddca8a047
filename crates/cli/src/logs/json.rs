//! The log as JSON, with one object on each line. Holds no state.
//!
//! A busy server logs each request, on the thread that serves it. So an event is written to the line field by field: without
//! a map, without a text of its own for each value, and without a serializer, which escapes byte by byte. It is a layer and not
//! a format of `tracing_subscriber::fmt`, which would copy the line once more.

use super::{
    fields::Fields,
    format::{LONGEST, WORKER},
    redact::redact,
    timestamp,
};
use serde_json::Value;
use std::{
    borrow::Cow,
    fmt::{self, Write},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// The bytes of an ordinary line. A longer one is moved as it grows.
const ORDINARY: usize = 512;
/// The keys that each line has. A field of this name gets a `_` after it.
const OWN_KEYS: [&str; 3] = ["timestamp", "level", "target"];

/// Passes each event to `push` as one JSON object, without its secrets: `timestamp`, `level`, `target`, `message`, and the fields of
/// the event.
pub(super) struct JsonLayer<F> {
    push: F,
}

impl<F: Fn(&Metadata<'_>, &[u8])> JsonLayer<F> {
    pub(super) fn new(push: F) -> Self {
        Self { push }
    }
}

impl<S, F> Layer<S> for JsonLayer<F>
where
    S: Subscriber,
    F: Fn(&Metadata<'_>, &[u8]) + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        (self.push)(event.metadata(), &encode(event));
    }
}

/// Returns a line of Herder that is no event.
pub(super) fn line(level: Level, target: &str, fields: Fields) -> String {
    within_limit(Line::of_fields(level, target, &fields), level, target, || fields)
}

/// Returns the line of an event, without its secrets.
fn encode(event: &Event<'_>) -> Vec<u8> {
    let (level, target) = (*event.metadata().level(), event.metadata().target());
    if target == WORKER {
        let mut fields = Fields::of(event);
        fields.expand();
        return hidden(line(level, target, fields));
    }
    let mut line = Line::begin(level, target);
    event.record(&mut line);
    hidden(within_limit(line.end(), level, target, || Fields::of(event)))
}

/// Returns the line without its secrets.
fn hidden(line: String) -> Vec<u8> {
    match redact(line.as_bytes(), true) {
        Cow::Owned(hidden) => hidden,
        Cow::Borrowed(_) => line.into_bytes(),
    }
}

/// Returns the line, or one with cut texts if it would be too long. The writer cannot cut the line, since half an object is no JSON.
fn within_limit(line: String, level: Level, target: &str, fields: impl FnOnce() -> Fields) -> String {
    if line.len() <= LONGEST {
        return line;
    }
    let mut fields = fields();
    fields.cut();
    Line::of_fields(level, target, &fields)
}

/// A line that is being written: an object without its closing brace.
struct Line {
    text: String,
    has_message: bool,
}

impl Line {
    /// Begins a line with the current time.
    fn begin(level: Level, target: &str) -> Self {
        let mut text = String::with_capacity(ORDINARY);
        text.push_str("{\"timestamp\":\"");
        _ = write!(text, "{}", timestamp::now());
        text.push_str("\",\"level\":\"");
        text.push_str(level.as_str());
        text.push_str("\",\"target\":\"");
        push_escaped(&mut text, target);
        text.push('"');
        Self { text, has_message: false }
    }

    /// Returns a whole line.
    fn of_fields(level: Level, target: &str, fields: &Fields) -> String {
        let mut line = Self::begin(level, target);
        line.add_text("message", &fields.message);
        fields.others.iter().for_each(|(name, value)| line.add(name, value));
        line.end()
    }

    /// Returns the whole line, with its line break. A line always has a message.
    fn end(mut self) -> String {
        if !self.has_message {
            self.add_text("message", "");
        }
        self.text.push_str("}\n");
        self.text
    }

    fn add(&mut self, name: &str, value: impl fmt::Display) {
        self.key(name);
        _ = write!(self.text, "{value}");
    }

    fn add_text(&mut self, name: &str, value: &str) {
        self.key(name);
        self.text.push('"');
        push_escaped(&mut self.text, value);
        self.text.push('"');
    }

    fn key(&mut self, name: &str) {
        self.has_message |= name == "message";
        self.text.push_str(",\"");
        push_escaped(&mut self.text, name);
        self.text.push_str(if OWN_KEYS.contains(&name) { "_\":" } else { "\":" });
    }
}

/// The values of an event. `write!` cannot fail: memory accepts everything.
impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), Value::from(value)); // `null` if it is no number
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.key(field.name());
        self.text.push('"');
        _ = write!(Escaped(&mut self.text), "{value:?}");
        self.text.push('"');
    }
}

/// Writes what is formatted as a part of a JSON text.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        push_escaped(self.0, part);
        Ok(())
    }
}

/// Adds a part of a JSON text.
fn push_escaped(text: &mut String, part: &str) {
    // Without a branch for each byte: almost every part is short and has nothing to escape.
    let must_escape = |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if !part.bytes().fold(false, must_escape) {
        return text.push_str(part);
    }
    let quoted = Value::from(part).to_string();
    text.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::captured::Captured;
    use std::io::Write as _;
    use tracing_subscriber::layer::SubscriberExt;

    /// Returns the lines that are logged by `log`, each parsed.
    fn logged(log: impl FnOnce()) -> Vec<Value> {
        let lines = Captured::default();
        let to = lines.clone();
        let layer = JsonLayer::new(move |_, line| to.clone().write_all(line).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_is_one_object_with_its_fields() {
        let lines = logged(|| {
            let fields = r#"{"n":1,"tags":["a"]}"#;
            tracing::warn!(target: WORKER, worker = %"w1.1", attempt = 7_u64, fields, traceback = "a\nb", "order \u{1b} lost");
            tracing::info!(level = "own", ok = true, ratio = 0.5, text = ?"quoted", missing = None::<&str>, "second");
        });
        assert_eq!(lines.len(), 2);
        let first = lines[0].as_object().unwrap();
        assert_eq!(first["level"], "WARN");
        assert_eq!(first["target"], WORKER);
        assert_eq!(first["message"], "order \u{1b} lost");
        assert_eq!(first["worker"], "w1.1");
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
    fn every_line_has_a_message_and_valid_json() {
        let lines = logged(|| {
            tracing::info!(level = 1, target = "own", timestamp = f64::NAN);
            tracing::info!({ "a \"b\"\n" } = ?"c \"d\"\n", big = u64::MAX, small = i64::MIN, message = true);
        });
        let expected =
            serde_json::json!({ "level_": 1, "target_": "own", "timestamp_": null, "message": "", "level": "INFO" });
        expected.as_object().unwrap().iter().for_each(|(name, value)| assert_eq!(&lines[0][name], value));
        let expected = serde_json::json!({ "a \"b\"\n": "\"c \\\"d\\\"\\n\"", "big": u64::MAX, "small": i64::MIN, "message": true });
        expected.as_object().unwrap().iter().for_each(|(name, value)| assert_eq!(&lines[1][name], value));
    }

    /// Clients choose the path, so they could make lines invalid if what hides secrets mistook a quote for one of the line.
    #[test]
    fn secrets_are_hidden_in_every_event() {
        let long = format!("/{}?token=abc", "a".repeat(LONGEST));
        let lines = logged(|| {
            for path in ["/v1?token=abc", "/v1/token=\"abc", "/v1/'password':'abc\"", "/http://me:abc@h/", &long] {
                tracing::info!(target: "herder::access", method = "GET", path, status = 404, peer = %"127.0.0.1:1", "request");
                tracing::info!(path, "token=abc");
            }
        });
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().all(|line| !line.to_string().contains("abc")), "{lines:?}");
        assert_eq!((&lines[0]["path"], &lines[0]["status"]), (&"/v1?token=[redacted]".into(), &404.into()));
    }

    #[test]
    fn a_line_that_is_too_long_is_still_json() {
        let long = "\u{e9}".repeat(LONGEST);
        let lines = logged(
            || tracing::info!(target: WORKER, fields = format!(r#"{{"a":"{long}"}}"#), traceback = long, "{long}"),
        );
        assert_eq!(lines[0]["truncated"], true);
        assert_eq!(lines[0]["message"].as_str().unwrap().chars().count(), 2048);
        assert!(lines[0].to_string().len() < LONGEST);
    }
}
