//! The launcher of a script, and the hand on what it launched: how starts go, and which process is struck. Holds the processes that
//! live.

use super::{Script, worker::Worker};
use crate::{
    LaunchFuture, Launcher, WorkerRef,
    clock::Clock,
    testing::{ExitStatus, ScriptedChild, fake_workers::peer},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The workers of a script: a [`Launcher`] for one pool. Clones are the same workers.
#[derive(Clone, Debug)]
pub struct ScriptedWorkers(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) script: Script,
    pub(super) clock: Clock,
    pub(super) starts: watch::Sender<StartBehavior>,
    living: Mutex<BTreeMap<WorkerRef, RunningWorker>>,
}

#[derive(Debug)]
struct RunningWorker {
    child: Arc<ScriptedChild>,
    stopped: watch::Sender<bool>,
}

/// How the starts of workers go, between hello and ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartBehavior {
    /// Each is ready.
    #[default]
    Ready,
    /// None goes on, until that is changed: a model that is still being loaded.
    Wait,
    /// None can load its application, and says this.
    Fail(String),
}

impl ScriptedWorkers {
    pub(super) fn new(script: Script, clock: Clock) -> Self {
        let starts = watch::Sender::default();
        Self(Arc::new(Inner { script, clock, starts, living: Mutex::default() }))
    }

    /// How starts go from now on; those that wait hear of it too.
    pub fn set_start_behavior(&self, how: StartBehavior) {
        self.0.starts.send_replace(how);
    }

    /// The process ends as by SIGKILL; false if it is gone.
    pub fn kill(&self, worker: WorkerRef) -> bool {
        self.living(worker, |living| living.child.exit(ExitStatus::Signal(9)))
    }

    /// The process does nothing any more, as after SIGSTOP; false if it is gone.
    pub fn stop(&self, worker: WorkerRef) -> bool {
        self.living(worker, |living| {
            living.stopped.send_replace(true);
        })
    }

    /// It goes on, as after SIGCONT; false if it is gone.
    pub fn resume(&self, worker: WorkerRef) -> bool {
        self.living(worker, |living| {
            living.stopped.send_replace(false);
        })
    }

    /// Whether the process lives and is not stopped: it answers pings.
    pub fn is_awake(&self, worker: WorkerRef) -> bool {
        let mut awake = false;
        self.living(worker, |living| awake = !living.child.has_ended() && !*living.stopped.borrow()) && awake
    }

    fn living(&self, worker: WorkerRef, signal: impl FnOnce(&RunningWorker)) -> bool {
        self.0.processes(|living| living.get(&worker).map(signal).is_some())
    }
}

impl Inner {
    fn processes<T>(&self, change: impl FnOnce(&mut BTreeMap<WorkerRef, RunningWorker>) -> T) -> T {
        change(&mut self.living.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn began(&self, worker: WorkerRef, child: Arc<ScriptedChild>) -> watch::Receiver<bool> {
        let (stopped, receiver) = watch::channel(false);
        self.processes(|living| living.insert(worker, RunningWorker { child, stopped }));
        receiver
    }

    fn ended(&self, worker: WorkerRef) {
        self.processes(|living| living.remove(&worker));
    }
}

impl Launcher for ScriptedWorkers {
    fn launch(&self, worker: WorkerRef) -> LaunchFuture {
        let workers = self.0.clone();
        Box::pin(async move {
            let (launched, peer) = peer(worker);
            let stopped = workers.began(worker, peer.child.clone());
            actix_rt::spawn(async move {
                Worker::new(&workers, peer, stopped).run().await;
                workers.ended(worker);
            });
            Ok(launched)
        })
    }

    fn answers_pings(&self, worker: WorkerRef) -> bool {
        self.is_awake(worker)
    }
}
