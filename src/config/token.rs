//! The tokens of callers of the HTTP server. A token is a secret: neither `Debug` nor an error shows its text.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    io::Errno,
};
use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

pub(super) const TOKEN: &str = "1 to 1024 visible ASCII characters, without spaces";

/// The maximum number of bytes that are read of a file. A token with some white space around it is much shorter.
const MAX_FILE: u64 = 4096;
/// How long a pipe or a device has for the token.
const LIMIT: Duration = Duration::from_secs(10);

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
    /// The file is a pipe or a device, and nothing was written to it in time, or it was not closed.
    #[error(
        "the token file {} is a pipe or a device, and no token arrived from it within {} s: write the token to it and close \
         it, or name a regular file",
        path.display(),
        waited.as_secs()
    )]
    Silent {
        /// The file.
        path: PathBuf,
        /// The time.
        waited: Duration,
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
    /// file system. A pipe, such as a process substitution of a shell, or a device is read to its end, for at most ten seconds.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if its text is not a token.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TokenFileError> {
        Self::from_file_within(path.as_ref(), LIMIT)
    }

    fn from_file_within(path: &Path, limit: Duration) -> Result<Self, TokenFileError> {
        let read = read(path, limit).map_err(|source| TokenFileError::Read { path: path.into(), source })?;
        let bytes = read.ok_or_else(|| TokenFileError::Silent { path: path.into(), waited: limit })?;
        let token = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        token.ok_or_else(|| TokenFileError::Invalid { path: path.into() })
    }
}

/// Reads a file, or as much as a token can have. Returns `None` if it is a pipe or a device that does not end in time.
fn read(path: &Path, limit: Duration) -> io::Result<Option<Vec<u8>>> {
    // Opening a pipe would otherwise wait until somebody opens it for writing, which may never happen. Flags are an `int`.
    let mut file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return read_within(&mut file, limit);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[expect(clippy::disallowed_methods, reason = "nobody may ever write to a pipe")]
fn read_within(file: &mut File, limit: Duration) -> io::Result<Option<Vec<u8>>> {
    let began = Instant::now();
    let mut bytes = Vec::new();
    let mut part = [0; MAX_FILE as usize];
    while bytes.len() < MAX_FILE as usize {
        // A time that the system cannot express has no end.
        let left = Timespec::try_from(limit.saturating_sub(began.elapsed())).ok();
        match poll(&mut [PollFd::new(file, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(bytes))
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
    use std::{fs, io::Write, os::fd::AsRawFd, thread};

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
        let directory = Token::from_file(folder.path()).unwrap_err();
        assert!(directory.to_string().contains("s a directory"), "{directory}");
    }

    /// A pipe is read to its end, also in parts; without a writer, the start does not wait for one forever.
    #[test]
    fn a_token_is_read_from_a_pipe_for_a_limited_time() {
        let (pipe, mut writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", pipe.as_raw_fd()));
        let reader = thread::spawn(move || Token::from_file_within(&path, Duration::MAX));
        writer.write_all(b"s3").unwrap();
        writer.write_all(b"cret\n").unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap().unwrap().expose(), "s3cret");

        let (silent, _writer) = io::pipe().unwrap();
        let path = format!("/dev/fd/{}", silent.as_raw_fd());
        let error = Token::from_file_within(Path::new(&path), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("is a pipe or a device, and no token arrived"), "{error}");
        let endless = Token::from_file("/dev/zero").unwrap_err();
        assert!(endless.to_string().contains("contains an invalid token"), "{endless}");
    }
}
