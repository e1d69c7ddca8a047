//! The process that there is not: it ends when the script says so, or when it is killed. Holds what the system would know of it.

use super::with_timeout;
use crate::{ChildHandle, ExitMemory, ProcessSample, Signal};
use herder_core::{ExitStatus, ProcessActivity};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A process as its pool sees it, under the test's control. On any thread.
#[derive(Debug)]
pub struct ScriptedChild {
    pid: u32,
    begun: Instant,
    conduct: Mutex<ChildBehavior>,
    kills: watch::Sender<u32>,
    stops: watch::Sender<Option<(Duration, Duration)>>,
    status: watch::Sender<Option<ExitStatus>>,
}

/// What it does, as far as the system tells.
#[derive(Debug)]
struct ChildBehavior {
    /// Whether anyone will end it.
    is_controlled: bool,
    stubborn: bool,
    activity: ProcessActivity,
    runnable: bool,
    asked: Option<Signal>,
    death: ExitMemory,
}

impl ScriptedChild {
    #[expect(clippy::disallowed_methods, reason = "the simulated processor time grows with the clock")]
    pub(crate) fn new(pid: u32) -> Arc<Self> {
        let (played, stubborn, activity) = (false, false, ProcessActivity::Unknown);
        let (runnable, asked, death) = (false, None, ExitMemory::default());
        Arc::new(Self {
            pid,
            begun: Instant::now(),
            conduct: Mutex::new(ChildBehavior { is_controlled: played, stubborn, activity, runnable, asked, death }),
            kills: watch::Sender::new(0),
            stops: watch::Sender::new(None),
            status: watch::Sender::new(None),
        })
    }

    /// The process id it goes by.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Somebody plays it from now on, and says how it ends.
    pub(super) fn control(&self) {
        self.conduct(|conduct| conduct.is_controlled = true);
    }

    /// Whether it ignores SIGKILL, as a process in uninterruptible sleep does. It does not unless set.
    pub fn ignore_sigkill(&self, stubborn: bool) {
        self.conduct(|conduct| conduct.stubborn = stubborn);
    }

    /// What it is seen to do when it is silent: `Unknown` unless set.
    pub fn set_activity(&self, activity: ProcessActivity) {
        self.conduct(|conduct| conduct.activity = activity);
    }

    /// Whether it waits for a processor.
    pub fn set_runnable(&self, runnable: bool) {
        self.conduct(|conduct| conduct.runnable = runnable);
    }

    /// What the system will tell of its end beyond the status.
    pub fn set_exit_memory(&self, death: ExitMemory) {
        self.conduct(|conduct| conduct.death = death);
    }

    /// The signal by which it was asked for its stack, if it was.
    pub fn stack_signal(&self) -> Option<Signal> {
        self.conduct(|conduct| conduct.asked)
    }

    /// It ends. The first status counts.
    pub fn exit(&self, status: ExitStatus) {
        self.status.send_if_modified(|now| now.is_none() && now.replace(status).is_none());
    }

    /// Waits until it has ended. Cancel safe.
    pub async fn ended(&self) -> ExitStatus {
        wait(self.status.subscribe()).await
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.status.borrow().is_some()
    }

    /// Waits until it was killed.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn killed(&self) {
        let mut kills = self.kills.subscribe();
        with_timeout("the kill", kills.wait_for(|kills| *kills > 0)).await.unwrap();
    }

    /// Whether it was killed.
    pub fn was_killed(&self) -> bool {
        *self.kills.borrow() > 0
    }

    /// Waits until it was told to end by the ladder; gives the patience with each of its steps.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn stopped(&self) -> (Duration, Duration) {
        with_timeout("the ladder", self.told_to_end()).await
    }

    /// The same, however long it takes.
    pub(super) async fn told_to_end(&self) -> (Duration, Duration) {
        let mut stops = self.stops.subscribe();
        stops.wait_for(Option::is_some).await.unwrap().unwrap()
    }

    fn conduct<T>(&self, change: impl FnOnce(&mut ChildBehavior) -> T) -> T {
        change(&mut self.conduct.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ChildHandle for Arc<ScriptedChild> {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn kill(&self) {
        self.kills.send_modify(|kills| *kills += 1);
        if !self.conduct(|conduct| conduct.stubborn) {
            self.exit(ExitStatus::Signal(9));
        }
    }

    /// Who plays it decides what comes of that. One that nobody plays ends of SIGTERM, or its pool would wait for it for ever.
    fn stop(&self, grace: Duration, term: Duration) {
        self.stops.send_replace(Some((grace, term)));
        if !self.conduct(|conduct| conduct.is_controlled) {
            self.exit(ExitStatus::Signal(15));
        }
    }

    fn kill_with_stack(&self, ask: Signal) {
        self.conduct(|conduct| conduct.asked = Some(ask));
        self.kill();
    }

    fn stop_with_stack(&self, ask: Signal, grace: Duration, term: Duration) {
        self.conduct(|conduct| conduct.asked = Some(ask));
        self.stop(grace, term);
    }

    fn stack(&self) -> Option<String> {
        self.stack_signal().map(|_| "Current thread".into())
    }

    fn sample(&self) -> Option<ProcessSample> {
        let (activity, runnable) = self.conduct(|conduct| (conduct.activity, conduct.runnable));
        let cpu = if activity == ProcessActivity::Computing { self.begun.elapsed() } else { Duration::ZERO };
        (activity != ProcessActivity::Unknown).then_some(ProcessSample {
            cpu,
            runnable,
            stopped: activity == ProcessActivity::Stopped,
        })
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>> {
        Box::pin(wait(self.status.subscribe()))
    }

    fn exit_memory(&self) -> ExitMemory {
        self.conduct(|conduct| conduct.death.clone())
    }

    fn output_tail(&self) -> Vec<String> {
        vec![format!("the last words of {}", self.pid)]
    }
}

async fn wait(mut status: watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
    match status.wait_for(Option::is_some).await {
        Ok(status) => status.unwrap_or(ExitStatus::Unknown),
        Err(_) => std::future::pending().await, // the handle is gone: nobody will ever tell
    }
}
