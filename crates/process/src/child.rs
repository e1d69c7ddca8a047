//! A started worker process, as its owner sees it. Holds what the owner and the monitor share: stop sequence, output tail and
//! status.
//! Only the monitor reaps. Every signal passes through [`Process::send`], which holds the lock that reaping takes.

use crate::{
    ExitMemory,
    lines::{Stream, Tail},
    lock::lock,
    sample::{ProcessSample, read_sample},
    slab::SlabSocket,
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

/// A started worker with the host's ends of its sockets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Spawned {
    /// The host's end of `HERDER_FD`; non-blocking.
    pub calls: UnixStream,
    /// The host's end of `HERDER_CTL_FD`; non-blocking.
    pub control: UnixStream,
    /// The host's end of `HERDER_SLAB_FD`, if the worker has one.
    pub slabs: Option<SlabSocket>,
    /// The process.
    pub child: Child,
}

/// A worker process and its process group. Handles can be cloned, sent and used from any thread and runtime. All methods but
/// [`wait`](Self::wait) return immediately.
///
/// When the last handle of a running process is dropped, the whole group is killed and the process is reaped.
#[derive(Clone)]
pub struct Child(Arc<Handle>);

/// The stacks of a running worker, while they arrive.
pub struct StackCapture {
    process: Arc<Process>,
    stack: Arc<Mutex<Stack>>,
}

impl fmt::Debug for StackCapture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackCapture").field("stack", &self.stack).finish_non_exhaustive()
    }
}

impl StackCapture {
    /// Returns the time at which the stacks are complete, unless further lines arrive before.
    pub fn complete_at(&self) -> Instant {
        lock(&self.stack).awaited_until()
    }

    /// Ends the capture: further lines are output of the worker. Returns the stacks, at most 16 KiB, as
    /// [`Child::stack`] does; `None` if nothing has arrived.
    pub fn finish(self) -> Option<String> {
        let mut capture = lock(&self.process.capture);
        capture.take_if(|stack| Arc::ptr_eq(stack, &self.stack));
        drop(capture);
        lock(&self.stack).text()
    }
}

/// Shared by all clones, so that its drop is the drop of the last handle.
struct Handle(Arc<Process>);

impl Child {
    pub(crate) fn new(process: Arc<Process>) -> Self {
        Self(Arc::new(Handle(process)))
    }

    /// Returns the process id, which is also the id of the process group. After [`try_status`](Self::try_status) has returned a
    /// status, the id may belong to another process.
    pub fn pid(&self) -> u32 {
        self.process().pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns the CPU time, the memory and the state of the process. Returns `None` after the process was reaped, and on systems without
    /// `/proc`. Reads one small file, which takes a few microseconds.
    pub fn sample(&self) -> Option<ProcessSample> {
        self.process().sample()
    }

    /// Returns a function that does the same as [`sample`](Self::sample), for another thread. It is no handle: the drop of the last
    /// handle kills the worker all the same.
    pub fn sampler(&self) -> impl FnOnce() -> Option<ProcessSample> + Send + use<> {
        let process = self.0.0.clone();
        move || process.sample()
    }

    /// Sends a signal to the worker itself, not to its group. Does nothing after the worker was reaped.
    pub fn signal(&self, signal: Signal) {
        self.process().send(signal, Target::Leader);
    }

    /// Sends `SIGKILL` to the whole group immediately. Does nothing after the worker was reaped, because its group was killed
    /// then.
    pub fn kill(&self) {
        self.process().send(Signal::KILL, Target::Group);
    }

    /// Starts the stop sequence: the group gets `SIGTERM` after `term_after` and `SIGKILL` another `kill_after` later, unless
    /// the worker has exited by then. The caller must have sent the shutdown message before.
    ///
    /// The sequence does not depend on the caller, its runtime or its arbiter. A second call can only shorten it.
    pub fn stop(&self, term_after: Duration, kill_after: Duration) {
        let process = self.process();
        lock(&process.stop_sequence).request(Instant::now(), term_after, kill_after);
        process.monitor.wake();
    }

    /// Like [`stop`](Self::stop), for an unresponsive worker that prints the stacks of its threads to standard error when it
    /// gets the signal `ask`, as Python's `faulthandler` does. The signal is sent immediately; no other step follows until the
    /// stacks have arrived or a second has passed.
    pub fn stop_with_stack(&self, ask: Signal, term_after: Duration, kill_after: Duration) {
        self.process().ask_for_stack(ask);
        self.stop(term_after, kill_after);
    }

    /// Requests the stacks with the signal `ask`, and sends `SIGKILL` to the whole group when they have arrived or a second has
    /// passed. Does not depend on the caller, its runtime or its arbiter. [`kill`](Self::kill) does not wait for the stacks.
    pub fn kill_with_stack(&self, ask: Signal) {
        let process = self.process();
        process.ask_for_stack(ask);
        lock(&process.stop_sequence).kill_now(Instant::now());
        process.monitor.wake();
    }

    /// Returns the stacks that the worker printed on request, at most 16 KiB: first the thread that got the signal, and of each
    /// thread the most recent calls. Returns `None` if no stacks were requested or printed. They are not part of the
    /// [`output_tail`](Self::output_tail).
    /// Complete after [`wait`](Self::wait) has returned.
    pub fn stack(&self) -> Option<String> {
        lock(&self.process().stack).as_ref().and_then(Stack::text)
    }

    /// Requests the stacks of a worker that is to go on running, with the signal `ask`. A capture that has not ended is shared.
    pub fn capture_stack(&self, ask: Signal) -> StackCapture {
        let process = self.process();
        let mut capture = lock(&process.capture);
        let is_running = |stack: &&Arc<Mutex<Stack>>| lock(stack).awaited_until() > Instant::now();
        let stack = match capture.as_ref().filter(is_running) {
            Some(stack) => stack.clone(),
            None => {
                let stack = Arc::new(Mutex::new(Stack::new(Instant::now())));
                *capture = Some(stack.clone());
                process.send(ask, Target::Leader);
                stack
            }
        };
        drop(capture);
        StackCapture { process: self.0.0.clone(), stack }
    }

    /// Waits until the worker has exited, its output was read, the rest of its group was killed, and the worker was reaped.
    ///
    /// Any number of tasks may wait at any time, also after the exit. Cancel safe. A grandchild that keeps the output open does
    /// not delay the return.
    pub async fn wait(&self) -> ExitStatus {
        let mut status = self.process().status.subscribe();
        match status.wait_for(Option::is_some).await {
            Ok(status) => (*status).unwrap_or(ExitStatus::Unknown),
            Err(_) => ExitStatus::Unknown,
        }
    }

    /// Returns how the process ended: `None` until [`wait`](Self::wait) would return.
    pub fn try_status(&self) -> Option<ExitStatus> {
        *self.process().status.borrow()
    }

    /// Returns what is known about the memory of the process: empty until [`wait`](Self::wait) would return.
    pub fn exit_memory(&self) -> ExitMemory {
        self.process().exit_memory.get().cloned().unwrap_or_default()
    }

    /// Returns the last complete lines of standard error and of log records, or of standard output if there are none of
    /// these: at most 40 lines and 8 KiB, but at least one line. Lines over 4 KiB were split, and bytes that are not UTF-8
    /// were replaced. Complete after [`wait`](Self::wait) has returned.
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

/// The receiver of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Leader,
    Group,
}

/// What the owner's handles and the monitor share.
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) label: Arc<str>,
    /// The id of the process that started the worker. A forked copy of the host has the handles too, but must not use them.
    host: u32,
    /// The user id with which the process was started.
    user: Uid,
    reaped: Mutex<bool>,
    /// A signal that this process could not send to the whole group. The watchdog will send it.
    denied: Mutex<Option<Signal>>,
    /// Whether this crate has sent a `SIGKILL`.
    killed: AtomicBool,
    exit_memory: OnceLock<ExitMemory>,
    pub(crate) stop_sequence: Mutex<StopSequence>,
    /// The stacks of the worker, if they were requested.
    stack: Mutex<Option<Stack>>,
    /// The stacks of the worker, while they are captured although it is not to end.
    capture: Mutex<Option<Arc<Mutex<Stack>>>>,
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
            capture: Mutex::new(None),
            tails: Mutex::default(),
            status: watch::Sender::new(None),
            monitor,
        }
    }

    fn sample(&self) -> Option<ProcessSample> {
        let sample = read_sample(self.pid.as_raw_nonzero().get().unsigned_abs());
        // In this order: if the process is not reaped now, the id was its own when the file was read.
        sample.filter(|_| self.status.borrow().is_none())
    }

    /// Sends a signal to the process or its group, unless it was reaped: after that another process may have its id.
    pub(crate) fn send(&self, signal: Signal, target: Target) {
        let reaped = lock(&self.reaped);
        if *reaped || self.host != std::process::id() {
            return;
        }
        if signal == Signal::KILL {
            self.killed.store(true, Ordering::Relaxed);
        }
        // Two errors are possible: no receiver is left, or this process has changed its user and may not send the signal.
        let sent = match target {
            Target::Leader => kill_process(self.pid, signal),
            Target::Group => kill_process_group(self.pid, signal),
        };
        // The system reports success even if only one process of the group got the signal.
        if target == Target::Group && (sent == Err(Errno::PERM) || self.user != geteuid()) {
            self.deny(signal);
        }
    }

    /// Records a signal that this process could not send, for [`relay`](Self::relay). A recorded SIGKILL is not replaced by
    /// SIGTERM.
    fn deny(&self, signal: Signal) {
        let mut denied = lock(&self.denied);
        if *denied != Some(Signal::KILL) {
            *denied = Some(signal);
            self.monitor.wake();
        }
    }

    /// Lets the watchdog send the signal that this process could not send: the watchdog has kept the user that the host had
    /// before. Runs on the monitor's thread, because the thread that kills must not wait for a watchdog that is being started.
    pub(crate) fn relay(&self, watchdog: &Mutex<Watchdog>) {
        let denied = lock(&self.denied).take();
        if let Some(signal) = denied {
            lock(watchdog).signal(self.pid, signal);
        }
    }

    /// Whether this crate has sent a `SIGKILL`.
    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Requests the stacks from the process itself, once.
    fn ask_for_stack(&self, ask: Signal) {
        let mut stack = lock(&self.stack);
        if stack.is_none() {
            *stack = Some(Stack::new(Instant::now()));
            self.send(ask, Target::Leader);
        }
    }

    /// Returns how long the stop sequence waits for stacks, if they were requested.
    fn stack_wait_until(&self) -> Option<Instant> {
        lock(&self.stack).as_ref().map(Stack::awaited_until)
    }

    /// Takes the next step of the stop sequence if it is due, and returns the signal to send. Must be called until it returns
    /// `None`.
    pub(crate) fn advance(&self, now: Instant) -> Option<Signal> {
        let held = self.stack_wait_until().is_some_and(|until| until > now);
        if held { None } else { lock(&self.stop_sequence).advance(now) }
    }

    /// Returns when the next step is due.
    pub(crate) fn next_step_due(&self) -> Option<Instant> {
        let due = lock(&self.stop_sequence).next()?;
        Some(self.stack_wait_until().map_or(due, |until| until.max(due)))
    }

    /// Runs `reaper` while no signal can be sent. No signal is sent afterwards.
    pub(crate) fn reap<T>(&self, reaper: impl FnOnce(Pid) -> T) -> T {
        let mut reaped = lock(&self.reaped);
        *reaped = true;
        reaper(self.pid)
    }

    /// Whether the end of the process was published.
    pub(crate) fn is_published(&self) -> bool {
        self.status.borrow().is_some()
    }

    /// Publishes the end to everyone who waits. The monitor does this last.
    pub(crate) fn publish(&self, status: ExitStatus, death: ExitMemory) {
        let _ = self.exit_memory.set(death); // a process ends once
        self.status.send_replace(Some(status));
    }

    /// Adds lines of a log record to the tail of standard error, where `logging` would have printed them.
    pub(crate) fn remember_record(&self, lines: Vec<String>) {
        let mut tails = lock(&self.tails);
        lines.into_iter().for_each(|line| tails.stderr.push(line));
    }

    /// Adds a line to the stacks that were requested, if it is part of them. Returns whether it is part of the stacks of a worker
    /// that is to end, and of one that goes on.
    fn take_stack_line(&self, line: &str) -> (bool, bool) {
        let now = Instant::now();
        let at_end = lock(&self.stack).as_mut().is_some_and(|stack| stack.take(now, line));
        let captured = lock(&self.capture).as_ref().is_some_and(|stack| lock(stack).take(now, line));
        (at_end, captured)
    }

    /// Adds a line that the process printed to the tail, or to the stacks that were requested. Returns whether it is to be logged:
    /// stacks of a worker that goes on are only for those who asked for them.
    pub(crate) fn remember(&self, stream: Stream, line: String) -> bool {
        if stream == Stream::Stderr {
            let (at_end, captured) = self.take_stack_line(&line);
            if at_end || captured {
                return at_end;
            }
        }
        let mut tails = lock(&self.tails);
        match stream {
            Stream::Stdout => tails.stdout.push(line),
            Stream::Stderr => tails.stderr.push(line),
        }
        true
    }
}
