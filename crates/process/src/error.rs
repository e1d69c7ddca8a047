//! The errors of starting a worker. Holds no state.

use crate::limits::{self, is_out_of_descriptors};
use rustix::io::Errno;
use std::{io, path::PathBuf};

/// Why a worker could not be started. No process and no descriptor of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program does not exist, in the worker's `PATH` or at the given path.
    #[error("program not found: `{}`", program.display())]
    ProgramNotFound {
        /// The program as given.
        program: PathBuf,
    },
    /// The program is a dangling symbolic link, as in a virtual environment whose interpreter was removed.
    #[error("`{}` is a symbolic link to `{}`, which does not exist", program.display(), target.display())]
    DanglingLink {
        /// The program as given.
        program: PathBuf,
        /// The target of the link.
        target: PathBuf,
    },
    /// The program is a script, or needs a loader, and its interpreter does not exist.
    #[error("`{}` exists, but the interpreter in its first line does not", program.display())]
    InterpreterNotFound {
        /// The program as given.
        program: PathBuf,
    },
    /// The program may not be executed: permission is missing, or it is a directory.
    #[error("no permission to run `{}`", program.display())]
    PermissionDenied {
        /// The program as given.
        program: PathBuf,
    },
    /// The working directory does not exist, is not a directory, or may not be entered.
    #[error("cannot start `{}` in the directory `{}`: {source}", program.display(), cwd.display())]
    WorkingDirectory {
        /// The program as given.
        program: PathBuf,
        /// The directory as given.
        cwd: PathBuf,
        /// The system error for the directory.
        source: io::Error,
    },
    /// The system has no free descriptors, processes or memory. A later start may succeed.
    #[error("out of resources while starting `{}`: {}", program.display(), limits::explain(source))]
    Resources {
        /// The program as given.
        program: PathBuf,
        /// The system error, which shows the resource.
        source: io::Error,
    },
    /// This process has as many workers as the watchdog's table can hold.
    #[error("cannot start `{}`: this process already has {limit} workers, the maximum", program.display())]
    TooManyWorkers {
        /// The program as given.
        program: PathBuf,
        /// The maximum number of workers.
        limit: usize,
    },
    /// One of the crate's threads or its watchdog process could not be started, and so no worker. A later start may succeed.
    #[error("cannot start the {what} that manages worker processes: {}", limits::explain(source))]
    Infrastructure {
        /// The thread or process.
        what: &'static str,
        /// The system error.
        source: io::Error,
    },
    /// This process is a forked copy of the process that started the threads, and has no copy of the threads.
    #[error("workers cannot be started in a forked child of a process that already started workers")]
    ForkedHost,
    /// Any other system error.
    #[error("cannot start `{}`: {source}", program.display())]
    Os {
        /// The program as given.
        program: PathBuf,
        /// The system error.
        source: io::Error,
    },
}

impl SpawnError {
    /// Whether a resource is exhausted, so that a later start may succeed. Otherwise the command is wrong.
    pub fn is_resource(&self) -> bool {
        match self {
            Self::Resources { .. } | Self::TooManyWorkers { .. } => true,
            Self::Infrastructure { source, .. } => is_shortage(source),
            _ => false,
        }
    }

    /// Whether this process or the system has no free descriptor. The command is not the cause.
    pub fn is_out_of_descriptors(&self) -> bool {
        match self {
            Self::Resources { source, .. } | Self::Infrastructure { source, .. } => is_out_of_descriptors(source),
            _ => false,
        }
    }
}

/// Whether the system lacks something that it may have later.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| SHORTAGES.contains(&errno))
}
