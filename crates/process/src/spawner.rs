//! The spawner: the one thread that starts workers. It never ends while the host lives, because a death signal fires when the
//! thread that started the child does. Holds no state of its own.

use crate::{
    Command, SpawnError,
    child::{Child, Process, Spawned, lock},
    error::is_shortage,
    exit::ExitWatch,
    launch::Launch,
    memory::Before,
    waker::Waker,
    warden::{Live, Origin},
    watchdog::{CAPACITY, Watchdog},
};
use rustix::{
    fs::{Access, access},
    io::fcntl_dupfd_cloexec,
    process::{Pid, Signal, getpid, kill_process_group},
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, mpsc},
};
use tokio::sync::oneshot;

/// An order to the spawner. If the one who ordered has left, the worker's handle is dropped, and so the worker is killed.
pub(crate) struct Order {
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<Result<Spawned, SpawnError>>,
}

/// What the spawner works with.
pub(crate) struct Spawner {
    pub(crate) watchdog: Arc<Mutex<Watchdog>>,
    pub(crate) arrivals: mpsc::Sender<Live>,
    pub(crate) warden: Waker,
}

impl Spawner {
    /// The thread's whole life.
    pub(crate) fn run(&self, orders: &mpsc::Receiver<Order>) {
        for Order { command, reply } in orders {
            // Whoever left gets his worker dropped right here.
            let _ = reply.send(self.start(&command));
        }
    }

    fn start(&self, command: &Command) -> Result<Spawned, SpawnError> {
        let lifeline = self.lifeline(command)?;
        let shortage = |error| explain(command, error);
        let (calls, calls_end) = socket_pair().map_err(shortage)?;
        let (control, control_end) = socket_pair().map_err(shortage)?;
        let (report, report_end) = UnixStream::pair().map_err(shortage)?;

        let before = Before::look();
        let mut prepared = prepare(command, &calls_end, &control_end);
        let inherited = [calls_end, control_end];
        Launch { inherited, lifeline, report: report_end.into(), host: getpid() }.prepare(&mut prepared);
        let started = prepared.spawn();
        drop(prepared); // and with it the host's copies of the worker's ends: a worker's end must show as end of file
        let started = started.map_err(|error| {
            self.forget(&report);
            explain(command, error)
        })?;
        let inherited = told(&report).map_or(0, |(_, peak)| peak);
        let child = self.hand_over(command, started, Origin { before, inherited }).map_err(shortage)?;
        Ok(Spawned { calls, control, child })
    }

    fn lifeline(&self, command: &Command) -> Result<Arc<OwnedFd>, SpawnError> {
        let mut watchdog = lock(&self.watchdog);
        if watchdog.is_full() {
            return Err(SpawnError::TooManyWorkers { program: program(command), limit: CAPACITY });
        }
        watchdog.lifeline().map_err(|source| SpawnError::Keeper { what: "watchdog process", source })
    }

    /// A child that registered but could not become the worker is gone; its number must not stay on the list.
    fn forget(&self, report: &UnixStream) {
        if let Some((Some(pid), _)) = told(report) {
            lock(&self.watchdog).remove(pid);
        }
    }

    /// Gives the started process to the warden, or kills and reaps it when it can't be watched.
    fn hand_over(&self, command: &Command, mut started: std::process::Child, origin: Origin) -> io::Result<Child> {
        let pid = Pid::from_child(&started);
        lock(&self.watchdog).add(pid);
        let output = (take(started.stdout.take()), take(started.stderr.take()));
        match (ExitWatch::new(pid, &self.warden), output) {
            (Ok(exit), (Ok(stdout), Ok(stderr))) => {
                let process = Arc::new(Process::new(pid, command.label.as_str().into(), self.warden.clone()));
                let child = Child::new(process.clone());
                // It fails only when the warden's thread is gone, at the end of the process.
                let _ = self.arrivals.send(Live::new(process, exit, stdout, stderr, origin));
                self.warden.wake();
                Ok(child)
            }
            (Err(error), _) | (_, (Err(error), _) | (_, Err(error))) => {
                let _ = kill_process_group(pid, Signal::KILL);
                lock(&self.watchdog).remove(pid);
                let _ = started.wait();
                Err(error)
            }
        }
    }
}

/// What the child said before exec: its number, and the peak it has of its host. `None` if it did not get so far.
fn told(mut report: &UnixStream) -> Option<(Option<Pid>, u64)> {
    let (mut pid, mut peak) = ([0; 4], [0; 8]);
    report.read_exact(&mut pid).and_then(|()| report.read_exact(&mut peak)).ok()?;
    Some((Pid::from_raw(i32::from_ne_bytes(pid)), u64::from_ne_bytes(peak)))
}

fn prepare(command: &Command, calls: &OwnedFd, control: &OwnedFd) -> std::process::Command {
    let mut prepared = std::process::Command::new(&command.program);
    prepared.args(&command.args);
    if command.env_clear {
        prepared.env_clear();
    }
    command.env_remove.iter().for_each(|name| _ = prepared.env_remove(name));
    prepared.envs(command.env.iter().map(|(name, value)| (name, value)));
    prepared.env("HERDER_FD", calls.as_raw_fd().to_string());
    prepared.env("HERDER_CTL_FD", control.as_raw_fd().to_string());
    if let Some(cwd) = &command.cwd {
        prepared.current_dir(cwd);
    }
    prepared.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepared
}

/// The host's end, which does not block, and the worker's, which does.
fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    // In a host that closed its standard descriptors a number below 3 would be overwritten by the worker's own.
    let theirs = OwnedFd::from(theirs);
    let theirs = if theirs.as_raw_fd() < 3 { fcntl_dupfd_cloexec(&theirs, 3)? } else { theirs };
    Ok((ours, theirs))
}

/// The reading end of an output pipe, made not to block.
fn take(pipe: Option<impl Into<OwnedFd>>) -> io::Result<OwnedFd> {
    let pipe = pipe.ok_or(io::ErrorKind::NotConnected)?.into();
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Ok(pipe)
}

fn program(command: &Command) -> PathBuf {
    PathBuf::from(&command.program)
}

/// Names what went wrong: the system says "no such file" of the program, its interpreter, and the directory alike.
fn explain(command: &Command, source: io::Error) -> SpawnError {
    let program = program(command);
    if is_shortage(&source) {
        return SpawnError::Resources { program, source };
    }
    if let Some(cwd) = &command.cwd
        && let Err(source) = enterable(cwd)
    {
        return SpawnError::WorkingDirectory { program, cwd: cwd.clone(), source };
    }
    match source.kind() {
        io::ErrorKind::NotFound if exists(command) => SpawnError::InterpreterNotFound { program },
        io::ErrorKind::NotFound => match place(command).and_then(|path| std::fs::read_link(path).ok()) {
            Some(target) => SpawnError::DanglingLink { program, target },
            None => SpawnError::ProgramNotFound { program },
        },
        io::ErrorKind::PermissionDenied => SpawnError::PermissionDenied { program },
        _ => SpawnError::Os { program, source },
    }
}

fn enterable(cwd: &Path) -> io::Result<()> {
    if !std::fs::metadata(cwd)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(cwd, Access::EXEC_OK)?)
}

fn exists(command: &Command) -> bool {
    place(command).is_some_and(|path| path.exists())
}

/// Where the program is, unless it is looked up in `PATH`.
fn place(command: &Command) -> Option<PathBuf> {
    let path = Path::new(&command.program);
    (path.components().count() > 1).then(|| command.cwd.as_deref().unwrap_or(Path::new("")).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log::Log, waker, watchdog::Record};

    /// R30: a child that registered but could not exec is taken from the watchdog's list, or the watchdog would one day kill
    /// whoever has its number then.
    #[test]
    fn a_failed_start_leaves_no_group_on_the_list() {
        let (waker, _wakeups) = waker::pair().unwrap();
        let (lifeline, mut watchdog_end) = UnixStream::pair().unwrap();
        watchdog_end.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap(); // rather than hang
        let watchdog = Watchdog::listening(lifeline.into(), Log::start(waker.clone()).unwrap());
        let (arrivals, _received) = mpsc::channel();
        let spawner = Spawner { watchdog: Arc::new(Mutex::new(watchdog)), arrivals, warden: waker };

        let error = spawner.start(&Command::new("no-such-program")).err();
        assert!(matches!(error, Some(SpawnError::ProgramNotFound { .. })));

        let mut records = [[0; Record::SIZE]; 2];
        records.iter_mut().for_each(|record| watchdog_end.read_exact(record).unwrap());
        let group = i32::from_ne_bytes(records[0][4..].try_into().unwrap());
        let group = Pid::from_raw(group).unwrap();
        assert_eq!(records, [Record::add(group), Record::remove(group)].map(|record| *record.as_bytes()));
    }
}
