//! Lends the terminal to debuggers in workers, one at a time.
//!
//! A worker has its own process group, which is in the background: the system stops it when it reads the terminal. A worker
//! asks for the terminal by a connection to a socket, and has it until the connection ends: when its debugger is done, or when
//! it dies.

use super::keys::is_own_terminal;
use crate::logs;
use herder::process::set_foreground;
use rustix::{
    process::{Pid, getpgid, getpgrp},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};
use std::{
    env,
    io::{self, stdin},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Mutex, OwnedMutexGuard},
};

/// The variable with the path of the socket.
pub(super) const KEY: &str = "HERDER_TERMINAL";
/// What disables a key of the terminal (`_POSIX_VDISABLE`).
const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// The terminal, and the socket by which workers ask for it.
pub(super) struct Terminal {
    listener: UnixListener,
    /// Only this user can open it.
    folder: TempDir,
}

impl Terminal {
    /// Creates the socket. `None` if standard input is not the terminal of this process, if it is in the background, or if the
    /// socket cannot be created, which is logged.
    pub(super) fn open() -> Option<Self> {
        if !is_own_terminal() {
            return None;
        }
        let folder = env::temp_dir();
        // The path of a socket has about 100 bytes at most, and some environments have a longer folder.
        let created = Self::create(&folder).or_else(|error| Self::create(Path::new("/tmp")).map_err(|_| error));
        let report = |error: &io::Error| {
            logs::write_line(&format!(
                "debuggers do not get the terminal: cannot create a socket in {}: {error}; set TMPDIR to a folder with a short \
                 path that you can write",
                folder.display()
            ));
        };
        created.inspect_err(report).ok()
    }

    fn create(folder: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("herder-dev-").tempdir_in(folder)?;
        let listener = UnixListener::bind(folder.path().join("terminal"))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, folder })
    }

    /// Returns the path of the socket.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("terminal")
    }

    /// Lends the terminal to one worker after the other. Who holds `input` reads the terminal.
    pub(super) async fn lend(self, input: Arc<Mutex<()>>) {
        if let Err(error) = self.accept(input).await {
            logs::write_line(&format!("debuggers do not get the terminal any more: {error}"));
        }
    }

    async fn accept(self, input: Arc<Mutex<()>>) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener)?;
        loop {
            let (mut worker, _) = listener.accept().await?;
            // If it gets nothing, the end of the connection says so.
            if let Ok(loan) = Loan::start(&worker, Arc::clone(&input).lock_owned().await) {
                if worker.write_all(b"+").await.is_ok() {
                    _ = worker.read(&mut [0]).await;
                }
                drop(loan);
            }
        }
    }
}

/// The time in which a worker has the terminal. Takes it back when it is dropped.
struct Loan {
    borrower: Pid,
    modes: Termios,
    _input: OwnedMutexGuard<()>,
}

impl Loan {
    /// Makes the process group of a worker the foreground group.
    fn start(worker: &UnixStream, input: OwnedMutexGuard<()>) -> io::Result<Self> {
        let process = worker.peer_cred()?.pid().and_then(Pid::from_raw);
        let borrower = getpgid(Some(process.ok_or(io::ErrorKind::NotFound)?))?;
        if !is_own_terminal() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let modes = tcgetattr(stdin())?;
        let loan = Self { borrower, modes, _input: input };
        tcsetattr(stdin(), OptionalActions::Now, &loan.modes_of_borrower())?;
        set_foreground(stdin(), raw(borrower))?;
        Ok(loan)
    }

    fn modes_of_borrower(&self) -> Termios {
        let mut modes = self.modes.clone();
        // Ctrl-Z would stop the worker alone, and no shell would take the terminal.
        modes.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
        // The log goes on meanwhile.
        modes.local_modes.remove(LocalModes::TOSTOP);
        modes
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // If another group has it, the shell has taken it.
        if tcgetpgrp(stdin()).is_ok_and(|group| group != self.borrower && group != getpgrp()) {
            return;
        }
        _ = set_foreground(stdin(), raw(getpgrp()));
        _ = tcsetattr(stdin(), OptionalActions::Now, &self.modes);
    }
}

fn raw(group: Pid) -> u32 {
    group.as_raw_nonzero().get().unsigned_abs()
}
