//! The errors that workers send. Holds no state.

use crate::{ArgumentError, RawJson, argument_error, text::Text};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// An error as a worker reports it.
///
/// Parsed leniently, because its strings may come from broken objects of the application: lone surrogates become U+FFFD, the
/// last of duplicate keys counts, and unknown keys are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerError {
    /// The kind of the error.
    pub kind: WorkerErrorKind,
    /// The message for people.
    pub message: String,
    /// The type of the exception, such as `KeyError`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// The code of a rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What a rejection tells programs: JSON of at most [`MAX_DATA`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<RejectionData>,
    /// The status of a rejection over HTTP, from 400 to 499.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The traceback, as text of several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// The arguments that do not fit, for [`WorkerErrorKind::BadArguments`]. At most 50 are read, with at most 64 KiB of text.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub errors: Box<[ArgumentError]>,
}

impl WorkerError {
    /// Creates an error with a kind and a message only.
    pub fn new(kind: WorkerErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        let (type_name, code, data, status, traceback) = (None, None, None, None, None);
        Self { kind, message, type_name, code, data, status, traceback, errors: Box::default() }
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
        let (mut data, mut status, mut errors) = (None, None, Box::default());
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "kind" => kind = Some(WorkerErrorKind::named(&map.next_value::<Text>()?.0)),
                "message" => message = Some(map.next_value::<Text>()?.0),
                "type" => type_name = text(map.next_value()?),
                "code" => code = text(map.next_value()?),
                "traceback" => traceback = text(map.next_value()?),
                "data" => data = RejectionData::read(map.next_value()?),
                "status" => status = rejection_status(&map.next_value::<Box<RawValue>>()?),
                "errors" => errors = argument_error::read(&map.next_value::<Box<RawValue>>()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let kind = kind.ok_or_else(|| de::Error::missing_field("kind"))?;
        let message = message.ok_or_else(|| de::Error::missing_field("message"))?;
        Ok(WorkerError { kind, message, type_name, code, data, status, traceback, errors })
    }
}

/// Reads the status of a rejection. Anything else is ignored.
fn rejection_status(value: &RawValue) -> Option<u16> {
    value.get().parse().ok().filter(|status| (400..500).contains(status))
}

fn text(value: Option<Text>) -> Option<String> {
    value.map(|Text(text)| text)
}

/// The maximum length of the data of a rejection, in bytes of JSON.
pub const MAX_DATA: usize = 64 * 1024;

/// The data of a rejection: the JSON text of a value that is not null, as the worker sent it, at most [`MAX_DATA`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RejectionData(RawJson);

impl RejectionData {
    /// Encodes a value.
    ///
    /// # Errors
    /// The encoder's. `Ok(None)` if the value is null or too long.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Option<Self>> {
        serde_json::value::to_raw_value(value).map(Self::read)
    }

    fn read(value: Box<RawValue>) -> Option<Self> {
        (value.get() != "null" && value.get().len() <= MAX_DATA).then_some(Self(RawJson(value)))
    }

    /// Returns the JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// The value does not have the type `T`.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.get())
    }
}

/// The kinds of errors. A kind that a later version adds is read as [`Self::Exception`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerErrorKind {
    /// The handler rejected the call on purpose.
    Rejected,
    /// The worker has no such command.
    UnknownCommand,
    /// The arguments do not fit the signature of the handler.
    BadArguments,
    /// The payload is not valid JSON, or is not an object.
    Malformed,
    /// The result cannot be encoded as JSON.
    Unencodable,
    /// The call was cancelled or interrupted.
    Cancelled,
    /// The encoded result exceeds the maximum length of a frame.
    TooLarge,
    /// The application could not be loaded.
    StartFailed,
    /// The handler raised an exception. Also the value of every kind that this version does not know.
    #[serde(other)]
    Exception,
}

impl WorkerErrorKind {
    fn named(name: &str) -> Self {
        let known = de::value::StrDeserializer::<de::value::Error>::new(name);
        Self::deserialize(known).unwrap_or(Self::Exception)
    }
}
