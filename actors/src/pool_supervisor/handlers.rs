//! The supervisor's handlers for messages about the pool, its workers, its breaker and its quarantine.

use super::{PoolSupervisor, RunningPool, affinity};
use crate::{
    CommandDescription, Error, GetBreaker, GetCommands, GetMetrics, GetPoolName, GetQuarantine, GetRecorder, GetStatus,
    HealthCheck, KillWorker, ListRunningCalls, ListWorkers, Measurements, PoolHealth, PrepareShutdown, RecordOutcome,
    Recording, ReleaseFromQuarantine, Reload, ReloadReport, ResetBreaker, Result, RunningCall, SetBatch,
    SetWorkerLogLevel, Shutdown, ShutdownReport, Status, WaitReady, WorkerInfo, events::wait_emitted,
    shared_state::State,
};
use actix::{Handler, MessageResult, ResponseFuture};
use herder_core::{BatchStatus, BreakerStatus, Core, Input, KillReason, PoolName, PoolState, QuarantineEntry};
use std::{sync::Arc, time::SystemTime};
use tokio::sync::oneshot;

/// Returns the answer of a waiter. If the pool ends before, the answer is `PoolClosed`.
fn answer_later<T: 'static>(waiter: Result<oneshot::Receiver<Result<T>>>) -> ResponseFuture<Result<T>> {
    Box::pin(async move { waiter?.await.unwrap_or(Err(Error::closed(true))) })
}

impl Handler<WaitReady> for PoolSupervisor {
    type Result = ResponseFuture<Result<()>>;

    fn handle(&mut self, _: WaitReady, _: &mut Self::Context) -> Self::Result {
        answer_later(self.active(|active| {
            let waiter = active.waiters.wait_ready();
            active.waiters.check_ready(&active.shared_state.borrow());
            Ok(waiter)
        }))
    }
}

impl Handler<KillWorker> for PoolSupervisor {
    type Result = ResponseFuture<Result<()>>;

    fn handle(&mut self, KillWorker { process: worker, role }: KillWorker, _: &mut Self::Context) -> Self::Result {
        answer_later(self.active(|active| {
            if active.shared_state.borrow().core().process_of(worker.id) != Some(worker) {
                return Err(Error::NoSuchWorker {
                    message: format!("worker process {worker} (slot and generation) does not exist"),
                });
            }
            if let Some(role) = role {
                // Before the kill: the death is a later event than the request for it.
                active.shared_state.borrow().event_feed().note_action(
                    role,
                    Some(worker),
                    &format!("kill worker {worker}"),
                );
            }
            let waiter = active.waiters.wait_killed(worker);
            active.with(|state| state.handle(Input::Kill { worker, kill_reason: KillReason::Requested }))?;
            Ok(waiter)
        }))
    }
}

impl Handler<Reload> for PoolSupervisor {
    type Result = ResponseFuture<Result<ReloadReport>>;

    fn handle(&mut self, _: Reload, _: &mut Self::Context) -> Self::Result {
        let launcher = self.launcher.clone();
        answer_later(self.active(|active| {
            let waiter = active.waiters.wait_reload();
            launcher.on_reload();
            active.with(State::reload)?;
            Ok(waiter)
        }))
    }
}

impl Handler<PrepareShutdown> for PoolSupervisor {
    type Result = Result<()>;

    fn handle(&mut self, _: PrepareShutdown, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.handle(Input::PrepareShutdown)))
    }
}

impl Handler<Shutdown> for PoolSupervisor {
    type Result = ResponseFuture<Result<ShutdownReport>>;

    fn handle(&mut self, Shutdown { timeout: within }: Shutdown, _: &mut Self::Context) -> Self::Result {
        let stopped = self.active(|active| {
            let waiter = active.waiters.wait_stopped();
            active.with(|state| state.shut_down(within))?;
            Ok(waiter)
        });
        let (alive, launcher) = (self.exit_signal.clone(), self.launcher.clone());
        Box::pin(async move {
            let report = answer_later(stopped).await;
            launcher.end().await;
            // The process may exit as soon as it has this answer, so the log events of the pool's end are emitted first.
            // `alive` keeps the pool's thread running until the answer was sent.
            wait_emitted().await;
            drop(alive);
            report
        })
    }
}

impl Handler<GetStatus> for PoolSupervisor {
    type Result = ResponseFuture<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        let launcher = self.launcher.clone();
        match self.active(|active| Ok((active.complete_status(), active.affinity.actor(), active.events()))) {
            Ok((mut status, actor, events)) => Box::pin(async move {
                status.template = launcher.template();
                status.session_affinity = affinity::affinity_for_status(&status.pool, actor, &events).await;
                status
            }),
            Err(error) => {
                let status = self.failed_status(&error);
                Box::pin(async move { status })
            }
        }
    }
}

impl PoolSupervisor {
    /// Returns the status of a pool that was refused its name: a status is always answered.
    fn failed_status(&self, error: &Error) -> Status {
        let now = self.shared.clock().now();
        let core = Core::new(self.config.settings(), 0, now).status(now);
        let mut status = Status::new(self.config.name().clone(), SystemTime::now(), core, |_| None);
        status.state = PoolState::Failed;
        status.workers.clear();
        status.last_start_error = Some(error.to_string());
        status
    }
}

impl RunningPool {
    fn status(&self) -> Status {
        let state = self.shared_state.borrow();
        let child = |worker: &herder_core::WorkerStatus| {
            let worker_ref = herder_core::WorkerRef { id: worker.id, generation: worker.generation };
            state.links().find(|link| link.worker == worker_ref).map(|link| link.child.clone())
        };
        let name = state.config().name().clone();
        let mut status = Status::new(name, self.started_at, state.core().status(state.clock().now()), child);
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

    /// Returns the status with what was counted, and what the system knows of the processes.
    fn complete_status(&self) -> Status {
        let mut status = self.status();
        self.shared_state.borrow_mut().complete_status(&mut status);
        status
    }
}

impl Handler<GetMetrics> for PoolSupervisor {
    type Result = Result<Box<Measurements>>;

    fn handle(&mut self, _: GetMetrics, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            let mut status = active.status();
            active.shared_state.borrow_mut().measure(&mut status);
            let metrics = active.shared_state.borrow().metrics().clone();
            Ok(Box::new(Measurements::new(status, metrics)))
        })
    }
}

impl Handler<GetPoolName> for PoolSupervisor {
    type Result = MessageResult<GetPoolName>;

    fn handle(&mut self, _: GetPoolName, _: &mut Self::Context) -> Self::Result {
        let name: PoolName = self.config.name().clone();
        MessageResult(name)
    }
}

impl Handler<HealthCheck> for PoolSupervisor {
    type Result = Result<PoolHealth>;

    fn handle(&mut self, _: HealthCheck, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            let state = active.shared_state.borrow();
            let (pool_state, ready_workers) = (state.pool_state(), state.core().ready_workers());
            Ok(PoolHealth {
                healthy: match pool_state {
                    PoolState::Idle => true,
                    PoolState::Draining | PoolState::Stopped => false,
                    _ => ready_workers > 0,
                },
                state: pool_state,
                ready_workers,
                pool_size: state.core().settings().pool_size as usize,
                last_start_error: state.last_start_error_if_degraded().map(Into::into),
            })
        })
    }
}

impl Handler<ListWorkers> for PoolSupervisor {
    type Result = Result<Vec<WorkerInfo>>;

    fn handle(&mut self, _: ListWorkers, _: &mut Self::Context) -> Self::Result {
        self.active(|active| Ok(active.status().workers.into_iter().map(Into::into).collect()))
    }
}

impl Handler<ListRunningCalls> for PoolSupervisor {
    type Result = Result<Vec<RunningCall>>;

    fn handle(&mut self, _: ListRunningCalls, _: &mut Self::Context) -> Self::Result {
        self.active(|active| Ok(active.shared_state.borrow().running_calls()))
    }
}

impl Handler<GetCommands> for PoolSupervisor {
    type Result = Result<Arc<[CommandDescription]>>;

    fn handle(&mut self, _: GetCommands, _: &mut Self::Context) -> Self::Result {
        self.active(|active| Ok(active.shared_state.borrow().command_descriptions()))
    }
}

impl Handler<SetBatch> for PoolSupervisor {
    type Result = Result<BatchStatus>;

    fn handle(&mut self, SetBatch { command, settings }: SetBatch, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.set_batch(&command, settings))?)
    }
}

impl Handler<SetWorkerLogLevel> for PoolSupervisor {
    type Result = Result<()>;

    fn handle(&mut self, SetWorkerLogLevel { level }: SetWorkerLogLevel, _: &mut Self::Context) -> Self::Result {
        self.launcher.set_log_level(level);
        self.active(|active| active.with(|state| state.set_worker_log_level(level)))
    }
}

impl Handler<GetRecorder> for PoolSupervisor {
    type Result = Result<Arc<Recording>>;

    fn handle(&mut self, GetRecorder { worker, generation }: GetRecorder, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.shared_state.borrow().recording(worker, generation))
    }
}

impl Handler<GetBreaker> for PoolSupervisor {
    type Result = Result<Option<BreakerStatus>>;

    fn handle(&mut self, _: GetBreaker, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, now, _| core.breaker(now))))
    }
}

impl Handler<ResetBreaker> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, _: ResetBreaker, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, _, _| core.reset_breaker())))
    }
}

impl Handler<RecordOutcome> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, RecordOutcome { outcome }: RecordOutcome, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, now, _| core.record_outcome(now, outcome))))
    }
}

impl Handler<GetQuarantine> for PoolSupervisor {
    type Result = Result<Vec<QuarantineEntry>>;

    fn handle(&mut self, _: GetQuarantine, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.with_core(|core, now, _| core.quarantine_entries(now))))
    }
}

impl Handler<ReleaseFromQuarantine> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, message: ReleaseFromQuarantine, _: &mut Self::Context) -> Self::Result {
        let fingerprint = message.fingerprint;
        self.active(|active| {
            active.with(|state| {
                let released = state.with_core(|core, _, _| core.release_payload(fingerprint));
                state.report_quarantine();
                released
            })
        })
    }
}

/// For tests that move a clock.
#[cfg(feature = "testing")]
impl Handler<crate::clock::UnansweredPings> for PoolSupervisor {
    type Result = usize;

    fn handle(&mut self, _: crate::clock::UnansweredPings, _: &mut Self::Context) -> Self::Result {
        let launcher = self.launcher.clone();
        let count = self.active(|active| {
            let state = active.shared_state.borrow();
            Ok(state.core().pinged().filter(|worker| launcher.answers_pings(*worker)).count())
        });
        count.unwrap_or(0)
    }
}
