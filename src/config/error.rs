//! What is wrong with a configuration file, and where. Knows places in a text, not what belongs there.

use std::ops::Range;
use std::path::PathBuf;
use std::{fmt, io};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be: every problem on a line of its own, as `herder.toml:12:5: key: message`.
    #[error("{}", lines(file, problems))]
    Invalid {
        /// The file's name, as it was given.
        file: String,
        /// All that was found, in the order of the file. Never empty.
        problems: Vec<ConfigProblem>,
    },
}

/// One thing wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The key's whole path, as in `pools.models.pool_size`; empty where the text isn't even TOML.
    pub key: String,
    /// What is wrong, and what is allowed instead.
    pub message: String,
}

impl ConfigError {
    /// What was found in the file; empty if it could not be read.
    pub fn problems(&self) -> &[ConfigProblem] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, message } = self;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        write!(f, "{line}:{column}: {key}{message}")
    }
}

fn lines(file: &str, problems: &[ConfigProblem]) -> String {
    problems.iter().map(|problem| format!("{file}:{problem}")).collect::<Vec<_>>().join("\n")
}

/// Collects the problems of one text.
pub(super) struct ProblemCollector<'a> {
    text: &'a str,
    problems: Vec<ConfigProblem>,
}

impl<'a> ProblemCollector<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// Notes a problem at a span of bytes of the text.
    pub(super) fn add(&mut self, span: &Range<usize>, key: impl Into<String>, message: impl Into<String>) {
        let (line, column) = place(self.text, span.start);
        self.problems.push(ConfigProblem { line, column, key: key.into(), message: message.into() });
    }

    /// What the text says there, cut to a readable length.
    pub(super) fn quote(&self, span: &Range<usize>) -> String {
        const LONGEST: usize = 40;
        let text = self.text.get(span.clone()).unwrap_or_default();
        let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
        // Quotes are what tells a text from a number here: they stay as they are in the file.
        shown = shown.replace("\\\"", "\"").replace("\\'", "'");
        if text.chars().nth(LONGEST).is_some() { shown + ".." } else { shown }
    }

    /// The text itself.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The error, if there was a problem.
    pub(super) fn finish(mut self, file: &str) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(ConfigError::Invalid { file: file.into(), problems: self.problems })
    }
}

/// Line and column, both from 1, of a byte of the text.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places_count_lines_and_characters() {
        let text = "a\nü = 1\r\nb";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, text.find('1').unwrap()), (2, 5));
        assert_eq!(place(text, text.find('b').unwrap()), (3, 1));
        assert_eq!(place(text, 99), (3, 2));
    }
}
