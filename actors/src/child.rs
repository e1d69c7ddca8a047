//! A worker's process as the actors see it: a handle that waits, stops and kills. No pool state.

use herder_core::ExitStatus;
use herder_process::{ExitMemory, ProcessSample, Signal};
use std::{future::Future, pin::Pin, time::Duration};

/// A process that somebody else started and reaps.
///
/// [`herder_process::Child`] is one; tests hand in their own with a scripted peer at the other end of the sockets.
pub trait ChildHandle: 'static {
    /// Its process id.
    fn pid(&self) -> u32;
    /// SIGKILL to its group, at once. Does not wait.
    fn kill(&self);
    /// SIGTERM to its group after `grace`, SIGKILL after another `term`. Does not wait.
    fn stop(&self, grace: Duration, term: Duration);
    /// Its exit status, once it was reaped. May be awaited by many; cancel safe.
    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>>;
    /// The last lines it printed.
    fn output_tail(&self) -> Vec<String>;
    /// What is known of its end beyond the status, once it was reaped.
    fn exit_memory(&self) -> ExitMemory {
        ExitMemory::default()
    }
    /// [`kill`](Self::kill), but first the process itself gets the signal `ask`, at which it prints its stack, and a short time for
    /// that. The kill comes whatever becomes of the caller.
    fn kill_with_stack(&self, ask: Signal) {
        let _ = ask;
        self.kill();
    }
    /// [`stop`](Self::stop), with the same before the first signal.
    fn stop_with_stack(&self, ask: Signal, grace: Duration, term: Duration) {
        let _ = ask;
        self.stop(grace, term);
    }
    /// The stack it printed for that, if it did.
    fn stack(&self) -> Option<String> {
        None
    }
    /// What it did so far, if that can be told.
    fn sample(&self) -> Option<ProcessSample> {
        None
    }
    /// What it has in main memory now, in bytes, if that can be told.
    fn resident_bytes(&self) -> Option<u64> {
        None
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

    fn sample(&self) -> Option<ProcessSample> {
        Self::sample(self)
    }

    fn resident_bytes(&self) -> Option<u64> {
        Self::resident_bytes(self)
    }
}
