//! Detects lone surrogates in JSON: `"\ud800"` is valid by the grammar of JSON, but is not valid Unicode. Pure.
//!
//! Lone surrogates are refused because Python accepts them: a handler that returns, prints or stores such a string
//! would fail far from the cause.

use herder_actors::PayloadError;

/// Refuses a lone surrogate in a string or a key. The grammar of `json` must have been checked before.
pub(super) fn check(json: &[u8]) -> Result<(), PayloadError> {
    if !json.contains(&b'\\') {
        return Ok(()); // the usual case, and a faster search
    }
    let mut at = 0;
    while let Some(next) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += next;
        match (utf16_escape(json, at), utf16_escape(json, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 12,
            (Some(0xD800..=0xDFFF), _) => return Err(surrogate(json, at)),
            (Some(_), _) => at += 6,
            (None, _) => at += 2, // another escape, such as `\n`
        }
    }
    Ok(())
}

/// Returns the UTF-16 code unit of the escape at this position, if there is one.
fn utf16_escape(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn surrogate(json: &[u8], at: usize) -> PayloadError {
    let before = &json[..at];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let escape = String::from_utf8_lossy(&json[at..at + 6]);
    PayloadError::Malformed {
        line,
        column,
        reason: format!("`{escape}` is an unpaired surrogate, which is not valid text"),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn lone_surrogates_are_refused_with_their_position() {
        for (json, column) in [
            (r#"{"x": "\ud800"}"#, 8),
            (r#"{"\uDFFF": 1}"#, 3),
            (r#"{"x": "\ud83d\ud83d\ude00"}"#, 8),
            (r#"{"x": "\ud83dx\ude00"}"#, 8),
            (r#"{"x": "\\\ud800"}"#, 10),
            (r#"{"x": "\ude00\ud83d"}"#, 8),
            (r#"{"x": "\ud83d\u00e4"}"#, 8),
        ] {
            let place = format!("is an unpaired surrogate, which is not valid text at line 1 column {column}");
            assert!(check(json.as_bytes()).unwrap_err().to_string().ends_with(&place), "{json}");
        }
        let second_line = check(b"{\n \"\\udc00\": 1}").unwrap_err();
        assert!(second_line.to_string().ends_with("at line 2 column 3"), "{second_line}");
    }

    #[test]
    fn pairs_and_other_escapes_pass() {
        for json in [
            r#"{"x": "\ud83d\ude00 \uD83D\uDE00\ud83d\ude00"}"#,
            r#"{"x": "\\ud800", "y\n": "\u00e4\ue000\ud7ff\uffff"}"#,
            r#"{"x": "\\\\ud800", "y": "\""}"#,
            "{}",
        ] {
            assert_eq!(check(json.as_bytes()), Ok(()), "{json}");
        }
    }
}
