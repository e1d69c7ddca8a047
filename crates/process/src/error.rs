//! Why a worker could not be started. The errors of this crate's one boundary; no state.

use crate::limits::{self, is_out_of_descriptors};
use rustix::io::Errno;
use std::{io, path::PathBuf};

/// Why a worker could not be started. Nothing of it is left behind: no process, no descriptor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such program, in the worker's `PATH` or at the given place.
    #[error("program not found: `{}`", program.display())]
    ProgramNotFound {
        /// As it was given.
        program: PathBuf,
    },
    /// The program is a dangling symbolic link, as in a virtual environment whose interpreter was removed.
    #[error("`{}` is a symbolic link to `{}`, which does not exist", program.display(), target.display())]
    DanglingLink {
        /// As it was given.
        program: PathBuf,
        /// Where the link points.
        target: PathBuf,
    },
    /// The program is a script (or needs a loader) and what should run it does not exist.
    #[error("`{}` exists, but the interpreter in its first line does not", program.display())]
    InterpreterNotFound {
        /// As it was given.
        program: PathBuf,
    },
    /// The program may not be executed: no permission, or it is a directory.
    #[error("no permission to run `{}`", program.display())]
    PermissionDenied {
        /// As it was given.
        program: PathBuf,
    },
    /// The working directory does not exist, is no directory, or may not be entered.
    #[error("cannot start `{}` in the directory `{}`: {source}", program.display(), cwd.display())]
    WorkingDirectory {
        /// As it was given.
        program: PathBuf,
        /// As it was given.
        cwd: PathBuf,
        /// What the system said about the directory.
        source: io::Error,
    },
    /// The system is out of descriptors, processes or memory. May pass.
    #[error("out of resources while starting `{}`: {}", program.display(), limits::explain(source))]
    Resources {
        /// As it was given.
        program: PathBuf,
        /// Which resource.
        source: io::Error,
    },
    /// More workers live in this host than the watchdog's table holds.
    #[error("cannot start `{}`: this process already has {limit} workers, the maximum", program.display())]
    TooManyWorkers {
        /// As it was given.
        program: PathBuf,
        /// The most there can be.
        limit: usize,
    },
    /// One of the crate's own threads or its watchdog process could not be started, so no worker was. May pass.
    #[error("can't start the {what} that looks after workers: {}", limits::explain(source))]
    Infrastructure {
        /// Which thread or process.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// This process is a forked copy of the one that started the threads; it has none of them.
    #[error("workers cannot be started in a forked child of a process that already started workers")]
    ForkedHost,
    /// Anything else the system said.
    #[error("cannot start `{}`: {source}", program.display())]
    Os {
        /// As it was given.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpawnError {
    /// Whether the cause is a shortage that may pass, rather than a mistake in the command.
    pub fn is_resource(&self) -> bool {
        match self {
            Self::Resources { .. } | Self::TooManyWorkers { .. } => true,
            Self::Infrastructure { source, .. } => is_shortage(source),
            _ => false,
        }
    }

    /// Whether this process, or the system, has no descriptor left: nothing is wrong with the command.
    pub fn is_out_of_descriptors(&self) -> bool {
        match self {
            Self::Resources { source, .. } | Self::Infrastructure { source, .. } => is_out_of_descriptors(source),
            _ => false,
        }
    }
}

/// Whether the system lacks something it may have later.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| SHORTAGES.contains(&errno))
}
