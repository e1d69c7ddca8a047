//! Runs a program that answers a question on its standard output, and ends it. Holds what it has printed until it has ended.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionbio},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
use std::{
    fs, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, ExitStatus},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The time that a program has to exit after it has closed its output. It gets no more time to be reported with its own status.
const EXIT_TIME: Duration = Duration::from_millis(100);
/// The bytes that are read at once.
const PART: usize = 64 * 1024;

/// Returns what a program prints on standard output and standard error (each at most `max` bytes), and its exit status, or `None`
/// if it neither exits nor closes its output until the limit. Kills it then, and if it still runs after it has closed its output.
///
/// The exit of the program is the end, not that of its output: a program that it has left running may keep both streams open.
pub(super) fn finish(mut child: Child, limit: Duration, max: usize) -> Option<(String, String, ExitStatus)> {
    let output = Stream::of(child.stdout.take().map(OwnedFd::from), max);
    let errors = Stream::of(child.stderr.take().map(OwnedFd::from), max);
    let mut streams = [output, errors];
    let has_answered = ExitWatch::of(&child).is_ok_and(|(exit, thread)| {
        let has_answered = read_until_end(&mut streams, &exit, limit);
        end(&mut child, has_answered);
        _ = thread.join();
        has_answered
    });
    // Nothing was ended above if the exit could not be watched.
    _ = child.kill();
    let status = child.wait().ok()?;
    let [output, errors] = streams.map(Stream::into_text);
    has_answered.then_some((output, errors, status))
}

/// Kills the program, unless it has exited. Without an answer, what it has started is killed, too: a wrapper may wait for a program
/// of its own, which hangs. After an answer, what it has left running is meant to run.
fn end(child: &mut Child, has_answered: bool) {
    // Listed before the kill: what a process leaves behind belongs to another parent.
    let started = if has_answered { Vec::new() } else { descendants(child.id()) };
    _ = child.kill();
    started.into_iter().for_each(|pid| _ = kill_process(pid, Signal::KILL));
}

/// Reports the exit of a child without reaping it.
struct ExitWatch;

impl ExitWatch {
    /// Returns a descriptor that is readable once the child has exited, and the thread that waits for it.
    fn of(child: &Child) -> io::Result<(OwnedFd, JoinHandle<()>)> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let (exit, notice) = UnixStream::pair()?;
        let thread = thread::Builder::new().name("herder-probe".into()).spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
            drop(notice);
        })?;
        Ok((exit.into(), thread))
    }
}

/// Reads both streams until the child exits, or closes the first one. Returns `false` if the time is over before.
#[expect(clippy::disallowed_methods, reason = "limits the time of a program that may never answer")]
fn read_until_end(streams: &mut [Stream; 2], exit: &OwnedFd, limit: Duration) -> bool {
    let mut limit = limit;
    let mut since = Instant::now();
    let mut has_closed = false;
    loop {
        let left = limit.saturating_sub(since.elapsed());
        let has_exited = wait(streams, exit, left);
        // What a program has written before its exit is in the pipe, and is read here.
        streams.iter_mut().for_each(Stream::read);
        if has_exited || left.is_zero() {
            return has_exited || has_closed;
        }
        if streams[0].source.is_none() && !has_closed {
            (has_closed, limit, since) = (true, EXIT_TIME, Instant::now());
        }
    }
}

/// Waits until a stream can be read, the child has exited, or the time is over. Returns whether the child has exited.
fn wait(streams: &[Stream; 2], exit: &OwnedFd, time: Duration) -> bool {
    let open = streams.iter().filter_map(|stream| stream.source.as_ref());
    let all = [exit].into_iter().chain(open).map(|fd| PollFd::new(fd, PollFlags::IN));
    let mut all: Vec<PollFd> = all.collect();
    // An interruption is an early end of the wait.
    _ = poll(&mut all, Timespec::try_from(time).ok().as_ref());
    !all[0].revents().is_empty()
}

/// What a child prints on one of its streams.
struct Stream {
    /// `None` after its end, and when enough was read.
    source: Option<OwnedFd>,
    bytes: Vec<u8>,
    max: usize,
}

impl Stream {
    fn of(source: Option<OwnedFd>, max: usize) -> Self {
        let source = source.filter(|source| ioctl_fionbio(source, true).is_ok());
        Self { source, bytes: Vec::new(), max }
    }

    /// Reads what has arrived.
    fn read(&mut self) {
        let mut part = [0; PART];
        while let Some(source) = &self.source {
            let room = self.max.saturating_sub(self.bytes.len()).min(PART);
            match rustix::io::read(source, &mut part[..room]) {
                // Also without room.
                Ok(0) => self.source = None,
                Ok(count) => self.bytes.extend_from_slice(&part[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.source = None,
            }
        }
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Returns the processes that a process has started, and theirs, as far as the system lists them; Linux does.
fn descendants(pid: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children
        .flat_map(|child: u32| i32::try_from(child).ok().and_then(Pid::from_raw).into_iter().chain(descendants(child)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn run(script: &str, limit: Duration) -> Option<(String, String, ExitStatus)> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[expect(clippy::disallowed_methods, reason = "`finish` waits for the child")]
        let child = command.spawn().unwrap();
        finish(child, limit, 10)
    }

    /// Ends by itself if the program is taken as ended at its exit; otherwise only when the test is stopped.
    #[test]
    fn a_program_ends_with_its_exit_although_a_daemon_keeps_its_output_open() {
        let (output, errors, status) = run("sleep 1000 & echo answer; echo $! >&2; exit 3", Duration::MAX).unwrap();
        let daemon: i32 = errors.trim().parse().unwrap();
        // It was left running.
        kill_process(Pid::from_raw(daemon).unwrap(), Signal::KILL).unwrap();
        assert_eq!((output.as_str(), status.code()), ("answer\n", Some(3)));
    }

    #[test]
    fn a_limited_part_of_the_output_is_read() {
        let (output, _, _) = run("echo 0123456789abc; echo more", Duration::MAX).unwrap();
        assert_eq!(output, "0123456789");
        let endless = run("while echo more and more; do :; done", Duration::MAX).unwrap();
        assert_eq!(endless.0, "more and m");
    }
}
