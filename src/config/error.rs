//! The problems of a configuration file, with their positions. Holds the text of the file; which keys are allowed is
//! checked elsewhere.

use serde::Serialize;
use std::ops::Range;
use std::path::PathBuf;
use std::{fmt, io};

/// The error of reading a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The file is invalid. The text has a line for each problem: `herder.toml:12:5: key: message`.
    #[error("{}", lines(file, problems))]
    Invalid {
        /// The name of the file, as it was given.
        file: String,
        /// All problems, in the order of the file. Never empty.
        problems: Vec<ConfigProblem>,
    },
}

/// A problem of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The full path of the key, such as `pools.models.pool_size`. Empty if the text is not valid TOML.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl ConfigError {
    /// Returns the problems of the file; empty if the file could not be read.
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

    /// Adds a problem at a range of bytes of the text.
    pub(super) fn add(&mut self, span: &Range<usize>, key: impl Into<String>, message: impl Into<String>) {
        let (line, column) = place(self.text, span.start);
        self.problems.push(ConfigProblem { line, column, key: key.into(), message: message.into() });
    }

    /// Returns the text in this range, cut after 40 characters.
    pub(super) fn quote(&self, span: &Range<usize>) -> String {
        const MAX_QUOTED: usize = 40;
        let text = self.text.get(span.clone()).unwrap_or_default();
        let mut shown: String = text.chars().take(MAX_QUOTED).flat_map(char::escape_debug).collect();
        // Keep the quotes as they are in the file: they distinguish a string from a number.
        shown = shown.replace("\\\"", "\"").replace("\\'", "'");
        if text.chars().nth(MAX_QUOTED).is_some() { shown + ".." } else { shown }
    }

    /// Returns the text of the file.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns an error if there is a problem.
    pub(super) fn finish(mut self, file: &str) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(ConfigError::Invalid { file: file.into(), problems: self.problems })
    }
}

/// Returns the line and the column of a byte of the text, both counted from 1.
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
