//! Why a folder cannot be used for the package.

use std::{io, path::PathBuf};

/// Why a folder cannot be used, with the path that the error is about.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// A system call failed.
    #[error("{}: {}", path.display(), herder_process::explain(source))]
    Io { path: PathBuf, source: io::Error },
    /// Another user owns the file or folder and could change it.
    #[error("{} is owned by another user (uid {owner})", path.display())]
    Owner { path: PathBuf, owner: u32 },
    /// Other users can write the file or folder.
    #[error("{} is writable by its group or by other users", path.display())]
    Writable { path: PathBuf },
    /// The file is not part of the package.
    #[error("{} is not part of the package", path.display())]
    Unlisted { path: PathBuf },
    /// The contents of the file differ from the package.
    #[error("the contents of {} differ from the package", path.display())]
    Contents { path: PathBuf },
}

impl InstallError {
    pub(super) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.into(), source: source.into() }
    }

    /// Returns whether the host has no descriptors left; the folder itself may be usable.
    pub(super) fn is_out_of_descriptors(&self) -> bool {
        matches!(self, Self::Io { source, .. } if herder_process::is_out_of_descriptors(source))
    }

    /// Returns whether the path does not exist.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
