//! Splits the output of a worker into lines of limited length, and keeps the last ones. Pure: no descriptors, no logging.

use std::collections::VecDeque;

/// Longer lines are split into pieces of at most this many bytes.
const LINE_MAX: usize = 4 * 1024;
/// The maximum number of lines in the tail of a stream.
const TAIL_LINES: usize = 40;
/// The maximum size of the tail in bytes. The lower of the two limits applies.
const TAIL_BYTES: usize = 8 * 1024;

/// One of the two outputs of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Splits a stream of bytes into lines. Holds at most one incomplete line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Adds bytes and passes each line that is complete to `line`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.cut(&mut line);
            line(text(&self.partial));
            self.partial.clear();
        }
        self.partial.extend_from_slice(bytes);
        self.cut(&mut line);
    }

    /// Passes the incomplete line at the end of the stream to `line`.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(String)) {
        if !self.partial.is_empty() {
            line(text(&self.partial));
            self.partial.clear();
        }
    }

    /// Passes pieces to `line` while the buffer exceeds the maximum length. Never splits a character.
    fn cut(&mut self, mut line: impl FnMut(String)) {
        let mut from = 0;
        while self.partial.len() - from > LINE_MAX {
            let rest = &self.partial[from..];
            let continues = |&at: &usize| rest[at] & 0b1100_0000 == 0b1000_0000;
            let at = (LINE_MAX - 3..=LINE_MAX).rev().find(|at| !continues(at)).unwrap_or(LINE_MAX);
            line(text(&rest[..at]));
            from += at;
        }
        self.partial.drain(..from);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned()
}

/// The last lines of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > TAIL_LINES || (self.bytes > TAIL_BYTES && self.lines.len() > 1) {
            self.bytes -= self.lines.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for part in parts {
            lines.feed(part, |line| seen.push(line));
        }
        lines.finish(|line| seen.push(line));
        seen
    }

    /// R40: the lines do not depend on how the reads split the output.
    #[test]
    fn lines_survive_any_cut() {
        assert_eq!(lines_of(&[b"a\nb", b"", b"c\r\n", b"\nhalf"]), ["a", "bc", "", "half"]);
        assert_eq!(lines_of(&[b"x\n"]), ["x"]);
        assert_eq!(lines_of(&[b"caf\xc3", b"\xa9\nbad \xff!\n"]), ["café", "bad \u{fffd}!"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_nothing_is_lost() {
        let long = "é".repeat(LINE_MAX) + "x" + &"é".repeat(LINE_MAX);
        let pieces = lines_of(&[long.as_bytes(), b"\nnext\n"]);
        assert_eq!(pieces.last().map(String::as_str), Some("next"));
        assert_eq!(pieces[..pieces.len() - 1].concat(), long);
        assert!(pieces.iter().all(|piece| piece.len() <= LINE_MAX));
        assert_eq!(lines_of(&[&[0x80; LINE_MAX * 2]]).len(), 2, "stray continuation bytes are cut too");
    }

    #[test]
    fn the_tail_is_bounded_by_lines_and_by_bytes() {
        let mut tail = Tail::default();
        (0..100).for_each(|n| tail.push(n.to_string()));
        assert_eq!((tail.lines().len(), tail.lines()[0].as_str()), (TAIL_LINES, "60"));
        (0..5).for_each(|_| tail.push("x".repeat(LINE_MAX)));
        assert_eq!(tail.lines().len(), TAIL_BYTES / LINE_MAX);
    }
}
