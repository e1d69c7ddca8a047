//! A worker's process as the actors see it: a handle to wait for it, stop it and kill it, or why it could not be started.
//! Holds no state of the pool.

use herder_core::ExitStatus;
use herder_process::{ExitMemory, ProcessSample, Signal, StackCapture};
use std::{future::Future, pin::Pin, time::Duration};

/// Reads the CPU time, the memory and the state of a process, on any thread.
pub type Sampler = Box<dyn FnOnce() -> Option<ProcessSample> + Send>;

/// A started process. Another part of the program reaps it.
///
/// Implemented by [`herder_process::Child`]; tests implement it for scripted processes.
pub trait ChildHandle: 'static {
    /// Returns the process id.
    fn pid(&self) -> u32;
    /// Sends SIGKILL to the process group. Does not wait.
    fn kill(&self);
    /// Sends SIGTERM to the process group after `grace`, and SIGKILL after another `term`. Does not wait.
    fn stop(&self, grace: Duration, term: Duration);
    /// Waits until the process was reaped and returns its exit status. Several tasks may wait. Cancel safe.
    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>>;
    /// Returns the last lines that the process printed.
    fn output_tail(&self) -> Vec<String>;
    /// Returns what is known of the exit beyond the status, once the process was reaped.
    fn exit_memory(&self) -> ExitMemory {
        ExitMemory::default()
    }
    /// Like [`kill`](Self::kill), but first sends the signal `ask`, at which the process prints its stack, and gives it a
    /// short time to do so. The process is killed even if the caller is dropped.
    fn kill_with_stack(&self, ask: Signal) {
        let _ = ask;
        self.kill();
    }
    /// Like [`stop`](Self::stop), but first asks for the stack, as [`kill_with_stack`](Self::kill_with_stack) does.
    fn stop_with_stack(&self, ask: Signal, grace: Duration, term: Duration) {
        let _ = ask;
        self.stop(grace, term);
    }
    /// Returns the stack that the process printed on request.
    fn stack(&self) -> Option<String> {
        None
    }
    /// Requests the stack of a process that is to go on running, with the signal `ask`. `None` if that is not possible.
    fn capture_stack(&self, ask: Signal) -> Option<StackCapture> {
        let _ = ask;
        None
    }
    /// Returns the CPU time, the memory and the state of the process; `None` if they are unknown.
    fn sample(&self) -> Option<ProcessSample> {
        None
    }
    /// Returns a function that does the same as [`sample`](Self::sample) on another thread. `None` if they are unknown. This one
    /// calls `sample` at once.
    fn sampler(&self) -> Option<Sampler> {
        let sample = self.sample()?;
        Some(Box::new(move || Some(sample)))
    }
}

impl ChildHandle for herder_process::Child {
    fn pid(&self) -> u32 {
        Self::pid(self)
    }

    fn kill(&self) {
        Self::kill(self);
    }

    fn stop(&self, grace: Duration, term: Duration) {
        Self::stop(self, grace, term);
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>> {
        let child = self.clone();
        Box::pin(async move { Self::wait(&child).await })
    }

    fn output_tail(&self) -> Vec<String> {
        Self::output_tail(self)
    }

    fn exit_memory(&self) -> ExitMemory {
        Self::exit_memory(self)
    }

    fn kill_with_stack(&self, ask: Signal) {
        Self::kill_with_stack(self, ask);
    }

    fn stop_with_stack(&self, ask: Signal, grace: Duration, term: Duration) {
        Self::stop_with_stack(self, ask, grace, term);
    }

    fn stack(&self) -> Option<String> {
        Self::stack(self)
    }

    fn capture_stack(&self, ask: Signal) -> Option<StackCapture> {
        Some(Self::capture_stack(self, ask))
    }

    fn sample(&self) -> Option<ProcessSample> {
        Self::sample(self)
    }

    fn sampler(&self) -> Option<Sampler> {
        Some(Box::new(Self::sampler(self)))
    }
}

/// Why a process could not be started. Its `Display` text is the reason in the errors of callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LaunchError {
    reason: String,
    out_of_descriptors: bool,
}

impl LaunchError {
    /// Creates an error with this reason. It counts as a failure of the worker.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), out_of_descriptors: false }
    }

    /// Creates an error for a host that has no descriptors left. It does not count as a failure of the worker: the slot tries
    /// again, and the pool does not fail.
    pub fn out_of_descriptors(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), out_of_descriptors: true }
    }

    /// Returns whether the host has no descriptors left.
    pub fn is_out_of_descriptors(&self) -> bool {
        self.out_of_descriptors
    }
}

impl From<String> for LaunchError {
    fn from(reason: String) -> Self {
        Self::new(reason)
    }
}

impl From<&str> for LaunchError {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl From<herder_process::SpawnError> for LaunchError {
    fn from(error: herder_process::SpawnError) -> Self {
        Self { reason: error.to_string(), out_of_descriptors: error.is_out_of_descriptors() }
    }
}
