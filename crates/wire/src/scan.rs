//! Recognizes ordinary JSON in one pass. It accepts less than the checks in `payload`, which decide about everything else and
//! explain what is wrong. Pure.

/// Maximum nesting of arrays and objects; one level below serde_json's limit (Python's is about 1000).
pub const MAX_DEPTH: usize = 127;
/// The longest number that is accepted. Shorter than the limits of Python and of a double: with an exponent of two digits, the
/// largest number is below 1e299.
const LONGEST_NUMBER: usize = 200;

/// What an accepted text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    Object,
    Other,
}

/// Returns what `text` is if it is one JSON value within all limits of arguments, without unpaired surrogates. `None` means
/// that it may be one or not.
pub(crate) fn scan(text: &str) -> Option<Root> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    let root = if scanner.peek_token()? == b'{' { Root::Object } else { Root::Other };
    let mut open = Containers::default();
    loop {
        if scanner.value(&mut open)? {
            continue;
        }
        while !open.is_empty() {
            match (scanner.token()?, open.is_object()) {
                (b',', true) => {
                    scanner.key()?;
                    break;
                }
                (b',', false) => break,
                (b'}', true) | (b']', false) => open.pop(),
                _ => return None,
            }
        }
        if open.is_empty() {
            return scanner.is_at_end().then_some(root);
        }
    }
}

/// The containers around the current position. The lowest bit is the innermost one; 1 is an object.
#[derive(Default)]
struct Containers {
    bits: u128,
    count: usize,
}

impl Containers {
    fn push(&mut self, is_object: bool) -> Option<()> {
        self.bits = (self.bits << 1) | u128::from(is_object);
        self.count += 1;
        (self.count <= MAX_DEPTH).then_some(())
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.count -= 1;
    }

    fn is_object(&self) -> bool {
        self.bits & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// Reads a value, or the beginning of a container that is not empty. Returns whether another value must follow at once.
    fn value(&mut self, open: &mut Containers) -> Option<bool> {
        match self.token()? {
            b'"' => self.string()?,
            b'{' if self.peek_token()? == b'}' => self.empty(open)?,
            b'[' if self.peek_token()? == b']' => self.empty(open)?,
            b'{' => {
                open.push(true)?;
                self.key()?;
                return Some(true);
            }
            b'[' => {
                open.push(false)?;
                return Some(true);
            }
            first @ (b'-' | b'0'..=b'9') => self.number(first)?,
            b't' => self.literal(b"rue")?,
            b'f' => self.literal(b"alse")?,
            b'n' => self.literal(b"ull")?,
            _ => return None,
        }
        Some(false)
    }

    /// Skips the end of an empty container, which counts for the depth like others.
    fn empty(&mut self, open: &Containers) -> Option<()> {
        self.at += 1;
        (open.count < MAX_DEPTH).then_some(())
    }

    fn key(&mut self) -> Option<()> {
        (self.token()? == b'"').then_some(())?;
        self.string()?;
        (self.token()? == b':').then_some(())
    }

    /// Reads a string from behind its opening quote to behind its closing one.
    fn string(&mut self) -> Option<()> {
        loop {
            self.skip_ordinary();
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    /// Skips characters that need no attention, eight bytes at a time.
    fn skip_ordinary(&mut self) {
        while let Some(chunk) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let special = special(u64::from_le_bytes(*chunk));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += chunk.len();
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.utf16_unit()? {
                0xD800..=0xDBFF => {
                    self.literal(b"\\u")?;
                    matches!(self.utf16_unit()?, 0xDC00..=0xDFFF).then_some(())
                }
                0xDC00..=0xDFFF => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn utf16_unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some((unit << 4) | char::from(self.next()?).to_digit(16)?))
    }

    fn number(&mut self, first: u8) -> Option<()> {
        let start = self.at;
        match if first == b'-' { self.next()? } else { first } {
            b'0' => {}
            b'1'..=b'9' => _ = self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            (self.digits() > 0).then_some(())?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.exponent()?;
        }
        (self.at - start < LONGEST_NUMBER).then_some(())
    }

    fn exponent(&mut self) -> Option<()> {
        let sign = self.peek().filter(|byte| matches!(byte, b'+' | b'-'));
        self.at += usize::from(sign.is_some());
        let digits = self.digits();
        (digits > 0 && (digits <= 2 || sign == Some(b'-'))).then_some(())
    }

    /// Skips digits, and returns their number.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(text).then_some(())?;
        self.at += text.len();
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Skips spaces, and returns the byte after them.
    fn peek_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn token(&mut self) -> Option<u8> {
        let byte = self.peek_token()?;
        self.at += 1;
        Some(byte)
    }

    fn is_at_end(&mut self) -> bool {
        self.peek_token().is_none()
    }
}

/// Returns a word whose lowest set bit is in the first byte that ends a run of ordinary characters: a quote, a backslash or a
/// control character. Higher bits are not reliable: a subtraction may borrow from the next byte.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_zero(word ^ (ONES * 0x22)) | is_zero(word ^ (ONES * 0x5C)) | is_control) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_is_recognized() {
        for text in [
            r#"{"x": 1, "text": "abcdefghijklmnopqrstuvwxyz012345"}"#,
            " {\t\"a\":[1,-2.5e-300,1E+99,0.0,true,false,null,{},[]],\"b\":{\"\":\"\"}}\r\n",
            r#"{"\ud83d\ude00\n\"\\":"äöü☕ and more than eight bytes\u00e4"}"#,
        ] {
            assert_eq!(scan(text), Some(Root::Object), "{text}");
        }
        for text in ["1", " null", "\"{}\"", "[[[]]]", "-0"] {
            assert_eq!(scan(text), Some(Root::Other), "{text}");
        }
    }

    /// Depth and numbers at the limits of the checks are left to them, like everything that is invalid.
    #[test]
    fn anything_else_is_left_to_the_checks() {
        let around = |levels: usize, value: &str| "[".repeat(levels) + value + &"]".repeat(levels);
        assert_eq!(scan(&around(MAX_DEPTH, "")), Some(Root::Other));
        assert_eq!(scan(&around(MAX_DEPTH, "1")), Some(Root::Other));
        for text in [
            "",
            " ",
            "{",
            "}",
            "{}{}",
            "[1,]",
            "{,}",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{1:2}",
            "[}",
            "{\"a\"]",
            "01",
            "1.",
            "-",
            "1e",
            "1e+",
            ".5",
            "+1",
            "NaN",
            "nul",
            "truth",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\u{1}\"",
            "\"eight bytes \n\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\\ud800x\"",
            "1e100",
            "\u{feff}1",
            &around(MAX_DEPTH + 1, ""),
            &around(MAX_DEPTH + 1, "1"),
            &"9".repeat(LONGEST_NUMBER + 1),
        ] {
            assert_eq!(scan(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_special_byte_of_a_word_is_found() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                // 0x21 after the byte: a borrow would reach it.
                let mut word = [0x21; 8];
                word[at] = byte;
                let found = special(u64::from_le_bytes(word));
                let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(found != 0, is_special, "{byte}");
                assert!(!is_special || found.trailing_zeros() as usize / 8 == at, "{byte} {at}");
            }
        }
    }
}
