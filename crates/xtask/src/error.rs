//! Why a chore could not be done. A test that fails is an answer, not an error.

use std::{io, path::Path};

/// What stopped a chore.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or a program that the chore needs.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// `cargo metadata` failed, or said something else than expected.
    #[error(transparent)]
    Metadata(#[from] cargo_metadata::Error),
    /// A program that has to succeed did not; what it said went to standard error.
    #[error("`{0}` failed")]
    Failed(String),
    /// A line of a ledger that is none.
    #[error("{file}:{line}: {source}")]
    Ledger { file: String, line: usize, source: serde_json::Error },
    /// A signal came that ends this program; what ran is ended.
    #[error("ended by signal {0}; the run that was under way counts for nothing")]
    Interrupted(u8),
    /// What is asked for is not there.
    #[error("{0}")]
    Missing(String),
}

impl Error {
    /// The exit code: 2, or for a signal what a shell says of it.
    pub(crate) fn exit_code(&self) -> u8 {
        if let Self::Interrupted(signal) = self { 128 + signal } else { 2 }
    }

    /// What went wrong with a file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { what: path.display().to_string(), source }
    }

    /// What went wrong with a program.
    pub(crate) fn program(name: &str) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { what: name.to_owned(), source }
    }
}
