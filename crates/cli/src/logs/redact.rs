//! Hides secrets in the lines of the log. Holds the tokens of the server.
//!
//! Each line is searched as it is written, in its final form, so that text and JSON, events of Herder and what workers print
//! have the same rules. They know names, not meanings: see "Secrets" in `docs/semantics.md`.

use memchr::{memchr2, memmem::Finder};
use std::{
    borrow::Cow,
    ops::Range,
    sync::{PoisonError, RwLock},
};

/// What stands in the place of a secret.
const REDACTED: &[u8] = b"[redacted]";
/// The ends of the names of secrets, in lower case and without `_` and `-`.
const SECRETS: [&[u8]; 11] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"secret",
    b"token",
    b"apikey",
    b"accesskey",
    b"secretkey",
    b"privatekey",
    b"authorization",
    b"cookie",
];
/// The last three letters of the words above. Most names are told from them.
const LAST_LETTERS: [[u8; 3]; 8] = [*b"ord", *b"swd", *b"ase", *b"ret", *b"ken", *b"key", *b"ion", *b"kie"];
/// The ends of the names of headers whose value may have several words.
const HEADERS: [&[u8]; 2] = [b"authorization", b"cookie"];
/// A shorter token would also be found in the middle of ordinary words.
const SHORTEST_TOKEN: usize = 8;

/// The tokens of the server. They are hidden wherever they stand.
static TOKENS: RwLock<Vec<Finder<'static>>> = RwLock::new(Vec::new());

/// Hides this token in all lines from now on, if it has at least eight characters.
pub(crate) fn hide_token(token: &str) {
    if token.len() >= SHORTEST_TOKEN {
        // In JSON and in quoted texts, the second form stands for the first one.
        let escaped = token.replace('\\', r"\\").replace('"', r#"\""#);
        let forms = [Some(token), Some(&*escaped).filter(|escaped| *escaped != token)];
        let finders = forms.into_iter().flatten().map(|form| Finder::new(form).into_owned());
        TOKENS.write().unwrap_or_else(PoisonError::into_inner).extend(finders);
    }
}

/// Returns the line without its secrets. A line of a JSON log remains JSON.
pub(super) fn redact(line: &[u8], is_json: bool) -> Cow<'_, [u8]> {
    let tokens = TOKENS.read().unwrap_or_else(PoisonError::into_inner);
    let hidden = replace(Cow::Borrowed(line), |line, from| {
        let find = |token: &Finder<'_>| Some((token.find(&line[from..])? + from, token.needle().len()));
        tokens.iter().filter_map(find).min().map(|(start, length)| (start..start + length, REDACTED.to_vec()))
    });
    replace(hidden, |line, from| Line { bytes: line, is_json }.next_secret(from))
}

/// Replaces everything that `next` finds, which is asked again after the end of each finding.
fn replace<'a>(line: Cow<'a, [u8]>, next: impl Fn(&[u8], usize) -> Option<(Range<usize>, Vec<u8>)>) -> Cow<'a, [u8]> {
    let (mut replaced, mut copied) = (Vec::new(), 0);
    while let Some((found, by)) = next(&line, copied) {
        replaced.extend_from_slice(&line[copied..found.start]);
        replaced.extend(by);
        copied = found.end;
    }
    if copied == 0 {
        return line;
    }
    replaced.extend_from_slice(&line[copied..]);
    Cow::Owned(replaced)
}

/// A line that is searched for secrets.
#[derive(Clone, Copy)]
struct Line<'a> {
    bytes: &'a [u8],
    is_json: bool,
}

/// The name before `=` or `:`.
struct Name<'a> {
    name: &'a [u8],
    /// What closes the quoted name: a quote, after as many backslashes as the nesting of texts requires. Empty: it has no quotes.
    quote: &'a [u8],
}

impl<'a> Line<'a> {
    /// Returns the first secret that ends after `from`, and its replacement.
    fn next_secret(self, from: usize) -> Option<(Range<usize>, Vec<u8>)> {
        let mut at = from;
        loop {
            at += memchr2(b'=', b':', self.bytes.get(at..)?)?;
            let found = self.user_info(at).map(|range| (range, REDACTED.to_vec())).or_else(|| self.value(at));
            if let Some(found) = found.filter(|(range, _)| range.start >= from) {
                return Some(found);
            }
            at += 1;
        }
    }

    fn at(self, index: usize) -> u8 {
        self.bytes.get(index).copied().unwrap_or(b'\n')
    }

    /// Returns the end of the bytes from `start` that are accepted.
    fn end_of(self, start: usize, accepts: impl Fn(u8) -> bool) -> usize {
        let length = self.bytes.get(start..).map_or(0, |rest| rest.iter().take_while(|byte| accepts(**byte)).count());
        start + length
    }

    /// Returns `user:password` of the URL whose scheme ends at `colon`.
    fn user_info(self, colon: usize) -> Option<Range<usize>> {
        if self.at(colon + 1) != b'/' || self.at(colon + 2) != b'/' || self.bytes[colon] != b':' {
            return None;
        }
        let start = colon + 3;
        let end = self.end_of(start, |byte| byte > b' ' && !b"/?#\"'\\<>".contains(&byte));
        let length = self.bytes[start..end].iter().rposition(|byte| *byte == b'@').filter(|length| *length > 0)?;
        Some(start..start + length)
    }

    /// Returns the value after `=` or `:`, if its name is that of a secret.
    fn value(self, separator: usize) -> Option<(Range<usize>, Vec<u8>)> {
        let Name { name, quote } = self.name(separator)?;
        let is_header = ends_as(name, &HEADERS);
        let is_assignment = self.bytes[separator] == b'=';
        // In source code, which tracebacks contain, `token: str` is an annotation.
        if !is_assignment && quote.is_empty() && !is_header && !name.contains(&b'-') {
            return None;
        }
        let start = if is_assignment { separator + 1 } else { self.end_of(separator + 1, |byte| byte == b' ') };
        // In JSON, a quote without backslashes begins a value only after a key. After a name in a text, it ends the text.
        let is_key = !is_assignment && quote == b"\"";
        if let Some(value) = self.quoted(start, is_key) {
            return Some(value).filter(|range| !range.is_empty()).map(|range| (range, REDACTED.to_vec()));
        }
        // Before the end is looked for: it may be far away, and a line can have many such names.
        if matches!(self.at(start), b'{' | b'[') {
            return None;
        }
        let ends: &[u8] = if is_header { b",\"'\\}\n" } else { b",\"'\\}&;()[]<> \t\n" };
        let range = start..self.end_of(start, |byte| !ends.contains(&byte));
        let is_constant =
            [&b"null"[..], b"true", b"false", b"None", b"True", b"False"].contains(&&self.bytes[range.clone()]);
        // A number in JSON becomes a text.
        (!range.is_empty() && !is_constant).then(|| (range, [quote, REDACTED, quote].concat()))
    }

    /// Returns the name before `separator`, if it is that of a secret.
    fn name(self, separator: usize) -> Option<Name<'a>> {
        let before = &self.bytes[..separator];
        let is_quoted = matches!(before.last(), Some(b'"' | b'\''));
        let unquoted = if is_quoted { trim_backslashes(&before[..separator - 1]) } else { before };
        if !may_be_secret(unquoted) {
            return None;
        }
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let start = unquoted.iter().rposition(|byte| !is_of_name(byte)).map_or(0, |last| last + 1);
        let (name, quote) = (&unquoted[start..], &before[unquoted.len()..]);
        ends_as(name, &SECRETS).then_some(Name { name, quote })
    }

    /// Returns the text between quotes that begins at `start`, if one begins there. `is_value`: whether the value of a key of the
    /// line itself may begin there, if the line is JSON.
    fn quoted(self, start: usize, is_value: bool) -> Option<Range<usize>> {
        let is_prefix = b"bBrRfFuU".contains(&self.at(start)) && matches!(self.at(start + 1), b'"' | b'\'');
        let start = start + usize::from(is_prefix);
        let open = self.end_of(start, |byte| byte == b'\\');
        let (quote, depth, first) = (self.at(open), open - start, open + 1);
        if !matches!(quote, b'"' | b'\'') || (self.is_json && quote == b'"' && depth.is_multiple_of(2) && !is_value) {
            return None;
        }
        // Inside of the text, a quote has more backslashes; a quote with fewer of them ends the text around it.
        for index in first..self.bytes.len() {
            let byte = self.bytes[index];
            if byte == b'"' || byte == quote {
                let inside = trim_backslashes(&self.bytes[first..index]);
                let backslashes = index - first - inside.len();
                // In JSON, an even number of backslashes are characters of a text, which this quote ends.
                if self.is_json && byte == b'"' && backslashes.is_multiple_of(2) {
                    return Some(first..index);
                }
                let closes = byte == quote && backslashes % (2 * (depth + 1)) == depth;
                let closes_outer = byte == b'"' && backslashes < depth;
                if closes || closes_outer {
                    return Some(first..index - backslashes.min(depth));
                }
            }
        }
        let end = self.end_of(first, |byte| byte != b'\n');
        Some(first..end)
    }
}

fn trim_backslashes(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b'\\').map_or(0, |last| last + 1);
    &text[..end]
}

/// Returns the letters of a name in lower case, the last one first, without `_` and `-`.
fn reversed(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().rev().filter(|byte| !matches!(byte, b'_' | b'-')).map(u8::to_ascii_lowercase)
}

/// Whether a name ends with the last letters of one of the words. Most names do not, and are not compared with the words then.
fn may_be_secret(name: &[u8]) -> bool {
    let mut last = reversed(name);
    let (Some(third), Some(second), Some(first)) = (last.next(), last.next(), last.next()) else { return false };
    LAST_LETTERS.contains(&[first, second, third])
}

/// Whether a name ends with one of these words, whatever its case; `_` and `-` are ignored.
fn ends_as(name: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| word.iter().rev().copied().eq(reversed(name).take(word.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(line: &str, is_json: bool) -> String {
        String::from_utf8(redact(line.as_bytes(), is_json).into_owned()).unwrap()
    }

    #[test]
    fn values_of_secret_names_are_hidden_in_text() {
        for (line, expected) in [
            ("a password=hunter2 b", "a password=[redacted] b"),
            ("DB_PASS_WD=a pass-wd=b COOK_IE=c", "DB_PASS_WD=[redacted] pass-wd=[redacted] COOK_IE=[redacted]"),
            (r#"DB_PASSWORD="a \"b c" x"#, r#"DB_PASSWORD="[redacted]" x"#),
            ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
            ("'Set-Cookie': 'a=1; b=2', 'x': 1", "'Set-Cookie': '[redacted]', 'x': 1"),
            ("{'api_key': b'1\"2', 'n': 2}", "{'api_key': b'[redacted]', 'n': 2}"),
            ("GET /x?access_token=abc&n=1", "GET /x?access_token=[redacted]&n=1"),
            ("x-api-key: abc", "x-api-key: [redacted]"),
            ("to postgres://me:pa:ss@db/x?a=b@c", "to postgres://[redacted]@db/x?a=b@c"),
            ("https://ghp_x@h/ and http://h/a@b", "https://[redacted]@h/ and http://h/a@b"),
            ("secret='never closed\n", "secret='[redacted]\n"),
            ("token=1 token=2", "token=[redacted] token=[redacted]"),
        ] {
            assert_eq!(redacted(line, false), expected);
        }
    }

    #[test]
    fn other_text_is_kept() {
        for line in [
            "prompt_tokens=12 max_tokens: 7",
            "def login(user: str, token: str = None):",
            "token = read()",
            "token={a: 1} cookie={token={",
            "the token is wrong: 401",
            "a == b, http://127.0.0.1:7878/v1, 10:15:02",
            r#"{"error":"token-missing","token":null,"token":""}"#,
        ] {
            assert!(matches!(redact(line.as_bytes(), false), Cow::Borrowed(_)), "{}", redacted(line, false));
        }
    }

    #[test]
    fn a_json_line_remains_json() {
        let inner = serde_json::json!({ "password": "a\"b\\", "n": 1 }).to_string();
        let nested = serde_json::json!({ "message": inner }).to_string();
        for value in [
            serde_json::json!({ "password": "a\"b\\", "pin_secret": 12, "token": ["kept"], "n": "password" }),
            serde_json::json!({ "message": inner, "end": 1 }),
            serde_json::json!({ "message": nested, "end": 1 }),
            serde_json::json!({ "message": "cut: {\"password\": \"abc", "end": 1 }),
            serde_json::json!({ "message": "cut: {'password': 'abc", "end": 1 }),
            serde_json::json!({ "message": "Authorization: Bearer abc", "end": 1 }),
        ] {
            let hidden = redacted(&(value.to_string() + "\n"), true);
            let parsed: serde_json::Value = serde_json::from_str(&hidden).expect(&hidden);
            assert!(!hidden.contains("abc") && !hidden.contains("a\\") && hidden.contains("[redacted]"), "{hidden}");
            assert!(parsed["end"] == value["end"] && parsed["n"] == value["n"], "{hidden}");
        }
        let hidden = redacted(r#"{"pin_secret":12}"#, true);
        assert_eq!(hidden, r#"{"pin_secret":"[redacted]"}"#);
    }

    /// The quote after a name may end the text that the name stands in. Clients choose the path of a request, so they could make
    /// lines of the access log invalid.
    #[test]
    fn a_json_line_whose_texts_end_after_a_name_remains_json() {
        let names = ["token=", "Authorization: ", "cookie:", "'token'=", r#""token": "#];
        let ends = ["", "b", "'", "\"", "\\", "b'", "b\"", "\"abc\\", "'abc\\", "\\\"", "\"abc\\\\", "\"\\\"", "abc\\"];
        for text in names.iter().flat_map(|name| ends.map(|end| format!("{name}{end}"))) {
            let inner = serde_json::json!({ "text": text, "n": 1 }).to_string();
            let innermost = serde_json::json!({ "text": inner, "password": "abc" }).to_string();
            for message in [&text, &inner, &innermost] {
                let line =
                    serde_json::json!({ "message": message, "next": { "password": "abc" }, "z_end": "," }).to_string();
                let hidden = redacted(&(line.clone() + "\n"), true);
                let parsed: serde_json::Value = serde_json::from_str(&hidden).expect(&hidden);
                assert_eq!(
                    (&parsed["next"]["password"], &parsed["z_end"]),
                    (&"[redacted]".into(), &",".into()),
                    "{line}"
                );
                assert!(!hidden.contains("abc"), "{line} {hidden}");
            }
        }
    }

    #[test]
    fn tokens_of_the_server_are_hidden_wherever_they_stand() {
        hide_token("short");
        hide_token("s3cret-of-the-server");
        assert_eq!(redacted("got s3cret-of-the-server: a short answer", false), "got [redacted]: a short answer");
    }
}
