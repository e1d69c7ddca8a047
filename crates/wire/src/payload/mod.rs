//! Payloads: whether bytes are JSON arguments, and the way between the codecs. Holds no state, builds no tree of values.
//!
//! What is accepted here every reader behind it accepts too: Python's `json.loads` and serde_json.

mod json;
mod transcode;

pub use json::check_json_object;
pub use transcode::{json_to_msgpack, msgpack_to_json};

/// How deep arrays and objects may be nested. One under serde_json's own limit; Python's readers stand about 1000.
pub const MAX_DEPTH: usize = 127;
/// The digits of an integer in JSON. Python refuses to read a longer one.
pub const MAX_INTEGER_DIGITS: usize = 4300;

/// Why a payload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It is not JSON in UTF-8. `NaN` and `Infinity` are no JSON either.
    #[error("not valid JSON: {reason} at line {line} column {column}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1; 0 is the end of the line before.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// It is JSON, but arguments are an object.
    #[error("the arguments must be a JSON object")]
    NotAnObject,
    /// It is nested too deeply.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// An integer has too many digits.
    #[error("an integer has more than {MAX_INTEGER_DIGITS} digits")]
    IntegerTooLong,
    /// MessagePack has no integer of this size.
    #[error("the integer {0} does not fit 64 bits, msgpack's largest")]
    IntegerTooLarge(String),
    /// It is not MessagePack.
    #[error("not valid msgpack: {reason}")]
    MalformedMsgpack {
        /// What is wrong.
        reason: String,
    },
    /// MessagePack's binary values have no place in JSON.
    #[error("binary values have no place in JSON")]
    Binary,
    /// MessagePack's extension types have no place in JSON.
    #[error("msgpack extension types have no place in JSON")]
    Extension,
    /// JSON's keys are text.
    #[error("a map's key is not text, as JSON needs it")]
    KeyNotText,
    /// JSON has no NaN and no infinities.
    #[error("NaN and the infinities have no place in JSON")]
    NotFinite,
}
