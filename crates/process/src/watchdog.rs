//! The host's side of the watchdog: a process that outlives the host just long enough to kill the workers' groups (R30).
//! Holds the list of live groups, so that a watchdog that was killed is replaced by one that knows them all.

mod forked;
mod record;

pub(crate) use record::{CAPACITY, Record};

use crate::{exit, log::Log};
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

/// The host's side of the watchdog; shared by spawner and warden under one lock.
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
    /// Kills it and reaps it. Somebody in the host who waits for any child may have reaped it: then its number may be another's, which
    /// the pidfd is not.
    fn end(&self) {
        let pidfd = self.pidfd.as_ref().map(AsFd::as_fd);
        let killed = match pidfd {
            #[cfg(target_os = "linux")]
            Some(pidfd) => rustix::process::pidfd_send_signal(pidfd, Signal::KILL),
            _ => kill_process(self.pid, Signal::KILL),
        };
        // A host that has changed its user since may not kill it: then it is not waited for, as it may be stopped.
        let lives = || matches!(exit::wait(self.pid, pidfd, WaitIdOptions::NOHANG), Ok(None));
        if killed != Err(Errno::PERM) || !lives() {
            exit::wait_and_reap(self.pid, pidfd);
        }
    }
}

impl Watchdog {
    pub(crate) fn new(log: Log) -> Self {
        Self { running: None, groups: HashSet::new(), log }
    }

    /// The host's end of the lifeline; starts the watchdog if none runs.
    ///
    /// Whoever keeps the `Arc` keeps the descriptor's number from meaning something else, also when the watchdog is replaced.
    pub(crate) fn lifeline(&mut self) -> io::Result<Arc<OwnedFd>> {
        match &self.running {
            Some(running) => Ok(running.lifeline.clone()),
            None => self.start(),
        }
    }

    /// The lifeline to watch: readable or hung up means that the watchdog is gone.
    pub(crate) fn poll_descriptor(&self) -> Option<Arc<OwnedFd>> {
        self.running.as_ref().map(|running| running.lifeline.clone())
    }

    /// Whether groups live that nobody would kill for us.
    pub(crate) fn is_missing(&self) -> bool {
        self.running.is_none() && !self.groups.is_empty()
    }

    /// Whether one more group would not fit its table.
    pub(crate) fn is_full(&self) -> bool {
        self.groups.len() >= CAPACITY
    }

    /// Puts a group under its eyes.
    pub(crate) fn add(&mut self, group: Pid) {
        self.groups.insert(group.as_raw_nonzero().get());
        self.send_record(Record::add(group));
    }

    /// Takes a group from its list. Must happen before the group's leader is reaped: after that the number may be another's.
    pub(crate) fn remove(&mut self, group: Pid) {
        self.groups.remove(&group.as_raw_nonzero().get());
        self.send_record(Record::remove(group));
    }

    /// Lets the watchdog signal a group that this process has no right to signal, since the host has changed its user after the group was started.
    pub(crate) fn signal(&mut self, group: Pid, signal: Signal) {
        if self.groups.contains(&group.as_raw_nonzero().get()) {
            self.send_record(Record::signal(group, signal));
        }
    }

    /// Replaces a watchdog that is gone or does not listen.
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

    /// A watchdog whose other end is the test itself.
    #[cfg(test)]
    pub(crate) fn listening(lifeline: OwnedFd, log: Log) -> Self {
        let running = Running { pid: rustix::process::getpid(), pidfd: None, lifeline: Arc::new(lifeline) };
        Self { running: Some(running), groups: HashSet::new(), log }
    }

    /// A record that can't be delivered means that the watchdog is gone, or stopped for so long that its socket is full.
    /// The next one is forked with the list as it is now, so the record itself is not sent again.
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
        drop(theirs); // or the watchdog's end would not show as the end
        // It lives until its lifeline ends. Without a descriptor left for this its number must do.
        let pidfd = exit::pidfd(pid).ok().flatten();
        let running = Running { pid, pidfd, lifeline: Arc::new(OwnedFd::from(ours)) };
        // It says one byte once it has closed everything else, and never another.
        let mut byte = [0];
        let said = retry_on_intr(|| recv(&running.lifeline, &mut byte, RecvFlags::empty()));
        let error = match said {
            Ok((1.., _)) => return Ok(self.running.insert(running).lifeline.clone()),
            Ok(_) => io::ErrorKind::UnexpectedEof.into(),
            Err(errno) => errno.into(),
        };
        running.end();
        Err(error)
    }
}

/// Sends one record without blocking and without a signal. Async-signal-safe: a forked worker calls it before exec.
pub(crate) fn register(lifeline: impl AsFd, record: Record) -> Result<(), Errno> {
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::DONTWAIT;
    retry_on_intr(|| send(&lifeline, record.as_bytes(), flags)).map(|_| ())
}
