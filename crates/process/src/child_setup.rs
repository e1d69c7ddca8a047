//! What a worker does between fork and exec. Runs in the child of a process with threads: async-signal-safe calls only.
//!
//! `std::process::Command` is not used: when a start fails it waits for its child, and panics if somebody else has reaped that.

#![expect(
    unsafe_code,
    reason = "`dup2` and `close` by number, `chdir` without allocation and `close_range` have no safe interface"
)]

#[cfg(target_os = "linux")]
use crate::error::is_shortage;
use crate::{
    fork::{exit, fork},
    image::Image,
    limits, signals, usage,
    watchdog::{Record, register},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FlockOperation, fcntl_lock},
    io::{Errno, FdFlags, fcntl_setfd, read, retry_on_intr, write},
    process::{Pid, getpid, getppid, setpgid},
};
use std::{
    convert::Infallible,
    ffi::CString,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

/// What the child needs before it becomes the worker. The descriptors have numbers above the standard ones, which are replaced.
pub(crate) struct ChildSetup {
    pub(crate) image: Image,
    pub(crate) cwd: Option<CString>,
    /// Standard input, output and error.
    pub(crate) standard: [OwnedFd; 3],
    /// The worker's ends of its two sockets, the only descriptors it inherits beside its standard ones.
    pub(crate) inherited: [OwnedFd; 2],
    /// Where the watchdog listens.
    pub(crate) lifeline: Arc<OwnedFd>,
    /// The other end of [`Report`].
    pub(crate) report: OwnedFd,
    /// The number of the host's end of it, which the child closes.
    pub(crate) report_of_host: RawFd,
    /// A file that the child locks until it has become the worker.
    pub(crate) lock: Option<OwnedFd>,
    /// Who started it.
    pub(crate) host: Pid,
}

/// The host's end of the channel between host and child before exec.
///
/// The child waits for one byte. When it has registered with the watchdog, it sends 8 bytes: the peak memory that it inherited from its host. If it can't execute the
/// program, it sends 4 bytes: the error number. Exec and exit close its end.
///
/// That does not show as the end of file while somebody else has a copy of the child's end: a process that another thread of the host
/// forks meanwhile, and that may live for ever. So the child locks a file before, and no copy has that lock: it belongs to the process,
/// and the kernel drops it when that closes the file, by exec or exit.
pub(crate) struct Report {
    socket: UnixStream,
    lock: Option<OwnedFd>,
}

impl ChildSetup {
    /// Forks the child, which waits for [`Report::go`]. The host's copies of the worker's ends close with this.
    pub(crate) fn fork(self) -> io::Result<Pid> {
        // SAFETY: `run` and all it calls make plain system calls: no allocation, no locks, no panics, no drops.
        unsafe { fork(|| self.run()) }
    }

    /// Forks a copy of this process that lives until it is killed, or this thread ends.
    #[cfg(test)]
    pub(crate) fn fork_copy(&self) -> io::Result<Pid> {
        // SAFETY: both calls are allowed in a copy of a process with threads.
        unsafe {
            fork(|| {
                #[cfg(target_os = "linux")]
                let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
                loop {
                    libc::pause();
                }
            })
        }
    }

    fn run(&self) -> Infallible {
        let error = match self.enter() {
            Ok(()) => self.image.exec(),
            Err(errno) => errno,
        };
        let _ = retry_on_intr(|| write(&self.report, &error.raw_os_error().to_ne_bytes()));
        exit(127)
    }

    fn enter(&self) -> Result<(), Errno> {
        // With its copy open the child would wait for ever for a host that does not let it go.
        // SAFETY: the number is that of `Report`, of which nothing in this process makes use.
        unsafe { libc::close(self.report_of_host) };
        // A worker whose host is killed goes with it. If the host was killed before this call there will be no signal, and the
        // parent is another. Comparing with 1 would be wrong: in a container the host may be 1, or the foster parent not.
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if getppid() != Some(self.host) {
            return Err(Errno::SRCH);
        }
        signals::defaults_for_exec();
        if retry_on_intr(|| read(&self.report, &mut [0_u8])).is_ok_and(|count| count == 0) {
            return Err(Errno::CANCELED);
        }
        for (target, fd) in (0..).zip(&self.standard) {
            duplicate(fd, target)?;
        }
        setpgid(None, None)?;
        self.change_directory()?;
        inherit_nothing();
        for fd in &self.inherited {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        // Before exec, so that there is no moment in which the host could die and leave a group nobody knows. If the watchdog
        // is gone this fails; the spawner registers the group again with its successor.
        let _ = register(&self.lifeline, Record::add(getpid()));
        if let Some(lock) = &self.lock {
            fcntl_lock(lock, FlockOperation::NonBlockingLockExclusive)?;
        }
        retry_on_intr(|| write(&self.report, &usage::own_peak().to_ne_bytes()))?;
        limits::give_back(); // last: it may be below the numbers of the descriptors used above
        Ok(())
    }

    fn change_directory(&self) -> Result<(), Errno> {
        let Some(cwd) = &self.cwd else { return Ok(()) };
        // SAFETY: the string ends with a zero.
        match unsafe { libc::chdir(cwd.as_ptr()) } {
            0 => Ok(()),
            _ => Err(last_error()),
        }
    }
}

impl Report {
    /// The host's end, the child's, and the child's copy of the lock.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd, Option<OwnedFd>)> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let lock = lockable()?;
        let copy = lock.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok((Self { socket, lock }, theirs.into(), copy))
    }

    /// Lets the child continue. Before this call the child does not exit by itself, so its process id is valid. If the `Report` is dropped before, the child exits.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.socket.write_all(&[1])
    }

    /// The number of the descriptor, which the child has as well.
    pub(crate) fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Waits until the child has become the worker, and returns the peak of memory that it has of its host. `exit` is readable when the
    /// child has ended.
    pub(crate) fn read(&mut self, exit: Option<BorrowedFd<'_>>) -> io::Result<u64> {
        let mut said = self.listen(exit)?;
        if let (8, Some(lock)) = (said.len(), &self.lock) {
            retry_on_intr(|| fcntl_lock(lock, FlockOperation::LockExclusive))?;
            self.read_more(&mut said)?;
        }
        match (<[u8; 8]>::try_from(said.as_slice()), said.last_chunk()) {
            (Ok(peak), _) => Ok(u64::from_ne_bytes(peak)),
            (Err(_), Some(errno)) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(*errno))),
            (Err(_), None) => Err(io::Error::other("the process was killed before it ran the program")),
        }
    }

    /// What the child says before the lock tells the rest: its peak, or why it ended.
    fn listen(&mut self, exit: Option<BorrowedFd<'_>>) -> io::Result<Vec<u8>> {
        let mut said = Vec::with_capacity(12);
        loop {
            let (is_all, has_peak) = (self.read_more(&mut said)?, said.len() >= 8);
            if is_all || (has_peak && self.lock.is_some()) {
                return Ok(said);
            }
            if self.wait(exit)? {
                self.read_more(&mut said)?;
                return Ok(said);
            }
        }
    }

    /// Reads what is there, and returns whether that was all there will be.
    fn read_more(&mut self, said: &mut Vec<u8>) -> io::Result<bool> {
        match self.socket.read_to_end(said) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for more, and returns whether the child has ended.
    fn wait(&self, exit: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let socket = PollFd::new(&self.socket, PollFlags::IN);
        let mut fds = [socket.clone(), exit.map_or(socket, |exit| PollFd::from_borrowed_fd(exit, PollFlags::IN))];
        retry_on_intr(|| poll(&mut fds, None))?;
        Ok(exit.is_some() && !fds[1].revents().is_empty())
    }
}

/// A file that nobody else has. `None` where there is no such thing: then the end of file must do.
#[cfg(target_os = "linux")]
fn lockable() -> io::Result<Option<OwnedFd>> {
    match rustix::fs::memfd_create(c"herder-start", rustix::fs::MemfdFlags::CLOEXEC) {
        Ok(file) => Ok(Some(file)),
        Err(errno) if is_shortage(&errno.into()) => Err(errno.into()),
        Err(_) => Ok(None), // an old kernel, a sandbox, or `vm.memfd_noexec`
    }
}

#[cfg(not(target_os = "linux"))]
fn lockable() -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

fn duplicate(fd: &OwnedFd, target: RawFd) -> Result<(), Errno> {
    loop {
        // SAFETY: nothing in this process uses what the standard descriptors were before.
        match unsafe { libc::dup2(fd.as_raw_fd(), target) } {
            0.. => return Ok(()),
            _ if last_error() == Errno::INTR => {}
            _ => return Err(last_error()),
        }
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// Marks everything beyond the standard descriptors close-on-exec, whoever opened it: a library in the host that forgot must not
/// keep another worker's socket open in this one.
#[cfg(target_os = "linux")]
fn inherit_nothing() {
    // SAFETY: changes flags only. A kernel before 5.11 refuses, and then whoever opened a descriptor is to blame.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

#[cfg(not(target_os = "linux"))]
fn inherit_nothing() {}
