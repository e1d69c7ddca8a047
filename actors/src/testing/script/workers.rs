//! The launcher of a script, and the control over the workers that it launched: how starts behave, and which process is
//! killed or stopped. Holds the running processes.

use super::{Script, StartBehavior, worker::Worker};
use crate::{
    LaunchFuture, Launcher,
    clock::{Clock, VirtualClock},
    testing::{ScriptedChild, fake_workers::peer},
};
use herder_core::{ExitStatus, WorkerRef};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The workers of a script: a [`Launcher`] for one pool. Clones are the same workers.
#[derive(Clone, Debug)]
pub struct ScriptedWorkers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    script: Script,
    clock: Clock,
    starts: watch::Sender<StartBehavior>,
    running: Mutex<BTreeMap<WorkerRef, RunningWorker>>,
}

#[derive(Debug)]
struct RunningWorker {
    child: Arc<ScriptedChild>,
    stopped: watch::Sender<bool>,
}

impl ScriptedWorkers {
    fn new(script: Script, clock: Clock) -> Self {
        let starts = watch::Sender::default();
        Self(Arc::new(Inner { script, clock, starts, running: Mutex::default() }))
    }

    /// Sets how workers start from now on, including those that are waiting.
    pub fn set_start_behavior(&self, behavior: StartBehavior) {
        self.0.starts.send_replace(behavior);
    }

    /// Ends the process as by SIGKILL. Returns false if it does not run.
    pub fn kill(&self, worker: WorkerRef) -> bool {
        self.with_running(worker, |running| running.child.exit(ExitStatus::Signal(9)))
    }

    /// Stops the process as by SIGSTOP: it does nothing any more. Returns false if it does not run.
    pub fn stop(&self, worker: WorkerRef) -> bool {
        self.with_running(worker, |running| {
            running.stopped.send_replace(true);
        })
    }

    /// Resumes the process as by SIGCONT. Returns false if it does not run.
    pub fn resume(&self, worker: WorkerRef) -> bool {
        self.with_running(worker, |running| {
            running.stopped.send_replace(false);
        })
    }

    /// Returns whether the process runs and is not stopped: then it answers pings.
    pub fn is_awake(&self, worker: WorkerRef) -> bool {
        let mut awake = false;
        self.with_running(worker, |running| awake = !running.child.has_ended() && !*running.stopped.borrow()) && awake
    }

    fn with_running(&self, worker: WorkerRef, change: impl FnOnce(&RunningWorker)) -> bool {
        self.0.processes(|running| running.get(&worker).map(change).is_some())
    }
}

impl Inner {
    fn processes<T>(&self, change: impl FnOnce(&mut BTreeMap<WorkerRef, RunningWorker>) -> T) -> T {
        change(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, worker: WorkerRef, child: Arc<ScriptedChild>) -> watch::Receiver<bool> {
        let (stopped, receiver) = watch::channel(false);
        self.processes(|running| running.insert(worker, RunningWorker { child, stopped }));
        receiver
    }

    fn remove(&self, worker: WorkerRef) {
        self.processes(|running| running.remove(&worker));
    }
}

impl Script {
    /// Returns a launcher of workers that follow this script: for `PoolSupervisor::with_launcher`.
    pub fn workers(self) -> ScriptedWorkers {
        ScriptedWorkers::new(self, Clock::default())
    }

    /// Like [`workers`](Self::workers), for a pool that uses this clock.
    pub fn workers_on(self, clock: &VirtualClock) -> ScriptedWorkers {
        ScriptedWorkers::new(self, Clock::virtual_clock(clock.clone()))
    }
}

impl Launcher for ScriptedWorkers {
    fn launch(&self, worker: WorkerRef) -> LaunchFuture {
        let workers = self.0.clone();
        Box::pin(async move {
            let (launched, peer) = peer(worker);
            let stopped = workers.add(worker, peer.child.clone());
            actix_rt::spawn(async move {
                let (script, clock, starts) =
                    (workers.script.clone(), workers.clock.clone(), workers.starts.subscribe());
                Worker::new(script, clock, starts, peer, stopped).run().await;
                workers.remove(worker);
            });
            Ok(launched)
        })
    }

    fn answers_pings(&self, worker: WorkerRef) -> bool {
        self.is_awake(worker)
    }
}
