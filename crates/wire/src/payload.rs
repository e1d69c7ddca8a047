//! Checks that bytes are JSON: arguments (an object that both Python's `json.loads` and serde_json accept) or a result. Holds
//! no state and builds no tree of values.

use crate::scan::{MAX_DEPTH, Root, scan};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::str;

/// Maximum digits of an integer. Python refuses to read a longer one.
pub const MAX_INTEGER_DIGITS: usize = 4300;

/// Why a payload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The payload is not JSON in UTF-8. `NaN` and `Infinity` are not JSON.
    #[error("not valid JSON: {reason} at line {line} column {column}")]
    Malformed {
        /// The line, starting at 1.
        line: usize,
        /// The column in bytes, starting at 1; 0 is the end of the previous line.
        column: usize,
        /// The error of the parser.
        reason: String,
    },
    /// The payload is JSON, but arguments must be an object.
    #[error("the arguments must be a JSON object")]
    NotAnObject,
    /// The payload is nested too deeply.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// An integer has too many digits.
    #[error("an integer has more than {MAX_INTEGER_DIGITS} digits, the maximum")]
    IntegerTooLong,
    /// A number with a fraction or an exponent exceeds the range of an `f64`. Python would read it as infinity.
    #[error("a number exceeds the range of a 64-bit float")]
    NumberTooLarge,
}

/// Checks that `bytes` are arguments: a JSON object in UTF-8, nested at most [`MAX_DEPTH`] levels deep.
///
/// Allocates nothing. A leading byte order mark is accepted; after [`without_byte_order_mark`], Python's `json.loads` can parse
/// everything that this function accepts. Duplicate keys and lone surrogate escapes are accepted.
///
/// ```
/// use herder_wire::{PayloadError, check_json_object};
/// assert_eq!(check_json_object(br#"{"x": 1}"#), Ok(()));
/// assert_eq!(check_json_object(b"[1]"), Err(PayloadError::NotAnObject));
/// assert!(matches!(check_json_object(b"{\"x\": NaN}"), Err(PayloadError::Malformed { line: 1, .. })));
/// ```
///
/// # Errors
/// [`PayloadError`]: `Malformed`, `NotAnObject`, `TooDeep`, `IntegerTooLong` or `NumberTooLarge`.
pub fn check_json_object(bytes: &[u8]) -> Result<(), PayloadError> {
    let text = utf8(without_byte_order_mark(bytes))?;
    if scan(text) == Some(Root::Object) {
        return Ok(());
    }
    check_shape(text)?;
    check_grammar(text)?;
    if text.trim_ascii_start().starts_with('{') { Ok(()) } else { Err(PayloadError::NotAnObject) }
}

/// Checks that `bytes` are one JSON value in UTF-8 without a byte order mark, nested to any depth.
///
/// ```
/// assert!(herder_wire::check_json(b"[1e999, null] ").is_ok());
/// assert!(herder_wire::check_json(b"1, \"more\": 2").is_err());
/// ```
///
/// # Errors
/// [`PayloadError::Malformed`].
pub fn check_json(bytes: &[u8]) -> Result<(), PayloadError> {
    let text = utf8(bytes)?;
    if scan(text).is_some() { Ok(()) } else { check_grammar(text) }
}

/// Returns `bytes` without a leading byte order mark, which some editors and programs write.
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Checks the grammar. serde_json skips ignored values without recursion, so that no depth of nesting overflows the stack.
fn check_grammar(text: &str) -> Result<(), PayloadError> {
    let mut json = serde_json::Deserializer::from_str(text);
    IgnoredAny::deserialize(&mut json).and_then(|_| json.end()).map_err(|e| malformed(&e))
}

fn utf8(bytes: &[u8]) -> Result<&str, PayloadError> {
    str::from_utf8(bytes).map_err(|e| {
        let before = &bytes[..e.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        PayloadError::Malformed { line, column, reason: "invalid UTF-8".into() }
    })
}

fn malformed(error: &serde_json::Error) -> PayloadError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
    PayloadError::Malformed { line: error.line(), column: error.column(), reason }
}

/// Checks the nesting and the numbers of text that has not been parsed yet. A JSON parser reads the text afterwards, so that a
/// mistake here cannot accept invalid JSON.
fn check_shape(text: &str) -> Result<(), PayloadError> {
    let (bytes, mut at, mut depth) = (text.as_bytes(), 0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'[' | b'{' if depth == MAX_DEPTH => return Err(PayloadError::TooDeep),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let token = number(&text[at..]);
                check_number(token)?;
                at += token.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

fn check_number(token: &str) -> Result<(), PayloadError> {
    let has_exponent = token.contains(['e', 'E']);
    if !has_exponent && !token.contains('.') {
        let too_long = token.trim_start_matches('-').len() > MAX_INTEGER_DIGITS;
        return if too_long { Err(PayloadError::IntegerTooLong) } else { Ok(()) };
    }
    // Without an exponent only a number of more than 308 digits can be too large. The parser reports malformed numbers.
    let may_be_large = has_exponent || token.len() > 308;
    let is_large = may_be_large && token.parse::<f64>().is_ok_and(f64::is_infinite);
    if is_large { Err(PayloadError::NumberTooLarge) } else { Ok(()) }
}

/// Returns the position of the quote that closes a string, or the end of the text.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn number(text: &str) -> &str {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
    &text[..end.unwrap_or(text.len())]
}

/// JSON text as it was received. Its syntax is valid, except that a string may have the escape of an unpaired surrogate, a
/// number may be beyond the range of a double, and it may be nested deeply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(pub Box<RawValue>);

impl RawJson {
    /// Returns the text.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for RawJson {}
