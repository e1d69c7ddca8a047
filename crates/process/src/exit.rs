//! Notices the exit of one child and reads its status. Holds the pidfd. The monitor decides what follows from an exit.

use crate::{reaper, usage, waker::Waker};
use herder_core::ExitStatus;
use rustix::{
    io::{Errno, retry_on_intr},
    process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Reports when a child has exited, without reaping it.
#[derive(Debug)]
pub(crate) struct ExitWatch {
    pid: Pid,
    method: WatchMethod,
}

#[derive(Debug)]
enum WatchMethod {
    /// A pidfd (Linux 5.3 and later): readable once the child has ended. It refers to this child even if other code has
    /// reaped it and another process has its id.
    PidFd(OwnedFd),
    /// A thread waits for the child, sets this flag, and wakes the monitor.
    Thread(Arc<AtomicBool>),
}

/// Opens a pidfd of this child. It refers to the child even if another process gets the same process id later. `None` where
/// pidfds are not supported.
#[cfg(target_os = "linux")]
pub(crate) fn pidfd(child: Pid) -> io::Result<Option<OwnedFd>> {
    match rustix::process::pidfd_open(child, rustix::process::PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOSYS | Errno::PERM) => Ok(None), // an old kernel, or a sandbox without pidfds
        Err(errno) => Err(errno.into()),
    }
}

/// Returns `None`: pidfds exist on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pidfd(_: Pid) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

impl ExitWatch {
    /// Watches a child that cannot have exited yet.
    pub(crate) fn new(pid: Pid, monitor: &Waker) -> io::Result<Self> {
        match pidfd(pid)? {
            Some(fd) => Ok(Self { pid, method: WatchMethod::PidFd(fd) }),
            None => Self::by_thread(pid, monitor.clone()),
        }
    }

    fn by_thread(pid: Pid, monitor: Waker) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let wait = move || {
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
            flag.store(true, Ordering::Release);
            monitor.wake();
        };
        thread::Builder::new().name(format!("herder-wait-{}", pid.as_raw_nonzero())).spawn(wait)?;
        Ok(Self { pid, method: WatchMethod::Thread(ended) })
    }

    /// Returns the descriptor to poll, if there is one.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.method {
            WatchMethod::PidFd(fd) => Some(fd.as_fd()),
            WatchMethod::Thread(_) => None,
        }
    }

    /// Whether the waiting thread has seen the exit.
    pub(crate) fn flagged(&self) -> bool {
        matches!(&self.method, WatchMethod::Thread(ended) if ended.load(Ordering::Acquire))
    }

    /// Checks whether the child has exited, without reaping it.
    pub(crate) fn try_wait(&self) -> ExitPoll {
        match wait(self.pid, self.descriptor(), WaitIdOptions::NOHANG) {
            Ok(None) => ExitPoll::Running,
            Ok(Some(status)) => ExitPoll::Ended(read(&status)),
            Err(_) => ExitPoll::ReapedElsewhere,
        }
    }

    /// Waits for a child that is about to exit, and reaps it.
    pub(crate) fn wait_and_reap(&self) {
        wait_and_reap(self.pid, self.descriptor());
    }
}

/// The state of a child at one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitPoll {
    Running,
    /// The child has exited and is a zombie: no other process can have its id or its group yet.
    Ended(ExitStatus),
    /// Other code has reaped the child: another process may have its id.
    ReapedElsewhere,
}

/// Waits until a child has exited, without reaping it.
pub(crate) fn wait(pid: Pid, pidfd: Option<BorrowedFd<'_>>, how: WaitIdOptions) -> Result<Option<WaitIdStatus>, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | how;
    let by_number = || retry_on_intr(|| waitid(WaitId::Pid(pid), options));
    #[cfg(target_os = "linux")]
    if let Some(pidfd) = pidfd {
        return match retry_on_intr(|| waitid(WaitId::PidFd(pidfd), options)) {
            Err(Errno::INVAL) => by_number(), // Linux 5.3 has pidfds, but cannot wait for them
            waited => waited,
        };
    }
    let _ = pidfd;
    by_number()
}

/// Waits for a child that is about to exit, and reaps it.
pub(crate) fn wait_and_reap(pid: Pid, pidfd: Option<BorrowedFd<'_>>) {
    let ended = wait(pid, pidfd, WaitIdOptions::empty());
    reap(pid, if ended.is_ok() { ExitPoll::Ended(ExitStatus::Unknown) } else { ExitPoll::ReapedElsewhere });
}

/// Reaps a child that has ended, and returns its peak memory in bytes; `None` if other code has reaped it.
pub(crate) fn reap(pid: Pid, seen: ExitPoll) -> Option<u64> {
    // A child that was reaped elsewhere must not be waited for: its id may belong to a child of the application, whose status
    // would be lost.
    reaper::unregistering(pid, || if seen == ExitPoll::ReapedElsewhere { None } else { usage::reap(pid) })
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

    /// R30: the fallback without pidfds, which is the only way outside Linux, notices an exit too.
    #[test]
    fn a_waiting_thread_notices_the_end() {
        let (waker, wakeups) = crate::waker::pair().unwrap();
        let mut child = std::process::Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let watch = ExitWatch::by_thread(pid, waker).unwrap();
        let mut fds = [rustix::event::PollFd::new(&wakeups, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert!(watch.flagged());
        assert_eq!(watch.try_wait(), ExitPoll::Ended(ExitStatus::Code(7)));
        assert_eq!(watch.try_wait(), ExitPoll::Ended(ExitStatus::Code(7)), "a check does not reap");
        assert!(reap(pid, watch.try_wait()).is_some_and(|peak| peak > 0));
        assert_eq!((watch.try_wait(), reap(pid, watch.try_wait())), (ExitPoll::ReapedElsewhere, None));
        child.wait().unwrap_err();
    }
}
