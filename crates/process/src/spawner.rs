//! The spawner: the one thread that starts workers. It does not end while the host runs, because Linux sends a death signal
//! when the *thread* that started the child ends. Holds no state of its own.

use crate::{
    Command, SpawnError,
    child::{Child, Process, Spawned},
    child_setup::{ChildSetup, Report},
    error::is_shortage,
    exit::{self, ExitWatch},
    group,
    image::{Image, LOG_LEVEL, SLAB_FD},
    lock::lock,
    memory::CgroupBaseline,
    monitor::{MemoryBaseline, Output, RunningChild},
    slab::SlabSocket,
    waker::Waker,
    watchdog::{CAPACITY, Watchdog},
};
use rustix::{
    fs::{Access, access},
    io::fcntl_dupfd_cloexec,
    net::sockopt::set_socket_send_buffer_size,
    process::{Pid, getpid},
};
use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            net::{UnixDatagram, UnixStream},
        },
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
};
use tokio::sync::oneshot;
use tracing::level_filters::LevelFilter;

/// The size of the buffer in which a worker's log records wait for the host, in bytes. It holds several hundred records: fewer
/// than the monitor reads after an exit, so that none of the last is lost.
const RECORD_BUFFER: usize = 256 * 1024;
/// The text for a start that met a bug in this crate.
const PANICKED: &str = "the thread that starts workers panicked";

/// A request to start a worker. If the receiver of the reply is dropped, the worker's handle is dropped too, which kills the
/// worker.
pub(crate) struct SpawnRequest {
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<Result<Spawned, SpawnError>>,
}

/// The state of the spawner.
pub(crate) struct Spawner {
    pub(crate) watchdog: Arc<Mutex<Watchdog>>,
    pub(crate) spawned: mpsc::Sender<RunningChild>,
    pub(crate) monitor: Waker,
}

impl Spawner {
    /// The body of the thread.
    pub(crate) fn run(&self, requests: &mpsc::Receiver<SpawnRequest>) {
        for request in requests {
            // A reply wakes the waiting task, which runs code of its runtime. If that code panics, this thread must not end:
            // the death signals would end all workers with it.
            let _ = catch_unwind(AssertUnwindSafe(|| self.handle_request(request)));
        }
    }

    fn handle_request(&self, SpawnRequest { command, reply }: SpawnRequest) {
        let started = catch_unwind(AssertUnwindSafe(|| self.start(&command)));
        let panicked = |_| Err(SpawnError::Os { program: program(&command), source: io::Error::other(PANICKED) });
        // If the receiver was dropped, the handle of the worker is dropped here.
        let _ = reply.send(started.unwrap_or_else(panicked));
    }

    fn start(&self, command: &Command) -> Result<Spawned, SpawnError> {
        let lifeline = self.lifeline(command)?;
        let before = CgroupBaseline::read();
        let prepared = prepare(command, lifeline).map_err(|error| explain(command, error))?;
        let Prepared { launch, report, calls, control, slabs, output } = prepared;
        let pid = launch.fork().map_err(|error| explain(command, error))?;
        let (exit, inherited) = self.release_child(pid, report).map_err(|error| explain(command, error))?;
        // The session is that of the host: only the worker itself could change it, and would leave its group by that.
        let origin = MemoryBaseline { cgroup: before, inherited, session: group::own_session() };
        let child = self.hand_over(&command.label, pid, exit, output, origin);
        Ok(Spawned { calls, control, slabs, child })
    }

    /// Lets the forked child execute the program. Returns what reports its exit, and the peak memory that it inherited from the
    /// host. If it cannot execute the program, nothing of it is left.
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
                // The child may have registered. Its id must not stay in the table, because another process may get it.
                lock(&self.watchdog).remove(pid);
                exit.wait_and_reap();
                Err(error)
            }
        }
    }

    /// Returns the lifeline of the watchdog, which is started if none runs.
    pub(crate) fn lifeline(&self, command: &Command) -> Result<Arc<OwnedFd>, SpawnError> {
        let mut watchdog = lock(&self.watchdog);
        if watchdog.is_full() {
            return Err(SpawnError::TooManyWorkers { program: program(command), limit: CAPACITY });
        }
        watchdog.lifeline().map_err(|source| SpawnError::Infrastructure { what: "watchdog process", source })
    }

    /// Hands the started process to the monitor.
    pub(crate) fn hand_over(
        &self,
        label: &str,
        pid: Pid,
        exit: ExitWatch,
        output: Output,
        origin: MemoryBaseline,
    ) -> Child {
        lock(&self.watchdog).add(pid);
        let process = Arc::new(Process::new(pid, label.into(), self.monitor.clone()));
        let child = Child::new(process.clone());
        // Fails only after the monitor's thread has ended, when the process ends.
        let _ = self.spawned.send(RunningChild::new(process, exit, output, origin));
        self.monitor.wake();
        child
    }
}

/// The resources that a start needs before the fork, and the ends that stay with the host.
struct Prepared {
    launch: ChildSetup,
    report: Report,
    calls: UnixStream,
    control: UnixStream,
    slabs: Option<SlabSocket>,
    output: Output,
}

fn prepare(command: &Command, lifeline: Arc<OwnedFd>) -> io::Result<Prepared> {
    let (calls, calls_end) = socket_pair()?;
    let (control, control_end) = socket_pair()?;
    let (report, report_end, lock) = Report::pair()?;
    let (stdout, stdout_end) = output_pipe()?;
    let (stderr, stderr_end) = output_pipe()?;
    let (records, records_end) = record_socket()?;
    let (slabs, slabs_end) = slab_socket(command.slabs)?.unzip();
    let stdin = above_standard(File::open("/dev/null")?.into())?;
    let mut inherited = vec![calls_end, control_end, records_end];
    inherited.extend(slabs_end);
    let names = ["HERDER_FD", "HERDER_CTL_FD", "HERDER_LOG_FD", SLAB_FD];
    let numbers = inherited.iter().map(|fd| fd.as_raw_fd().to_string());
    let mut variables: Vec<_> = names.into_iter().zip(numbers).collect();
    variables.push((LOG_LEVEL, command.log_level.unwrap_or_else(LevelFilter::current).to_string()));
    let launch = ChildSetup {
        image: Image::new(command, &variables)?,
        cwd: command.cwd.as_ref().map(|cwd| CString::new(cwd.as_os_str().as_bytes())).transpose()?,
        standard: [stdin, stdout_end, stderr_end],
        inherited,
        lifeline,
        report: above_standard(report_end)?,
        report_of_host: report.number(),
        lock: lock.map(above_standard).transpose()?,
        host: getpid(),
    };
    Ok(Prepared { launch, report, calls, control, slabs, output: Output { stdout, stderr, records } })
}

/// Returns the host's end and the worker's end of the socket for slabs, if the worker is to have one and the system has slabs.
pub(crate) fn slab_socket(is_wanted: bool) -> io::Result<Option<(SlabSocket, OwnedFd)>> {
    if !is_wanted {
        return Ok(None);
    }
    match SlabSocket::pair() {
        Ok((ours, theirs)) => Ok(Some((ours, above_standard(theirs)?))),
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Returns the host's end, which is non-blocking, and the worker's end, which blocks.
pub(crate) fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, above_standard(theirs.into())?))
}

/// Returns the host's end and the worker's end of the socket for log records. Both are non-blocking, so that neither a slow
/// host delays a worker nor a worker its host.
///
/// Datagrams keep records apart, whoever writes them: threads and forked processes need no lock. Not `SOCK_SEQPACKET`: there
/// a worker could close its direction, which the host would have to tell from an empty record.
pub(crate) fn record_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = UnixDatagram::pair()?;
    for end in [&ours, &theirs] {
        end.set_nonblocking(true)?;
    }
    // If the system refuses, fewer records fit; the system also lowers the value to its limit.
    _ = set_socket_send_buffer_size(&theirs, RECORD_BUFFER);
    Ok((ours.into(), above_standard(theirs.into())?))
}

/// Returns the reading end, which is non-blocking, and the worker's end.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = io::pipe()?;
    let ours = OwnedFd::from(ours);
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, above_standard(theirs.into())?))
}

/// Moves a descriptor above the standard ones. In a host that has closed its standard descriptors, a lower number would be
/// overwritten by the worker's own.
fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() < 3 { Ok(fcntl_dupfd_cloexec(&fd, 3)?) } else { Ok(fd) }
}

fn program(command: &Command) -> PathBuf {
    PathBuf::from(&command.program)
}

/// Finds the cause of a failed start: the system reports "no such file" for the program, its interpreter and the directory
/// alike.
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

/// Returns the path of the program, or `None` if it is looked up in `PATH`.
fn place(command: &Command) -> Option<PathBuf> {
    let path = Path::new(&command.program);
    (path.components().count() > 1).then(|| command.cwd.as_deref().unwrap_or(Path::new("")).join(path))
}

#[cfg(test)]
impl Spawner {
    /// Creates a spawner without a monitor, whose watchdog is the test itself.
    pub(crate) fn listening(lifeline: UnixStream) -> Self {
        let (monitor, _wakeups) = crate::waker::pair().unwrap();
        let watchdog = Watchdog::listening(lifeline.into(), crate::output_log::Log::start(monitor.clone()).unwrap());
        let (spawned, _received) = mpsc::channel();
        Self { watchdog: Arc::new(Mutex::new(watchdog)), spawned, monitor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::Record;
    use std::io::Read;

    /// R30: a child that registered but could not execute its program is removed from the watchdog's table. Otherwise the
    /// watchdog could kill another process that gets the same id later.
    #[test]
    fn a_failed_start_leaves_no_group_on_the_list() {
        let (lifeline, mut watchdog_end) = UnixStream::pair().unwrap();
        watchdog_end.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap(); // so that a defect fails the test instead of blocking it
        let spawner = Spawner::listening(lifeline);

        let error = spawner.start(&Command::new("no-such-program")).err();
        assert!(matches!(error, Some(SpawnError::ProgramNotFound { .. })));

        let mut records = [[0; Record::SIZE]; 2];
        records.iter_mut().for_each(|record| watchdog_end.read_exact(record).unwrap());
        let group = i32::from_ne_bytes(records[0][4..].try_into().unwrap());
        let group = Pid::from_raw(group).unwrap();
        assert_eq!(records, [Record::add(group), Record::remove(group)].map(|record| *record.as_bytes()));
    }

    /// R30: a child that never gets permission to continue, because its host could not watch it, exits by itself: it keeps no
    /// copy of the host's end.
    #[test]
    fn r30_a_child_that_is_not_let_go_ends() {
        let (lifeline, _watchdog_end) = UnixStream::pair().unwrap();
        let prepared = prepare(&Command::new("true"), Arc::new(lifeline.into())).unwrap();
        let Prepared { launch, report, mut calls, .. } = prepared;
        let pid = launch.fork().unwrap();
        drop(report);
        calls.set_nonblocking(false).unwrap();
        calls.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap(); // so that a defect fails the test instead of blocking it
        assert_eq!(calls.read(&mut [0]).unwrap(), 0, "its end of the socket closes with it");
        exit::wait_and_reap(pid, None);
    }

    /// R30: a start does not wait for a process that another thread of the host has forked meanwhile and that has copies of all
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
