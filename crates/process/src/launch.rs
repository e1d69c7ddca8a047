//! What a worker does between fork and exec. Runs in the child of a process with threads: async-signal-safe calls only.
//!
//! `std::process::Command` is not used: when a start fails it waits for its child, and panics if somebody else has reaped that.

#![expect(
    unsafe_code,
    reason = "`dup2` and `close` by number, `chdir` without allocation and `close_range` have no safe interface"
)]

use crate::{
    fork::{exit, fork},
    image::Image,
    limits, signals, usage,
    watchdog::{Record, register},
};
use rustix::{
    io::{Errno, FdFlags, fcntl_setfd, read, retry_on_intr, write},
    process::{Pid, getpid, getppid, setpgid},
};
use std::{
    convert::Infallible,
    ffi::CString,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

/// What the child needs before it becomes the worker. The descriptors have numbers above the standard ones, which are replaced.
pub(crate) struct Launch {
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
    /// Who started it.
    pub(crate) host: Pid,
}

/// The host's end of what host and child say to each other before exec.
///
/// The child waits for a byte before it does anything. Then it says which peak of memory it has of its host, in 8 bytes, once it has
/// registered, and why it can't become the worker, in 4 bytes, if it can't. It closes its end by exec or exit.
pub(crate) struct Report(UnixStream);

impl Launch {
    /// Forks the child, which waits for [`Report::go`]. The host's copies of the worker's ends close with this.
    pub(crate) fn fork(self) -> io::Result<Pid> {
        // SAFETY: `run` and all it calls make plain system calls: no allocation, no locks, no panics, no drops.
        unsafe { fork(|| self.run()) }
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
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self(ours), theirs.into()))
    }

    /// Lets the child go on. Until then it can't end by itself, so that its number is its own. It ends if this is dropped before.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.0.write_all(&[1])
    }

    /// The number of the descriptor, which the child has as well.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits until the child has become the worker, and returns the peak of memory that it has of its host.
    pub(crate) fn read(&mut self) -> io::Result<u64> {
        let mut said = Vec::with_capacity(12);
        self.0.read_to_end(&mut said)?;
        match (<[u8; 8]>::try_from(said.as_slice()), said.last_chunk()) {
            (Ok(peak), _) => Ok(u64::from_ne_bytes(peak)),
            (Err(_), Some(errno)) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(*errno))),
            (Err(_), None) => Err(io::Error::other("its process was killed before it had begun")),
        }
    }
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
