//! The error a worker answers with. Holds no state.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use std::fmt;

/// What went wrong in a worker, as it tells it.
///
/// Parsed leniently, since its texts may come from broken objects of the application: lone surrogates become U+FFFD, the last one of
/// duplicate keys counts, and unknown keys are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerError {
    /// What kind of error it is.
    pub kind: WorkerErrorKind,
    /// What a human should read.
    pub message: String,
    /// The exception's type, as in `KeyError`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// The code of a deliberate no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The stack, as text of many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
}

impl WorkerError {
    /// An error with nothing but its kind and message.
    pub fn new(kind: WorkerErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), type_name: None, code: None, traceback: None }
    }
}

impl<'de> Deserialize<'de> for WorkerError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = WorkerError;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `kind` and `message`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WorkerError, A::Error> {
        let (mut kind, mut message, mut type_name, mut code, mut traceback) = (None, None, None, None, None);
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "kind" => kind = Some(WorkerErrorKind::named(&map.next_value::<Text>()?.0)),
                "message" => message = Some(map.next_value::<Text>()?.0),
                "type" => type_name = text(map.next_value()?),
                "code" => code = text(map.next_value()?),
                "traceback" => traceback = text(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let kind = kind.ok_or_else(|| de::Error::missing_field("kind"))?;
        let message = message.ok_or_else(|| de::Error::missing_field("message"))?;
        Ok(WorkerError { kind, message, type_name, code, traceback })
    }
}

fn text(value: Option<Text>) -> Option<String> {
    value.map(|Text(text)| text)
}

/// A string whose lone surrogates are replaced. Read as bytes: as a `str` serde_json refuses them.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(LossyTextVisitor)
    }
}

struct LossyTextVisitor;

impl Visitor<'_> for LossyTextVisitor {
    type Value = Text;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// The kinds of errors. One that a later version added counts as an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerErrorKind {
    /// The handler said no on purpose.
    Rejected,
    /// There is no such command.
    UnknownCommand,
    /// The arguments do not fit the handler.
    BadArguments,
    /// The payload is not valid JSON, or is not an object.
    Malformed,
    /// The result can't be encoded as JSON.
    Unencodable,
    /// The call was cancelled or interrupted.
    Cancelled,
    /// The encoded result is larger than a frame may be.
    TooLarge,
    /// The application could not be loaded.
    StartFailed,
    /// The handler raised; also every kind this version does not know.
    #[serde(other)]
    Exception,
}

impl WorkerErrorKind {
    fn named(name: &str) -> Self {
        let known = de::value::StrDeserializer::<de::value::Error>::new(name);
        Self::deserialize(known).unwrap_or(Self::Exception)
    }
}
