//! A started worker process, as its owner sees it. Holds what owner and warden share: the ladder, the tail, the status.
//! Reaping is the warden's alone; every signal passes through [`Process::send`], which holds the lock the reaper takes.

use crate::{
    ExitMemory,
    lock::lock,
    output::{Stream, Tail},
    sample::{ProcessSample, read_sample, resident_bytes},
    stack::Stack,
    stop_sequence::StopSequence,
    waker::Waker,
    watchdog::Watchdog,
};
use herder_core::ExitStatus;
use rustix::{
    io::Errno,
    process::{Pid, Signal, Uid, geteuid, kill_process, kill_process_group},
};
use std::{
    fmt,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A worker that was started, with the host's ends of its two sockets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Spawned {
    /// The host's end of `HERDER_FD`; does not block.
    pub calls: UnixStream,
    /// The host's end of `HERDER_CTL_FD`; does not block.
    pub control: UnixStream,
    /// The process.
    pub child: Child,
}

/// A worker process and its group. Handles can be cloned, sent and used from any thread and runtime; all methods but
/// [`wait`](Self::wait) return at once.
///
/// When the last handle of a live process goes, its whole group is killed; it is reaped all the same.
#[derive(Clone)]
pub struct Child(Arc<Handle>);

/// Its drop is the drop of the last handle.
struct Handle(Arc<Process>);

impl Child {
    pub(crate) fn new(process: Arc<Process>) -> Self {
        Self(Arc::new(Handle(process)))
    }

    /// The process id, which is also its group's. Once [`try_status`](Self::try_status) says something it may be another's.
    pub fn pid(&self) -> u32 {
        self.process().pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What it has in main memory now, in bytes, shared pages too (`RSS` of ps). `None` once it was reaped, and where there is no
    /// `/proc`. Reads one small file there: some microseconds.
    pub fn resident_bytes(&self) -> Option<u64> {
        if self.try_status().is_some() {
            return None;
        }
        resident_bytes(self.pid())
    }

    /// What it did so far. `None` once it was reaped, and where there is no `/proc`. Reads one small file there: some microseconds.
    pub fn sample(&self) -> Option<ProcessSample> {
        if self.try_status().is_some() { None } else { read_sample(self.pid()) }
    }

    /// Sends a signal to the worker itself, not to its group. Does nothing once it was reaped.
    pub fn signal(&self, signal: Signal) {
        self.process().send(signal, Target::Leader);
    }

    /// Sends `SIGKILL` to the whole group, now. Does nothing once the worker was reaped: its group was killed then.
    pub fn kill(&self) {
        self.process().send(Signal::KILL, Target::Group);
    }

    /// Begins the stop ladder: after `term_after` the group gets `SIGTERM`, `kill_after` later `SIGKILL`, unless the worker is
    /// gone by then. Whoever calls it has sent the shutdown message before. It goes on without the caller, its runtime, or its
    /// arbiter; a second call can only shorten it.
    pub fn stop(&self, term_after: Duration, kill_after: Duration) {
        let process = self.process();
        lock(&process.stop_sequence).request(Instant::now(), term_after, kill_after);
        process.monitor.wake();
    }

    /// The same for a worker that hangs and prints the stacks of its threads to standard error when it gets `ask`, as Python's
    /// `faulthandler` does: it is asked now, and no rung is climbed before they have come, or a second has passed.
    pub fn stop_with_stack(&self, ask: Signal, term_after: Duration, kill_after: Duration) {
        self.process().ask_for_stack(ask);
        self.stop(term_after, kill_after);
    }

    /// Asks for the stacks, then sends `SIGKILL` to the whole group: once they have come, or after a second. It goes on without
    /// the caller, its runtime, or its arbiter. [`kill`](Self::kill) does not wait for it.
    pub fn kill_with_stack(&self, ask: Signal) {
        let process = self.process();
        process.ask_for_stack(ask);
        lock(&process.stop_sequence).kill_now(Instant::now());
        process.monitor.wake();
    }

    /// The stacks it printed when it was asked for them, at most 16 KiB: the thread that got the signal first, of each thread the
    /// most recent calls. `None` if it was not asked, or printed none. They are not in the [`output_tail`](Self::output_tail).
    /// Complete once [`wait`](Self::wait) has returned.
    pub fn stack(&self) -> Option<String> {
        lock(&self.process().stack).as_ref().and_then(Stack::text)
    }

    /// Waits until the worker has ended, what it had printed was read, the rest of its group was killed, and it was reaped.
    ///
    /// Any number of tasks may wait, at any time, also after the end. Cancel safe. A grandchild that holds the output open does
    /// not delay it.
    pub async fn wait(&self) -> ExitStatus {
        let mut status = self.process().status.subscribe();
        match status.wait_for(Option::is_some).await {
            Ok(status) => (*status).unwrap_or(ExitStatus::Unknown),
            Err(_) => ExitStatus::Unknown,
        }
    }

    /// How it ended, if it has: `None` until [`wait`](Self::wait) would return.
    pub fn try_status(&self) -> Option<ExitStatus> {
        *self.process().status.borrow()
    }

    /// What is known of its end beyond the status: nothing until [`wait`](Self::wait) would return.
    pub fn exit_memory(&self) -> ExitMemory {
        self.process().exit_memory.get().cloned().unwrap_or_default()
    }

    /// The last whole lines of its standard error, or of its standard output if it wrote no errors: at most 40 lines and 8 KiB
    /// (but always one line); lines over 4 KiB were cut into several, and bytes that are not UTF-8 were replaced. Complete
    /// once [`wait`](Self::wait) has returned.
    pub fn output_tail(&self) -> Vec<String> {
        let tails = lock(&self.process().tails);
        if tails.stderr.is_empty() { tails.stdout.lines() } else { tails.stderr.lines() }
    }

    fn process(&self) -> &Process {
        &self.0.0
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Child");
        debug
            .field("label", &self.process().label)
            .field("pid", &self.pid())
            .field("status", &self.try_status())
            .finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.send(Signal::KILL, Target::Group);
    }
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Leader,
    Group,
}

/// What the owner's handles and the warden share.
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) label: Arc<str>,
    /// The process that started it. A forked copy of the host has these handles too, but not the right to use them.
    host: u32,
    /// The user id with which the process was started.
    user: Uid,
    reaped: Mutex<bool>,
    /// A signal that this process could not send to the whole group. The watchdog will send it.
    denied: Mutex<Option<Signal>>,
    /// Whether it was sent a `SIGKILL` from here.
    killed: AtomicBool,
    exit_memory: OnceLock<ExitMemory>,
    pub(crate) stop_sequence: Mutex<StopSequence>,
    /// Once it was asked for.
    stack: Mutex<Option<Stack>>,
    tails: Mutex<Tails>,
    status: watch::Sender<Option<ExitStatus>>,
    monitor: Waker,
}

#[derive(Debug, Default)]
struct Tails {
    stdout: Tail,
    stderr: Tail,
}

impl Process {
    pub(crate) fn new(pid: Pid, label: Arc<str>, monitor: Waker) -> Self {
        Self {
            pid,
            label,
            host: std::process::id(),
            user: geteuid(),
            reaped: Mutex::new(false),
            denied: Mutex::new(None),
            killed: AtomicBool::new(false),
            exit_memory: OnceLock::new(),
            stop_sequence: Mutex::new(StopSequence::NotRequested),
            stack: Mutex::new(None),
            tails: Mutex::default(),
            status: watch::Sender::new(None),
            monitor,
        }
    }

    /// Signals the process or its group, unless it was reaped: after that its number may be anybody's.
    pub(crate) fn send(&self, signal: Signal, target: Target) {
        let reaped = lock(&self.reaped);
        if *reaped || self.host != std::process::id() {
            return;
        }
        if signal == Signal::KILL {
            self.killed.store(true, Ordering::Relaxed);
        }
        // There are two errors: nobody is left to receive it, or this process has changed its user and may not send it.
        let sent = match target {
            Target::Leader => kill_process(self.pid, signal),
            Target::Group => kill_process_group(self.pid, signal),
        };
        // The system also calls it a success if one process of the group got the signal.
        if target == Target::Group && (sent == Err(Errno::PERM) || self.user != geteuid()) {
            self.deny(signal);
        }
    }

    /// Records a signal that this process could not send, for [`relay`](Self::relay). A recorded SIGKILL is not replaced by SIGTERM.
    fn deny(&self, signal: Signal) {
        let mut denied = lock(&self.denied);
        if *denied != Some(Signal::KILL) {
            *denied = Some(signal);
            self.monitor.wake();
        }
    }

    /// Lets the watchdog send the signal that this process could not send: the watchdog still has the user that the host had. Runs on the warden's thread, since the
    /// thread that kills must not wait for a watchdog that is being started.
    pub(crate) fn relay(&self, watchdog: &Mutex<Watchdog>) {
        let denied = lock(&self.denied).take();
        if let Some(signal) = denied {
            lock(watchdog).signal(self.pid, signal);
        }
    }

    /// Whether it was sent a `SIGKILL` from here.
    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Asks the process itself for its stacks, once.
    fn ask_for_stack(&self, ask: Signal) {
        let mut stack = lock(&self.stack);
        if stack.is_none() {
            *stack = Some(Stack::new(Instant::now()));
            self.send(ask, Target::Leader);
        }
    }

    /// Until when the ladder waits for a stack, if one was asked for.
    fn stack_wait_until(&self) -> Option<Instant> {
        lock(&self.stack).as_ref().map(Stack::awaited_until)
    }

    /// Takes the next rung of the ladder if its time has come. Call until it gives `None`.
    pub(crate) fn advance(&self, now: Instant) -> Option<Signal> {
        let held = self.stack_wait_until().is_some_and(|until| until > now);
        if held { None } else { lock(&self.stop_sequence).advance(now) }
    }

    /// When the next rung is due.
    pub(crate) fn next_step_due(&self) -> Option<Instant> {
        let due = lock(&self.stop_sequence).next()?;
        Some(self.stack_wait_until().map_or(due, |until| until.max(due)))
    }

    /// Runs the reaper; no signal is sent meanwhile, and none after it.
    pub(crate) fn reap<T>(&self, reaper: impl FnOnce(Pid) -> T) -> T {
        let mut reaped = lock(&self.reaped);
        *reaped = true;
        reaper(self.pid)
    }

    /// Whether everybody was told.
    pub(crate) fn is_published(&self) -> bool {
        self.status.borrow().is_some()
    }

    /// Tells everybody who waits. The last thing the warden does for a process.
    pub(crate) fn publish(&self, status: ExitStatus, death: ExitMemory) {
        let _ = self.exit_memory.set(death); // a process dies once
        self.status.send_replace(Some(status));
    }

    /// Remembers a line it printed.
    pub(crate) fn remember(&self, stream: Stream, line: String) {
        if stream == Stream::Stderr
            && let Some(stack) = &mut *lock(&self.stack)
            && stack.take(Instant::now(), &line)
        {
            return;
        }
        let mut tails = lock(&self.tails);
        match stream {
            Stream::Stdout => tails.stdout.push(line),
            Stream::Stderr => tails.stderr.push(line),
        }
    }
}
