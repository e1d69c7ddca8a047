//! Why a place for the package is not used.

use std::{io, path::PathBuf};

/// Why a place is not used, with the path that it is about.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// The system said no.
    #[error("{}: {}", path.display(), herder_process::explain(source))]
    Io { path: PathBuf, source: io::Error },
    /// Somebody else could change what is there.
    #[error("{} is owned by another user (uid {owner})", path.display())]
    Owner { path: PathBuf, owner: u32 },
    /// Somebody else could change what is there.
    #[error("{} is writable by its group or by other users", path.display())]
    Writable { path: PathBuf },
    /// It is no part of the package.
    #[error("{} is not part of the package", path.display())]
    Unlisted { path: PathBuf },
    /// It is not what the package has there.
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

    /// Whether there was nothing at that path.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
