//! The supervisor's handlers for sessions, in any pool.

use super::PoolSupervisor;
use crate::{
    CleanupStaleSessions, EndSession, GetSessionHistory, GetSessionInfo, ListSessions, Result, SessionHistory,
    TrackSession, UpdateSessionActivity, session_affinity::session_history, shared_state::sweep,
};
use actix::{Handler, ResponseFuture};
use herder_core::{SessionId, SessionInfo, SessionPage};
use std::rc::Rc;

impl Handler<TrackSession> for PoolSupervisor {
    type Result = Result<SessionInfo>;

    fn handle(&mut self, message: TrackSession, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.session)?;
        self.active(|active| {
            active.with(|state| {
                let tracked = state.with_core(|core, now, effects| core.track_session(now, session, effects));
                tracked.map_err(|failure| state.error(state.clock().now(), failure))
            })?
        })
    }
}

impl Handler<UpdateSessionActivity> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, message: UpdateSessionActivity, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.session)?;
        self.active(|active| {
            active.with(|state| {
                state.with_core(|core, now, effects| core.update_session_activity(now, &session, effects))
            })
        })
    }
}

impl Handler<GetSessionInfo> for PoolSupervisor {
    type Result = Result<Option<SessionInfo>>;

    fn handle(&mut self, message: GetSessionInfo, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            let state = active.shared_state.borrow();
            Ok(state.core().session_info(state.clock().now(), &message.session))
        })
    }
}

impl Handler<EndSession> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, message: EndSession, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            active.with(|state| state.with_core(|core, now, effects| core.end_session(now, &message.session, effects)))
        })
    }
}

impl Handler<CleanupStaleSessions> for PoolSupervisor {
    type Result = ResponseFuture<Result<usize>>;

    fn handle(&mut self, _: CleanupStaleSessions, _: &mut Self::Context) -> Self::Result {
        let shared_state = self.active(|active| Ok(Rc::downgrade(&active.shared_state)));
        Box::pin(async move { sweep(&shared_state?).await })
    }
}

impl Handler<ListSessions> for PoolSupervisor {
    type Result = Result<SessionPage>;

    fn handle(&mut self, message: ListSessions, _: &mut Self::Context) -> Self::Result {
        let ListSessions { cursor, limit, search } = message;
        self.active(|active| {
            let state = active.shared_state.borrow();
            Ok(state.core().search_sessions(state.clock().now(), cursor, limit, &search))
        })
    }
}

impl Handler<GetSessionHistory> for PoolSupervisor {
    type Result = Result<SessionHistory>;

    fn handle(&mut self, message: GetSessionHistory, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.session)?;
        self.active(|active| session_history(&active.shared_state.borrow(), session))
    }
}

fn parse(session: &str) -> Result<SessionId> {
    Ok(SessionId::new(session)?)
}
