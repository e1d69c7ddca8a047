//! Checks that bytes are JSON: arguments, an object that Python's `json.loads` and serde_json accept, or a result. Holds no
//! state, builds no tree of values.

use serde::{Deserialize, de::IgnoredAny};
use std::str;

/// Maximum nesting of arrays and objects; one level below serde_json's limit (Python's is about 1000).
pub const MAX_DEPTH: usize = 127;
/// Maximum digits of an integer. Python refuses to read a longer one.
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
    #[error("an integer has more than {MAX_INTEGER_DIGITS} digits, the maximum")]
    IntegerTooLong,
    /// A number with a fraction or an exponent is beyond the range of an `f64`: Python would read it as infinite.
    #[error("a number exceeds the range of a 64-bit float")]
    NumberTooLarge,
}

/// Whether `bytes` are arguments: a JSON object in UTF-8, nested at most [`MAX_DEPTH`] levels deep.
///
/// Reads the bytes and keeps nothing of them. Python's `json.loads` can read what passes, after [`without_byte_order_mark`]: a byte
/// order mark at the beginning passes. Duplicate keys and lone surrogate escapes pass.
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
    check_shape(text)?;
    check_grammar(text)?;
    if text.trim_ascii_start().starts_with('{') { Ok(()) } else { Err(PayloadError::NotAnObject) }
}

/// Whether `bytes` are one JSON value in UTF-8, nested however deep, without a byte order mark.
///
/// ```
/// assert!(herder_wire::check_json(b"[1e999, null] ").is_ok());
/// assert!(herder_wire::check_json(b"1, \"more\": 2").is_err());
/// ```
///
/// # Errors
/// [`PayloadError::Malformed`].
pub fn check_json(bytes: &[u8]) -> Result<(), PayloadError> {
    check_grammar(utf8(bytes)?)
}

/// Returns `bytes` without the byte order mark at the beginning, if there is one: some editors and programs write it.
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// serde_json skips ignored values without recursion, so no depth overflows the stack.
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

/// Checks the nesting and the numbers of a text that has not been parsed as JSON yet.
/// A parser goes over it afterwards, so that a mistake here is never an acceptance.
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
    // Without an exponent only a number of more than 308 digits can be too large. The JSON parser reports what does not parse.
    let may_be_large = has_exponent || token.len() > 308;
    let is_large = may_be_large && token.parse::<f64>().is_ok_and(f64::is_infinite);
    if is_large { Err(PayloadError::NumberTooLarge) } else { Ok(()) }
}

/// The place of the quote that closes a string, or the end.
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
