//! [`SessionAffinityActor`] exists only in pools with session affinity, under the name `{pool}_session_affinity` (R3), whose
//! registration the supervisor holds. It answers messages about bindings. The bindings are in the shared state and outlive
//! the actor; neither routing nor the sweep uses the actor. It holds a weak reference: its address does not keep the state of
//! a pool alive.

use crate::{
    BindSession, Error, GetInternalStats, GetSessionHistory, GetSessionState, GetStats, GetWorker, InternalStats,
    RemoveWorkerSessions, Result, SessionHistory, SessionStatus, UnbindSession,
    messages::AffinityStats,
    shared_state::{Deferred, SharedState, State, WeakSharedState, with},
};
use actix::{Actor, Context, Handler};
use herder_core::{AffinityStatus, BindError, Lookup, SessionId, WorkerRef};
use std::{rc::Rc, time::Duration};

/// Answers messages about a pool's bindings.
pub struct SessionAffinityActor {
    shared_state: WeakSharedState,
}

impl SessionAffinityActor {
    pub(crate) fn new(shared_state: &SharedState) -> Self {
        Self { shared_state: Rc::downgrade(shared_state) }
    }

    /// Runs a change of the state for a handler.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let shared_state = self.shared_state.upgrade().ok_or(Error::closed(false))?;
        with(&shared_state, change)
    }
}

impl Actor for SessionAffinityActor {
    type Context = Context<Self>;
}

/// Defers a restart of the actor, however it ended. The state is borrowed only while the pool itself is dropped: then no
/// restart is needed.
impl Drop for SessionAffinityActor {
    fn drop(&mut self) {
        // `try_borrow_mut`: a second mutable borrow would panic, and a panic in a drop during unwinding aborts the host.
        if let Some(shared_state) = self.shared_state.upgrade()
            && let Ok(mut state) = shared_state.try_borrow_mut()
        {
            state.defer(Deferred::AffinityStopped);
        }
    }
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
        self.with(|state| state.with_core(|core, now, effects| core.unbind_session(now, &message.session, effects)))
    }
}

impl Handler<GetWorker> for SessionAffinityActor {
    type Result = Result<WorkerRef>;

    fn handle(&mut self, message: GetWorker, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.session)?;
        match self.with(|state| state.with_core(|core, now, effects| core.worker_of(now, &session, effects)))? {
            Lookup::Bound(worker) => Ok(worker),
            Lookup::Expired => Err(Error::SessionExpired { session }),
            Lookup::NotBound => Err(Error::SessionNotFound { session }),
        }
    }
}

impl Handler<GetSessionState> for SessionAffinityActor {
    type Result = Result<SessionStatus>;

    fn handle(&mut self, message: GetSessionState, _: &mut Self::Context) -> Self::Result {
        self.with(|state| {
            let info = state.core().session_info(state.clock().now(), &message.session);
            info.map_or(SessionStatus::NotFound, |info| info.state.into())
        })
    }
}

impl Handler<RemoveWorkerSessions> for SessionAffinityActor {
    type Result = Result<usize>;

    fn handle(&mut self, message: RemoveWorkerSessions, _: &mut Self::Context) -> Self::Result {
        self.with(|state| {
            state.with_core(|core, now, effects| core.remove_worker_sessions(now, message.worker, effects))
        })
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

impl Handler<GetSessionHistory> for SessionAffinityActor {
    type Result = Result<SessionHistory>;

    fn handle(&mut self, message: GetSessionHistory, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.session)?;
        self.with(|state| session_history(state, session))?
    }
}

/// Returns the history of a session.
pub(crate) fn session_history(state: &State, session: SessionId) -> Result<SessionHistory> {
    state.session_history(state.clock().now(), session).ok_or(Error::Bind(BindError::NoAffinity))
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
        crate::messages::panic_injected();
    }
}
