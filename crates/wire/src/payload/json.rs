//! Whether bytes are a JSON object that every reader accepts. Holds no state, builds no tree.

use super::{MAX_DEPTH, MAX_INTEGER_DIGITS, PayloadError};
use serde::{Deserialize, de::IgnoredAny};
use std::str;

/// Whether `bytes` are arguments: a JSON object in UTF-8, nested at most [`MAX_DEPTH`] levels deep.
///
/// Reads the bytes and keeps nothing of them. What passes, Python's `json.loads` reads; duplicate keys and lone surrogate
/// escapes pass, a byte order mark does not.
///
/// ```
/// use herder_wire::{PayloadError, check_json_object};
/// assert_eq!(check_json_object(br#"{"x": 1}"#), Ok(()));
/// assert_eq!(check_json_object(b"[1]"), Err(PayloadError::NotAnObject));
/// assert!(matches!(check_json_object(b"{\"x\": NaN}"), Err(PayloadError::Malformed { line: 1, .. })));
/// ```
///
/// # Errors
/// [`PayloadError`]: `Malformed`, `NotAnObject`, `TooDeep` or `IntegerTooLong`.
pub fn check_json_object(bytes: &[u8]) -> Result<(), PayloadError> {
    let text = utf8(bytes)?;
    check_shape(text, |digits| {
        if digits.trim_start_matches('-').len() > MAX_INTEGER_DIGITS {
            Err(PayloadError::IntegerTooLong)
        } else {
            Ok(())
        }
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    IgnoredAny::deserialize(&mut json).and_then(|_| json.end()).map_err(|e| malformed(&e))?;
    if text.trim_ascii_start().starts_with('{') { Ok(()) } else { Err(PayloadError::NotAnObject) }
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, PayloadError> {
    str::from_utf8(bytes).map_err(|e| {
        let before = &bytes[..e.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        PayloadError::Malformed { line, column, reason: "invalid UTF-8".into() }
    })
}

pub(super) fn malformed(error: &serde_json::Error) -> PayloadError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
    PayloadError::Malformed { line: error.line(), column: error.column(), reason }
}

/// Walks over what only looks like JSON so far: its nesting, and `integer` for each integer.
/// A parser goes over it afterwards, so that a mistake here is never an acceptance.
pub(super) fn check_shape(text: &str, integer: impl Fn(&str) -> Result<(), PayloadError>) -> Result<(), PayloadError> {
    let (bytes, mut at, mut depth) = (text.as_bytes(), 0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'[' | b'{' if depth == MAX_DEPTH => return Err(PayloadError::TooDeep),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let token = number(&text[at..]);
                if !token.contains(['.', 'e', 'E']) {
                    integer(token)?;
                }
                at += token.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
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
