//! The tokens of callers of the HTTP server. A token is a secret: neither `Debug` nor an error shows its text.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

pub(super) const TOKEN: &str = "1 to 1024 visible ASCII characters, without spaces";

/// The maximum number of bytes that are read of a file. A token with some white space around it is much shorter.
const MAX_FILE: u64 = 4096;

/// A secret that callers send as `Authorization: Bearer ..`. Its `Debug` output does not contain it.
///
/// ```
/// use herder::config::Token;
/// let token: Token = "s3cret".parse().unwrap();
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// assert_eq!(token.expose(), "s3cret");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The error for an invalid token. It does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid token; allowed: {TOKEN}")]
pub struct InvalidToken;

/// The error for a file from which no token can be read. It does not contain the text of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("cannot read the token file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The file does not contain a token.
    #[error("the token file {} contains an {InvalidToken}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
}

impl Token {
    /// Returns the secret. Compare it in constant time.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a token from a file that contains nothing else. White space before and after it is ignored. Blocks on the
    /// file system.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if its text is not a token.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TokenFileError> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        read.map_err(|source| TokenFileError::Read { path: path.into(), source })?;
        let token = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        token.ok_or_else(|| TokenFileError::Invalid { path: path.into() })
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.into())) } else { Err(InvalidToken) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_token_file_has_one_token_and_its_error_does_not_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            Token::from_file(&path).map(|token| token.expose().to_owned()).map_err(|error| error.to_string())
        };
        assert_eq!(read("s3cret\n"), Ok("s3cret".into()));
        assert_eq!(read("  s3cret\r\n\n"), Ok("s3cret".into()));
        for text in ["", "\n", "two words", "s3crét", &"x".repeat(5000)] {
            let error = read(text).unwrap_err();
            assert!(error.contains("contains an invalid token") && !error.contains("words"), "{error}");
        }
        let missing = Token::from_file(folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read the token file "), "{missing}");
    }
}
