//! The arguments that do not fit a handler, as a worker lists them in an error. Holds no state.

use crate::text::Text;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData};

/// The maximum number of errors that are read. Further ones are dropped.
const MAX_ERRORS: usize = 50;
/// The maximum length of a location. Its end is dropped.
const MAX_STEPS: usize = 32;
/// The maximum number of characters of each text. Its end is dropped.
const MAX_TEXT: usize = 200;
/// The maximum number of bytes of all texts. The first error with which they are longer is dropped, and all after it.
const MAX_BYTES: usize = 64 * 1024;

/// A value in the arguments of a call that does not fit the parameters of the handler.
///
/// `Display` is the location and the message: `order.lines[0].price: Input should be a valid number`. The serialized form is
/// that of FastAPI: `{"loc": ["order", "lines", 0, "price"], "msg": "Input should be a valid number", "type": "float_type"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArgumentError {
    /// The steps to the value, of which the first is the name of the parameter.
    pub loc: Vec<ArgumentStep>,
    /// What is wrong with the value.
    pub msg: String,
    /// The kind of the error, such as `missing` or `float_type`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl ArgumentError {
    /// Creates an error of the value at `loc`.
    pub fn new(loc: Vec<ArgumentStep>, msg: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { loc, msg: msg.into(), kind: kind.into() }
    }

    fn len(&self) -> usize {
        let steps = self.loc.iter().map(|step| match step {
            ArgumentStep::Key(key) => key.len(),
            ArgumentStep::Index(_) => size_of::<u64>(),
        });
        self.msg.len() + self.kind.len() + steps.sum::<usize>()
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.loc.iter().enumerate() {
            match step {
                ArgumentStep::Index(index) => write!(f, "[{index}]")?,
                ArgumentStep::Key(key) if is_plain(key) && number == 0 => f.write_str(key)?,
                ArgumentStep::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                ArgumentStep::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        if !self.loc.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.msg)
    }
}

/// Whether a key can be read without quotes.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|each| each.is_alphanumeric() || each == '_')
}

/// A step of the location of an [`ArgumentError`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ArgumentStep {
    /// The name of a parameter, or the key of an object.
    Key(String),
    /// The index in an array, from 0.
    Index(u64),
}

/// Reads the list of an error frame. Anything that is not such a list is ignored; a list that is too long is cut.
pub(crate) fn read(list: &RawValue) -> Box<[ArgumentError]> {
    serde_json::from_str(list.get()).map_or_else(|_| Box::default(), |Errors(errors)| errors.into())
}

struct Errors(Vec<ArgumentError>);

impl<'de> Deserialize<'de> for Errors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mut errors, mut room) = (Vec::new(), MAX_BYTES);
        let keep = |error: SentError| {
            let error = error.cut();
            let Some(left) = room.checked_sub(error.len()) else { return false };
            room = left;
            errors.push(error);
            errors.len() < MAX_ERRORS
        };
        deserializer.deserialize_seq(Items(keep, PhantomData))?;
        Ok(Self(errors))
    }
}

/// Passes the items of an array to a function until that returns false, and skips the rest.
struct Items<T, F>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> bool> Visitor<'de> for Items<T, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            if !(self.0)(item) {
                break;
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// One error as it was sent. Unknown keys are skipped.
#[derive(Deserialize)]
struct SentError {
    loc: Steps,
    msg: Text,
    #[serde(rename = "type")]
    kind: Text,
}

impl SentError {
    fn cut(self) -> ArgumentError {
        ArgumentError { loc: self.loc.0, msg: cut(self.msg), kind: cut(self.kind) }
    }
}

fn cut(Text(mut text): Text) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

struct Steps(Vec<ArgumentStep>);

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut steps = Vec::new();
        let keep = |Step(step)| {
            steps.push(step);
            steps.len() < MAX_STEPS
        };
        deserializer.deserialize_seq(Items(keep, PhantomData))?;
        Ok(Self(steps))
    }
}

struct Step(ArgumentStep);

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Unlike an untagged enum, this also reads texts with lone surrogates.
        let step = <&RawValue>::deserialize(deserializer)?.get();
        let parsed = if step.starts_with('"') {
            serde_json::from_str(step).map(|text| ArgumentStep::Key(cut(text)))
        } else {
            serde_json::from_str(step).map(ArgumentStep::Index)
        };
        parsed.map(Self).map_err(de::Error::custom)
    }
}
