//! The monitor: the one thread that waits for workers, reads their output and runs their stop sequences (R30, R40). Holds the
//! running processes. It runs no code of the application and blocks only in poll, so that a slow log never delays a kill.

use crate::{
    child::{Process, Target},
    exit::{self, ExitPoll, ExitWatch},
    group,
    lines::{Lines, Stream},
    lock::lock,
    log_record::Record,
    memory::{CgroupBaseline, ExitMemory, OomAccounting},
    output_log::Log,
    usage,
    waker::Wakeups,
    watchdog::Watchdog,
};
use herder_core::ExitStatus;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
    net::{RecvFlags, recv},
    process::Signal,
};
use std::{
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// The maximum size of one read, which is the capacity of a pipe.
const READ: usize = 64 * 1024;
/// The maximum number of reads after an exit: a process that left the group may keep writing forever.
const DRAIN_LIMIT: usize = 16;
/// The maximum number of log records that are read from one worker in a turn: more would delay the others.
const RECORDS_PER_TURN: usize = 64;
/// The status of a process that the system killed for a lack of memory.
const SIGKILL_STATUS: ExitStatus = ExitStatus::Signal(Signal::KILL.as_raw());
/// The wait before the next attempt to start a watchdog, or after poll has failed.
const RETRY: Duration = Duration::from_secs(1);

/// The state of the monitor.
pub(crate) struct Monitor {
    pub(crate) spawned: mpsc::Receiver<RunningChild>,
    pub(crate) wakeups: Wakeups,
    pub(crate) watchdog: Arc<Mutex<Watchdog>>,
    pub(crate) log: Log,
    pub(crate) children: Vec<RunningChild>,
    pub(crate) oom_accounting: OomAccounting,
}

/// A process that was not reaped yet.
pub(crate) struct RunningChild {
    process: Arc<Process>,
    exit: ExitWatch,
    stdout: Source,
    stderr: Source,
    records: Records,
    baseline: MemoryBaseline,
}

/// The host's ends of what a worker prints and logs.
pub(crate) struct Output {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) records: OwnedFd,
}

/// Facts at the start of a worker, which are compared with those at its end.
#[derive(Debug, Default)]
pub(crate) struct MemoryBaseline {
    pub(crate) cgroup: CgroupBaseline,
    /// The peak memory that it inherited from the host, in bytes.
    pub(crate) inherited: u64,
    /// The session of the worker.
    pub(crate) session: i32,
}

/// One output of a worker.
struct Source {
    stream: Stream,
    /// `None` after the end of file.
    pipe: Option<OwnedFd>,
    lines: Lines,
}

/// The socket for log records.
struct Records {
    /// `None` after an error.
    socket: Option<OwnedFd>,
}

/// Whether the monitor continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoopState {
    Continue,
    Stop,
}

/// A descriptor that poll has reported. The numbers are indices in `children`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Wakeup,
    WatchdogGone,
    Output(usize, Stream),
    Records(usize),
    Exit(usize),
}

impl Monitor {
    /// The body of the thread. It must not end before the host does, because nothing else watches the workers.
    #[expect(clippy::disallowed_methods, reason = "waits before the next iteration after a panic, which may repeat")]
    pub(crate) fn run(mut self) {
        let mut buffer = vec![0; READ];
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.run_once(&mut buffer))) {
                Ok(LoopState::Continue) => {}
                Ok(LoopState::Stop) => return,
                Err(_) => {
                    self.log.warning("the thread that reaps and kills workers panicked, and continues".into());
                    thread::sleep(RETRY / 20);
                }
            }
        }
    }

    fn run_once(&mut self, buffer: &mut [u8]) -> LoopState {
        self.children.extend(self.spawned.try_iter());
        self.advance(Instant::now());
        self.children.iter().for_each(|live| live.process.relay(&self.watchdog));
        let events = self.wait();
        if events.contains(&Event::Wakeup) && !self.wakeups.take() {
            return LoopState::Stop;
        }
        self.ensure_watchdog(&events);
        self.read(&events, buffer);
        self.wait_and_reap(&events, buffer);
        LoopState::Continue
    }

    /// Sends the signals that are due.
    fn advance(&self, now: Instant) {
        for live in &self.children {
            while let Some(signal) = live.process.advance(now) {
                live.process.send(signal, Target::Group);
            }
        }
    }

    /// Sleeps until an event occurs or a step of a stop sequence is due.
    #[expect(clippy::disallowed_methods, reason = "waits before the next attempt after `poll` has failed")]
    fn wait(&self) -> Vec<Event> {
        let (lifeline, watchdog_missing) = {
            let watchdog = lock(&self.watchdog);
            (watchdog.poll_descriptor(), watchdog.is_missing())
        };
        let retry = watchdog_missing.then(|| Instant::now() + RETRY);
        let step = self.children.iter().filter_map(|live| live.process.next_step_due()).min();
        let timeout = step.into_iter().chain(retry).min().map(until);

        let mut events = Vec::new();
        let mut fds = Vec::new();
        let mut watch = |event, fd| {
            events.push(event);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        };
        watch(Event::Wakeup, self.wakeups.as_fd());
        lifeline.iter().for_each(|lifeline| watch(Event::WatchdogGone, lifeline.as_fd()));
        let paused = self.log.is_full();
        for (at, live) in self.children.iter().enumerate() {
            live.exit.descriptor().into_iter().for_each(|fd| watch(Event::Exit(at), fd));
            for source in [&live.stdout, &live.stderr] {
                source
                    .pipe
                    .iter()
                    .filter(|_| !paused)
                    .for_each(|fd| watch(Event::Output(at, source.stream), fd.as_fd()));
            }
            live.records.socket.iter().filter(|_| !paused).for_each(|fd| watch(Event::Records(at), fd.as_fd()));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Vec::new(),
            Err(_) => {
                // Memory is exhausted, or the number of descriptors exceeds the limit for poll. Treating every source as ready
                // keeps the guarantees, but is slow.
                thread::sleep(RETRY / 20);
                return events.into_iter().filter(|&event| event != Event::WatchdogGone).collect();
            }
        }
        events.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(event, _)| event).collect()
    }

    fn ensure_watchdog(&self, events: &[Event]) {
        let mut watchdog = lock(&self.watchdog);
        if watchdog.is_missing() || events.contains(&Event::WatchdogGone) {
            watchdog.replace();
        }
    }

    /// Reads once from each readable pipe, and a limited number of log records from each socket, so that no worker delays the
    /// others.
    fn read(&mut self, events: &[Event], buffer: &mut [u8]) {
        for event in events {
            match *event {
                Event::Output(at, stream) => {
                    if let Some(live) = self.children.get_mut(at) {
                        live.read(stream, buffer, &self.log);
                    }
                }
                Event::Records(at) => {
                    if let Some(live) = self.children.get_mut(at) {
                        live.read_records(buffer, &self.log);
                    }
                }
                Event::Wakeup | Event::WatchdogGone | Event::Exit(_) => {}
            }
        }
    }

    fn wait_and_reap(&mut self, events: &[Event], buffer: &mut [u8]) {
        for at in (0..self.children.len()).rev() {
            if !events.contains(&Event::Exit(at)) && !self.children[at].exit.flagged() {
                continue;
            }
            match self.children[at].exit.try_wait() {
                ExitPoll::Running => {}
                ended => self.finish_exit(at, ended, buffer),
            }
        }
    }

    /// Handles an exit, once, also if a bug or a waker causes a panic.
    fn finish_exit(&mut self, at: usize, ended: ExitPoll, buffer: &mut [u8]) {
        let live = self.children.swap_remove(at);
        let process = live.process.clone();
        let finish_exit = || live.finish_exit(ended, buffer, &self.log, &self.watchdog, &mut self.oom_accounting);
        if catch_unwind(AssertUnwindSafe(finish_exit)).is_err() {
            self.log.warning(format!("a panic interrupted the handling of the end of {}", process.label));
            if !process.is_published() {
                process.send(Signal::KILL, Target::Group);
                lock(&self.watchdog).remove(process.pid);
                process.reap(|pid| exit::reap(pid, ended));
                process.publish(ExitStatus::Unknown, ExitMemory::default());
            }
        }
    }
}

/// Returns the time until `due`, rounded up to the resolution of poll.
#[expect(clippy::disallowed_methods, reason = "`poll` takes a duration")]
fn until(then: Instant) -> Timespec {
    let left = then.saturating_duration_since(Instant::now());
    Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
}

impl RunningChild {
    pub(crate) fn new(
        process: Arc<Process>,
        exit: ExitWatch,
        Output { stdout, stderr, records }: Output,
        origin: MemoryBaseline,
    ) -> Self {
        let (stdout, stderr) = (Source::new(Stream::Stdout, stdout), Source::new(Stream::Stderr, stderr));
        Self { process, exit, stdout, stderr, records: Records { socket: Some(records) }, baseline: origin }
    }

    fn read(&mut self, stream: Stream, buffer: &mut [u8], log: &Log) -> bool {
        let source = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        source.read(buffer, |line| log_poll_error(&self.process, stream, line, log))
    }

    /// Reads at most [`RECORDS_PER_TURN`] log records. Returns whether more may be available.
    fn read_records(&mut self, buffer: &mut [u8], log: &Log) -> bool {
        (0..RECORDS_PER_TURN).all(|_| self.records.read(buffer, |datagram| log_record(&self.process, datagram, log)))
    }

    /// Handles an exit. The order matters:
    /// - The group is killed while its leader is a zombie. After the leader was reaped, another group may have its number. (If
    ///   other code has reaped the leader, [`group`] checks first.)
    /// - The watchdog forgets the group after it was killed and before the leader is reaped, for the same reason.
    /// - The output is read before the status is published, so that everyone who learns of the exit finds the last lines.
    /// - No lock is held when the status is published, because wakers run code of the application.
    fn finish_exit(
        mut self,
        ended: ExitPoll,
        buffer: &mut [u8],
        log: &Log,
        watchdog: &Mutex<Watchdog>,
        oom_accounting: &mut OomAccounting,
    ) {
        let status = match ended {
            ExitPoll::Ended(status) => status,
            ExitPoll::Running | ExitPoll::ReapedElsewhere => ExitStatus::Unknown,
        };
        let by_others = status == SIGKILL_STATUS && !self.process.was_killed();
        match ended {
            ExitPoll::ReapedElsewhere => {
                group::kill_left(self.process.pid, self.exit.descriptor(), self.baseline.session);
            }
            ExitPoll::Running | ExitPoll::Ended(_) => {
                self.process.send(Signal::KILL, Target::Group);
                self.process.relay(watchdog); // before the watchdog forgets the group
            }
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            (0..DRAIN_LIMIT).take_while(|_| self.read(stream, buffer, log)).count();
        }
        (0..DRAIN_LIMIT).take_while(|_| self.read_records(buffer, log)).count();
        let Self { process, exit, mut stdout, mut stderr, records, baseline: origin } = self;
        stdout.lines.finish(|line| log_poll_error(&process, Stream::Stdout, line, log));
        stderr.lines.finish(|line| log_poll_error(&process, Stream::Stderr, line, log));
        drop((exit, stdout, stderr, records));
        lock(watchdog).remove(process.pid);
        let peak_memory =
            process.reap(|pid| exit::reap(pid, ended)).and_then(|peak| usage::beyond(peak, origin.inherited));
        let out_of_memory = by_others.then(|| oom_accounting.evidence(&origin.cgroup, peak_memory)).flatten();
        process.publish(status, ExitMemory { peak_memory, out_of_memory });
    }
}

fn log_poll_error(process: &Process, stream: Stream, line: String, log: &Log) {
    if process.remember(stream, line.clone()) {
        log.line(&process.label, stream, line);
    }
}

fn log_record(process: &Process, datagram: &[u8], log: &Log) {
    let record = Record::parse(datagram);
    process.remember_record(record.tail_lines());
    log.record(&process.label, record, datagram.len());
}

impl Records {
    /// Reads one datagram. Returns whether more may be available.
    fn read(&mut self, buffer: &mut [u8], record: impl FnOnce(&[u8])) -> bool {
        let Some(socket) = &self.socket else { return false };
        match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => {
                // The buffer is larger than the largest valid record. So a datagram that does not fit is malformed anyway.
                record(&buffer[..count]);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            Err(_) => {
                self.socket = None;
                false
            }
        }
    }
}

impl Source {
    fn new(stream: Stream, pipe: OwnedFd) -> Self {
        Self { stream, pipe: Some(pipe), lines: Lines::default() }
    }

    /// Reads once. Returns whether more may be available.
    fn read(&mut self, buffer: &mut [u8], line: impl FnMut(String)) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        match read(pipe, &mut *buffer) {
            Ok(count @ 1..) => {
                self.lines.feed(&buffer[..count], line);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            Ok(0) | Err(_) => {
                self.lines.finish(line);
                self.pipe = None;
                false
            }
        }
    }
}
