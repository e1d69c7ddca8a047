//! The process of a scripted worker: it exits when the test says so, or when it is killed. Holds what the system would know
//! of a process.

use super::wait::with_timeout;
use crate::{ChildHandle, ExitMemory, ProcessSample, Signal, child::Sampler};
use herder_core::{ExitStatus, ProcessActivity};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A process that does not exist, under the test's control, as its pool sees it. Usable on any thread.
#[derive(Debug)]
pub struct ScriptedChild {
    pid: u32,
    started: Instant,
    behavior: Mutex<ChildBehavior>,
    kills: watch::Sender<u32>,
    stops: watch::Sender<Option<(Duration, Duration)>>,
    status: watch::Sender<Option<ExitStatus>>,
}

/// The behavior of the process.
#[derive(Debug)]
struct ChildBehavior {
    /// Whether a test or a script plays the worker and will end the process.
    is_controlled: bool,
    ignores_sigkill: bool,
    activity: ProcessActivity,
    runnable: bool,
    stack_signal: Option<Signal>,
    exit_memory: ExitMemory,
    /// The threads on which the memory and the CPU time were read for statuses and metrics.
    sampled_by: Vec<ThreadId>,
}

impl ScriptedChild {
    #[expect(clippy::disallowed_methods, reason = "the simulated CPU time grows with the clock")]
    pub(crate) fn new(pid: u32) -> Arc<Self> {
        let (is_controlled, ignores_sigkill, activity) = (false, false, ProcessActivity::Unknown);
        let (runnable, stack_signal, exit_memory) = (false, None, ExitMemory::default());
        Arc::new(Self {
            pid,
            started: Instant::now(),
            behavior: Mutex::new(ChildBehavior {
                is_controlled,
                ignores_sigkill,
                activity,
                runnable,
                stack_signal,
                exit_memory,
                sampled_by: Vec::new(),
            }),
            kills: watch::Sender::new(0),
            stops: watch::Sender::new(None),
            status: watch::Sender::new(None),
        })
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Marks the process as driven by the test or script, which ends it.
    pub(super) fn control(&self) {
        self.behavior(|behavior| behavior.is_controlled = true);
    }

    /// Sets whether the process ignores SIGKILL, as a process in uninterruptible sleep does. Default: false.
    pub fn ignore_sigkill(&self, ignores_sigkill: bool) {
        self.behavior(|behavior| behavior.ignores_sigkill = ignores_sigkill);
    }

    /// Sets what the process is doing when it does not answer pings. Default: `Unknown`.
    pub fn set_activity(&self, activity: ProcessActivity) {
        self.behavior(|behavior| behavior.activity = activity);
    }

    /// Sets whether the process waits for a processor.
    pub fn set_runnable(&self, runnable: bool) {
        self.behavior(|behavior| behavior.runnable = runnable);
    }

    /// Sets what the system reports about the exit beyond the status.
    pub fn set_exit_memory(&self, exit_memory: ExitMemory) {
        self.behavior(|behavior| behavior.exit_memory = exit_memory);
    }

    /// Returns the thread of each reading of memory and CPU time for statuses and metrics.
    pub fn sampled_by(&self) -> Vec<ThreadId> {
        self.behavior(|behavior| behavior.sampled_by.clone())
    }

    /// Returns the signal with which the process was asked for its stack.
    pub fn stack_signal(&self) -> Option<Signal> {
        self.behavior(|behavior| behavior.stack_signal)
    }

    /// Ends the process. Only the first status counts.
    pub fn exit(&self, status: ExitStatus) {
        self.status.send_if_modified(|now| now.is_none() && now.replace(status).is_none());
    }

    /// Waits until the process has ended. Cancel safe.
    pub async fn ended(&self) -> ExitStatus {
        wait(self.status.subscribe()).await
    }

    /// Returns whether the process has ended.
    pub fn has_ended(&self) -> bool {
        self.status.borrow().is_some()
    }

    /// Waits until the process was killed.
    ///
    /// # Panics
    /// If it is not killed in time.
    pub async fn killed(&self) {
        let mut kills = self.kills.subscribe();
        with_timeout("the kill", kills.wait_for(|kills| *kills > 0)).await.unwrap();
    }

    /// Returns whether the process was killed.
    pub fn was_killed(&self) -> bool {
        *self.kills.borrow() > 0
    }

    /// Waits until the stop sequence was started, and returns its `grace` and `term`.
    ///
    /// # Panics
    /// If it is not started in time.
    pub async fn stopped(&self) -> (Duration, Duration) {
        with_timeout("the stop", self.stop_requested()).await
    }

    /// Like [`stopped`](Self::stopped), without a timeout.
    pub(super) async fn stop_requested(&self) -> (Duration, Duration) {
        let mut stops = self.stops.subscribe();
        stops.wait_for(Option::is_some).await.unwrap().unwrap()
    }

    fn behavior<T>(&self, change: impl FnOnce(&mut ChildBehavior) -> T) -> T {
        change(&mut self.behavior.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ChildHandle for Arc<ScriptedChild> {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn kill(&self) {
        self.kills.send_modify(|kills| *kills += 1);
        if !self.behavior(|behavior| behavior.ignores_sigkill) {
            self.exit(ExitStatus::Signal(9));
        }
    }

    /// Records the stop. A process that nobody plays ends as by SIGTERM, since its pool would wait for it for ever.
    fn stop(&self, grace: Duration, term: Duration) {
        self.stops.send_replace(Some((grace, term)));
        if !self.behavior(|behavior| behavior.is_controlled) {
            self.exit(ExitStatus::Signal(15));
        }
    }

    fn kill_with_stack(&self, ask: Signal) {
        self.behavior(|behavior| behavior.stack_signal = Some(ask));
        self.kill();
    }

    fn stop_with_stack(&self, ask: Signal, grace: Duration, term: Duration) {
        self.behavior(|behavior| behavior.stack_signal = Some(ask));
        self.stop(grace, term);
    }

    fn stack(&self) -> Option<String> {
        self.stack_signal().map(|_| "Current thread".into())
    }

    fn sampler(&self) -> Option<Sampler> {
        let child = self.clone();
        self.sample()?;
        Some(Box::new(move || {
            child.behavior(|behavior| behavior.sampled_by.push(thread::current().id()));
            child.sample()
        }))
    }

    fn sample(&self) -> Option<ProcessSample> {
        let (activity, runnable) = self.behavior(|behavior| (behavior.activity, behavior.runnable));
        let cpu = if activity == ProcessActivity::Computing { self.started.elapsed() } else { Duration::ZERO };
        (activity != ProcessActivity::Unknown).then_some(ProcessSample {
            cpu,
            resident_bytes: 0,
            runnable,
            stopped: activity == ProcessActivity::Stopped,
        })
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>> {
        Box::pin(wait(self.status.subscribe()))
    }

    fn exit_memory(&self) -> ExitMemory {
        self.behavior(|behavior| behavior.exit_memory.clone())
    }

    fn output_tail(&self) -> Vec<String> {
        vec![format!("last output of {}", self.pid)]
    }
}

async fn wait(mut status: watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
    match status.wait_for(Option::is_some).await {
        Ok(status) => status.unwrap_or(ExitStatus::Unknown),
        Err(_) => std::future::pending().await, // the handle was dropped: the status will never be known
    }
}
