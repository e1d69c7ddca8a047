//! The supervisor's handlers for messages about the pool, its workers, its breaker and its quarantine.

use super::PoolSupervisor;
use crate::{
    CommandDescription, Error, GetBreaker, GetCommands, GetPoolName, GetQuarantine, GetRecorder, HealthCheck,
    KillWorker, ListRunningCalls, ListWorkers, PoolHealth, PrepareShutdown, RecordOutcome, Recording,
    ReleaseFromQuarantine, Reload, ReloadReport, ResetBreaker, Result, RunningCall, SetBatch, SetWorkerLogLevel,
    Shutdown, ShutdownReport, WaitReady, WorkerInfo, events::wait_emitted, shared_state::State,
};
use actix::{Handler, MessageResult, ResponseFuture};
use herder_core::{BatchStatus, BreakerStatus, Input, KillReason, PoolName, PoolState, QuarantineEntry};
use std::sync::Arc;
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
        self.active(|active| active.with(State::prepare_shutdown))
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
