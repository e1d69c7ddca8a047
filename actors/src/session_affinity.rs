//! [`SessionAffinityActor`]: exists only in pools with session affinity, under the name `{pool}_session_affinity` (R3), which the
//! supervisor holds for it. It answers for the bindings and sweeps what expired. The bindings are in the cell: they outlive it,
//! and routing never asks it. It does not keep the cell: whoever has its address keeps no pool's state.

use crate::{
    BindSession, Error, GetInternalStats, GetSessionState, GetStats, GetTrail, GetWorker, InternalStats,
    RemoveWorkerSessions, Result, SessionStatus, Trail, UnbindSession,
    cell::{Cell, Post, State, WeakCell, sweep, with},
    clock::Clock,
    messages::AffinityStats,
};
use actix::{Actor, Context, Handler};
use actix_rt::task::JoinHandle;
use herder_core::{AffinityStatus, BindError, Lookup, SessionId, WorkerRef};
use std::{rc::Rc, time::Duration};

/// Timers are no finer.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// Answers for a pool's bindings.
pub struct SessionAffinityActor {
    cell: WeakCell,
    cleanup_interval: Duration,
    clock: Clock,
    sweeping: Option<JoinHandle<()>>,
}

impl SessionAffinityActor {
    pub(crate) fn new(cell: &Cell) -> Self {
        let cleanup_interval = cell.borrow().core().settings().sessions.cleanup_interval;
        let clock = cell.borrow().clock().clone();
        Self { cell: Rc::downgrade(cell), cleanup_interval, clock, sweeping: None }
    }

    /// Runs a change of the state for a handler.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let cell = self.cell.upgrade().ok_or(Error::closed(false))?;
        with(&cell, change)
    }
}

impl Actor for SessionAffinityActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.sweeping = Some(actix_rt::spawn(sweep_on(self.cell.clone(), self.cleanup_interval, self.clock.clone())));
    }
}

/// However it ends, the supervisor hears of it; the cell is borrowed only while the pool itself is torn down.
impl Drop for SessionAffinityActor {
    fn drop(&mut self) {
        if let Some(sweeping) = &self.sweeping {
            sweeping.abort();
        }
        if let Some(cell) = self.cell.upgrade()
            && let Ok(mut state) = cell.try_borrow_mut()
        {
            state.post(Post::AffinityGone);
        }
    }
}

/// Sweeps every `cleanup_interval`, and when the grace is over of a session that a sweep left marked, as long as there is a pool.
async fn sweep_on(cell: WeakCell, interval: Duration, clock: Clock) {
    let (mut pause, mut alarm) = (interval, clock.alarm());
    while cell.strong_count() > 0 {
        alarm.rings(Some(clock.now() + pause)).await;
        let _ = sweep(&cell).await; // a panic was the rebuild's to tell
        let removal = cell.upgrade().and_then(|cell| cell.borrow().core().next_removal());
        pause = until_next(interval, removal.map(|at| at.since(clock.now())));
    }
}

/// The wait for the next sweep: the interval, or less if a marked session can go earlier.
fn until_next(interval: Duration, removal: Option<Duration>) -> Duration {
    removal.map_or(interval, |wait| wait.min(interval)).max(MIN_PAUSE)
}

impl Handler<BindSession> for SessionAffinityActor {
    type Result = Result<WorkerRef>;

    fn handle(&mut self, message: BindSession, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.session)?;
        self.with(|state| state.bind(session, message.worker))?.map_err(|error| match error {
            BindError::Quota(max) => Error::SessionQuota { max },
            other => Error::Bind(other),
        })
    }
}

impl Handler<UnbindSession> for SessionAffinityActor {
    type Result = Result<bool>;

    fn handle(&mut self, message: UnbindSession, _: &mut Self::Context) -> Self::Result {
        self.with(|state| state.ask(|core, now, fx| core.unbind_session(now, &message.0, fx)))
    }
}

impl Handler<GetWorker> for SessionAffinityActor {
    type Result = Result<WorkerRef>;

    fn handle(&mut self, message: GetWorker, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.0)?;
        match self.with(|state| state.ask(|core, now, fx| core.worker_of(now, &session, fx)))? {
            Lookup::Worker(at) => Ok(at),
            Lookup::Expired => Err(Error::SessionExpired { session }),
            Lookup::NoAffinity => Err(Error::SessionNotFound { session }),
        }
    }
}

impl Handler<GetSessionState> for SessionAffinityActor {
    type Result = Result<SessionStatus>;

    fn handle(&mut self, message: GetSessionState, _: &mut Self::Context) -> Self::Result {
        self.with(|state| {
            let info = state.core().session_info(state.clock().now(), &message.0);
            info.map_or(SessionStatus::NotFound, |info| info.state.into())
        })
    }
}

impl Handler<RemoveWorkerSessions> for SessionAffinityActor {
    type Result = Result<usize>;

    fn handle(&mut self, message: RemoveWorkerSessions, _: &mut Self::Context) -> Self::Result {
        self.with(|state| state.ask(|core, now, fx| core.remove_worker_sessions(now, message.0, fx)))
    }
}

impl Handler<GetStats> for SessionAffinityActor {
    type Result = Result<AffinityStats>;

    fn handle(&mut self, _: GetStats, _: &mut Self::Context) -> Self::Result {
        self.with(|state| stats(state))?
    }
}

impl Handler<GetInternalStats> for SessionAffinityActor {
    type Result = Result<InternalStats>;

    fn handle(&mut self, _: GetInternalStats, _: &mut Self::Context) -> Self::Result {
        self.with(|state| {
            let AffinityStatus { hits, misses, rebinds, cleanup_runs, sessions_cleaned, .. } = stats(state)?;
            let sessions = &state.core().settings().sessions;
            let (session_timeout, cleanup_interval): (Duration, Duration) =
                (sessions.timeout, sessions.cleanup_interval);
            Ok(InternalStats {
                cleanup_runs,
                sessions_cleaned,
                hits,
                misses,
                rebinds,
                session_timeout,
                cleanup_interval,
            })
        })?
    }
}

impl Handler<GetTrail> for SessionAffinityActor {
    type Result = Result<Trail>;

    fn handle(&mut self, message: GetTrail, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.0)?;
        self.with(|state| trail(state, session))?
    }
}

/// The story of a session.
pub(crate) fn trail(state: &State, session: SessionId) -> Result<Trail> {
    state.trail(state.clock().now(), session).ok_or(Error::Bind(BindError::NoAffinity))
}

fn stats(state: &State) -> Result<AffinityStatus> {
    state.core().affinity_status(state.clock().now()).ok_or(Error::Bind(BindError::NoAffinity))
}

fn parse(session: &str) -> Result<SessionId> {
    Ok(SessionId::new(session)?)
}

#[cfg(feature = "fault-injection")]
impl Handler<crate::messages::Panic> for SessionAffinityActor {
    type Result = ();

    fn handle(&mut self, _: crate::messages::Panic, _: &mut Self::Context) {
        crate::messages::injected();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R16: nobody knows an expired session for a whole interval longer than its grace; and no sweep follows another at once.
    #[test]
    fn r16_a_marked_session_goes_when_its_grace_is_over() {
        let [interval, grace] = [60, 1].map(Duration::from_secs);
        assert_eq!(until_next(interval, None), interval);
        assert_eq!(until_next(interval, Some(grace)), grace);
        assert_eq!(until_next(grace, Some(interval)), grace);
        assert_eq!(until_next(interval, Some(Duration::ZERO)), MIN_PAUSE);
    }
}
