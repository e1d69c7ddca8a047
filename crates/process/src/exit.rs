//! How the end of one child is noticed and read. Holds the pidfd; what follows from an exit is the warden's.

use crate::waker::Waker;
use herder_core::ExitStatus;
use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid},
};
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Tells when a child has ended, without reaping it.
#[derive(Debug)]
pub(crate) enum ExitWatch {
    /// Readable once it has ended. Linux, since 5.3.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has pidfds"))]
    PidFd(OwnedFd),
    /// A thread waits, sets this, and wakes the warden.
    Thread(Arc<AtomicBool>),
}

impl ExitWatch {
    /// Watches a child that nobody has reaped.
    pub(crate) fn new(pid: Pid, warden: &Waker) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(fd) => return Ok(Self::PidFd(fd)),
            Err(Errno::NOSYS | Errno::PERM) => {} // an old kernel, or a sandbox that knows no pidfds
            Err(errno) => return Err(errno.into()),
        }
        Self::by_thread(pid, warden.clone())
    }

    fn by_thread(pid: Pid, warden: Waker) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let wait = move || {
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
            flag.store(true, Ordering::Release);
            warden.wake();
        };
        thread::Builder::new().name(format!("herder-wait-{}", pid.as_raw_nonzero())).spawn(wait)?;
        Ok(Self::Thread(ended))
    }

    /// What to poll, if there is something.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::PidFd(fd) => Some(std::os::fd::AsFd::as_fd(fd)),
            Self::Thread(_) => None,
        }
    }

    /// Whether the waiting thread has seen the end.
    pub(crate) fn flagged(&self) -> bool {
        matches!(self, Self::Thread(ended) if ended.load(Ordering::Acquire))
    }
}

/// What a look at a child tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Running,
    /// Ended and still a zombie: its number, and so its group's, can't be anybody else's yet.
    Ended(ExitStatus),
    /// Somebody else has reaped it: its number may be anybody's.
    Stolen,
}

/// Looks at a child without reaping it.
pub(crate) fn look(pid: Pid) -> Look {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
            Ok(None) => return Look::Running,
            Ok(Some(status)) => return Look::Ended(read(&status)),
            Err(Errno::INTR) => {}
            Err(_) => return Look::Stolen,
        }
    }
}

fn read(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => ExitStatus::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R30: the way without pidfds, which is the only one outside Linux, notices an exit too.
    #[test]
    fn a_waiting_thread_notices_the_end() {
        let (waker, wakeups) = crate::waker::pair().unwrap();
        let mut child = std::process::Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let watch = ExitWatch::by_thread(pid, waker).unwrap();
        let mut fds = [rustix::event::PollFd::new(&wakeups, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert!(watch.flagged());
        assert_eq!(look(pid), Look::Ended(ExitStatus::Code(7)));
        assert_eq!(look(pid), Look::Ended(ExitStatus::Code(7)), "a look does not reap");
        assert!(crate::usage::reap(pid).is_some_and(|peak| peak > 0));
        assert_eq!((look(pid), crate::usage::reap(pid)), (Look::Stolen, None));
        child.wait().unwrap_err();
    }
}
