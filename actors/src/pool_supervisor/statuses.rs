//! The supervisor's handlers for the status and for what metrics follow from. Holds the lock for the readings of processes.
//!
//! The memory and the CPU time of the workers are read from `/proc` when somebody asks, on another thread: with 1,000 workers, the
//! reading takes some 10 ms.

use super::{PoolSupervisor, RunningPool, affinity};
use crate::{
    Error, GetMetrics, GetStatus, Measurements, PoolConfig, Result, Status,
    child::Sampler,
    shared_state::{SharedState, State, with},
};
use actix::{Handler, ResponseFuture};
use herder_core::{Core, PoolState, Timestamp, WorkerRef};
use herder_process::{ProcessSample, thread_builder};
use std::{io, time::SystemTime};
use tokio::sync::{Mutex, oneshot};

/// What was read of each process. `None`: it has exited.
type Samples = Vec<(WorkerRef, Option<ProcessSample>)>;

impl Handler<GetStatus> for PoolSupervisor {
    type Result = ResponseFuture<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        let launcher = self.launcher.clone();
        let asked = self.active(|active| {
            let status = active.measured(State::complete_status);
            Ok((status, active.shared_state.clone(), active.affinity.actor(), active.events()))
        });
        match asked {
            Ok((status, shared_state, actor, events)) => Box::pin(async move {
                let mut status = status.await.map(|(status, ())| status).unwrap_or_else(|error| {
                    let state = shared_state.borrow();
                    failed_status(state.config(), state.clock().now(), &error)
                });
                status.template = launcher.template();
                status.session_affinity = affinity::affinity_for_status(&status.pool, actor, &events).await;
                status
            }),
            // A status is always answered, also by a pool that was refused its name.
            Err(error) => {
                let status = failed_status(&self.config, self.shared.clock().now(), &error);
                Box::pin(async move { status })
            }
        }
    }
}

impl Handler<GetMetrics> for PoolSupervisor {
    type Result = ResponseFuture<Result<Box<Measurements>>>;

    fn handle(&mut self, _: GetMetrics, _: &mut Self::Context) -> Self::Result {
        let asked = self.active(|active| {
            Ok(active.measured(|state, status| {
                state.measure(status);
                state.metrics().clone()
            }))
        });
        Box::pin(async move {
            let (status, metrics) = asked?.await?;
            Ok(Box::new(Measurements::new(status, metrics)))
        })
    }
}

fn failed_status(config: &PoolConfig, now: Timestamp, error: &Error) -> Status {
    let core = Core::new(config.settings(), 0, now).status(now);
    let mut status = Status::new(config.name().clone(), SystemTime::now(), core, |_| None);
    status.state = PoolState::Failed;
    status.workers.clear();
    status.last_start_error = Some(error.to_string());
    status
}

impl RunningPool {
    /// Returns the status without what was counted and what was read of the processes.
    pub(super) fn status(&self) -> Status {
        status_of(&self.shared_state.borrow(), self.started_at)
    }

    /// Returns the status with what `complete` adds to it: at once if the memory and the CPU time of the processes were just read,
    /// otherwise after they were. All of it is from one moment, so that the time of a process that exits is counted once.
    fn measured<T: 'static>(
        &self,
        complete: fn(&mut State, &mut Status) -> T,
    ) -> impl Future<Output = Result<(Status, T)>> + use<T> {
        let (shared_state, started_at, reading) =
            (self.shared_state.clone(), self.started_at, self.usage_reading.clone());
        let build = move |shared_state: &SharedState| {
            with(shared_state, |state| {
                let mut status = status_of(state, started_at);
                let more = complete(state, &mut status);
                (status, more)
            })
        };
        let is_fresh = shared_state.borrow().due_samplers().is_empty();
        let built = is_fresh.then(|| build(&shared_state));
        async move {
            match built {
                Some(built) => built,
                None => {
                    read_usage(&shared_state, &reading).await;
                    build(&shared_state)
                }
            }
        }
    }
}

/// Reads the memory and the CPU time of the processes on another thread. Those who ask meanwhile wait for the same reading.
async fn read_usage(shared_state: &SharedState, reading: &Mutex<()>) {
    let _one_at_a_time = reading.lock().await;
    let due = shared_state.borrow().due_samplers();
    if due.is_empty() {
        return;
    }
    let samples = match sample_on_thread(due) {
        Ok(samples) => samples.await.unwrap_or_default(),
        // The system refuses the thread. They are read here, and the pool waits.
        Err(_) => sample_all(shared_state.borrow().due_samplers()),
    };
    shared_state.borrow_mut().add_samples(samples);
}

/// Starts a thread that reads the samples and ends. Not one of the runtime's threads for blocking work: on the runtime of an
/// application, all of these may wait for this pool.
fn sample_on_thread(due: Vec<(WorkerRef, Sampler)>) -> io::Result<oneshot::Receiver<Samples>> {
    let (done, samples) = oneshot::channel();
    // Nobody waits any more if the pool has ended.
    thread_builder("herder-usage").spawn(move || drop(done.send(sample_all(due))))?;
    Ok(samples)
}

fn sample_all(due: Vec<(WorkerRef, Sampler)>) -> Samples {
    due.into_iter().map(|(worker, sampler)| (worker, sampler())).collect()
}

fn status_of(state: &State, started_at: SystemTime) -> Status {
    let child = |worker: &herder_core::WorkerStatus| {
        let worker_ref = WorkerRef { id: worker.id, generation: worker.generation };
        state.link_of(worker_ref).map(|link| link.child.clone())
    };
    let name = state.config().name().clone();
    let mut status = Status::new(name, started_at, state.core().status(state.clock().now()), child);
    for link in state.links().filter(|link| link.unhealthy().is_some()) {
        let mut workers = status.workers.iter_mut();
        if let Some(entry) = workers.find(|entry| entry.status.id == link.worker.id) {
            entry.unhealthy = link.unhealthy().map(Into::into);
        }
    }
    status.state = state.pool_state();
    status.batches = state.batch_status();
    status.last_start_error = state.last_start_error_if_degraded().map(Into::into);
    status
}
