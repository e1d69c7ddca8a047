//! The spawner: the one thread that starts workers. It never ends while the host lives, because a death signal fires when the
//! thread that started the child does. Holds no state of its own.

use crate::{
    Command, SpawnError,
    child::{Child, Process, Spawned},
    child_setup::{ChildSetup, Report},
    error::is_shortage,
    exit::{self, ExitWatch},
    group,
    image::Image,
    lock::lock,
    memory::CgroupBaseline,
    monitor::{MemoryBaseline, RunningChild},
    waker::Waker,
    watchdog::{CAPACITY, Watchdog},
};
use rustix::{
    fs::{Access, access},
    io::fcntl_dupfd_cloexec,
    process::{Pid, getpid},
};
use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
};
use tokio::sync::oneshot;

/// What is said of a start that met a bug in this crate.
const PANICKED: &str = "the thread that starts workers panicked";

/// An order to the spawner. If the one who ordered has left, the worker's handle is dropped, and so the worker is killed.
pub(crate) struct SpawnRequest {
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<Result<Spawned, SpawnError>>,
}

/// What the spawner works with.
pub(crate) struct Spawner {
    pub(crate) watchdog: Arc<Mutex<Watchdog>>,
    pub(crate) spawned: mpsc::Sender<RunningChild>,
    pub(crate) monitor: Waker,
}

impl Spawner {
    /// The thread's whole life.
    pub(crate) fn run(&self, orders: &mpsc::Receiver<SpawnRequest>) {
        for request in orders {
            // A reply wakes whoever waits, which runs code of his runtime. If that panics, this thread must not end: all workers
            // would end with it, by their death signals.
            let _ = catch_unwind(AssertUnwindSafe(|| self.handle_request(request)));
        }
    }

    fn handle_request(&self, SpawnRequest { command, reply }: SpawnRequest) {
        let started = catch_unwind(AssertUnwindSafe(|| self.start(&command)));
        let panicked = |_| Err(SpawnError::Os { program: program(&command), source: io::Error::other(PANICKED) });
        // Whoever left gets his worker dropped right here.
        let _ = reply.send(started.unwrap_or_else(panicked));
    }

    fn start(&self, command: &Command) -> Result<Spawned, SpawnError> {
        let lifeline = self.lifeline(command)?;
        let before = CgroupBaseline::read();
        let prepared = prepare(command, lifeline).map_err(|error| explain(command, error))?;
        let Prepared { launch, report, calls, control, output } = prepared;
        let pid = launch.fork().map_err(|error| explain(command, error))?;
        let (exit, inherited) = self.release_child(pid, report).map_err(|error| explain(command, error))?;
        // It has its host's session: nobody but itself can give it another, and that would take it out of its group.
        let origin = MemoryBaseline { cgroup: before, inherited, session: group::own_session() };
        let child = self.hand_over(command, pid, exit, output, origin);
        Ok(Spawned { calls, control, child })
    }

    /// Lets the forked child become the worker, and returns what tells of its end, and the peak of memory that it has of its host.
    /// If it can't become the worker nothing is left of it.
    fn release_child(&self, pid: Pid, mut report: Report) -> io::Result<(ExitWatch, u64)> {
        let exit = match ExitWatch::new(pid, &self.monitor) {
            Ok(exit) => exit,
            Err(error) => {
                drop(report); // which ends the child
                exit::wait_and_reap(pid, None);
                return Err(error);
            }
        };
        match report.go().and_then(|()| report.read(exit.descriptor())) {
            Ok(inherited) => Ok((exit, inherited)),
            Err(error) => {
                // It may have registered, and its number must not stay on the list.
                lock(&self.watchdog).remove(pid);
                exit.wait_and_reap();
                Err(error)
            }
        }
    }

    fn lifeline(&self, command: &Command) -> Result<Arc<OwnedFd>, SpawnError> {
        let mut watchdog = lock(&self.watchdog);
        if watchdog.is_full() {
            return Err(SpawnError::TooManyWorkers { program: program(command), limit: CAPACITY });
        }
        watchdog.lifeline().map_err(|source| SpawnError::Infrastructure { what: "watchdog process", source })
    }

    /// Gives the started process to the warden.
    fn hand_over(
        &self,
        command: &Command,
        pid: Pid,
        exit: ExitWatch,
        output: [OwnedFd; 2],
        origin: MemoryBaseline,
    ) -> Child {
        lock(&self.watchdog).add(pid);
        let process = Arc::new(Process::new(pid, command.label.as_str().into(), self.monitor.clone()));
        let child = Child::new(process.clone());
        // It fails only when the warden's thread is gone, at the end of the process.
        let _ = self.spawned.send(RunningChild::new(process, exit, output, origin));
        self.monitor.wake();
        child
    }
}

/// What a start needs of the system before the fork, and what stays with the host.
struct Prepared {
    launch: ChildSetup,
    report: Report,
    calls: UnixStream,
    control: UnixStream,
    /// The reading ends of standard output and error.
    output: [OwnedFd; 2],
}

fn prepare(command: &Command, lifeline: Arc<OwnedFd>) -> io::Result<Prepared> {
    let (calls, calls_end) = socket_pair()?;
    let (control, control_end) = socket_pair()?;
    let (report, report_end, lock) = Report::pair()?;
    let (stdout, stdout_end) = output_pipe()?;
    let (stderr, stderr_end) = output_pipe()?;
    let stdin = above_standard(File::open("/dev/null")?.into())?;
    let descriptors = [("HERDER_FD", &calls_end), ("HERDER_CTL_FD", &control_end)];
    let launch = ChildSetup {
        image: Image::new(command, descriptors.map(|(name, fd)| (name, fd.as_raw_fd().to_string())))?,
        cwd: command.cwd.as_ref().map(|cwd| CString::new(cwd.as_os_str().as_bytes())).transpose()?,
        standard: [stdin, stdout_end, stderr_end],
        inherited: [calls_end, control_end],
        lifeline,
        report: above_standard(report_end)?,
        report_of_host: report.number(),
        lock: lock.map(above_standard).transpose()?,
        host: getpid(),
    };
    Ok(Prepared { launch, report, calls, control, output: [stdout, stderr] })
}

/// The host's end, which does not block, and the worker's, which does.
fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, above_standard(theirs.into())?))
}

/// The reading end, which does not block, and the worker's.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = io::pipe()?;
    let ours = OwnedFd::from(ours);
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, above_standard(theirs.into())?))
}

/// In a host that closed its standard descriptors a number below 3 would be overwritten by the worker's own.
fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() < 3 { Ok(fcntl_dupfd_cloexec(&fd, 3)?) } else { Ok(fd) }
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

/// The path of the program, or `None` if it is looked up in `PATH`.
fn place(command: &Command) -> Option<PathBuf> {
    let path = Path::new(&command.program);
    (path.components().count() > 1).then(|| command.cwd.as_deref().unwrap_or(Path::new("")).join(path))
}

#[cfg(test)]
impl Spawner {
    /// One without a warden, whose watchdog is the test itself.
    pub(crate) fn listening(lifeline: UnixStream) -> Self {
        let (monitor, _wakeups) = crate::waker::pair().unwrap();
        let watchdog = Watchdog::listening(lifeline.into(), crate::log::Log::start(monitor.clone()).unwrap());
        let (spawned, _received) = mpsc::channel();
        Self { watchdog: Arc::new(Mutex::new(watchdog)), spawned, monitor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::Record;
    use std::io::Read;

    /// R30: a child that registered but could not exec is taken from the watchdog's list, or the watchdog would one day kill
    /// whoever has its number then.
    #[test]
    fn a_failed_start_leaves_no_group_on_the_list() {
        let (lifeline, mut watchdog_end) = UnixStream::pair().unwrap();
        watchdog_end.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap(); // rather than hang
        let spawner = Spawner::listening(lifeline);

        let error = spawner.start(&Command::new("no-such-program")).err();
        assert!(matches!(error, Some(SpawnError::ProgramNotFound { .. })));

        let mut records = [[0; Record::SIZE]; 2];
        records.iter_mut().for_each(|record| watchdog_end.read_exact(record).unwrap());
        let group = i32::from_ne_bytes(records[0][4..].try_into().unwrap());
        let group = Pid::from_raw(group).unwrap();
        assert_eq!(records, [Record::add(group), Record::remove(group)].map(|record| *record.as_bytes()));
    }

    /// R30: a child that is not let go, as its host could not watch it, ends by itself: it keeps no copy of its host's end.
    #[test]
    fn r30_a_child_that_is_not_let_go_ends() {
        let (lifeline, _watchdog_end) = UnixStream::pair().unwrap();
        let prepared = prepare(&Command::new("true"), Arc::new(lifeline.into())).unwrap();
        let Prepared { launch, report, mut calls, .. } = prepared;
        let pid = launch.fork().unwrap();
        drop(report);
        calls.set_nonblocking(false).unwrap();
        calls.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap(); // rather than hang
        assert_eq!(calls.read(&mut [0]).unwrap(), 0, "its end of the socket closes with it");
        exit::wait_and_reap(pid, None);
    }

    /// R30: a start does not wait for a process that another thread of the host has forked meanwhile, and that has copies of all
    /// descriptors.
    #[test]
    fn r30_a_copy_of_the_host_that_lives_on_holds_up_no_start() {
        let (lifeline, _watchdog_end) = UnixStream::pair().unwrap();
        let spawner = Spawner::listening(lifeline);
        for (program, starts) in [("sleep", true), ("no-such-program", false)] {
            let lifeline = lock(&spawner.watchdog).lifeline().unwrap();
            let Prepared { launch, report, .. } = prepare(&Command::new(program).arg("1000"), lifeline).unwrap();
            let copy = launch.fork_copy().unwrap();
            let pid = launch.fork().unwrap();
            let started = spawner.release_child(pid, report);
            assert_eq!(started.is_ok(), starts, "{program}");
            for pid in [Some(copy), started.is_ok().then_some(pid)].into_iter().flatten() {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                exit::wait_and_reap(pid, None);
            }
        }
    }
}
