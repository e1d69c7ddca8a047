//! What the supervisor answers beside calls.

use super::{Active, PoolSupervisor, affinity};
use crate::{
    CleanupStaleSessions, EndSession, Error, GetPoolName, GetSessionInfo, GetStatus, HealthCheck, KillWorker,
    ListSessions, ListWorkers, PoolHealth, Result, Shutdown, ShutdownReport, Status, TrackSession,
    UpdateSessionActivity, WaitReady, WorkerInfo, clock,
};
use actix::{Handler, MessageResult, ResponseFuture};
use herder_core::{Core, Doom, Input, PoolName, PoolState, SessionId, SessionInfo};
use std::time::SystemTime;
use tokio::sync::oneshot;

/// An answer that a waiter will give; if the pool goes first, that is the answer.
fn later<T: 'static>(waiter: Result<oneshot::Receiver<Result<T>>>) -> ResponseFuture<Result<T>> {
    Box::pin(async move { waiter?.await.unwrap_or(Err(Error::PoolClosed { may_have_run: true })) })
}

impl Handler<WaitReady> for PoolSupervisor {
    type Result = ResponseFuture<Result<()>>;

    fn handle(&mut self, _: WaitReady, _: &mut Self::Context) -> Self::Result {
        later(self.active(|active| {
            let waiter = active.waiters.ready();
            active.waiters.check_ready(&active.cell.borrow());
            Ok(waiter)
        }))
    }
}

impl Handler<KillWorker> for PoolSupervisor {
    type Result = ResponseFuture<Result<()>>;

    fn handle(&mut self, KillWorker(at): KillWorker, _: &mut Self::Context) -> Self::Result {
        later(self.active(|active| {
            if active.cell.borrow().core().process_of(at.worker) != Some(at) {
                return Err(Error::NoSuchWorker { message: format!("there is no process {at} (slot and generation)") });
            }
            let waiter = active.waiters.killed(at);
            active.with(|state| state.handle(Input::Kill { at, doom: Doom::Requested }))?;
            Ok(waiter)
        }))
    }
}

impl Handler<Shutdown> for PoolSupervisor {
    type Result = ResponseFuture<Result<ShutdownReport>>;

    fn handle(&mut self, Shutdown { within }: Shutdown, _: &mut Self::Context) -> Self::Result {
        later(self.active(|active| {
            let waiter = active.waiters.stopped();
            active.with(|state| state.shut_down(within))?;
            Ok(waiter)
        }))
    }
}

impl Handler<GetStatus> for PoolSupervisor {
    type Result = ResponseFuture<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        match self.active(|active| Ok((active.status(), active.affinity.actor()))) {
            Ok((mut status, actor)) => Box::pin(async move {
                status.session_affinity = affinity::shown(&status.pool, actor).await;
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
    /// A status always answers, also of a pool that was refused its name.
    fn failed_status(&self, error: &Error) -> Status {
        let core = Core::new(self.config.settings(), 0, clock::now()).status(clock::now());
        let mut status = Status::new(self.config.name().clone(), SystemTime::now(), core, |_| None);
        status.state = PoolState::Failed;
        status.workers.clear();
        status.last_start_error = Some(error.to_string());
        status
    }
}

impl Active {
    fn status(&self) -> Status {
        let state = self.cell.borrow();
        let pids = |worker: &herder_core::WorkerStatus| {
            let at = herder_core::WorkerRef { worker: worker.id, generation: worker.generation };
            state.links().find(|link| link.at == at).map(|link| link.child.pid())
        };
        let name = state.config().name().clone();
        let mut status = Status::new(name, self.started_at, state.core().status(clock::now()), pids);
        status.state = state.pool_state();
        status.last_start_error = state.last_start_error_if_below_strength().map(Into::into);
        status
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
            let state = active.cell.borrow();
            let (pool_state, ready_workers) = (state.pool_state(), state.core().ready_workers());
            Ok(PoolHealth {
                healthy: ready_workers > 0 && !matches!(pool_state, PoolState::Draining | PoolState::Stopped),
                state: pool_state,
                ready_workers,
                wanted_workers: state.core().settings().pool_size as usize,
                last_start_error: state.last_start_error_if_below_strength().map(Into::into),
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

impl Handler<TrackSession> for PoolSupervisor {
    type Result = Result<SessionInfo>;

    fn handle(&mut self, message: TrackSession, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.0)?;
        self.active(|active| {
            active.with(|state| {
                let tracked = state.ask(|core, now, fx| core.track_session(now, session, fx));
                tracked.map_err(|failure| state.error(clock::now(), failure))
            })?
        })
    }
}

impl Handler<UpdateSessionActivity> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, message: UpdateSessionActivity, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.0)?;
        self.active(|active| {
            active.with(|state| state.ask(|core, now, fx| core.update_session_activity(now, &session, fx)))
        })
    }
}

impl Handler<GetSessionInfo> for PoolSupervisor {
    type Result = Result<Option<SessionInfo>>;

    fn handle(&mut self, message: GetSessionInfo, _: &mut Self::Context) -> Self::Result {
        self.active(|active| Ok(active.cell.borrow().core().session_info(clock::now(), &message.0)))
    }
}

impl Handler<EndSession> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, message: EndSession, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.ask(|core, now, fx| core.end_session(now, &message.0, fx))))
    }
}

impl Handler<CleanupStaleSessions> for PoolSupervisor {
    type Result = Result<usize>;

    fn handle(&mut self, _: CleanupStaleSessions, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.ask(|core, now, fx| core.cleanup_stale_sessions(now, fx))))
    }
}

impl Handler<ListSessions> for PoolSupervisor {
    type Result = Result<Vec<SessionInfo>>;

    fn handle(&mut self, message: ListSessions, _: &mut Self::Context) -> Self::Result {
        let ListSessions { offset, limit } = message;
        self.active(|active| Ok(active.cell.borrow().core().list_sessions(clock::now(), offset, limit)))
    }
}

fn parse(session: &str) -> Result<SessionId> {
    SessionId::new(session).map_err(|error| Error::InvalidSession { message: error.to_string() })
}

#[cfg(feature = "fault-injection")]
impl Handler<crate::messages::InjectStop> for PoolSupervisor {
    type Result = Result<()>;

    fn handle(&mut self, message: crate::messages::InjectStop, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            active.workers.remove(&message.0);
            Ok(())
        })
    }
}

#[cfg(feature = "fault-injection")]
impl Handler<crate::messages::InjectPanic> for PoolSupervisor {
    type Result = Result<()>;

    fn handle(&mut self, message: crate::messages::InjectPanic, _: &mut Self::Context) -> Self::Result {
        use crate::messages::{InjectPanic, Panic, injected};
        self.active(|active| {
            match message {
                InjectPanic::Worker(worker) => active
                    .workers
                    .values()
                    .filter(|(at, _)| at.worker == worker)
                    .for_each(|(_, actor)| actor.do_send(Panic)),
                InjectPanic::Affinity => active.affinity.actor().iter().for_each(|actor| actor.do_send(Panic)),
                InjectPanic::Supervisor => injected(),
                InjectPanic::Step => active.with(|_| injected())?,
            }
            Ok(())
        })
    }
}
