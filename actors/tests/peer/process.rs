//! The process that there is not: it ends when the script says so, or when it is killed.

use herder_actors::{Activity, ChildHandle, Death, Signal};
use herder_core::{ExitStatus, Vitals};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A child handle under the test's control.
pub(crate) struct ScriptedChild {
    pid: u32,
    /// Whether SIGKILL is ignored, as by a process in uninterruptible sleep.
    pub(crate) stubborn: Cell<bool>,
    /// What it does, as far as the system tells.
    pub(crate) vitals: Cell<Vitals>,
    /// Whether its main thread waits for a processor.
    pub(crate) runnable: Cell<bool>,
    /// The signal by which it was asked for its stack.
    pub(crate) asked: Cell<Option<Signal>>,
    begun: Instant,
    kills: watch::Sender<u32>,
    stops: watch::Sender<Option<(Duration, Duration)>>,
    status: watch::Sender<Option<ExitStatus>>,
    /// What the system is to tell of its memory.
    pub(crate) death: RefCell<Death>,
}

impl ScriptedChild {
    pub(crate) fn new(pid: u32) -> Self {
        Self {
            pid,
            stubborn: Cell::new(false),
            vitals: Cell::new(Vitals::Unknown),
            runnable: Cell::new(false),
            asked: Cell::new(None),
            begun: Instant::now(),
            kills: watch::Sender::new(0),
            stops: watch::Sender::new(None),
            status: watch::Sender::new(None),
            death: RefCell::default(),
        }
    }

    /// It ends. The first status counts.
    pub(crate) fn exit(&self, status: ExitStatus) {
        self.status.send_if_modified(|now| now.is_none() && now.replace(status).is_none());
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) -> ExitStatus {
        wait(self.status.subscribe()).await
    }

    /// Waits until it was killed.
    pub(crate) async fn killed(&self) {
        let mut kills = self.kills.subscribe();
        super::guarded("the kill", kills.wait_for(|kills| *kills > 0)).await.unwrap();
    }

    pub(crate) fn was_killed(&self) -> bool {
        *self.kills.borrow() > 0
    }

    /// Waits until the ladder was begun; gives its patience.
    pub(crate) async fn stopped(&self) -> (Duration, Duration) {
        let mut stops = self.stops.subscribe();
        super::guarded("the ladder", stops.wait_for(Option::is_some)).await.unwrap().unwrap()
    }
}

impl ChildHandle for ScriptedChild {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn kill(&self) {
        self.kills.send_modify(|kills| *kills += 1);
        if !self.stubborn.get() {
            self.exit(ExitStatus::Signal(9));
        }
    }

    fn stop(&self, grace: Duration, term: Duration) {
        self.stops.send_replace(Some((grace, term)));
    }

    fn kill_with_stack(&self, ask: Signal) {
        self.asked.set(Some(ask));
        self.kill();
    }

    fn stop_with_stack(&self, ask: Signal, grace: Duration, term: Duration) {
        self.asked.set(Some(ask));
        self.stop(grace, term);
    }

    fn stack(&self) -> Option<String> {
        self.asked.get().map(|_| "Current thread".into())
    }

    fn activity(&self) -> Option<Activity> {
        let cpu = if self.vitals.get() == Vitals::Computing { self.begun.elapsed() } else { Duration::ZERO };
        let stopped = self.vitals.get() == Vitals::Stopped;
        (self.vitals.get() != Vitals::Unknown).then_some(Activity { cpu, runnable: self.runnable.get(), stopped })
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ExitStatus>>> {
        Box::pin(wait(self.status.subscribe()))
    }

    fn death(&self) -> Death {
        self.death.borrow().clone()
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
