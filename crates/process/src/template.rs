//! A template: a process that has imported an application and forks workers on request. Holds the process and the thread that
//! exchanges messages with it.
//!
//! The template forks each worker as a child of the host (`CLONE_PARENT`), so a forked worker is a child as any other: the
//! monitor gets its exit status, and its death signal is that of the host. The end of the template changes nothing for it.
//!
//! A message is a length (4 bytes, little-endian) and JSON. The descriptors of a worker are sent with its request.

use crate::{
    Child, Command, SpawnError, Spawned,
    exit::{self, ExitWatch},
    group, host, limits,
    lock::lock,
    memory::CgroupBaseline,
    monitor::{MemoryBaseline, Output},
    reaper,
    spawner::{Spawner, output_pipe, record_socket, slab_socket, socket_pair},
    thread::thread_builder,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, io,
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::mpsc,
};
use tokio::sync::oneshot;
use tracing::level_filters::LevelFilter;

/// How long the template and the fork may take for each step. A template that was stopped, or hangs, is given up after it.
const STEP: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// The maximum length of a message of the template.
const MAX_MESSAGE: usize = 1 << 20;

/// A process that has imported an application and forks workers on request.
///
/// When it is dropped, the process is killed. The workers that it has forked go on.
pub struct Template {
    child: Child,
    requests: mpsc::Sender<Request>,
}

/// What a template says after the import.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TemplateReport {
    /// It can fork workers. `note` says what the numeric libraries in them will have.
    Ready {
        /// One sentence for the log.
        note: String,
    },
    /// The import left something that a fork cannot have, or this system cannot fork templates.
    Unfit {
        /// What it is.
        reason: String,
    },
    /// The import failed.
    Failed {
        /// The exception.
        reason: String,
    },
}

/// A worker to fork.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ForkRequest {
    #[serde(skip)]
    label: String,
    /// Variables to set, or to remove if the value is `None`.
    env: BTreeMap<String, Option<String>>,
    /// The thread count of numeric libraries, where the template can set it.
    threads: Option<usize>,
    /// Whether the worker gets a socket for slabs.
    #[serde(skip)]
    slabs: bool,
    /// The most detailed level of the log records that the worker sends.
    log_level: String,
}

impl ForkRequest {
    /// Creates a request. `label` is the name of the worker in log lines. Variables with the value `None` are removed.
    pub fn new(label: impl Into<String>, env: BTreeMap<String, Option<String>>, threads: Option<usize>) -> Self {
        let log_level = LevelFilter::current().to_string();
        Self { label: label.into(), env, threads, slabs: false, log_level }
    }

    /// Sets the most detailed level of the log records that the worker sends. The default is that of the application's subscriber.
    #[must_use]
    pub fn log_level(mut self, level: LevelFilter) -> Self {
        self.log_level = level.to_string();
        self
    }

    /// Sets whether the worker gets a socket for slabs. Its template must have been started with the same value.
    #[must_use]
    pub fn slabs(mut self, slabs: bool) -> Self {
        self.slabs = slabs;
        self
    }
}

/// Why a template has not forked a worker. Nothing of the worker is left.
#[derive(Debug, thiserror::Error)]
#[error("the template process has not forked a worker: {reason}")]
pub struct ForkError {
    reason: String,
    out_of_descriptors: bool,
}

impl ForkError {
    fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), out_of_descriptors: false }
    }

    /// Returns whether the host has no descriptors left: then the template is not the cause.
    pub fn is_out_of_descriptors(&self) -> bool {
        self.out_of_descriptors
    }
}

impl From<io::Error> for ForkError {
    fn from(error: io::Error) -> Self {
        Self { reason: limits::explain(&error), out_of_descriptors: limits::is_out_of_descriptors(&error) }
    }
}

impl From<SpawnError> for ForkError {
    fn from(error: SpawnError) -> Self {
        Self { reason: error.to_string(), out_of_descriptors: error.is_out_of_descriptors() }
    }
}

impl From<Errno> for ForkError {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// A request for the thread of the template.
struct Request {
    worker: ForkRequest,
    reply: oneshot::Sender<Result<Spawned, ForkError>>,
}

impl Template {
    /// Takes over a process that was started as a template, and waits until it has reported the result of its import.
    /// The report is `None` if the process has ended before.
    ///
    /// Cancel safe: if the future is dropped, the process is killed.
    ///
    /// # Errors
    /// The thread for the messages could not be started, or there is no descriptor left for it.
    pub async fn prepare(spawned: Spawned) -> io::Result<(Self, Option<TemplateReport>)> {
        let Spawned { calls, child, .. } = spawned;
        let stream = calls.try_clone()?;
        let (requests, received) = mpsc::channel();
        let (reply, mut report) = oneshot::channel();
        let channel = Channel { socket: calls, child: child.clone(), lost: false };
        thread_builder("herder-template").spawn(move || channel.run(reply, &received))?;
        let template = Self { child, requests };
        let ended = template.child.clone();
        let report = tokio::select! {
            report = &mut report => report.ok(),
            _ = ended.wait() => {
                // A template that cannot be forked reports this and ends, so the thread may not have read the report yet. What was
                // sent can still be read after this call, then the stream ends, even if another process has a copy of its other end.
                _ = stream.shutdown(Shutdown::Read);
                report.await.ok()
            }
        };
        Ok((template, report))
    }

    /// Returns the process of the template.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Forks a worker, which is then like one that [`spawn`](crate::spawn) has started. If the future is dropped, the worker is
    /// killed.
    ///
    /// # Errors
    /// The template has died, was killed because it did not answer within 2 s, or could not fork.
    pub async fn fork(&self, worker: ForkRequest) -> Result<Spawned, ForkError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { worker, reply }).map_err(|_| ForkError::new("it has ended"))?;
        answer.await.unwrap_or_else(|_| Err(ForkError::new("it has ended")))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("child", &self.child).finish_non_exhaustive()
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.child.kill();
    }
}

/// The host's end of the template's socket, on its own thread.
struct Channel {
    socket: UnixStream,
    child: Child,
    /// Whether the template has died, or does not answer: messages can no longer be told apart.
    lost: bool,
}

/// A fork that is in a group of its own and waits for the host.
struct Forked {
    pid: Pid,
    exit: ExitWatch,
    /// The peak memory that it inherited, in bytes.
    inherited: u64,
    report: UnixStream,
}

/// The template's answer to a request.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Pid(i32),
    Error(String),
}

impl Channel {
    /// The body of the thread.
    fn run(mut self, report: oneshot::Sender<TemplateReport>, requests: &mpsc::Receiver<Request>) {
        // No limit: the owner of the template decides how long the import may take.
        let Some(message) = self.receive(None) else { return };
        let Ok(parsed) = serde_json::from_slice(&message) else { return };
        let _ = report.send(parsed);
        for Request { worker, reply } in requests {
            let forked =
                host::spawner_of_this_host().map_err(ForkError::from).and_then(|spawner| self.fork(spawner, &worker));
            if self.lost {
                self.end();
            }
            let _ = reply.send(forked);
            if self.lost {
                return; // the next request finds the channel closed
            }
        }
    }

    /// Kills the template, and reaps a fork that has not left its group yet. The host does not know the id of such a fork: it
    /// was killed with the template before one of the two could send it.
    fn end(&self) {
        self.child.kill();
        let group = i32::try_from(self.child.pid()).ok().and_then(Pid::from_raw);
        // This may take the status of the template itself. The monitor handles that, and nobody needs the status.
        while matches!(waitid(WaitId::Pgid(group), WaitIdOptions::EXITED), Ok(_) | Err(Errno::INTR)) {}
    }

    fn fork(&mut self, spawner: &Spawner, worker: &ForkRequest) -> Result<Spawned, ForkError> {
        spawner.lifeline(&Command::new(worker.label.as_str()))?;
        let cgroup = CgroupBaseline::read();
        let (calls, calls_end) = socket_pair()?;
        let (control, control_end) = socket_pair()?;
        let (records, records_end) = record_socket()?;
        let (stdout, stdout_end) = output_pipe()?;
        let (stderr, stderr_end) = output_pipe()?;
        let (report, report_end) = UnixStream::pair()?;
        let (slabs, slabs_end) = slab_socket(worker.slabs)?.unzip();
        let mut ends = vec![calls_end, control_end, records_end, stdout_end, stderr_end];
        ends.extend(slabs_end);
        ends.push(report_end.into());
        self.request(worker, &ends)?;
        drop(ends); // a copy left open would hide the end of the fork
        let Forked { pid, exit, inherited, report } = self.await_fork(spawner, report)?;
        // Before the fork runs code of the application: the host may be killed at any time.
        lock(&spawner.watchdog).add(pid);
        // A fork that has died meanwhile is like a worker that dies at its start.
        let _ = retry_on_intr(|| rustix::io::write(&report, &[1]));
        let origin = MemoryBaseline { cgroup, inherited, session: group::own_session() };
        let output = Output { stdout, stderr, records };
        let child = spawner.hand_over(worker.label.as_str(), pid, exit, output, origin);
        Ok(Spawned { calls, control, slabs, child })
    }

    /// Sends a request with the descriptors of the worker.
    fn request(&mut self, worker: &ForkRequest, ends: &[OwnedFd]) -> Result<(), ForkError> {
        let body = serde_json::to_vec(worker).map_err(ForkError::new)?;
        let length = u32::try_from(body.len()).map_err(ForkError::new)?;
        let bytes = [&length.to_le_bytes(), body.as_slice()].concat();
        let fds: Vec<_> = ends.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(7))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let iov = [io::IoSlice::new(&bytes)];
        // The template has read all earlier requests, so the socket has room. If it has not, the template is stuck.
        match retry_on_intr(|| sendmsg(&self.socket, &iov, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Err(Errno::TOOMANYREFS) => Err(Errno::TOOMANYREFS.into()),
            _ => {
                self.lost = true;
                Err(ForkError::new("it has ended, or does not read"))
            }
        }
    }

    /// Waits until the fork has reported. Its id comes from the template, or from the fork itself if the template died, or was
    /// stopped, between the fork and its answer.
    fn await_fork(&mut self, spawner: &Spawner, report: UnixStream) -> Result<Forked, ForkError> {
        let answer = self.receive(Some(&STEP)).and_then(|message| serde_json::from_slice(&message).ok());
        let exit = match answer {
            Some(Answer::Pid(pid)) => Some(watch(pid, spawner)?),
            Some(Answer::Error(reason)) => return Err(ForkError::new(reason)),
            None => {
                self.lost = true;
                None
            }
        };
        match (listen(&report, exit.as_ref()), exit) {
            (Some((_, inherited)), Some((pid, exit))) => Ok(Forked { pid, exit, inherited, report }),
            (Some((pid, inherited)), None) => {
                let (pid, exit) = watch(pid, spawner)?;
                Ok(Forked { pid, exit, inherited, report })
            }
            (None, Some((pid, exit))) => {
                let _ = kill_process(pid, Signal::KILL); // a child that was not reaped, so the id is its own
                exit.wait_and_reap();
                Err(ForkError::new("the fork ended before it was a worker"))
            }
            (None, None) => Err(ForkError::new("it has ended, or did not answer within 2 s")),
        }
    }

    /// Receives a message. `None`: the template has ended, or sent none within the limit.
    fn receive(&self, limit: Option<&Timespec>) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.fill(&mut length, limit)?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= MAX_MESSAGE)?;
        let mut message = vec![0; length];
        self.fill(&mut message, limit)?;
        Some(message)
    }

    fn fill(&self, mut bytes: &mut [u8], limit: Option<&Timespec>) -> Option<()> {
        while !bytes.is_empty() {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            if retry_on_intr(|| poll(&mut fds, limit)).ok()? == 0 {
                return None;
            }
            match recv(&self.socket, &mut *bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return None,
                Ok((count, _)) => bytes = bytes.get_mut(count..)?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}

/// Watches a fork, which is a child of this process.
fn watch(pid: i32, spawner: &Spawner) -> Result<(Pid, ExitWatch), ForkError> {
    let pid = Pid::from_raw(pid.max(0)).ok_or_else(|| ForkError::new("it sent an invalid process id"))?;
    reaper::register(pid);
    ExitWatch::new(pid, &spawner.monitor).map(|exit| (pid, exit)).map_err(|error| {
        let _ = kill_process(pid, Signal::KILL);
        exit::wait_and_reap(pid, None);
        error.into()
    })
}

/// Waits for the message of a fork. `None`: it has ended, or sent none within the limit.
fn listen(report: &UnixStream, fork: Option<&(Pid, ExitWatch)>) -> Option<(i32, u64)> {
    let mut fds = vec![PollFd::new(report, PollFlags::IN)];
    fds.extend(fork.and_then(|(_, exit)| exit.descriptor()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    retry_on_intr(|| poll(&mut fds, Some(&STEP))).ok()?;
    let mut message = [0; 12];
    let (count, _) = recv(report, &mut message, RecvFlags::DONTWAIT).ok()?;
    let (pid, peak) = message.split_at(4);
    let pid = i32::from_le_bytes(pid.try_into().ok()?);
    (count == message.len()).then_some((pid, u64::from_le_bytes(peak.try_into().ok()?)))
}
