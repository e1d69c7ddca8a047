//! What the tests of this crate share: real shells and Pythons, and looks at other processes. Waits are for events; the only
//! time limit is a guard against hanging.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use herder_process::{Command, Spawned, inspect::children, spawn};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    io::{BufRead, BufReader},
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

const HANGING: Duration = Duration::from_secs(60);

/// Python code before every script: both sockets by their descriptors, and the modules the scripts use.
const PRELUDE: &str = "
import os, re, signal, socket, subprocess, sys, time
calls = socket.socket(fileno=int(os.environ['HERDER_FD']))
control = socket.socket(fileno=int(os.environ['HERDER_CTL_FD']))
def say(*words): calls.sendall((' '.join(map(str, words)) + '\\n').encode())
";

pub(crate) fn python(script: &str) -> Command {
    Command::new("python3").args(["-c", &format!("{PRELUDE}{script}")])
}

pub(crate) fn shell(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

pub(crate) async fn started(command: Command) -> Spawned {
    spawn(command).await.unwrap()
}

/// Reads what a worker says on a socket, line by line; blocks.
pub(crate) fn lines(stream: UnixStream) -> BufReader<UnixStream> {
    stream.set_nonblocking(false).unwrap();
    BufReader::new(stream)
}

/// The next line, without its end; empty at end of file.
pub(crate) fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

pub(crate) fn numbers(line: &str) -> Vec<u32> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Watches any process, ours or not, from a moment when it was alive: its number may be reused, this can't.
pub(crate) struct Watch(OwnedFd);

impl Watch {
    pub(crate) fn new(pid: u32) -> Self {
        Self(pidfd_open(raw(pid), PidfdFlags::empty()).unwrap())
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&self) {
        assert!(self.poll(HANGING), "still alive after {HANGING:?}");
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.poll(Duration::ZERO)
    }

    pub(crate) fn kill(&self) {
        rustix::process::pidfd_send_signal(&self.0, rustix::process::Signal::KILL).unwrap();
    }

    fn poll(&self, timeout: Duration) -> bool {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    }
}

pub(crate) fn raw(pid: u32) -> Pid {
    Pid::from_raw(pid as i32).unwrap()
}

/// Looks again and again: for what gives no event. `what` names it if it never comes.
#[expect(
    clippy::disallowed_methods,
    reason = "polls, there is no event to wait for; the limit is a guard against hanging"
)]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < HANGING, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn watchdog_of(host: u32) -> Option<u32> {
    children(host).find(|seen| seen.name == "herder-watchdog" && seen.state != 'Z').map(|seen| seen.pid)
}
