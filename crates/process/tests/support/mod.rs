//! Helpers of the tests of this crate: they start shells and Python as workers and observe processes. Waits are for events; the
//! only time limit ends a test that hangs.

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

const TIMEOUT: Duration = Duration::from_secs(60);

/// Python code before every script: the two sockets of the worker, a function that sends a line to the host, and the modules
/// that scripts use.
const PRELUDE: &str = "
import os, re, signal, socket, subprocess, sys, time
calls = socket.socket(fileno=int(os.environ['HERDER_FD']))
control = socket.socket(fileno=int(os.environ['HERDER_CTL_FD']))
def send(*values): calls.sendall((' '.join(map(str, values)) + '\\n').encode())
";

/// Returns a command for Python code, which ignores Python's variables in the environment of the tests.
pub(crate) fn python(script: &str) -> Command {
    Command::new("python3").args(["-I", "-c", &format!("{PRELUDE}{script}")])
}

pub(crate) fn shell(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

pub(crate) async fn start(command: Command) -> Spawned {
    spawn(command).await.unwrap()
}

/// Returns a reader of the lines that a worker sends on a socket. Its reads block.
pub(crate) fn line_reader(stream: UnixStream) -> BufReader<UnixStream> {
    stream.set_nonblocking(false).unwrap();
    BufReader::new(stream)
}

/// Returns the next line without its line break, or an empty string at the end of the stream.
pub(crate) fn read_line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

pub(crate) fn numbers(line: &str) -> Vec<u32> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A handle of a process, which may be a child or not. It must be created while the process is running. A process id may be
/// reused; this handle keeps referring to the same process.
pub(crate) struct Watch(OwnedFd);

impl Watch {
    pub(crate) fn new(pid: u32) -> Self {
        Self(pidfd_open(raw(pid), PidfdFlags::empty()).unwrap())
    }

    /// Waits until the process has exited.
    pub(crate) fn wait_for_exit(&self) {
        assert!(self.poll(TIMEOUT), "the process is still running after {TIMEOUT:?}");
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

/// Calls `condition` every 2 ms until it returns a value. For conditions without an event to wait for. After a time limit,
/// panics with `what`.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for; the time limit ends a test that hangs")]
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < TIMEOUT, "did not happen in {TIMEOUT:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn watchdog_of(host: u32) -> Option<u32> {
    children(host).find(|seen| seen.name == "herder-watchdog" && seen.state != 'Z').map(|seen| seen.pid)
}
