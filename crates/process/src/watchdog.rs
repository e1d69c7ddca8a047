//! The host's side of the watchdog, a process that outlives the host only to kill the process groups of its workers (R30).
//! Holds the list of groups, so that a watchdog that was killed can be replaced by one that knows them all.

mod forked;
mod record;

pub(crate) use record::{CAPACITY, Record};

use crate::{exit, output_log::Log};
use record::Table;
use rustix::{
    io::{Errno, retry_on_intr},
    net::{RecvFlags, SendFlags, recv, send},
    process::{Pid, Signal, WaitIdOptions, kill_process},
};
use std::{
    collections::HashSet,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

/// The host's side of the watchdog, shared by the spawner and the monitor under one lock.
pub(crate) struct Watchdog {
    running: Option<Running>,
    groups: HashSet<i32>,
    log: Log,
}

struct Running {
    pid: Pid,
    pidfd: Option<OwnedFd>,
    lifeline: Arc<OwnedFd>,
}

impl Running {
    /// Kills and reaps the watchdog. Code in the host that waits for any child may have reaped it already. Its id may then
    /// belong to another process; the pidfd does not.
    fn end(&self) {
        let pidfd = self.pidfd.as_ref().map(AsFd::as_fd);
        let killed = match pidfd {
            #[cfg(target_os = "linux")]
            Some(pidfd) => rustix::process::pidfd_send_signal(pidfd, Signal::KILL),
            _ => kill_process(self.pid, Signal::KILL),
        };
        // A host that has changed its user may not kill the watchdog. It does not wait for it then, because the watchdog may be
        // stopped.
        let is_running = || matches!(exit::wait(self.pid, pidfd, WaitIdOptions::NOHANG), Ok(None));
        if killed != Err(Errno::PERM) || !is_running() {
            exit::wait_and_reap(self.pid, pidfd);
        }
    }
}

impl Watchdog {
    pub(crate) fn new(log: Log) -> Self {
        Self { running: None, groups: HashSet::new(), log }
    }

    /// Returns the host's end of the lifeline. Starts the watchdog if none runs.
    ///
    /// While the `Arc` is held, the number of the descriptor cannot be reused, even if the watchdog is replaced.
    pub(crate) fn lifeline(&mut self) -> io::Result<Arc<OwnedFd>> {
        match &self.running {
            Some(running) => Ok(running.lifeline.clone()),
            None => self.start(),
        }
    }

    /// Returns the lifeline for polling: readable or hung up means that the watchdog has exited.
    pub(crate) fn poll_descriptor(&self) -> Option<Arc<OwnedFd>> {
        self.running.as_ref().map(|running| running.lifeline.clone())
    }

    /// Whether there are groups but no watchdog that would kill them.
    pub(crate) fn is_missing(&self) -> bool {
        self.running.is_none() && !self.groups.is_empty()
    }

    /// Whether the table of the watchdog has no room for another group.
    pub(crate) fn is_full(&self) -> bool {
        self.groups.len() >= CAPACITY
    }

    /// Adds a group to the watchdog's table.
    pub(crate) fn add(&mut self, group: Pid) {
        self.groups.insert(group.as_raw_nonzero().get());
        self.send_record(Record::add(group));
    }

    /// Removes a group from the watchdog's table. Must happen before the leader of the group is reaped: after that another
    /// group may have its number.
    pub(crate) fn remove(&mut self, group: Pid) {
        self.groups.remove(&group.as_raw_nonzero().get());
        self.send_record(Record::remove(group));
    }

    /// Lets the watchdog signal a group that this process may not signal, because the host has changed its user after the group
    /// was started.
    pub(crate) fn signal(&mut self, group: Pid, signal: Signal) {
        if self.groups.contains(&group.as_raw_nonzero().get()) {
            self.send_record(Record::signal(group, signal));
        }
    }

    /// Replaces a watchdog that has exited or does not read.
    pub(crate) fn replace(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
            self.log.warning(format!("watchdog process {} exited; starting another", running.pid.as_raw_nonzero()));
        }
        if let Err(error) = self.start() {
            let groups = self.groups.len();
            self.log.warning(format!("cannot start the watchdog for {groups} workers, will retry: {error}"));
        }
    }

    /// Creates a watchdog whose other end is the test itself.
    #[cfg(test)]
    pub(crate) fn listening(lifeline: OwnedFd, log: Log) -> Self {
        let running = Running { pid: rustix::process::getpid(), pidfd: None, lifeline: Arc::new(lifeline) };
        Self { running: Some(running), groups: HashSet::new(), log }
    }

    /// A record cannot be delivered if the watchdog has exited, or was stopped for so long that its socket is full. The next
    /// watchdog is forked with the current list, so the record is not sent again.
    fn send_record(&mut self, record: Record) {
        if let Some(running) = &self.running
            && register(&running.lifeline, record).is_err()
        {
            self.replace();
        }
    }

    fn start(&mut self) -> io::Result<Arc<OwnedFd>> {
        let (ours, theirs) = UnixStream::pair()?;
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&ours, true)?;
        let theirs = OwnedFd::from(theirs);
        let pid = forked::fork(&theirs, Table::of(&self.groups))?;
        drop(theirs); // a copy left open would hide the end of the watchdog
        // The watchdog runs until its lifeline is closed. If no descriptor is free for a pidfd, its id must suffice.
        let pidfd = exit::pidfd(pid).ok().flatten();
        let running = Running { pid, pidfd, lifeline: Arc::new(OwnedFd::from(ours)) };
        // The watchdog sends one byte after it has closed all other descriptors, and never another.
        let mut byte = [0];
        let received = retry_on_intr(|| recv(&running.lifeline, &mut byte, RecvFlags::empty()));
        let error = match received {
            Ok((1.., _)) => return Ok(self.running.insert(running).lifeline.clone()),
            Ok(_) => io::ErrorKind::UnexpectedEof.into(),
            Err(errno) => errno.into(),
        };
        running.end();
        Err(error)
    }
}

/// Sends one record without blocking and without raising a signal. Async-signal-safe: a forked worker calls it before exec.
pub(crate) fn register(lifeline: impl AsFd, record: Record) -> Result<(), Errno> {
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::DONTWAIT;
    retry_on_intr(|| send(&lifeline, record.as_bytes(), flags)).map(|_| ())
}
