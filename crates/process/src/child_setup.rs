//! The steps of a worker between fork and exec. They run in the child of a process with threads, so only async-signal-safe
//! calls are allowed.
//!
//! `std::process::Command` is not used: when a start fails, it waits for its child and panics if other code has reaped that
//! child.

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

/// What the child needs before exec. The descriptors have numbers above the standard ones, which are replaced.
pub(crate) struct ChildSetup {
    pub(crate) image: Image,
    pub(crate) cwd: Option<CString>,
    /// Standard input, output and error.
    pub(crate) standard: [OwnedFd; 3],
    /// The worker's ends of its sockets: besides the standard ones, the only descriptors that it inherits.
    pub(crate) inherited: Vec<OwnedFd>,
    /// The lifeline of the watchdog.
    pub(crate) lifeline: Arc<OwnedFd>,
    /// The child's end of [`Report`].
    pub(crate) report: OwnedFd,
    /// The number of the host's end of the report, which the child closes.
    pub(crate) report_of_host: RawFd,
    /// A file that the child locks until exec.
    pub(crate) lock: Option<OwnedFd>,
    /// The process that starts the worker.
    pub(crate) host: Pid,
}

/// The host's end of the channel between host and child before exec.
///
/// The child waits for one byte. After it has registered with the watchdog it sends 8 bytes: the peak memory that it inherited
/// from the host. If it cannot execute the program it sends 4 bytes: the error number. Exec and exit close its end.
///
/// The host cannot rely on the end of file alone: if another thread of the host forks meanwhile, that process has a copy of the
/// child's end and may run forever. The child therefore locks a file first. The lock belongs to the process, so no copy has it,
/// and the kernel releases it when exec or exit closes the file.
pub(crate) struct Report {
    socket: UnixStream,
    lock: Option<OwnedFd>,
}

impl ChildSetup {
    /// Forks the child, which waits for [`Report::go`]. Closes the host's copies of the worker's ends.
    pub(crate) fn fork(self) -> io::Result<Pid> {
        // SAFETY: `run` and everything that it calls make plain system calls: no allocation, no locks, no panics, no drops.
        unsafe { fork(|| self.run()) }
    }

    /// Forks a copy of this process that runs until it is killed or this thread ends.
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
        // If the child kept its copy open, it would wait forever for a host that exits without calling `go`.
        // SAFETY: the number is that of the host's `Report`, which nothing in this process uses.
        unsafe { libc::close(self.report_of_host) };
        // Lets the system kill the worker when the host is killed. If the host was killed before this call, no signal will
        // come, but the parent has changed. A comparison with 1 would be wrong: in a container the host may be 1, and the new
        // parent may be another process.
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
        // Registers before exec, so that the host cannot die and leave a group that the watchdog does not know. If the watchdog
        // has exited this fails, and the spawner registers the group with the next watchdog.
        let _ = register(&self.lifeline, Record::add(getpid()));
        if let Some(lock) = &self.lock {
            fcntl_lock(lock, FlockOperation::NonBlockingLockExclusive)?;
        }
        retry_on_intr(|| write(&self.report, &usage::own_peak().to_ne_bytes()))?;
        limits::give_back(); // last, because its number may be below those of the descriptors used above
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
    /// Returns the host's end, the child's end, and the child's copy of the lock.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd, Option<OwnedFd>)> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let lock = lockable()?;
        let copy = lock.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok((Self { socket, lock }, theirs.into(), copy))
    }

    /// Lets the child continue. Before this call the child does not exit by itself, so its process id is valid. If the `Report`
    /// is dropped instead, the child exits.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.socket.write_all(&[1])
    }

    /// Returns the number of the descriptor, which the child has as well.
    pub(crate) fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Waits until the child has executed the program, and returns the peak memory that it inherited from the host. `exit`
    /// becomes readable when the child has exited.
    pub(crate) fn read(&mut self, exit: Option<BorrowedFd<'_>>) -> io::Result<u64> {
        let mut message = self.listen(exit)?;
        if let (8, Some(lock)) = (message.len(), &self.lock) {
            retry_on_intr(|| fcntl_lock(lock, FlockOperation::LockExclusive))?;
            self.read_more(&mut message)?;
        }
        match (<[u8; 8]>::try_from(message.as_slice()), message.last_chunk()) {
            (Ok(peak), _) => Ok(u64::from_ne_bytes(peak)),
            (Err(_), Some(errno)) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(*errno))),
            (Err(_), None) => Err(io::Error::other("the process was killed before it ran the program")),
        }
    }

    /// Reads the child's message until the lock shows that no more will come: its peak memory, or why it exited.
    fn listen(&mut self, exit: Option<BorrowedFd<'_>>) -> io::Result<Vec<u8>> {
        let mut message = Vec::with_capacity(12);
        loop {
            let (is_all, has_peak) = (self.read_more(&mut message)?, message.len() >= 8);
            if is_all || (has_peak && self.lock.is_some()) {
                return Ok(message);
            }
            if self.wait(exit)? {
                self.read_more(&mut message)?;
                return Ok(message);
            }
        }
    }

    /// Reads the available bytes. Returns whether the message is complete.
    fn read_more(&mut self, message: &mut Vec<u8>) -> io::Result<bool> {
        match self.socket.read_to_end(message) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for more bytes. Returns whether the child has exited.
    fn wait(&self, exit: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let socket = PollFd::new(&self.socket, PollFlags::IN);
        let mut fds = [socket.clone(), exit.map_or(socket, |exit| PollFd::from_borrowed_fd(exit, PollFlags::IN))];
        retry_on_intr(|| poll(&mut fds, None))?;
        Ok(exit.is_some() && !fds[1].revents().is_empty())
    }
}

/// Creates a file that no other process has. `None` where this is not possible; the end of file must suffice then.
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
        // SAFETY: nothing in this process uses the previous standard descriptors.
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

/// Marks all descriptors but the standard ones close-on-exec. Otherwise a library in the host that forgot the flag would keep
/// another worker's socket open in this worker.
#[cfg(target_os = "linux")]
fn inherit_nothing() {
    // SAFETY: changes flags only. A kernel before 5.11 refuses; close-on-exec is then up to the code that opened a descriptor.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

#[cfg(not(target_os = "linux"))]
fn inherit_nothing() {}
